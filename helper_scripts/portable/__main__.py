"""`python portable COMMAND`: what every helper script calls."""

import importlib
import importlib.util
import sys
from pathlib import Path


def _load_package() -> None:
    """Make this folder the package `portable`, and take it off sys.path, where its modules would hide others."""
    folder = Path(__file__).absolute().parent
    sys.path[:] = [entry for entry in sys.path if Path(entry) != folder]
    spec = importlib.util.spec_from_file_location(
        "portable", folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    if spec is None or spec.loader is None:
        sys.exit(f"{folder} cannot be loaded as a package")
    module = importlib.util.module_from_spec(spec)
    sys.modules["portable"] = module
    spec.loader.exec_module(module)


if __name__ == "__main__":
    _load_package()
    sys.exit(importlib.import_module("portable.cli").main(sys.argv[1:]))
