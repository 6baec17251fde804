"""Bringing models to their place, and the list of them that a bundle carries instead (options.models: first-run)."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from packager.console import Console
from packager.errors import InputError
from packager.fetch.download import Downloaded, DownloadRequest, download_all
from packager.fetch.mirrors import is_loopback, local_path
from packager.models import Model, model_places
from packager.origins import Origins

FIRST_RUN_LIST = "models.json"


def place_models(models: Sequence[Model], folder: Path, *, origins: Origins, console: Console) -> list[Downloaded]:
    """Download the models below `folder`; what is there and right stays. Raises FetchError, InputError."""
    if not models:
        return []
    return download_all(
        [(model_request(model, origins), folder / model.path) for model in models],
        cache=origins.cache,
        mirrors=origins.mirrors,
        console=console,
        offline=origins.offline,
    )


def model_request(model: Model, origins: Origins) -> DownloadRequest:
    """What to ask for, with the token of the host that is really asked: a mirror does not get another host's."""
    headers = token_headers(origins.mirrors.rewrite(model.url), os.environ)
    return DownloadRequest(url=model.url, sha256=model.sha256, size=model.size, headers=headers)


def token_headers(location: str, environ: Mapping[str, str]) -> dict[str, str]:
    """The token that `environ` has for the host of `location`, as a header; over https alone, or to this machine."""
    if local_path(location) is not None or not (location.startswith("https://") or is_loopback(location)):
        return {}
    variables: list[str] = model_places()["tokens"].get((urlsplit(location).hostname or "").lower(), [])
    token = next((value for name in variables if (value := environ.get(name, "").strip())), None)
    return {"Authorization": f"Bearer {token}"} if token else {}


def first_run_list(models: Sequence[Model]) -> dict[str, Any]:
    """What portable/models.json holds: addresses and hashes, never a token. Raises InputError for a local file."""
    for model in models:
        if local_path(model.url) is not None:
            raise InputError(
                "is a file of this machine, which a bundle's user has not",
                where=f"models: {model.path}",
                remedy="give an https address, or options.models: bundle",
            )
    return {
        "format": 1,
        "models": [
            {
                "path": str(model.path),
                "url": model.url,
                "sha256": model.sha256,
                "size": model.size,
                "license": model.license,
            }
            for model in models
        ],
    }
