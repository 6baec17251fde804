from __future__ import annotations

from pathlib import Path

import pytest

from packager.errors import DocumentError, InputError
from packager.settings import load_settings


def test_command_line_beats_environment_beats_file(tmp_path: Path) -> None:
    config = tmp_path / "config.yml"
    config.write_text("sources: {a: file, b: file, c: file}\nmirrors: {'https://github.com/': /mirror}\n")
    environ = {"PACKAGER_CONFIG": str(config), "PACKAGER_SOURCES": "b=env;c=env\n"}
    settings = load_settings(sources=["c=cli"], environ=environ)
    assert settings.sources == {"a": "file", "b": "env", "c": "cli"}
    assert settings.mirrors == {"https://github.com/": "/mirror"}
    assert settings.named == ("c",)
    assert settings.source("C") == "cli"


def test_no_file_no_settings(tmp_path: Path) -> None:
    assert load_settings(environ={"XDG_CONFIG_HOME": str(tmp_path), "HOME": str(tmp_path)}).mirrors == {}


@pytest.mark.parametrize("word", ["novalue", "=x", "a="])
def test_pair_without_both_sides_is_refused(word: str) -> None:
    with pytest.raises(InputError, match="not of the form"):
        load_settings(mirrors=[word], environ={})


def test_faulty_file_names_the_line(tmp_path: Path) -> None:
    config = tmp_path / "config.yml"
    config.write_text("mirrors: {}\nsource: {}\n")
    with pytest.raises(DocumentError, match=r"config\.yml:2: source: unknown field"):
        load_settings(environ={"PACKAGER_CONFIG": str(config)})
    with pytest.raises(InputError, match="no such file"):
        load_settings(environ={"PACKAGER_CONFIG": str(tmp_path / "none.yml")})
