"""What is dear to make is made once in a run, though several processes test: the first makes it, the others wait."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock


def shared_folder(factory: pytest.TempPathFactory) -> Path:
    """The run's own temporary folder, the same for every process of pytest-xdist."""
    base = factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], Any]) -> tuple[Path, Any]:
    """The folder `name`, which `make` filled once, and the JSON value it returned.

    If that failed, the others fail as well: the folder is there, and no answer.
    """
    folder = shared_folder(factory) / name
    answer = folder.with_name(f"{name}.json")
    with FileLock(folder.with_name(f"{name}.lock")):
        if not answer.exists():
            folder.mkdir()
            answer.write_text(json.dumps(make(folder)), encoding="utf-8")
    return folder, json.loads(answer.read_text(encoding="utf-8"))
