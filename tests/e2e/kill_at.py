"""`python kill_at.py ROOT TARGET COUNT_FILE COMMAND...`: runs `portable COMMAND` of the bundle ROOT and kills itself,
as a power cut would, just before it touches the disk for the TARGETth time. With TARGET 0 it runs to its end and writes
how often it did to COUNT_FILE."""

from __future__ import annotations

import os
import runpy
import signal
import sys

_CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.chmod", "subprocess.Popen"}
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

_, root, target_text, count_file, *command = sys.argv
target, touches = int(target_text), [0]
counting = True


def _see(event: str, arguments: tuple[object, ...]) -> None:
    if not counting or not (event in _CHANGES or (event == "open" and _writes(arguments))):
        return
    touches[0] += 1
    if touches[0] == target:
        os.kill(os.getpid(), signal.SIGKILL)


def _writes(arguments: tuple[object, ...]) -> bool:
    path, _, flags = arguments
    return isinstance(flags, int) and bool(flags & _WRITING) and "__pycache__" not in str(path)


sys.argv = [os.path.join(root, "portable"), *command]  # noqa: PTH118 - as little as can be before the hook
sys.addaudithook(_see)
code: object = 0
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
except SystemExit as ended:
    code = ended.code
counting = False
if target == 0:
    with open(count_file, "w", encoding="ascii") as stream:  # noqa: PTH123
        stream.write(str(touches[0]))
sys.exit(code)  # type: ignore[arg-type]
