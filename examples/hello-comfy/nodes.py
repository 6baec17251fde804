"""The built-in nodes. An IMAGE is a float32 array of shape [count, height, width, 3] with values from 0 to 1."""

from __future__ import annotations

import json
import os
import re
from typing import Any

import folder_paths
import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageFilter, ImageFont
from PIL.PngImagePlugin import PngInfo

_SIDE = ("INT", {"default": 512, "min": 16, "max": 4096})
_PREFIX = re.compile(r"[\w. -]+(?:/[\w. -]+)*")


def to_pictures(images: np.ndarray) -> list[Image.Image]:
    return [Image.fromarray((image.clip(0, 1) * 255).round().astype(np.uint8)) for image in images]


def to_images(pictures: list[Image.Image]) -> np.ndarray:
    return np.stack([np.asarray(picture.convert("RGB"), dtype=np.float32) / 255 for picture in pictures])


class GradientImage:
    """A gradient from the top left corner to the bottom right one."""

    CATEGORY = "image"
    FUNCTION = "make"
    RETURN_TYPES = ("IMAGE",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802 - ComfyUI's name
        return {
            "required": {
                "width": _SIDE,
                "height": _SIDE,
                "start": ("STRING", {"default": "#102a43"}),
                "end": ("STRING", {"default": "#f7c948"}),
            }
        }

    def make(self, width: int, height: int, start: str, end: str) -> tuple[np.ndarray]:
        first, last = (np.array(ImageColor.getrgb(colour)[:3], dtype=np.float32) / 255 for colour in (start, end))
        rows, columns = np.linspace(0, 1, height)[:, None], np.linspace(0, 1, width)[None, :]
        weight = ((rows + columns) / 2)[..., None]
        return ((first + (last - first) * weight).astype(np.float32)[None],)


class TextOverlay:
    """Text in the middle of each image."""

    CATEGORY = "image"
    FUNCTION = "draw"
    RETURN_TYPES = ("IMAGE",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        greeting = os.environ.get("HELLO_COMFY_GREETING", "hello")
        return {
            "required": {
                "image": ("IMAGE",),
                "text": ("STRING", {"default": greeting, "multiline": True}),
                "size": ("INT", {"default": 32, "min": 8, "max": 256}),
                "colour": ("STRING", {"default": "#ffffff"}),
            }
        }

    def draw(self, image: np.ndarray, text: str, size: int, colour: str) -> tuple[np.ndarray]:
        pictures = to_pictures(image)
        font = ImageFont.load_default(size)
        for picture in pictures:
            middle = (picture.width / 2, picture.height / 2)
            ImageDraw.Draw(picture).text(middle, text, fill=colour, font=font, anchor="mm", align="center")
        return (to_images(pictures),)


class BlurImage:
    CATEGORY = "image"
    FUNCTION = "blur"
    RETURN_TYPES = ("IMAGE",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        return {
            "required": {"image": ("IMAGE",), "radius": ("FLOAT", {"default": 2.0, "min": 0.0, "max": 64.0})},
        }

    def blur(self, image: np.ndarray, radius: float) -> tuple[np.ndarray]:
        return (to_images([picture.filter(ImageFilter.GaussianBlur(radius)) for picture in to_pictures(image)]),)


class SaveImage:
    """Saves PNG files that carry their own workflow, as ComfyUI's do."""

    CATEGORY = "image"
    FUNCTION = "save"
    RETURN_TYPES = ()
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        return {
            "required": {"images": ("IMAGE",), "filename_prefix": ("STRING", {"default": "ComfyUI"})},
            "hidden": {"prompt": "PROMPT"},
        }

    def save(self, images: np.ndarray, filename_prefix: str, prompt: dict[str, Any]) -> dict[str, Any]:
        if not _PREFIX.fullmatch(filename_prefix):
            raise ValueError(f"{filename_prefix!r} is not a usable file name")
        saved = []
        for picture in to_pictures(images):
            path = folder_paths.resolve_output(f"{filename_prefix}_00001_.png")
            for number in range(2, 100_000):
                if not path.exists():
                    break
                path = folder_paths.resolve_output(f"{filename_prefix}_{number:05}_.png")
            path.parent.mkdir(parents=True, exist_ok=True)
            text = PngInfo()
            text.add_text("prompt", json.dumps(prompt))
            picture.save(path, pnginfo=text)
            subfolder = path.parent.relative_to(folder_paths.get_output_directory()).as_posix()
            saved.append({"filename": path.name, "subfolder": "" if subfolder == "." else subfolder, "type": "output"})
        return {"ui": {"images": saved}}


NODE_CLASS_MAPPINGS: dict[str, Any] = {
    "GradientImage": GradientImage,
    "TextOverlay": TextOverlay,
    "BlurImage": BlurImage,
    "SaveImage": SaveImage,
}
NODE_DISPLAY_NAME_MAPPINGS: dict[str, str] = {
    "GradientImage": "Gradient",
    "TextOverlay": "Text Overlay",
    "BlurImage": "Blur",
    "SaveImage": "Save Image",
}
