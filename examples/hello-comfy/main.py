"""Loads the nodes and serves. Exit code 0 after Ctrl-C and after --quick-test-for-ci, also if a custom node failed."""

from __future__ import annotations

import asyncio
import logging
import sys
from pathlib import Path

import folder_paths
import options
from comfyui_version import __version__
from node_loader import load_custom_nodes
from server import serve


def main() -> int:
    args = options.parse()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.info("Python version: %s", sys.version)
    logging.info("ComfyUI version: %s", __version__)
    folder_paths.set_base_directory(args.base_directory)
    nodes_folder = Path(folder_paths.get_custom_nodes_directory())
    if not args.disable_all_custom_nodes:
        load_custom_nodes(nodes_folder)
    elif args.whitelist_custom_nodes:
        load_custom_nodes(nodes_folder, only=args.whitelist_custom_nodes)
    else:
        logging.info("Skipping loading of custom nodes")
    if args.quick_test_for_ci:
        return 0
    try:
        asyncio.run(serve(args.listen, args.port, auto_launch=args.auto_launch and not args.disable_auto_launch))
    except KeyboardInterrupt:
        logging.info("\nStopped server")
    except OSError as error:
        sys.stderr.write(f"Cannot serve on {args.listen} port {args.port}: {error.strerror}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
