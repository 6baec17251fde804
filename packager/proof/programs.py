"""Checks that run programs of the bundle: its console scripts, and a package installed the way a user does it."""

from __future__ import annotations

import base64
import hashlib
import re
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from packager.probes.pool import Job, run_all
from packager.process import Finished
from packager.proof.needs import system_needs
from packager.proof.probing import why_it_ended
from packager.proof.site import Site, Verdict, failed, passed

_CANNOT_START = (126, 127)  # a shell's exit codes: not executable, not found
_SIGNALLED = 128  # a shell adds the signal's number to this
_NO_MODULE = re.compile(r"ModuleNotFoundError: No module named '([\w.]+)'")
_NO_NAME = re.compile(r"ImportError: cannot import name '\w+' from '([\w.]+)'")
_SHELLS = ("/bin/sh", "/bin/bash", "/usr/bin/bash", "/usr/bin/sh")

_PACKAGE = "portable-proof-sample"
_MODULE = "portable_proof_sample"
_WHEEL = f"{_MODULE}-1.0-py3-none-any.whl"
_SOURCE = "import sys\n\ndef main():\n    print('sample runs in', sys.prefix)\n"


def check_scripts(site: Site, scripts: Mapping[str, str]) -> Verdict:
    """Every console script (name -> object reference) runs: `--help` or `--version` ends with 0, or at least it starts.

    It starts if its interpreter runs and finds the script's own module: it ends by itself within the time limit, not
    with 126, 127 or by a signal, and does not complain that its module is missing.
    """
    faults = {name: fault for name in scripts if (fault := _foreign_interpreter(_script(site, name)))}
    waiting = [name for name in scripts if name not in faults]
    with site.console.bar("running console scripts", len(waiting), unit="scripts") as advance:
        helped = run_all(_asking(site, waiting, "--help"), advance=advance)
        unhelpful = [name for name, how in helped.items() if how.returncode != 0]
        versions = run_all(_asking(site, [name for name in unhelpful if not helped[name].timed_out], "--version"))
    reluctant = []
    for name in unhelpful:
        if name in versions and versions[name].returncode == 0:
            continue
        if fault := _start_fault(helped[name], scripts[name], site.limits.script):
            faults[name] = fault
        else:
            reluctant.append(name)
    if faults:
        return failed("\n".join(f"{_script(site, name)}: {fault}" for name, fault in sorted(faults.items())))
    only = f"; these start, but know neither --help nor --version: {', '.join(sorted(reluctant))}" if reluctant else ""
    return passed(f"{len(scripts)} console scripts run{only}")


def _asking(site: Site, names: Sequence[str], option: str) -> list[Job]:
    return [site.sandbox.job(name, [_script(site, name), option], timeout=site.limits.script) for name in names]


def _script(site: Site, name: str) -> Path:
    return site.tree.scripts / (f"{name}.exe" if site.tree.target.is_windows else name)


def _foreign_interpreter(script: Path) -> str | None:
    """What line 1 of a text script names, if that is a Python of the machine and not the bundle's."""
    with script.open("rb") as stream:
        line = stream.readline(512)
    if not line.startswith(b"#!"):
        return None
    words = line[2:].decode("utf-8", errors="replace").split()
    program = words[0] if words else ""
    if program in _SHELLS or (program == "/usr/bin/env" and words[1:] and words[1] in system_needs().programs):
        return None
    return f"line 1 asks for '{' '.join(words)}', which is not in the bundle; it must find Python from its own place"


def _start_fault(finished: Finished, reference: str, limit: float) -> str | None:
    """Why a script did not even start; None if it did. `reference` is its entry point, `module:object`."""
    if finished.timed_out or finished.returncode in _CANNOT_START or not 0 <= finished.returncode < _SIGNALLED:
        return why_it_ended(finished, limit)
    said = finished.stderr + finished.stdout
    own = reference.split(":")[0].strip()
    for name in [*_NO_MODULE.findall(said), *_NO_NAME.findall(said)]:
        if own == name or own.startswith(f"{name}."):
            return why_it_ended(finished, limit)
    return None


def check_install(site: Site) -> Verdict:
    """install_package installs a wheel without a network, and its console script runs the bundle's Python."""
    wheel = write_sample_wheel(site.sandbox.folder)
    helper = site.helper("install_package")
    finished = site.run([helper, wheel], timeout=site.limits.pip)
    if finished.returncode != 0:
        return failed(f"{helper.name} {why_it_ended(finished, site.limits.pip)}")
    return _sample_runs(site, f"{helper.name} ended with 0, but ")


def check_installed_after_move(site: Site) -> Verdict:
    """What the user installed before the move runs after it, and pip can uninstall it."""
    ran = _sample_runs(site, "after the move ")
    if not ran.passed:
        return ran
    command: list[str | Path] = [site.tree.python, "-I", "-X", "utf8", "-m", "pip", "uninstall", "--yes", _PACKAGE]
    finished = site.run(command, timeout=site.limits.pip)
    if finished.returncode != 0 or _script(site, _PACKAGE).exists():
        return failed(f"pip uninstall {_PACKAGE} {why_it_ended(finished, site.limits.pip)}")
    return passed("a console script installed before the move runs after it; pip uninstalls it")


def _sample_runs(site: Site, when: str) -> Verdict:
    script = _script(site, _PACKAGE)
    if not script.is_file():
        return failed(f"{when}{script} is not there", remedy="run the helper by hand and read what it says")
    if fault := _foreign_interpreter(script):
        return failed(f"{when}{script}: {fault}", remedy="the helper must rewrite the scripts that pip makes")
    finished = site.run([script], timeout=site.limits.script)
    if finished.returncode != 0 or str(site.tree.prefix) not in finished.stdout:
        return failed(f"{when}{script} {why_it_ended(finished, site.limits.script)}")
    return passed("a wheel installs without a network, and its console script runs")


def write_sample_wheel(folder: Path) -> Path:
    """A pure wheel with one console script that prints the prefix it runs in (binary distribution format, PEP 427)."""
    information = f"{_MODULE}-1.0.dist-info"
    members = {
        f"{_MODULE}.py": _SOURCE,
        f"{information}/METADATA": f"Metadata-Version: 2.1\nName: {_PACKAGE}\nVersion: 1.0\n",
        f"{information}/WHEEL": "Wheel-Version: 1.0\nGenerator: proof\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{information}/entry_points.txt": f"[console_scripts]\n{_PACKAGE} = {_MODULE}:main\n",
    }
    record = "".join(f"{name},sha256={_digest(text)},{len(text)}\n" for name, text in members.items())
    members[f"{information}/RECORD"] = f"{record}{information}/RECORD,,\n"
    path = folder / _WHEEL
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    return path


def _digest(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
