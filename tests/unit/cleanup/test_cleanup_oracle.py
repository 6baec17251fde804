"""The oracle against planted traps: rules that break every package, and nothing is broken."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import pytest
from cleanup_trees import one_rule, removed
from oracle_traps import TRAPS, Trap, make_environment, works

from packager.cleanup import Judgement, OracleMeans, clean_into, detect_layout
from packager.console import Console

pytestmark = pytest.mark.skipif(os.name != "posix", reason="a venv of this layout is POSIX")

CLUTTER = ("/clutter/tests/", "/clutter/docs/")


def judge(environment: Path, *patterns: str, cache: Path | None = None, oracle: bool = True, **steps: Any) -> Judgement:
    """Clean by one careless rule, with or without the oracle."""
    means = OracleMeans(
        scratch=environment.with_name("scratch"), cache=cache, console=Console(stream=io.StringIO()), **steps
    )
    return clean_into(
        environment.with_name("quarantine"),
        detect_layout(environment),
        one_rule(*patterns, *CLUTTER),
        tier="safe",
        opt_in=(),
        oracle=means if oracle else None,
    )


def site_of(environment: Path) -> str:
    return next(environment.glob("lib/python3*/site-packages")).relative_to(environment).as_posix()


@pytest.mark.parametrize("trap", TRAPS.values(), ids=list(TRAPS))
def test_rule_breaks_the_package_and_with_the_oracle_it_does_not(tmp_path: Path, trap: Trap) -> None:
    """The same careless rule twice: alone it breaks what a user does; the oracle keeps that, and lets clutter go."""
    for name in ("alone", "judged"):
        environment = make_environment(tmp_path / name / "env", trap)
        before = works(environment, trap.call)
        assert before.returncode == 0, before.stderr
        judged = judge(environment, *trap.naive, oracle=name == "judged")
        after = works(environment, trap.call)
        assert (after.returncode == 0) == (name == "judged"), after.stderr
    site = site_of(environment)
    gone = removed(judged.plan)
    assert {f"{site}/clutter/tests/", f"{site}/clutter/docs/"} <= gone, "what nothing needs went"
    assert judged.report
    assert judged.report["kept"]
    assert not judged.report["unstable"]
