"""Where things lie below the base directory, under the names ComfyUI's nodes ask for."""

from __future__ import annotations

from pathlib import Path

base_path = Path(__file__).resolve().parent


def set_base_directory(path: Path) -> None:
    """Use `path` from now on and make the folders an app of this shape expects."""
    global base_path  # noqa: PLW0603 - nodes read it through the functions below, as in ComfyUI
    base_path = path.resolve()
    for name in ("custom_nodes", "input/3d", "models", "output"):
        (base_path / name).mkdir(parents=True, exist_ok=True)


def get_output_directory() -> str:
    return str(base_path / "output")


def get_input_directory() -> str:
    return str(base_path / "input")


def get_custom_nodes_directory() -> str:
    return str(base_path / "custom_nodes")


def resolve_output(filename: str, subfolder: str = "") -> Path:
    """The path of a file in the output folder. Raises ValueError if it would lie outside."""
    output = Path(get_output_directory())
    path = (output / subfolder / filename).resolve()
    if not filename or not path.is_relative_to(output) or path == output:
        raise ValueError(f"{filename!r} is outside the output folder")
    return path
