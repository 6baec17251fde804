"""An app that loads nodes, logs and serves as ComfyUI does, with the standard library alone."""

import http.server
import importlib.util
import os
import sys
import time
import traceback

HERE = os.path.dirname(os.path.realpath(__file__))
NODES = os.path.join(HERE, "custom_nodes")


def say(text):
    print(text, file=sys.stderr, flush=True)


def load(path):
    try:
        spec = importlib.util.spec_from_file_location(path.replace(".", "_x_"), os.path.join(path, "__init__.py"))
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        module.NODE_CLASS_MAPPINGS
    except Exception as error:
        say(traceback.format_exc())
        say(f"Cannot import {path} module for custom nodes: {error}")
        return False
    return True


def load_all():
    times = []
    for name in sorted(os.listdir(NODES)):
        if name == "__pycache__":
            continue
        start = time.perf_counter()
        loaded = load(os.path.join(NODES, name))
        times.append((time.perf_counter() - start, os.path.join(NODES, name), loaded))
    say("\nImport times for custom nodes:")
    for seconds, path, loaded in times:
        say("{:6.1f} seconds{}: {}".format(seconds, "" if loaded else " (IMPORT FAILED)", path))
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
