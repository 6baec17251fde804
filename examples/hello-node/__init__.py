# ruff: noqa: N999 - the folder bears the name of its repository, as with real nodes
"""A custom node with a dependency and an install.py: puts a QR code into the lower right corner of an image."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import segno
from PIL import ImageColor

# Written by install.py; without it the import fails, as that of a real node does whose install.py was not run.
_PALETTE: dict[str, str] = json.loads(Path(__file__).with_name("palette.json").read_text(encoding="utf-8"))


class QRCodeOverlay:
    CATEGORY = "image"
    FUNCTION = "draw"
    RETURN_TYPES = ("IMAGE",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802 - ComfyUI's name
        return {
            "required": {
                "image": ("IMAGE",),
                "text": ("STRING", {"default": "https://github.com/Comfy-Org/ComfyUI"}),
                "colour": (list(_PALETTE),),
                "scale": ("INT", {"default": 4, "min": 1, "max": 32}),
            }
        }

    def draw(self, image: np.ndarray, text: str, colour: str, scale: int) -> tuple[np.ndarray]:
        rows = [list(row) for row in segno.make(text, micro=False).matrix_iter(scale=scale, border=2)]
        dark = np.array(rows, dtype=bool)
        height, width = dark.shape
        if height > image.shape[1] or width > image.shape[2]:
            raise ValueError(f"the code needs {width} x {height} pixels: use a smaller scale or a larger image")
        ink = np.array(ImageColor.getrgb(_PALETTE[colour]), dtype=np.float32) / 255
        result = image.copy()
        result[:, -height:, -width:] = np.where(dark[..., None], ink, np.float32(1.0))
        return (result,)


NODE_CLASS_MAPPINGS = {"QRCodeOverlay": QRCodeOverlay}
NODE_DISPLAY_NAME_MAPPINGS = {"QRCodeOverlay": "QR Code Overlay"}
