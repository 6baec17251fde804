from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from packager.fetch import git

FOLDER = Path(git.__file__).parent


def test_the_table_of_failures_fits_its_schema() -> None:
    table = yaml.safe_load((FOLDER / "git_failures.yml").read_text(encoding="utf-8"))
    schema = json.loads((FOLDER / "git_failures.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(table, schema)
    assert len(git.complaints()) == len(table)


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("fatal: remote error: upload-pack: not our ref 1111", "refused"),
        ("error: Server does not allow request for unadvertised object 1111", "refused"),
        ("fatal: not our ref 1\nfatal: the remote end hung up unexpectedly", "refused"),
        ("fatal: couldn't find remote ref refs/heads/x", "refused"),
        ("fatal: could not read Username for 'https://github.com': terminal prompts disabled", "missing"),
        ("fatal: repository 'https://github.com/a/b/' not found", "missing"),
        (
            "fatal: '/x' does not appear to be a git repository\nfatal: Could not read from remote repository.",
            "missing",
        ),
        ("fatal: unable to access 'https://x/': The requested URL returned error: 403", "missing"),
        ("fatal: unable to access 'https://x/': The requested URL returned error: 503", "unreachable"),
        ("fatal: unable to access 'https://x/': Could not resolve host: x", "unreachable"),
        ("error: RPC failed; curl 56 GnuTLS recv error\nfetch-pack: unexpected disconnect", "unreachable"),
        ("fatal: unable to access 'https://x/': SSL certificate problem: self-signed certificate", "unreachable"),
        ("error: file write error: No space left on device", "space"),
        ("fatal: transport 'ext' not allowed", "unusable"),
        ("fatal: mismatched algorithms: client sha1; server sha256", "unusable"),
    ],
)
def test_what_git_says_is_understood(said: str, kind: str) -> None:
    """Sentences of git 2.39 to 2.47."""
    found = [item.kind for item in git.complaints() if any(pattern.search(said) for pattern in item.patterns)]
    assert found[0] == kind


def test_the_environment_keeps_proxies_and_certificates_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "GIT_DIR",
        "GIT_SSH_COMMAND",
        "GIT_CONFIG_PARAMETERS",
        "GIT_ASKPASS",
        "SSH_ASKPASS",
        "GIT_SSL_NO_VERIFY",
    ):
        monkeypatch.setenv(name, "x")
    kept = {"https_proxy": "http://proxy:1", "SSL_CERT_FILE": "/certs", "GIT_SSL_CAINFO": "/certs"}
    for name, value in kept.items():
        monkeypatch.setenv(name, value)
    found = git.environment("https://example.org/a")
    assert kept.items() <= found.items()
    assert not found.keys() & {"GIT_DIR", "GIT_SSH_COMMAND", "GIT_CONFIG_PARAMETERS", "GIT_ASKPASS", "SSH_ASKPASS"}
    assert "GIT_SSL_NO_VERIFY" not in found
    assert found["GIT_CONFIG_NOSYSTEM"] == "1"
    assert found["GIT_ALLOW_PROTOCOL"] == "https"
    assert git.environment("/srv/a")["GIT_ALLOW_PROTOCOL"] == "file"
    assert git.environment("http://127.0.0.1/")["GIT_ALLOW_PROTOCOL"] == "http"
