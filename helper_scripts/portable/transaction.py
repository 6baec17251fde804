"""Changing the bundle so that it is either all done or as it was: also after a kill, a power cut, a full disk.

New content is prepared in a folder of the transaction, checked for room, and forced to disk together with the list of
changes. Only then are files moved: what was there to `old/N`, what is new from `new/N`. Every step is a rename on one
file system, so that at any moment each file is at one of two known places, and where it is tells how far it got.
Nothing that happens between needs the network, pip, or room on the disk.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from portable.bundle import Bundle
from portable.changes import STATE, Plan, Record
from portable.disk import explain
from portable.errors import HelperError
from portable.node_state import read_nodes
from portable.transaction_folder import Transaction

Check = Callable[[], Sequence[str]]
"""Looks at the changed bundle; each text it returns is a reason to put everything back."""
Say = Callable[[str], None]

_DONE = ("checked", "committed")


class CheckFailedError(HelperError):
    """The change was made, something did not work any more, and everything is as it was before."""

    def __init__(self, faults: Sequence[str]) -> None:
        lines = "\n".join(f"  {line}" for fault in faults for line in fault.splitlines())
        super().__init__(f"Everything is as it was before, because with the change:\n{lines}")
        self.faults = tuple(faults)


def run(
    bundle: Bundle,
    *,
    kind: str,
    command: Sequence[str],
    prepare: Callable[[Path], Plan],
    checks: Sequence[Check] = (),
    say: Say = lambda _: None,
) -> Record | None:
    """Carry out one transaction; the caller holds `interlock.changing` and has called `recover`.

    `prepare` gets an empty folder to put new content into and returns the plan, whose sources lie in it; it may take
    long and may raise. `checks` are called one after the other once all is in place. Returns the record, None if there
    was nothing to change. Raises CheckFailedError after putting everything back, and whatever `prepare` or a check
    raised, KeyboardInterrupt too, after doing the same.
    """
    transaction = Transaction.begin(bundle.root)
    is_applied = False
    try:
        plan = prepare(transaction.work)
        if not plan.changes:
            transaction.undo()
            return None
        record = transaction.seal(plan, kind=kind, command=command, nodes=read_nodes(bundle.app_dir / "custom_nodes"))
        is_applied = True
        transaction.apply()
        _pass_all(checks)
        transaction.mark_checked()
    except OSError as error:
        transaction.undo(say)
        raise HelperError(f"Nothing was changed: {explain(error)}") from error
    except BaseException:
        transaction.undo(say if is_applied else _silence)
        raise
    transaction.commit()
    return record


def recover(root: Path, say: Say) -> bool:
    """Finish or undo what a killed helper left in the bundle in `root`, and say so; the caller holds the lock.

    Returns whether there was something. Costs one look at the disk when there was not.
    """
    active = root / STATE / "active"
    try:
        number = active.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return False
    except (OSError, ValueError) as error:
        raise HelperError(f"{active} cannot be read: {error}") from error
    if not number.isdigit():  # can only be an edit by hand: it is written in one step
        raise HelperError(
            f"{active} holds no number: what was under way is unknown. `manage verify` shows what differs."
        )
    transaction = Transaction(root, int(number))
    record = transaction.record()
    what = f"{record.kind} #{record.id} ({record.summary})" if record else f"change #{number}"
    if transaction.state in _DONE:
        transaction.commit()
        say(f"note: {what} was interrupted when it was all but done; it has been completed.")
    else:
        transaction.undo()
        say(f"note: {what} was interrupted; everything is as it was before it.")
    return True


def is_interrupted(root: Path) -> bool:
    """Whether a transaction was begun and has not ended; it may still be going on."""
    return (root / STATE / "active").exists()


def _silence(_: str) -> None:
    pass


def _pass_all(checks: Sequence[Check]) -> None:
    """Call the checks in their order; raises CheckFailedError with what the first one finds that finds anything."""
    for check in checks:
        if faults := list(check()):
            raise CheckFailedError(faults)
