"""Pieces of bundles for the tests of this room."""

from __future__ import annotations

import base64
import hashlib

MODULES = ("_decimal", "_json", "_struct", "_bisect")


def record_row(name: str, content: bytes) -> str:
    """A line of RECORD."""
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
    return f"{name},sha256={digest},{len(content)}\n"
