"""`relocate_and_die.py ROOT N`: `portable relocate` of the bundle in ROOT, killed before its Nth step (0: never).

Run by the bundle's own Python. A step is whatever the interpreter tells an audit hook that changes the file system.
Prints the number of steps of a run that was not killed.
"""

import os
import signal
import sys

_STEPS = {"os.rename", "os.mkdir", "os.rmdir", "os.remove", "os.chmod", "os.truncate"}


def main(root: str, last: int) -> None:
    count = 0

    def step(event: str, arguments: tuple) -> None:
        nonlocal count
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if event in _STEPS or writes:
            count += 1
            if count == last:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.dont_write_bytecode = True
    sys.path.insert(0, root)
    from portable import cli

    sys.addaudithook(step)
    code = cli.main(["relocate", "--json"])
    print(count, file=sys.stderr)
    sys.exit(code)


main(sys.argv[1], int(sys.argv[2]))
