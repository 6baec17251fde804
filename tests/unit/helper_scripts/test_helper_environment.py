"""The environment of every entry point: whatever the caller's is, the user's machine stays out."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
from fake_bundles import REPOSITORY
from hypothesis import given
from hypothesis import strategies as st
from portable.environment import environment

ROOT = Path("/opt/my bundle {root} é")
RULES = json.loads((REPOSITORY / "helper_scripts/portable/environment.json").read_text(encoding="utf-8"))
NAMES = [
    *RULES["remove"],
    *RULES["set"],
    *RULES["default"],
    *(prefix["prefix"] + "ANYTHING" for prefix in RULES["remove_prefixes"]),
    *(name for prefix in RULES["remove_prefixes"] for name in prefix["keep"]),
    "PIP_FIND_LINKS",
    "PIP_NO_INDEX",
    "PIP_REQUIRE_VIRTUALENV",
    "PIP_TARGET",
    "PIP_USER",
    "HTTPS_PROXY",
    "https_proxy",
    "HOME",
    "PATH",
    "SSL_CERT_FILE",
]
# fmt: off
HARMFUL = [
    "PYTHONHOME", "PYTHONPATH", "PYTHONSTARTUP", "PYTHONUSERBASE", "PYTHONSAFEPATH", "PYTHONINSPECT",
    "PYTHONOPTIMIZE", "PYTHONWARNINGS", "PYTHONIOENCODING", "PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX",
    "PYTHONEXECUTABLE", "PYTHONPLATLIBDIR", "__PYVENV_LAUNCHER__", "VIRTUAL_ENV", "CONDA_PREFIX", "CONDA_DEFAULT_ENV",
    "PIP_FIND_LINKS", "PIP_NO_INDEX", "PIP_TARGET", "PIP_USER", "PIP_REQUIRE_VIRTUALENV", "PIP_PREFIX", "PIP_ROOT",
    "PIP_CONSTRAINT", "PIP_NO_DEPS", "PIP_PRE", "PIP_LOG", "PIP_PYTHON",
]
# fmt: on
VARIABLES = st.dictionaries(
    st.sampled_from(NAMES) | st.text("ABCZ_", min_size=1), st.text(st.characters(codec="utf-8"))
)


def test_rules_keep_their_schema() -> None:
    schema = json.loads((REPOSITORY / "helper_scripts/environment.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker()).validate(RULES)


def test_each_variable_that_lets_the_users_machine_in_goes() -> None:
    base = dict.fromkeys(HARMFUL, "1")
    assert not set(HARMFUL) & set(environment(ROOT, base, windows=False))
    assert not set(HARMFUL) & set(environment(ROOT, base, windows=True))


@given(base=VARIABLES, recipe=VARIABLES, windows=st.booleans())
def test_nothing_removed_comes_back_and_everything_set_is_set(
    base: dict[str, str], recipe: dict[str, str], windows: bool
) -> None:
    before = dict(base), dict(recipe)
    result = environment(ROOT, base, recipe_env=recipe, windows=windows)
    assert (base, recipe) == before
    assert not set(RULES["remove"]) & set(result)
    assert not [name for name in result if name.startswith("CONDA_")]
    kept = {*RULES["remove_prefixes"][1]["keep"], *RULES["set"]}
    assert {name for name in result if name.startswith("PIP_")} <= kept
    assert result["PYTHONNOUSERSITE"] == result["PYTHONUTF8"] == "1"
    assert result["PIP_CONFIG_FILE"] == ("nul" if windows else "/dev/null")  # pip compares with os.devnull
    for name in RULES["default"]:
        users = recipe.get(name) if name in recipe else base.get(name)
        assert (result[name] == users) if users else result[name]
    assert environment(ROOT, result, windows=windows)["PYTHONNOUSERSITE"] == "1"


@given(base=VARIABLES)
def test_what_no_rule_names_stays(base: dict[str, str]) -> None:
    result = environment(ROOT, base, windows=False)
    for name in ("HTTPS_PROXY", "https_proxy", "HOME", "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_TRUSTED_HOST"):
        assert result.get(name) == base.get(name)


def test_caches_lie_in_the_bundle_unless_the_user_set_them() -> None:
    result = environment(ROOT, {"HF_HOME": "/big/disk", "TORCH_HOME": ""}, windows=False)
    assert result["HF_HOME"] == "/big/disk"
    for name in ("TORCH_HOME", "PIP_CACHE_DIR", "TRITON_CACHE_DIR"):
        assert result[name].startswith("/opt/my bundle {root} é/portable/cache/"), name


def test_recipe_wins_over_the_user_and_the_rules_over_the_recipe() -> None:
    recipe = {"HF_HOME": "/recipe", "PYTHONPATH": "/recipe", "PYTHONNOUSERSITE": "", "OWN": "recipe"}
    result = environment(ROOT, {"HF_HOME": "/user", "OWN": "user"}, recipe_env=recipe, windows=False)
    assert (result["HF_HOME"], result["OWN"], result["PYTHONNOUSERSITE"]) == ("/recipe", "recipe", "1")
    assert "PYTHONPATH" not in result


def test_windows_names_know_no_case_and_paths_have_backslashes() -> None:
    result = environment(Path("C:/b"), {"Path": "C:\\Windows", "PythonPath": "x", "Conda_Prefix": "y"}, windows=True)
    assert result["PATH"].endswith("\\python\\Scripts;C:\\Windows")
    assert not {"Path", "PythonPath", "PYTHONPATH", "Conda_Prefix", "CONDA_PREFIX"} & set(result)
    assert result["HF_HOME"].endswith("\\portable\\cache\\huggingface")


@pytest.mark.parametrize(
    "present",
    [
        "python/ssl/cacert.pem",
        "python/lib/python3.12/site-packages/certifi/cacert.pem",
        "python/Library/ssl/cacert.pem",
    ],
)
def test_certificates_of_the_bundle_are_used_unless_the_users_exist(tmp_path: Path, present: str) -> None:
    root = tmp_path / "a bundle [x]"
    file = root / present
    file.parent.mkdir(parents=True)
    file.touch()
    mine = tmp_path / "company.pem"
    mine.touch()
    assert environment(root, {})["SSL_CERT_FILE"] == str(file)
    assert environment(root, {"SSL_CERT_FILE": "/nowhere"})["SSL_CERT_FILE"] == str(file)
    assert environment(root, {"SSL_CERT_FILE": str(mine)})["SSL_CERT_FILE"] == str(mine)


def test_a_stale_certificate_path_goes_even_if_the_bundle_has_none(tmp_path: Path) -> None:
    assert "SSL_CERT_FILE" not in environment(tmp_path, {"SSL_CERT_FILE": "/nowhere"})


def test_the_own_tools_come_first_on_path() -> None:
    assert environment(ROOT, {"PATH": "/usr/bin"}, windows=False)["PATH"] == f"{ROOT}/python/bin:/usr/bin"
    assert environment(ROOT, {}, windows=False)["PATH"] == f"{ROOT}/python/bin"
