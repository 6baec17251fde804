"""An app that loads nodes, logs and serves as ComfyUI does, with the standard library alone."""

import http.server
import importlib.util
import sys
import time
import traceback
from pathlib import Path

NODES = Path(__file__).resolve().parent / "custom_nodes"


def say(text):
    print(text, file=sys.stderr, flush=True)


def load(path):
    try:
        spec = importlib.util.spec_from_file_location(path.name, path / "__init__.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        say(f"{len(module.NODE_CLASS_MAPPINGS)} nodes")
    except Exception as error:
        say(traceback.format_exc())
        say(f"Cannot import {path} module for custom nodes: {error}")
        return False
    return True


def load_all():
    times = []
    for path in sorted(NODES.iterdir()):
        start = time.perf_counter()
        loaded = load(path)
        times.append((time.perf_counter() - start, path, loaded))
    say("\nImport times for custom nodes:")
    for seconds, path, loaded in times:
        say(f"{seconds:6.1f} seconds{'' if loaded else ' (IMPORT FAILED)'}: {path}")
    say("")


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path in ("/", "/object_info") else 404)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")


load_all()
if "--quick-test-for-ci" not in sys.argv:
    address = (sys.argv[sys.argv.index("--listen") + 1], int(sys.argv[sys.argv.index("--port") + 1]))
    try:
        http.server.HTTPServer(address, Handler).serve_forever()
    except KeyboardInterrupt:
        say("\nStopped server")
