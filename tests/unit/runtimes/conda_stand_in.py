"""`conda create` as far as the runtime calls it, on py-rattler: a real solver, real prefix replacement, no network."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from pathlib import Path

from rattler import Channel, Gateway, MatchSpec, RepoDataRecord, VirtualPackage, install, solve


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
        records = [await _exact(line, gateway) for line in options.file.read_text().splitlines()[1:]]
    else:
        records = await solve(
            [Channel(channel) for channel in options.channels],
            [MatchSpec(spec) for spec in options.specs],
            gateway=gateway,
            platforms=_platforms(),
            virtual_packages=VirtualPackage.detect(),
        )
    await install(records, target_prefix=options.prefix, cache_dir=packages, show_progress=False)


async def _exact(line: str, gateway: Gateway) -> RepoDataRecord:
    url, _, digest = line.partition("#")
    channel, _, file = url.rpartition("/")
    name = MatchSpec(file.rsplit("-", 2)[0])
    found = await gateway.query([Channel(channel.rpartition("/")[0])], _platforms(), [name], recursive=False)
    for record in (record for group in found for record in group):
        if record.file_name == file and record.sha256 is not None and record.sha256.hex() == digest:
            return record
    sys.exit(f"not in the channel with this hash: {line}")


def _platforms() -> list[str]:
    return [os.environ["CONDA_SUBDIR"], "noarch"]


main()
