"""The oracle against planted traps: rules that break every package, and nothing is broken."""

from __future__ import annotations

import io
import json
import os
import random
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from cleanup_trees import one_rule, removed, snapshot, write_tree
from oracle_traps import TRAPS, Trap, judge, make_environment, site_of, works

from packager.cleanup import (
    OracleMeans,
    apply,
    clean_into,
    detect_layout,
    holds_clean_up,
    load_rules,
    plan_cleanup,
    restore,
    rules_of,
    undo,
)
from packager.cleanup.oracle import watch
from packager.cleanup.oracle.strace import strace_words
from packager.cleanup.quarantine import default_quarantine
from packager.console import Console
from packager.errors import ProofError
from packager.filesystem import tree_digest
from packager.recipe import load_recipe
from packager.report import oracle_part

pytestmark = pytest.mark.skipif(os.name != "posix", reason="a venv of this layout is POSIX")


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


WITHOUT_HELP = {"static": {"trace": False}, "trace": {"gate": False}, "probe": {"gate": False, "trace": False}}


@pytest.mark.parametrize("how", WITHOUT_HELP)
@pytest.mark.parametrize("name", ["module in tests imported at import", "cause hidden behind another error"])
def test_each_way_of_finding_out_does_alone(tmp_path: Path, name: str, how: str) -> None:
    """Gate, trace, and probes with attribution: what the one misses the next one finds."""
    trap = TRAPS[name]
    environment = make_environment(tmp_path / "env", trap)
    judged = judge(environment, *trap.naive, use_strace=False, **WITHOUT_HELP[how])
    assert works(environment, trap.call).returncode == 0
    assert judged.report
    expected = "probe" if how == "static" and name.startswith("cause") else how
    assert {kept["how"] for kept in judged.report["kept"]} == {expected}
    assert {kept["rule"] for kept in judged.report["kept"]} == {"one"}


def test_difference_that_no_name_explains_is_found_by_bisection(tmp_path: Path) -> None:
    """The package counts what lies in its folder; no file of it is opened or asked for."""
    count = "import subprocess, os\nplace = os.path.dirname(__file__)\nlisted = subprocess.run(['ls', place + '/stuff']"
    trap = Trap(
        files={
            "demo/__init__.py": f"{count}, capture_output=True).stdout.split()\nif b'c.dat' not in listed:\n"
            "    raise RuntimeError('not complete')",
            "demo/stuff/index.txt": "",
            **{f"demo/stuff/{name}.dat": name for name in "abcdef"},
        },
        call="import demo",
        naive=("*.dat",),
    )
    environment = make_environment(tmp_path / "env", trap)
    judged = judge(environment, "*.dat", use_strace=False, gate=False, trace=False)
    assert works(environment, trap.call).returncode == 0
    assert judged.report
    (kept,) = judged.report["kept"]
    assert (kept["path"], kept["how"]) == (f"{site_of(environment)}/demo/stuff/c.dat", "bisection")
    assert "not complete" in kept["evidence"]
    assert f"{site_of(environment)}/demo/stuff/b.dat" in removed(judged.plan)


def test_second_time_it_asks_nothing_and_plans_the_same(tmp_path: Path) -> None:
    """Answers are remembered by what a distribution is, not by where it lies; a changed one is asked anew."""
    trap = TRAPS["module in tests imported at import"]
    plans = []
    for name in ("first", "second"):
        environment = make_environment(tmp_path / name / "env", trap)
        judged = judge(environment, *trap.naive, cache=tmp_path / "cache")
        assert judged.report
        plans.append(judged.plan.to_json())
        asked = judged.report["asked"]
        assert (asked > 0) == (name == "first"), judged.report
        assert (judged.report["cached"] > 0) == (name == "second"), judged.report
    assert plans[0] == plans[1]
    changed = Trap(
        files={**trap.files, "demo/__init__.py": "from .tests.other import value", "demo/tests/other.py": "value = 2"},
        call=trap.call,
        naive=trap.naive,
    )
    environment = make_environment(tmp_path / "third" / "env", changed)
    judged = judge(environment, *trap.naive, cache=tmp_path / "cache")
    assert judged.report
    assert judged.report["asked"] > 0
    assert works(environment, changed.call).returncode == 0


