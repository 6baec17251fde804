"""`conda create` as far as the runtime calls it, on py-rattler: a real solver, real prefix replacement, no network.

STAND_IN is the program whose `--dry-run --json` it prints: conda (conda/cli/common.py `stdout_json_success`: what would
be linked without address) or mamba (libmamba `MTransaction::log_json`).
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import re
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from conda_package_streaming.package_streaming import stream_conda_info
from rattler import (
    BuildString,
    Channel,
    Gateway,
    GenericVirtualPackage,
    MatchSpec,
    PackageName,
    PackageRecord,
    RepoDataRecord,
    Version,
    VirtualPackage,
    install,
    solve,
)


def main() -> None:
    parser = argparse.ArgumentParser(prog="conda")
    create = parser.add_subparsers(required=True).add_parser("create")
    create.add_argument("-y", action="store_true", required=True)
    create.add_argument("--dry-run", action="store_true")
    create.add_argument("--json", action="store_true")
    create.add_argument("-p", dest="prefix", type=Path, required=True)
    create.add_argument("--override-channels", action="store_true")
    create.add_argument("-c", dest="channels", action="append", default=[])
    create.add_argument("--file", type=Path)
    create.add_argument("specs", nargs="*")
    options = parser.parse_args()
    if options.prefix.exists():
        sys.exit("the prefix exists")
    asyncio.run(_create(options))
    sys.stdout.flush()
    os._exit(0)  # py-rattler's threads may still run, and now and then one dies of the end of the interpreter


async def _create(options: argparse.Namespace) -> None:
    packages = Path(os.environ["CONDA_PKGS_DIRS"])
    gateway = Gateway(cache_dir=packages / "repodata")
    if options.file:
        records = [_exact(line, packages / "read") for line in options.file.read_text().splitlines()[1:]]
    else:
        records = await solve(
            [Channel(channel) for channel in options.channels],
            [MatchSpec(spec) for spec in options.specs],
            gateway=gateway,
            platforms=_platforms(),
            virtual_packages=_virtual_packages(),
        )
    if options.dry_run:
        print(json.dumps(_planned(records, options.prefix), indent=4))
        return
    await install(records, target_prefix=options.prefix, cache_dir=packages, show_progress=False)


# As mamba 1 and 2 and conda all read a line; see conda/misc.py `url_pat`.
_LINE = re.compile(r"(.+\.conda)#sha256:([0-9a-f]{64})")


def _exact(line: str, scratch: Path) -> RepoDataRecord:
    """As conda reads an explicit list: the file itself, whose hash must be right; no index of its channel is asked."""
    match = _LINE.fullmatch(line)
    if not match:
        sys.exit(f"not an explicit URL with a digest: {line}")
    url, wanted = match.groups()
    path = Path(url2pathname(urlsplit(url).path))
    found = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "no such file"
    if found != wanted:
        sys.exit(f"not there with this hash: {line} ({found})")
    scratch.mkdir(parents=True, exist_ok=True)
    index = scratch / f"{path.name}.json"
    for tar, member in stream_conda_info(str(path)):
        if member.name == "info/index.json":
            index.write_bytes(tar.extractfile(member).read())
            break
    record = PackageRecord.from_index_json(index, size=path.stat().st_size, sha256=wanted)
    return RepoDataRecord(record, path.name, url, url.rsplit("/", 2)[0])


def _virtual_packages() -> list[VirtualPackage | GenericVirtualPackage]:
    """Of this machine, or for another platform those that are told, as conda and libmamba make them."""
    system = os.environ["CONDA_SUBDIR"].partition("-")[0]
    told = {name.removeprefix("CONDA_OVERRIDE_").lower(): value for name, value in os.environ.items() if value}
    if system == {"linux": "linux", "darwin": "osx", "win32": "win"}[sys.platform] and "archspec" not in told:
        return VirtualPackage.detect()
    kinds = {"linux": ("linux", "glibc", "cuda"), "osx": ("osx", "cuda"), "win": ("win", "cuda")}[system]
    versions = {f"__{kind}": told[kind] for kind in kinds if kind in told}
    versions |= {"__unix": "0"} if system != "win" else {}
    found = [(name, text, "0") for name, text in versions.items()] + [("__archspec", "1", told["archspec"])]
    return [GenericVirtualPackage(PackageName(name), Version(text), BuildString(build)) for name, text, build in found]


def _planned(records: list[RepoDataRecord], prefix: Path) -> dict[str, Any]:
    plain = [json.loads(record.to_json()) for record in records]
    fetch = [{**item, "channel": item["url"].rsplit("/", 1)[0]} for item in plain]
    link = fetch
    if os.environ["STAND_IN"] == "conda":
        link = [
            {
                "base_url": item["url"].rsplit("/", 3)[0],
                "build_number": item["build_number"],
                "build_string": item["build"],
                "channel": item["url"].rsplit("/", 3)[1],
                "dist_name": f"{item['name']}-{item['version']}-{item['build']}",
                "name": item["name"],
                "platform": item["subdir"],
                "version": item["version"],
            }
            for item in plain
        ]
    actions = {"FETCH": fetch, "LINK": link, "PREFIX": str(prefix)}
    return {"actions": actions, "dry_run": True, "prefix": str(prefix), "success": True}


def _platforms() -> list[str]:
    return [os.environ["CONDA_SUBDIR"], "noarch"]


main()
