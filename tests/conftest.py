"""Fixtures that more than one room needs."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def test_cache(request: pytest.FixtureRequest) -> Path:
    """A folder that outlives the run: $PACKAGER_TEST_CACHE, else pytest's own cache."""
    wanted = os.environ.get("PACKAGER_TEST_CACHE")
    folder = Path(wanted).absolute() if wanted else Path(request.config.cache.mkdir("packager"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def wine(test_cache: Path):
    """A `windows_python.Wine`."""
    windows_python = pytest.importorskip("windows_python", reason="Wine runs on POSIX", exc_type=ImportError)
    try:
        return windows_python.open_wine(test_cache)
    except windows_python.UnavailableError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def windows_cpython(test_cache: Path) -> Path:
    """The folder of a real CPython 3.11 for Windows (embeddable: `._pth`, library in a zip). Copy it, do not write."""
    module = pytest.importorskip("windows_python", reason="Wine runs on POSIX", exc_type=ImportError)
    try:
        return module.fetch_windows_python(test_cache)
    except module.UnavailableError as error:
        pytest.skip(str(error))