def test_exceptions_can_be_pasted_into_the_rule_or_a_recipe(tmp_path: Path) -> None:
    """With what it printed in the rule's `keep`, the rule alone breaks nothing any more. A recipe says the same."""
    trap = TRAPS["module in tests imported at the first call"]
    environment = make_environment(tmp_path / "first" / "env", trap)
    judged = judge(environment, *trap.naive)
    assert judged.report
    text = judged.report["exceptions"]
    for_recipe, for_rule = text.split("# or for a rule file, to rule one\n")
    rule = tmp_path / "rules" / "mine.yml"
    rule.parent.mkdir()
    head = (
        "format: 1\nrules:\n- id: one\n  scope: [site-packages]\n  tier: safe\n  category: tests\n  why: for the test\n"
    )
    rule.write_text(head + "  patterns: [tests/]\n" + textwrap.indent(for_rule, "  "))
    (tmp_path / "bare.yml").write_text(head + "  patterns: [tests/]\n")
    recipe = tmp_path / "recipe.yml"
    added = for_recipe.replace("cleanup:\n", "cleanup:\n  rules: [bare.yml]\n")
    recipe.write_text(f"schema_version: 2\nversion_id: trial\ncomfy: {{repo: app}}\n{added}")
    kept = [(keep.pattern, keep.reason) for keep in rules_of(load_recipe(recipe)).rules[-1].keep]
    assert kept == [(keep.pattern, keep.reason) for keep in load_rules(rule.parent).rules[-1].keep] != []
    environment = make_environment(tmp_path / "second" / "env", trap)
    plan = plan_cleanup(detect_layout(environment), load_rules(rule.parent))
    apply(plan, tmp_path / "quarantine")
    assert works(environment, trap.call).returncode == 0
    assert f"{site_of(environment)}/clutter/tests/" in removed(plan)


def test_probes_leave_nothing_in_the_tree(tmp_path: Path) -> None:
    environment = make_environment(tmp_path / "env", TRAPS["docs package"])
    before = snapshot(environment)
    judged = judge(environment, "docs/")
    assert judged.plan.removals
    restore(environment, environment.with_name("quarantine"))
    assert snapshot(environment) == before
    assert not environment.with_name("scratch").exists()


def test_tree_whose_python_does_not_run_here_is_judged_by_its_text(tmp_path: Path) -> None:
    """Packages for another system: the static gate alone, and the report says so."""
    environment = make_environment(tmp_path / "env", TRAPS["module in tests imported at the first call"])
    for program in (environment / "bin").glob("python*"):
        program.unlink()
    judged = judge(environment, "tests/")
    assert judged.report
    assert not judged.report["runs"]
    kept = {kept["path"].rpartition("/")[2] for kept in judged.report["kept"]}
    assert kept == {"__init__.py", "helper.py", "more.py"}


def test_python_that_is_broken_before_is_an_error_and_nothing_moves(tmp_path: Path) -> None:
    environment = make_environment(tmp_path / "env", TRAPS["docs package"])
    (environment / "bin/python").unlink()
    (environment / "bin/python").write_text("#!/bin/sh\necho no such luck >&2\nexit 3\n")
    (environment / "bin/python").chmod(0o755)
    before = snapshot(environment)
    with pytest.raises(ProofError, match="no such luck"):
        judge(environment, "docs/")
    assert snapshot(environment) == before
    assert not environment.with_name("quarantine").exists()


def test_answer_is_the_same_with_and_without_bytecode(tmp_path: Path) -> None:
    """The compiler itself imports unicodedata for names that are not ASCII; what is loaded must not depend on that."""
    trap = Trap(files={"demo/__init__.py": "größe = 1"}, call="", naive=())
    environment = make_environment(tmp_path / "env", trap)
    answers = []
    for number in range(2):
        command = [environment / "bin/python", "-I", "-X", f"pycache_prefix={tmp_path / 'bytecode'}"]
        command += [watch.__file__, "import", tmp_path / f"{number}", "/", "demo"]
        subprocess.run(command, check=True, timeout=60)
        answers.append(json.loads((tmp_path / f"{number}").read_text())["modules"])
    assert "demo" in answers[0]
    assert answers[0] == answers[1]


def test_module_that_never_worked_is_reported_and_keeps_nothing(tmp_path: Path) -> None:
    trap = Trap(
        files={"demo/__init__.py": "import nowhere\nimport demo.tests", "demo/tests/__init__.py": ""}, call="", naive=()
    )
    environment = make_environment(tmp_path / "env", trap)
    console = Console(stream=io.StringIO())
    judged = judge(environment, "docs/", console=console)
    assert judged.report
    assert "nowhere" in judged.report["failed_before"]["import demo"]
    assert judged.report["kept"] == []
    (warning,) = console.warnings
    assert "1 probe failed before" in warning
    assert "`import demo`" in warning
    assert "<td>import demo</td><td>ModuleNotFoundError: No module named &#x27;nowhere&#x27;" in oracle_part(
        judged.report
    )


