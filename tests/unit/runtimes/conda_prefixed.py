"""A conda package whose files hold their prefix in every way that a table of places has to tell apart."""

from __future__ import annotations

from pathlib import Path

from conda_channel import PLACEHOLDER, make_package

from packager import targets

_P = PLACEHOLDER
NEUTRAL = "/portable/python"
_TEXTS = {
    # Scripts: of Python in bin/ and elsewhere, and of another interpreter of the prefix, with and without options.
    "bin/tell": f"#!{_P}/bin/python\nimport sys\nprint(sys.prefix)\n",
    "bin/tell-safely": f"#!{_P}/bin/python -s\nimport sys\nprint(sys.prefix, sys.flags.no_user_site)\n",
    "bin/tell-twice": f"#!{_P}/bin/python\nimport sys\nCOMPILED_FOR = '{_P}'\nprint(sys.prefix)\n",
    "libexec/tell-aside": f"#!{_P}/bin/python\nimport sys\nprint(sys.prefix)\n",
    "bin/mini-shell": '#!/bin/sh\n[ "$1" = --help ] || exec /bin/sh "$@"\n',
    "bin/by-own-shell": f"#!{_P}/bin/mini-shell\necho {_P}\necho by-own-shell\n",
    "libexec/by-own-shell-too": f"#!{_P}/bin/mini-shell\necho by-own-shell\n",
    "bin/prefixed-config": f"#!/bin/sh\nprefix='{_P}'\necho \"-L$prefix/lib -I{_P}/include\"\n",
    # What looks like a place and is none: the neutral prefix and short paths, which are the package's own words.
    "etc/several.conf": f"a={_P}/a\nown={NEUTRAL}/mine\nroot=/ tmp=/tmp t=/t\nb={_P}:{_P}/b\n",
    "lib/pkgconfig/prefixed.pc": f"prefix={_P}\nlibdir=${{prefix}}/lib\n",
    "share/licenses/prefixed/LICENSE": f"Free. Installed to {_P}.\n",
}
_BINARIES = {
    "lib/several.bin": b"\0\x7f\0"
    + f"{_P}/share:{_P}/lib\0{_P}\0x-L{_P}/end\0/tmp\0/t\0{NEUTRAL}\0".encode()
    + b"\xff",
    "lib/static.a": b"\0" + _P.encode() + b"\0",
}
PLAIN = {
    # A source file about prefixes, which is not in the package's list of files that hold one.
    "lib/source.py": f"NEUTRAL = '{NEUTRAL}'\nPLACEHOLDER = '{_P[:-1]}'\nROOTS = ['/', '/t', '/tmp']\n",
}
SCRIPTS = ("bin/tell", "bin/tell-safely", "bin/tell-twice", "libexec/tell-aside")
SHELL_SCRIPTS = ("bin/by-own-shell", "libexec/by-own-shell-too")


def make_prefixed(channel: Path, work: Path) -> None:
    """Add package `prefixed` to `channel`, by way of the absent folder `work`."""
    for name, text in {**_TEXTS, **PLAIN}.items():
        path = work / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755 if name.startswith(("bin/", "libexec/")) else 0o644)
    for name, content in _BINARIES.items():
        (work / name).write_bytes(content)
    make_package(
        channel,
        work,
        name="prefixed",
        version="1.0",
        subdir=targets.current().conda_subdir,
        depends=["python"],
        placeholders={**{name: "text" for name in _TEXTS if _P in _TEXTS[name]}, **dict.fromkeys(_BINARIES, "binary")},
    )
