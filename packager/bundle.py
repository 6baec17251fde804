"""The bundle tree: what lies where in the folder the user will see. Shared by every stage; it does nothing itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from packager.targets import Target

PYTHON_DIR = "python"
APP_DIR = "ComfyUI"
NODES_DIR = f"{APP_DIR}/custom_nodes"
MODELS_DIR = f"{APP_DIR}/models"
PORTABLE_DIR = "portable"
MANIFEST_NAME = "manifest.json"
LICENCES_DIR = "share/licenses"  # below the Python prefix: texts of what a runtime brought, a folder for each package


@dataclass(frozen=True, kw_only=True)
class BundleTree:
    """`root` holds `ComfyUI/`, `python/`, `portable/`, the helper scripts and README.txt."""

    root: Path
    target: Target
    python_version: str  # full, such as 3.11.7

    @property
    def prefix(self) -> Path:
        """The Python prefix."""
        return self.root / PYTHON_DIR

    @property
    def app(self) -> Path:
        return self.root / APP_DIR

    @property
    def nodes(self) -> Path:
        return self.root / NODES_DIR

    @property
    def models(self) -> Path:
        return self.root / MODELS_DIR

    @property
    def portable(self) -> Path:
        return self.root / PORTABLE_DIR

    @property
    def python(self) -> Path:
        return self.prefix / self.target.python_executable()

    @property
    def scripts(self) -> Path:
        return self.prefix / self.target.scripts()

    @property
    def stdlib(self) -> Path:
        return self.prefix / self.target.stdlib(self.python_version)

    @property
    def site_packages(self) -> Path:
        return self.prefix / self.target.site_packages(self.python_version)

    def relative(self, path: Path) -> PurePosixPath:
        """`path` as the manifest and the rules see it: from the root, with forward slashes."""
        return PurePosixPath(path.relative_to(self.root).as_posix())
