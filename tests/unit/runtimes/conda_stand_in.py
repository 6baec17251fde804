"""`conda create` as far as the runtime calls it, on py-rattler: a real solver, real prefix replacement, no network."""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import os
import re
import sys
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from conda_package_streaming.package_streaming import stream_conda_info
from rattler import Channel, Gateway, MatchSpec, PackageRecord, RepoDataRecord, VirtualPackage, install, solve


def main() -> None:
    parser = argparse.ArgumentParser(prog="conda")
    create = parser.add_subparsers(required=True).add_parser("create")
    create.add_argument("-y", action="store_true", required=True)
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
            virtual_packages=VirtualPackage.detect(),
        )
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


def _platforms() -> list[str]:
    return [os.environ["CONDA_SUBDIR"], "noarch"]


main()
