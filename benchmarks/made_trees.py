"""Trees to compress that are made on the spot, the same on every machine: many small files, and more than 4 GiB."""

from __future__ import annotations

import hashlib
import random
import stat
import sysconfig
from pathlib import Path

_MIB = 1024 * 1024
_LARGE = (2600, 900, 800)  # MiB of each file of the large tree: one member over 2 GiB, over 4 GiB in all


def many_small_files(root: Path, count: int = 40_000) -> Path:
    """`count` files of 100 bytes to 20 kB of the standard library's source, in folders of 200."""
    sources = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    text = b"".join(path.read_bytes() for path in sources)
    chance = random.Random(count)
    for number in range(count):
        path = root / f"package{number // 200:03}" / f"module{number % 200:03}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        start = chance.randrange(len(text) - 20_000)
        path.write_bytes(text[start : start + int(100 * 200 ** chance.random())])
    return root


def over_four_gib(root: Path) -> Path:
    """Files as in _LARGE, half noise and half words, as weights and tables are."""
    root.mkdir(parents=True)
    for number, size in enumerate(_LARGE):
        chance = random.Random(number)
        words = [hashlib.sha256(bytes([index])).digest()[:8] for index in range(256)]
        with (root / f"weights{number}.bin").open("wb") as stream:
            for _ in range(size):
                half = b"".join(words[byte] for byte in chance.randbytes(_MIB // 16))
                stream.write(half + chance.randbytes(_MIB // 2))
    return root


def change(root: Path, share: float = 0.01) -> int:
    """Write other contents, of the same sizes, to files of `root` that hold `share` of all bytes.

    Returns the bytes that changed. Which files change follows from the hashes of their names.
    """
    files = [path for path in root.rglob("*") if path.is_file() and not path.is_symlink()]
    left = int(sum(path.stat().st_size for path in files) * share)
    changed = 0
    for path in sorted(files, key=lambda path: hashlib.sha256(path.relative_to(root).as_posix().encode()).digest()):
        size = path.stat().st_size
        if 0 < size <= left:
            path.chmod(path.stat().st_mode | stat.S_IWUSR)
            path.write_bytes(bytes(byte ^ 1 for byte in path.read_bytes()))
            left -= size
            changed += size
    return changed
