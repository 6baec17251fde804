"""Run once by whoever installs the node, from the node's folder: writes the colours the node offers."""

import colorsys
import json
from pathlib import Path

HUES = {"red": 0.0, "amber": 0.12, "green": 0.36, "blue": 0.6, "violet": 0.77}


def main() -> None:
    palette = {
        name: "#" + "".join(f"{round(part * 255):02x}" for part in colorsys.hsv_to_rgb(hue, 0.8, 0.45))
        for name, hue in HUES.items()
    }
    Path(__file__).with_name("palette.json").write_text(json.dumps(palette, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
