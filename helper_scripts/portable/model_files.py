"""The models a bundle wants but does not carry (portable/models.json): which are missing, and fetching them.

A file appears under its name only when it is whole and its hash is right; until then it is NAME.part beside it, from
which the next try goes on. A host's token comes from the environment, goes to that host alone, and is never written or
shown. What the user put under a wanted name is never replaced.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from typing import IO, Any
from urllib.parse import urlsplit

from portable.bundle import Bundle
from portable.environment import environment
from portable.errors import HelperError
from portable.model_places import linked, table
from portable.web import is_allowed, opener, shown

_BLOCK = 256 * 1024
_TRIES = 5
_TIMEOUT = 60.0  # seconds without a sign of life
_PAUSE = 1.0  # seconds before the second try, doubled for each further one
_REASONS = {401: "a login is needed", 403: "access is forbidden", 404: "no such file", 410: "the file is gone"}


@dataclass(frozen=True, kw_only=True)
class Model:
    """`path` is relative to a models folder; `size` in bytes."""

    path: PurePosixPath
    url: str
    sha256: str | None
    size: int | None

    @property
    def host(self) -> str:
        return (urlsplit(self.url).hostname or "").lower()


class _AgainError(Exception):
    """Another try may help."""


def listed(bundle: Bundle) -> list[Model]:
    """What portable/models.json asks for; nothing if there is no such list. Raises HelperError if it is broken."""
    path = bundle.portable / "models.json"
    try:
        value: Any = json.loads(path.read_text(encoding="utf-8"))
        models = [
            Model(path=PurePosixPath(item["path"]), url=item["url"], sha256=item["sha256"], size=item["size"])
            for item in value["models"]
        ]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise HelperError(f"{path} cannot be read ({error}): unzip the bundle again.") from error
    for model in models:
        if model.path.is_absolute() or ".." in model.path.parts or "\\" in str(model.path) or ":" in str(model.path):
            raise HelperError(f"{path}: {model.path} leaves the models folder.")
        if not is_allowed(model.url):
            raise HelperError(f"{path}: {shown(model.url)} is not an https address.")
    return models


def missing(bundle: Bundle) -> list[Model]:
    """The listed models that are neither in the bundle nor in the shared folder. Told by name and size, not by hash."""
    shared = linked(bundle)
    folders = [bundle.app_dir / "models", *([shared] if shared else [])]
    return [model for model in listed(bundle) if not any(_is_there(folder / model.path, model) for folder in folders)]


def _is_there(file: Path, model: Model) -> bool:
    return file.is_file() and model.size in (None, file.stat().st_size)


def fetch(bundle: Bundle) -> int:
    """Fetch what is missing; returns how many. Raises HelperError that lists all that could not be had, after trying
    each."""
    wanted = missing(bundle)
    folder = bundle.app_dir / "models"
    needed = sum(model.size or 0 for model in wanted)
    if wanted and shutil.disk_usage(bundle.root).free < needed:
        raise HelperError(
            f"{needed / 1e9:.1f} GB are needed, there is less room: free some on the disk of {bundle.root}."
        )
    env = environment(bundle.root, os.environ)
    failed = []
    for number, model in enumerate(wanted, 1):
        try:
            _fetch_one(model, folder / model.path, f"[{number}/{len(wanted)}] {model.path}", env)
        except HelperError as error:
            failed.append(f"{model.path}: {error}")
    if failed:
        raise HelperError("\n  ".join([f"{len(failed)} of {len(wanted)} models could not be fetched:", *failed]))
    return len(wanted)


def _fetch_one(model: Model, target: Path, label: str, environ: Mapping[str, str]) -> None:
    if target.exists() or target.is_symlink():
        raise HelperError("another file of this name is there: move it away, or keep it and do without.")
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    if part.is_symlink():
        part.unlink()  # nothing is written through a link that lies in wait
    reason = ""
    for attempt in range(_TRIES):
        if attempt:
            time.sleep(_PAUSE * 2 ** (attempt - 1))
        before = part.stat().st_size if part.exists() else 0
        try:
            _receive(model, part, label, environ)
            _judge(model, part)
        except _AgainError as error:
            reason = str(error)
            print(f"{label}: {reason}", file=sys.stderr)
            if before == 0 and attempt and not part.exists():
                break  # wrong bytes twice from the start: they will not become right
            continue
        except OSError as error:
            raise HelperError(f"{part} cannot be written ({error.strerror}).") from error
        part.replace(target)
        return
    raise HelperError(f"{reason}; the next try goes on from here" if part.exists() else reason)


def _receive(model: Model, part: Path, label: str, environ: Mapping[str, str]) -> None:
    """Append what is missing to `part`. Without a hash to judge by, an old part is not trusted."""
    if model.sha256 is None:
        part.unlink(missing_ok=True)
    have = part.stat().st_size if part.exists() else 0
    if have and have == model.size:
        return
    request = urllib.request.Request(model.url, headers={"Accept-Encoding": "identity"})  # noqa: S310 - checked on reading
    if have:
        request.add_header("Range", f"bytes={have}-")
    if token := _token(model.host, environ):
        request.add_unredirected_header("Authorization", f"Bearer {token}")
    try:
        with opener(model.host, environ).open(request, timeout=_TIMEOUT) as response:
            if have and not (response.headers.get("Content-Range") or "").startswith(f"bytes {have}-"):
                have = 0
            left = int(response.headers.get("Content-Length") or -1)
            total = have + left if left >= 0 else model.size
            if model.size not in (None, total):
                raise HelperError(
                    f"{model.host} offers {total} bytes, wanted are {model.size}: tell the bundle's maker."
                )
            with part.open("ab" if have else "wb") as stream:
                done = _copy(response, stream, have, total, label)
    except urllib.error.HTTPError as error:
        _explain(model, part, error)
    except (urllib.error.URLError, HTTPException, TimeoutError, ConnectionError) as error:
        why = getattr(error, "reason", error)
        raise _AgainError(f"no connection to {model.host} ({type(why).__name__ if not str(why) else why})") from error
    else:
        if total is not None and done < total:
            raise _AgainError(f"the connection ended after {done} of {total} bytes")


def _copy(response: IO[bytes], stream: IO[bytes], done: int, total: int | None, label: str) -> int:
    """Returns the bytes there are now; shows them on a terminal, at the end in a log."""
    terminal, shown = sys.stderr.isatty(), 0.0
    while block := response.read(_BLOCK):
        stream.write(block)
        done += len(block)
        if terminal and time.monotonic() - shown > 0.2:
            shown = time.monotonic()
            share = f"{100 * done / total:3.0f} % of {total / 1e6:.0f} MB" if total else f"{done / 1e6:.0f} MB"
            print(f"\r{label}: {share} ", end="", file=sys.stderr, flush=True)
    print(f"{chr(13) if terminal else ''}{label}: {done / 1e6:.1f} MB", file=sys.stderr)
    return done


def _explain(model: Model, part: Path, error: urllib.error.HTTPError) -> None:
    if error.code == 416:
        part.unlink(missing_ok=True)
        raise _AgainError("the server can't go on from where the last try stopped")
    said = f"{model.host} answers {error.code}"
    if error.code in (408, 425, 429) or error.code >= 500:
        raise _AgainError(said)
    variables = table()["tokens"].get(model.host)
    hint = f"; set {variables[0]} to a token that may read it" if variables and error.code in (401, 403) else ""
    raise HelperError(f"{said}: {_REASONS.get(error.code, 'it refuses')}{hint}.")


def _judge(model: Model, part: Path) -> None:
    """Raise _AgainError, the part removed, unless it is what was wanted."""
    if model.sha256 is None:
        return
    digest = hashlib.sha256()
    with part.open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    if digest.hexdigest() != model.sha256:
        part.unlink()
        raise _AgainError(f"what came has the sha256 {digest.hexdigest()}, wanted is {model.sha256}")


def _token(host: str, environ: Mapping[str, str]) -> str | None:
    variables = table()["tokens"].get(host, [])
    return next((value for name in variables if (value := environ.get(name, "").strip())), None)