APP = {
    "main.py": "import sys, nodes, loader\nopen(__file__.replace('main.py', 'log.txt'), 'w').write('started')\n"
    "loader.load()\nassert '--quick-test-for-ci' in sys.argv",
    "nodes.py": "NODE_CLASS_MAPPINGS = {'Basic': object}\n",
    "loader.py": "import importlib.util, nodes, os, traceback\n\ndef load():\n"
    "    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'custom_nodes', 'mine')\n"
    "    spec = importlib.util.spec_from_file_location(path.replace('.', '_x_'), path + '/__init__.py')\n"
    "    module = importlib.util.module_from_spec(spec)\n    failed = ''\n    try:\n"
    "        spec.loader.exec_module(module)\n        nodes.NODE_CLASS_MAPPINGS.update(module.NODE_CLASS_MAPPINGS)\n"
    "    except Exception:\n        traceback.print_exc()\n        failed = ' (IMPORT FAILED)'\n"
    "    print(f'   0.0 seconds{failed}: {path}')",
    "custom_nodes/mine/__init__.py": "import os\nname = chr(97) + '.json'\n"
    "open(os.path.join(os.path.dirname(__file__), 'ex' + 'tra', name)).read()\nNODE_CLASS_MAPPINGS = {'Mine': object}",
    "custom_nodes/mine/extra/a.json": "{}",
    "custom_nodes/mine/extra/b.json": "{}",
}


@pytest.mark.parametrize("trace", [True, False])
def test_app_starts_with_all_its_nodes_as_before(tmp_path: Path, trace: bool) -> None:
    """main.py ends with 0 although a node failed: its log, its node classes and its modules are what counts."""
    environment = make_environment(tmp_path / "root/python", TRAPS["docs package"])
    app = write_tree(environment.with_name("ComfyUI"), APP)
    rules = one_rule("/mine/extra/*.json", scopes=("nodes",))
    means = OracleMeans(
        scratch=tmp_path / "scratch", cache=None, console=Console(stream=io.StringIO()), use_strace=False, trace=trace
    )
    judged = clean_into(
        tmp_path / "quarantine", detect_layout(tmp_path / "root"), rules, tier="safe", opt_in=(), oracle=means
    )
    assert judged.report
    kept = {kept["path"]: kept["how"] for kept in judged.report["kept"]}
    assert kept == {"ComfyUI/custom_nodes/mine/extra/a.json": "trace" if trace else "probe"}
    assert not (app / "custom_nodes/mine/extra/b.json").exists()
    assert not (app / "log.txt").exists(), "what a start writes goes into a copy"


@pytest.mark.skipif(not strace_words(), reason="strace is missing or may not trace here")
def test_strace_sees_what_no_audit_event_tells(tmp_path: Path) -> None:
    """A program that the package starts looks for a file and answers otherwise without it."""
    trap = Trap(
        files={
            "demo/__init__.py": "import subprocess, os\nplace = os.path.dirname(__file__)\n"
            "fast = subprocess.run(['test', '-e', place + '/flags/' + 'fa' + 'st']).returncode == 0",
            "demo/flags/fast": "",
        },
        call="import demo; assert demo.fast",
        naive=("flags/",),
    )
    environment = make_environment(tmp_path / "env", trap)
    judged = judge(environment, *trap.naive)
    assert works(environment, trap.call).returncode == 0
    assert judged.report
    assert judged.report["strace"]


@pytest.mark.skipif(not strace_words(), reason="strace is missing or may not trace here")
@pytest.mark.parametrize(
    "look",
    [
        "subprocess.run(['sh', '-c', 'cd fl*gs && test -e fa*t'], cwd=place)",
        "subprocess.run(['sh', '-c', 'test -e fa*t'], cwd=place + '/flags')",
    ],
)
def test_strace_sees_names_relative_to_a_working_folder(tmp_path: Path, look: str) -> None:
    look = look.replace("fl*gs", "' + 'flags' + '").replace("fa*t", "' + 'fast' + '")
    text = f"import subprocess, os\nplace = os.path.dirname(__file__)\nfast = {look}.returncode == 0"
    trap = Trap(
        files={"demo/__init__.py": text, "demo/flags/fast": "", "demo/flags/slow": "", "demo/flags/x.py": ""},
        call="import demo; assert demo.fast",
        naive=("/demo/flags/fast", "/demo/flags/slow"),
    )
    environment = make_environment(tmp_path / "a>b é/env", trap)
    judged = judge(environment, *trap.naive)
    assert works(environment, trap.call).returncode == 0
    assert f"{site_of(environment)}/demo/flags/slow" in removed(judged.plan)


