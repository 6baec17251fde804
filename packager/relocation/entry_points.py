"""Console and GUI scripts as a distribution declares them. Source: PyPA "Entry points specification"."""

from __future__ import annotations

import configparser
import re
from dataclasses import dataclass

from packager.errors import InputError

_GROUPS = {"console_scripts": False, "gui_scripts": True}
_NAME = re.compile(r"[\w.-]+")
_DOTTED = r"[^\W\d]\w*(?:\.[^\W\d]\w*)*"
_VALUE = re.compile(rf"(?P<module>{_DOTTED})\s*:\s*(?P<attribute>{_DOTTED})\s*(\[.*\])?")


@dataclass(frozen=True, kw_only=True)
class ScriptEntryPoint:
    """`attribute` may be dotted. `gui`: runs without a console window."""

    name: str
    module: str
    attribute: str
    gui: bool = False

    def source(self) -> bytes:
        """The program that calls it, as `__main__.py` of a launcher."""
        function = self.attribute.partition(".")[0]
        return (
            "import sys\n"
            f"from {self.module} import {function}\n"
            'if __name__ == "__main__":\n'
            '    sys.argv[0] = sys.argv[0].removesuffix(".exe")\n'
            f"    sys.exit({self.attribute}())\n"
        ).encode()


def read_entry_points(text: str) -> list[ScriptEntryPoint]:
    """The scripts in the text of an entry_points.txt. Raises InputError."""
    parser = configparser.ConfigParser(delimiters=("=",), interpolation=None, strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # names keep their case
    try:
        parser.read_string(text)
    except configparser.Error as error:
        raise InputError(f"is no list of entry points: {error.message.splitlines()[0]}") from None
    found = []
    for group, gui in _GROUPS.items():
        for name, value in parser[group].items() if group in parser else ():
            match = _VALUE.fullmatch(value.strip())
            if not _NAME.fullmatch(name) or not match:
                raise InputError(
                    f"[{group}] {name} = {value}: not a script entry point", remedy="write it as name = module:function"
                )
            found.append(ScriptEntryPoint(name=name, module=match["module"], attribute=match["attribute"], gui=gui))
    return found
