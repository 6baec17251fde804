"""Asking a Python tree in fresh processes what it can do: what the clean-up's oracle and the proof share."""
