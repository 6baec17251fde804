"""The HTTP side: ComfyUI's routes for queueing a prompt and fetching what became of it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import platform
import sys
import time
import uuid
import webbrowser
from pathlib import Path
from typing import Any

import folder_paths
from aiohttp import web
from comfyui_version import __version__
from execution import PromptError, execute, plan
from nodes import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS

_PAGE = Path(__file__).with_name("web") / "index.html"
_HISTORY_SIZE = 1000


class Server:
    """Runs one prompt after the other, in a thread, so that requests are answered meanwhile."""

    def __init__(self) -> None:
        self.history: dict[str, Any] = {}
        self._queue: asyncio.Queue[tuple[int, str, Any, tuple[str, ...]]] = asyncio.Queue()
        self._count = 0

    def application(self) -> web.Application:
        app = web.Application(client_max_size=16 * 1024**2)
        app.router.add_get("/", _page)
        app.router.add_get("/system_stats", _system_stats)
        app.router.add_get("/object_info", _object_info)
        app.router.add_get("/object_info/{name}", _object_info)
        app.router.add_get("/view", _view)
        app.router.add_get("/history", self._history)
        app.router.add_get("/history/{id}", self._history)
        app.router.add_post("/prompt", self._prompt)
        app.cleanup_ctx.append(self._worker)
        return app

    async def _worker(self, _app: web.Application) -> Any:
        task = asyncio.create_task(self._work())
        yield
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    async def _work(self) -> None:
        while True:
            number, prompt_id, prompt, order = await self._queue.get()
            logging.info("got prompt")
            start = time.perf_counter()
            status: dict[str, Any] = {"status_str": "success", "completed": True, "messages": []}
            try:
                outputs = await asyncio.to_thread(execute, prompt, order)
            except Exception as error:
                logging.exception("!!! Exception during processing !!!")
                outputs = {}
                status = {"status_str": "error", "completed": False, "messages": [["execution_error", str(error)]]}
            else:
                logging.info("Prompt executed in %.2f seconds", time.perf_counter() - start)
            self.history[prompt_id] = {
                "prompt": [number, prompt_id, prompt, {}, list(outputs)],
                "outputs": outputs,
                "status": status,
            }
            while len(self.history) > _HISTORY_SIZE:
                del self.history[next(iter(self.history))]

    async def _prompt(self, request: web.Request) -> web.Response:
        try:
            body = await request.json()
        except (ValueError, RecursionError):
            return web.json_response(PromptError("invalid_json", "The body is not JSON").body, status=400)
        prompt = body.get("prompt") if isinstance(body, dict) else None
        try:
            order = plan(prompt)
        except PromptError as error:
            logging.warning("invalid prompt: %s", error)
            return web.json_response(error.body, status=400)
        self._count += 1
        prompt_id = str(uuid.uuid4())
        self._queue.put_nowait((self._count, prompt_id, prompt, order))
        return web.json_response({"prompt_id": prompt_id, "number": self._count, "node_errors": {}})

    async def _history(self, request: web.Request) -> web.Response:
        wanted = request.match_info.get("id")
        found = {key: value for key, value in self.history.items() if wanted in (None, key)}
        return web.json_response(found)


async def serve(address: str, port: int, *, auto_launch: bool) -> None:
    """Serve until cancelled. Raises OSError if the port cannot be had."""
    runner = web.AppRunner(Server().application(), access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, address, port).start()
        shown = f"[{address}]" if ":" in address else address
        logging.info("Starting server\n")
        logging.info("To see the GUI go to: http://%s:%s", shown, port)
        if auto_launch:
            webbrowser.open(f"http://{'127.0.0.1' if address == '0.0.0.0' else shown}:{port}")
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()


async def _page(_request: web.Request) -> web.FileResponse:
    return web.FileResponse(_PAGE)


async def _system_stats(_request: web.Request) -> web.Response:
    system = {
        "os": platform.system(),
        "python_version": sys.version,
        "comfyui_version": __version__,
        "embedded_python": Path(sys.executable).parent.name == "python",
        "argv": sys.argv,
    }
    return web.json_response({"system": system, "devices": [{"name": "cpu", "type": "cpu", "index": None}]})


async def _object_info(request: web.Request) -> web.Response:
    wanted = request.match_info.get("name")
    names = [name for name in NODE_CLASS_MAPPINGS if wanted in (None, name)]
    return web.json_response({name: _describe(name) for name in names})


def _describe(name: str) -> dict[str, Any]:
    node = NODE_CLASS_MAPPINGS[name]
    inputs = node.INPUT_TYPES()
    return {
        "input": inputs,
        "input_order": {kind: list(values) for kind, values in inputs.items()},
        "output": list(node.RETURN_TYPES),
        "output_is_list": [False] * len(node.RETURN_TYPES),
        "output_name": list(getattr(node, "RETURN_NAMES", node.RETURN_TYPES)),
        "name": name,
        "display_name": NODE_DISPLAY_NAME_MAPPINGS.get(name, name),
        "description": getattr(node, "DESCRIPTION", ""),
        "python_module": getattr(node, "RELATIVE_PYTHON_MODULE", "nodes"),
        "category": node.CATEGORY,
        "output_node": getattr(node, "OUTPUT_NODE", False),
    }


async def _view(request: web.Request) -> web.StreamResponse:
    try:
        path = folder_paths.resolve_output(request.query.get("filename", ""), request.query.get("subfolder", ""))
    except (OSError, ValueError):
        return web.Response(status=400)
    return web.FileResponse(path) if path.is_file() else web.Response(status=404)
