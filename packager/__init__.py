"""Builds portable, relocatable distributions of ComfyUI and proves them before they ship."""
