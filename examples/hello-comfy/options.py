"""The start arguments: those of ComfyUI that make sense here, and those its launchers pass anyway."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

_HERE = Path(__file__).resolve().parent


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="A tiny app of ComfyUI's shape.")
    parser.add_argument(
        "--listen", nargs="?", const="0.0.0.0", default="127.0.0.1", metavar="IP", help="address to serve on"
    )
    parser.add_argument("--port", type=int, default=8188)
    parser.add_argument(
        "--base-directory", type=Path, default=_HERE, metavar="DIR", help="holds custom_nodes, input, models and output"
    )
    parser.add_argument("--auto-launch", action="store_true", help="open the page in a browser")
    parser.add_argument("--disable-auto-launch", action="store_true")
    parser.add_argument("--quick-test-for-ci", action="store_true", help="load the nodes, then exit")
    parser.add_argument("--disable-all-custom-nodes", action="store_true")
    parser.add_argument(
        "--whitelist-custom-nodes", nargs="+", default=[], metavar="NAME", help="load these although all are disabled"
    )
    for flag in ("--cpu", "--disable-api-nodes", "--windows-standalone-build"):
        parser.add_argument(flag, action="store_true", help="accepted, without effect")
    parser.add_argument("--database-url", help="accepted, without effect")
    return parser.parse_args(arguments)
