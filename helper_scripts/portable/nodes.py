"""Adding, updating and removing nodes, each one transaction together with the packages it needs.

The node's folder is swapped as a whole. Its install.py runs once all is in place. What it asks of pip is not done but
noted (pip's dry run): if something is missing the whole change is undone, and made again with that among the packages
it needs, so that these too go through the lock and are part of the one transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from portable import checks, node_files, node_git, node_install, packages, transaction, watch
from portable.bundle import Bundle
from portable.changes import Change, Plan, Record, kind_of
from portable.errors import HelperError, UsageError
from portable.layers import environment_of
from portable.node_fetch import SameError, fetch
from portable.node_files import Origin
from portable.node_source import Source, parse

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Wish:
    """How to change a node. `keep`: also if it cannot be imported; `keep_anyway` asks the user, once it cannot."""

    force: bool = False
    smoke: bool = True
    keep: bool = False
    use_git: bool = True
    wheels_dir: str | None = None
    keep_anyway: Callable[[str], bool] = lambda _: False


@dataclass(kw_only=True)
class Done:
    """What became of one node. `state` is "added", "updated", "removed", "unchanged" or "planned"."""

    name: str = ""
    state: str = "planned"
    origin: Origin | None = None
    kept: list[str] = field(default_factory=list)
    kept_in: str = ""
    outcome: packages.Outcome = field(default_factory=packages.Outcome)

    @property
    def record(self) -> Record | None:
        return self.outcome.record

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "state": self.state,
            "origin": vars(self.origin) if self.origin else None,
            "kept_files": self.kept,
            "kept_in": self.kept_in or None,
            **self.outcome.to_json(),
        }


class _Bringing:
    """One node on its way in: what `packages.install` calls while it prepares, and once all is in place."""

    def __init__(self, bundle: Bundle, source: Source, wish: Wish, done: Done, replaced: str | None, say: Say) -> None:
        self.bundle, self.source, self.wish, self.done, self.replaced, self.say = (
            bundle, source, wish, done, replaced, say,
        )  # fmt: skip
        self.before: checks.Start | None = None
        self.now: checks.Start | None = None
        self.details: dict[str, Any] = {"source": str(source)}
        self.warnings: list[str] = []
        self.missing: frozenset[str] = frozenset()

    def fetch(self, work: Path) -> packages.Fetched:
        have = self.done.origin if self.replaced else None
        environ = environment_of(self.bundle)
        got = fetch(self.source, work, environ, have=have, use_git=self.wish.use_git, say=self.say)
        name = self.replaced or node_files.name_for(got.tree, self.source.name)
        if self.replaced is None:
            _refuse_taken(self.bundle, name, self.source)
        for file in (node_files.RECORD, "__pycache__"):
            if kind_of(got.tree / file) is not None:
                raise HelperError(f"{self.source} brings {file} along, which no node does: nothing was changed.")
        self.done.name, self.done.origin = name, got.origin
        self.details["node"] = name
        version = got.origin.version or got.origin.commit[:10] or got.origin.sha256[:10]
        self.say(f"node {name} {version}, {sum(1 for _ in node_files.walk(got.tree))} files")
        node_files.write_record(got.tree, got.origin)
        changes = [Change(path=node_files.own_path(self.bundle, name), source=got.tree)]
        files = node_files.requirement_file(got.tree, work / "wanted")
        if self.replaced:
            clashes = node_files.carry_over(self.bundle, name, got.tree)
            self._settle(clashes)
            self.done.kept_in, more = node_files.set_aside(self.bundle, name, clashes, work)
            changes += more
        return packages.Fetched(files=files, changes=tuple(changes))

    def look_before(self) -> bool:
        """See how ComfyUI starts now; once what will change has been agreed to."""
        if self.wish.smoke and self.before is None:
            self.before = watch.remembered(self.bundle)
            if self.before is None:
                self.say("starting ComfyUI once before the change")
                self.before = checks.start_app(self.bundle)
        return True

    def _settle(self, clashes: list[str]) -> None:
        self.done.kept = clashes
        if clashes and not self.wish.force:
            told = "".join(f"\n  {path}" for path in clashes)
            raise HelperError(
                f"You changed files of {self.done.name} that the new version changes too:{told}\nNothing was changed. "
                "Move them away, or add --force: yours are then put into ComfyUI/user/removed-nodes."
            )

    def run_install(self) -> list[str]:
        ran = node_install.run(self.bundle, self.done.name, wheels_dir=self.wish.wheels_dir, say=self.say)
        if ran is None:
            return []
        if ran.missing - self.missing:
            self.missing |= ran.missing
            raise _AgainError
        self.warnings += ran.warnings
        return []

    def check_start(self) -> list[str]:
        if not self.wish.smoke:
            return []
        self.say("starting ComfyUI with the node")
        self.now = now = checks.start_app(self.bundle)
        faults = now.worse_than(self.before or checks.Start(failed={}))
        if not faults or now.fault or self.done.name not in now.failed:
            return faults
        reason = f"the node {self.done.name} cannot be imported: {now.failed[self.done.name]}"
        if self.wish.keep or self.wish.keep_anyway(reason):
            self.warnings.append(f"{reason}; it is kept as you wish")
            return [fault for fault in faults if not fault.startswith(f"the node {self.done.name} cannot")]
        return faults


class _AgainError(Exception):
    """install.py asked pip for packages that are not there."""


def add(bundle: Bundle, word: str, wish: Wish, **calls: Any) -> Done:
    """Add the node that `word` names, as one transaction; the caller holds the lock. `calls` as for packages.install.

    Raises HelperError; the bundle is then as it was.
    """
    source = parse(word)
    _refuse_known(bundle, source)
    return _bring(bundle, source, wish, Done(), None, "node add", **calls)


def update(bundle: Bundle, name: str, ref: str | None, wish: Wish, **calls: Any) -> Done:
    """Bring a node to the newest of what it was added as, or to `ref`; otherwise as `add`."""
    origin = _existing(bundle, name).origin
    if origin is None:
        raise HelperError(
            f"Where {name} came from is not known, so it cannot be updated: remove it, and add it by its address."
        )
    node_git.refuse_local_commits(node_files.nodes_folder(bundle) / name, environment_of(bundle), wish.force)
    word = origin.address + (f"@{ref or origin.ref}" if ref or origin.ref else "")
    done = Done(name=name, origin=origin)
    try:
        return _bring(bundle, parse(word), wish, done, name, "node update", **calls)
    except SameError:
        done.state = "unchanged"
        return done


def _bring(
    bundle: Bundle, source: Source, wish: Wish, done: Done, replaced: str | None, kind: str, *,
    command: Sequence[str], show: Callable[[packages.Outcome], None], confirm: Callable[[], bool], say: Say,
) -> Done:  # fmt: skip
    bringing = _Bringing(bundle, source, wish, done, replaced, say)

    def show_plan(plan: packages.Outcome) -> None:  # its files are gone when somebody reads it
        plan.left_out = tuple(replace(item, file=f"{done.name}/{Path(item.file).name}") for item in plan.left_out)
        show(plan)

    agreed: list[bool] = []

    def agree() -> bool:
        return (bool(agreed) or confirm()) and bringing.look_before()

    while True:
        request = packages.Request(
            requirements=tuple(sorted(bringing.missing)),
            wheels_dir=wish.wheels_dir,
            force=wish.force,
            smoke=False,  # `check_start` looks, and knows which node is at stake
            is_part=True,
        )
        along = packages.Along(
            kind=kind,
            summary=f"{'update' if replaced else 'add'} {replaced or source.name} ({source})",
            fetch=bringing.fetch,
            checks=(bringing.run_install, bringing.check_start),
            details=bringing.details,
        )
        try:
            done.outcome = packages.install(
                bundle, request, command=command, along=along, show=show_plan, confirm=agree, say=say
            )
        except _AgainError:
            say(f"install.py needs {', '.join(sorted(bringing.missing))}: once more, with these")
            agreed.append(True)
            continue
        done.outcome.warnings += bringing.warnings
        if done.record is not None:
            done.state = "updated" if replaced else "added"
            watch.remember(bundle, bringing.now)
        return done


def remove(
    bundle: Bundle, name: str, wish: Wish, *, command: Sequence[str], confirm: Callable[[], bool], say: Say
) -> Done:
    """Take a node away; the user's files in its folder are put beside. Packages stay, for others may use them."""
    known = _existing(bundle, name)
    done = Done(name=name, origin=known.origin)
    is_folder = (node_files.nodes_folder(bundle) / name).is_dir()
    done.kept = node_files.strays(bundle, name) if is_folder and known.files is not None else []
    node_git.refuse_local_commits(node_files.nodes_folder(bundle) / name, environment_of(bundle), wish.force)
    before: checks.Start | None = None
    now: list[checks.Start] = []

    def prepare(work: Path) -> Plan:
        nonlocal before
        if not confirm():
            return Plan(summary="")
        if wish.smoke:
            before = watch.remembered(bundle) or checks.start_app(bundle)
        done.kept_in, changes = node_files.set_aside(bundle, name, done.kept, work)
        going = Change(path=node_files.own_path(bundle, name))
        return Plan(summary=f"remove {name}", changes=(going, *changes), details={"node": name})

    def check() -> list[str]:
        if before is None:
            return []
        say("starting ComfyUI without the node")
        now.append(checks.start_app(bundle))
        return now[0].worse_than(before)

    done.outcome.record = transaction.run(
        bundle, kind="node remove", command=command, prepare=prepare, checks=[check], say=say
    )
    if done.record is not None:
        done.state = "removed"
        watch.remember(bundle, now[0] if now else None)
    return done


