"""What must stay first in a Python source although a string now stands before it: its docstring and `__future__`.

A second string is no docstring any more, so `__doc__` (which docopt and argparse scripts show as their help) would be
lost, and a `__future__` import after it is a SyntaxError.
"""

from __future__ import annotations

import io
import re
import tokenize
from dataclasses import dataclass, field

_Statement = list[tokenize.TokenInfo]
_DOCSTRING = re.compile(r"[uUrR]?['\"]")
_SKIPPED = {tokenize.ENCODING, tokenize.COMMENT, tokenize.NL}


@dataclass(kw_only=True)
class _Prologue:
    encoding: str = "utf-8"
    docstring: tokenize.TokenInfo | None = None
    futures: list[_Statement] = field(default_factory=list)


def keep_prologue(cookie: bytes, body: bytes) -> bytes:
    """`body` changed so that it means the same after another string: `__doc__` is assigned, `__future__` goes first.

    `cookie` is the encoding line that governs `body`, or empty. A body without a docstring is returned as it is, and so
    is one that Python cannot read.
    """
    prologue = _read_prologue(cookie + body)
    if prologue.docstring is None:
        return body
    lines = (cookie + body).decode(prologue.encoding).split("\n")
    for statement in reversed(prologue.futures):
        (first, start), (last, end) = statement[0].start, statement[-1].end
        tail = lines[last - 1][end:]
        lines[first - 1 : last] = [lines[first - 1][:start] + "pass" + tail, *[""] * (last - first)]
    row, column = prologue.docstring.start
    lines[row - 1] = lines[row - 1][:column] + "__doc__ = " + lines[row - 1][column:]
    changed = "\n".join(lines).encode(prologue.encoding)[len(cookie) :]
    return b"".join(_one_line(statement) for statement in prologue.futures) + changed


def _read_prologue(source: bytes) -> _Prologue:
    """Reads no further than the first statement that is neither docstring nor `__future__` import."""
    found = _Prologue()
    statement: _Statement = []
    try:
        for token in tokenize.tokenize(io.BytesIO(source).readline):
            if token.type == tokenize.ENCODING:
                found.encoding = token.string
            if token.type in _SKIPPED:
                continue
            if token.type != tokenize.NEWLINE and token.string != ";":
                statement.append(token)
                if not _may_belong(statement, found):
                    break
            elif statement:
                if found.docstring is None:
                    found.docstring = statement[0]
                else:
                    found.futures.append(statement)
                statement = []
    except (tokenize.TokenError, SyntaxError, UnicodeDecodeError):
        pass  # Python will say so when the script runs; what was read before the fault still stands
    return found


def _may_belong(statement: _Statement, found: _Prologue) -> bool:
    if found.docstring is None:
        token = statement[-1]
        return token.type == tokenize.STRING and _DOCSTRING.match(token.string) is not None
    return [token.string for token in statement[:2]] == ["from", "__future__"][: len(statement)]


def _one_line(statement: _Statement) -> bytes:
    return (" ".join(token.string for token in statement if token.string not in "()") + "\n").encode("ascii")