def test_one_fact_that_changes_by_itself_does_not_hide_a_loss(tmp_path: Path) -> None:
    """A time beside a flag that tells of a folder's content; no name leads from the flag to the file."""
    listing = "subprocess.run(['ls', os.path.dirname(__file__) + '/stuff'], capture_output=True).stdout.split()"
    trap = Trap(
        files={
            "demo/__init__.py": "import os, subprocess, time\n"
            "def is_time_available():\n    return str(time.time_ns())\n"
            f"def is_full_available():\n    return b'c.dat' in {listing}",
            "demo/stuff/index.txt": "",
            **{f"demo/stuff/{name}.dat": name for name in "abcdef"},
        },
        call="import demo; assert demo.is_full_available()",
        naive=("*.dat",),
    )
    environment = make_environment(tmp_path / "env", trap)
    judged = judge(environment, *trap.naive, use_strace=False, gate=False, trace=False)
    assert works(environment, trap.call).returncode == 0
    assert judged.report
    assert [kept["path"].rpartition("/")[2] for kept in judged.report["kept"]] == ["c.dat"]
    assert "is_time_available" in judged.report["unstable"]["import demo"]
    assert "is_full_available" not in judged.report["unstable"]["import demo"]


def test_probe_of_which_all_changes_by_itself_comes_to_an_end(tmp_path: Path) -> None:
    """Each time a module of another name is loaded."""
    text = (
        "import sys, types, uuid\nname = 'demo_' + uuid.uuid4().hex\nsys.modules[name] = types.ModuleType(name)\n"
        "sys.modules[name].__file__ = __file__"
    )
    trap = Trap(files={"demo/__init__.py": text}, call="import demo", naive=())
    environment = make_environment(tmp_path / "env", trap)
    judged = judge(environment, use_strace=False)
    assert judged.report
    assert "import demo" in judged.report["unstable"]
    assert f"{site_of(environment)}/clutter/tests/" in removed(judged.plan)


def state(environment: Path) -> dict[str, object]:
    """All but when the root was modified, in which the quarantine comes and goes."""
    return {path: entry for path, entry in snapshot(environment).items() if path != "."}


def test_kill_9_at_any_moment_leaves_what_can_be_made_whole(tmp_path: Path) -> None:
    """Also while something is put back: undo gives the tree as it was, and running it again the clean one."""
    trap = TRAPS["cause hidden behind another error"]
    environment = make_environment(tmp_path / "env", trap)
    whole, quarantine = state(environment), default_quarantine(environment)
    program = [
        sys.executable,
        Path(__file__).with_name("oracle_and_die.py"),
        environment,
        tmp_path / "cache",
        *trap.naive,
    ]
    counted = subprocess.run([*program, "0"], capture_output=True, text=True, check=True, timeout=300)
    steps, cleaned = int(counted.stdout), tree_digest(environment, skip=lambda path: path == quarantine)
    assert "put back" in counted.stderr
    undo(environment)
    assert state(environment) == whole
    for last in sorted({2, steps, *random.Random(5).sample(range(3, steps), 4)}):
        killed = subprocess.run([*program, str(last)], capture_output=True, text=True, check=False, timeout=300)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        if last % 2 and holds_clean_up(quarantine):
            undo(environment)
            assert state(environment) == whole, last
        subprocess.run([*program, "0"], capture_output=True, text=True, check=True, timeout=300)
        assert tree_digest(environment, skip=lambda path: path == quarantine) == cleaned, last
        assert works(environment, trap.call).returncode == 0
        undo(environment)
        assert state(environment) == whole, last


def test_what_only_tests_and_type_checkers_ask_for_goes(tmp_path: Path) -> None:
    trap = Trap(
        files={
            "demo/__init__.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from demo.tests import a\n"
            "if __name__ == '__main__':\n    import demo.tests.a\n# demo.tests are not for you\n",
            "demo/conftest.py": "import demo.tests.a",
            "demo/tests/a.py": "",
        },
        call="",
        naive=(),
    )
    environment = make_environment(tmp_path / "env", trap)
    judged = judge(environment, "tests/")
    assert judged.report
    assert judged.report["kept"] == []
    assert f"{site_of(environment)}/demo/tests/" in removed(judged.plan)


def test_opt_in_rule_takes_what_is_only_named_but_not_what_is_used(tmp_path: Path) -> None:
    """Somebody has asked for that loss; what a start uses stays all the same."""
    trap = TRAPS["data file opened at the first call"]
    for name, start in (("named", ""), ("used", "\ngo()")):
        files = {**trap.files, "demo/__init__.py": trap.files["demo/__init__.py"] + start}
        environment = make_environment(tmp_path / name / "env", Trap(files=files, call="", naive=()))
        means = OracleMeans(scratch=tmp_path / "scratch", cache=None, console=Console(stream=io.StringIO()))
        judged = clean_into(
            tmp_path / name / "quarantine",
            detect_layout(environment),
            one_rule("/demo/data/", tier="opt-in"),
            tier="safe",
            opt_in=["one"],
            oracle=means,
        )
        assert judged.report
        assert bool(judged.report["kept"]) == (name == "used")