def names(bundle: Bundle) -> list[str]:
    """The nodes that are there: folders, and single files."""
    folder = node_files.nodes_folder(bundle)
    if not folder.is_dir():
        return []
    return sorted(
        path.name
        for path in folder.iterdir()
        if not path.name.startswith((".", "__")) and (path.is_dir() or path.suffix == ".py")
    )


def _existing(bundle: Bundle, name: str) -> node_files.Known:
    if name not in names(bundle):
        raise UsageError(f"There is no node {name!r}: `manage node list` shows those that are.")
    return node_files.known(bundle, name)


def _refuse_taken(bundle: Bundle, name: str, source: Source) -> None:
    taken = next((other for other in names(bundle) if other.casefold() == name.casefold()), None)
    if taken:
        raise HelperError(
            f"There is a node {taken} already: `manage node update {taken}` brings it up to date. To have {source} "
            "instead, remove it first. Nothing was changed."
        )


def _refuse_known(bundle: Bundle, source: Source) -> None:
    if source.kind != "repository":
        return
    for name in names(bundle):
        origin = node_files.known(bundle, name).origin
        if origin and origin.address.casefold().removesuffix(".git") == source.address.casefold():
            raise HelperError(f"{source.address} is there already, as {name}: `manage node update {name}` updates it.")
