"""The baseline of a tree that was asked before: a second build of the same lock does not import every module again.

What is remembered holds for a tree of the same content on a machine with the same libraries and programs. One in which
something took too long, or was killed, is not remembered.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from packager import probes, proof
from packager.bundle import BundleTree
from packager.cleanup import layout_of
from packager.cleanup.oracle.memory import Memory
from packager.cleanup.oracle.subject import read_ownership, subject_of
from packager.filesystem import sha256_file
from packager.probes.machine import machine_facts
from packager.proof.baseline import Baseline

_OF_THE_MOMENT = (  # how the ends begin that tell of a busy machine (proof.probing.why_it_ended)
    "took longer than",
    "was killed by signal",
    "pip check does not run",
)


def remembered_baseline(
    tree: BundleTree, take: Callable[[], Baseline], *, cache: Path, env: Mapping[str, str]
) -> tuple[Baseline, bool]:
    """The baseline of `tree`, from `cache` or by `take`, and whether it was remembered. `env` is the recipe's."""
    memory = Memory(cache)
    identities = read_ownership(subject_of(layout_of(tree))).identities
    key = ("baseline", _programs(), identities, sorted(env.items()), machine_facts(tree.python, env=env))
    if (known := memory.recall(*key)) is not None:
        return Baseline.from_json(known), True
    baseline = take()
    if not any(outcome.startswith(_OF_THE_MOMENT) for outcome in (*baseline.modules.values(), *baseline.pip_check)):
        memory.remember(baseline.to_json(), *key)
    return baseline, False


def _programs() -> list[str]:
    """Those that ask and read the answers; other ones may see more."""
    own = [Path(probes.__file__).with_name("probe.py")]
    own += [Path(proof.__file__).with_name(name) for name in ("probing.py", "baseline.py", "system_needs.yml")]
    return [sha256_file(path) for path in own]
