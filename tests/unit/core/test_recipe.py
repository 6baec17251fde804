"""Recipes, good and hostile: every fault is listed at once, with file, line, field and remedy."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath

import pytest

from packager.errors import DocumentError, InputError
from packager.recipe import find_recipe, load_recipe, schema

MINIMAL = "schema_version: 2\nversion_id: demo\ncomfy:\n  repo: https://github.com/comfyanonymous/ComfyUI\n"


def write(folder: Path, text: str, name: str = "recipe.yml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def faults(path: Path) -> list[str]:
    with pytest.raises(DocumentError) as caught:
        load_recipe(path)
    assert caught.value.exit_code == 2
    return [str(fault) for fault in caught.value.faults]


def test_minimal_recipe_has_defaults(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path, MINIMAL))
    assert (recipe.name, recipe.root, recipe.cleanup.tier) == ("demo", "demo", "safe")
    assert recipe.archive.formats == ("zip",)
    assert recipe.comfy.name == "ComfyUI"


def test_json_spec_of_schema_version_2_loads_unchanged(tmp_path: Path) -> None:
    spec = {
        "schema_version": 2,
        "version_id": "wan22-fast",
        "comfy": {"repo": "https://github.com/comfyanonymous/ComfyUI", "ref": "master"},
        "custom_nodes": [{"repo": "https://github.com/city96/ComfyUI-GGUF", "name": "gguf"}],
        "models": [{"source": "hf://org/repo/sub/wan22.safetensors", "name": "wan22-unet", "target_subdir": "unet"}],
        "python_packages": ["sageattention", "onnx>=1.0,<2.0"],
        "env": {"HF_TOKEN": "${HF_TOKEN}"},
        "options": {"offline": False, "skip_models": False},
    }
    recipe = load_recipe(write(tmp_path, json.dumps(spec, indent="\t"), "wan.json"))
    assert recipe.custom_nodes[0].name == "gguf"
    assert recipe.models[0].path == PurePosixPath("unet/wan22-unet.safetensors")
    assert recipe.models[0].url == "https://huggingface.co/org/repo/resolve/main/sub/wan22.safetensors"


def test_python_comes_from_miniforge_unless_a_recipe_says_otherwise_and_only_the_quickstart_does(
    tmp_path: Path,
) -> None:
    assert load_recipe(write(tmp_path, MINIMAL)).runtime == "miniforge"
    assert load_recipe(write(tmp_path, MINIMAL + "conda_packages: [ffmpeg=7]\n")).conda_packages == ("ffmpeg=7",)
    shipped = {path.stem: load_recipe(path).runtime for path in find_recipe("quickstart").parent.glob("*.yml")}
    assert {name for name, runtime in shipped.items() if runtime != "miniforge"} == {"quickstart"}


def test_skip_models_leaves_them_out(tmp_path: Path) -> None:
    text = MINIMAL + "models: [{url: 'https://example.org/a.pt'}]\noptions: {skip_models: true}\n"
    assert load_recipe(write(tmp_path, text)).models == ()


def test_every_fault_is_listed_with_its_line_and_remedy(tmp_path: Path) -> None:
    text = (
        MINIMAL + "pyton: 3.12\npython_packages: torch\ncustom_nodes:\n  - repo: https://example.org/a\n    reff: x\n"
    )
    found = faults(write(tmp_path, text))
    assert len(found) == 3
    assert "recipe.yml:5: pyton: unknown field\n  remedy: did you mean 'python'?" in found[0]
    assert "recipe.yml:6: python_packages: is 'torch', but must be a list" in found[1]
    assert "recipe.yml:9: custom_nodes[0].reff: unknown field" in found[2]
    assert all("remedy:" in fault for fault in found)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("- a\n- b\n", "must be a mapping"),
        ("just text", "must be a mapping"),
        ("schema_version: 1\nversion_id: a\ncomfy: {repo: 'https://example.org/a'}\n", "schema_version: is '1'"),
        (MINIMAL + "version_id: other\n", "given twice, first in line 2"),
        (MINIMAL + "env: &a {A: '1'}\nlaunch: *a\n", "aliases (*name) are not supported"),
        (MINIMAL + "env: {A: [\n", "not valid YAML"),
        (MINIMAL + "python: !!python/object/apply:os.system ['true']\n", "not valid YAML"),
        (
            "schema_version: 2\nversion_id: ../../etc\ncomfy: {repo: x}\n",
            "version_id: '../../etc' is not of the right form",
        ),
        ("schema_version: 2\nversion_id: CON\ncomfy: {repo: x}\n", "device on Windows"),
        (MINIMAL + "  ref: --upload-pack=x\n", "comfy.ref: '--upload-pack=x' is not of the right form"),
        (MINIMAL + "  ref: a/../b\n", "is not a branch, tag or commit"),
        (MINIMAL + "custom_nodes: [{repo: 'ext::sh -c id'}]\n", "is not a repository"),
        (MINIMAL + "custom_nodes: [{repo: '--upload-pack=x'}]\n", "is not a repository"),
        (MINIMAL + "custom_nodes: [{repo: 'ssh://git@example.org/a'}]\n", "is not an https address"),
        (
            MINIMAL + "custom_nodes: [{repo: 'https://example.org/a', name: '../x'}]\n",
            "name: '../x' is not of the right form",
        ),
        (MINIMAL + "custom_nodes: [{repo: 'https://example.org/a'}, {repo: 'https://example.com/A.git'}]\n", "is also"),
        (MINIMAL + "python_packages: ['a b c']\n", "is not a requirement"),
        (MINIMAL + "python_packages: ['--index-url https://x']\n", "is not a requirement"),
        (MINIMAL + "python_packages: ['a @ file:///etc/x']\n", "is not an https address"),
        (MINIMAL + "models: [{url: 'https://example.org/a', path: '../../x'}]\n", "leaves the models folder"),
        (MINIMAL + "models: [{url: 'https://example.org/a', path: '/etc/x'}]\n", "leaves the models folder"),
        (
            MINIMAL + "models: [{url: 'https://example.org/a', type: 'C:\\\\x', name: y.pt}]\n",
            "leaves the models folder",
        ),
        (MINIMAL + "models: [{url: 'https://example.org/a', path: 'vae/NUL.pt'}]\n", "device on Windows"),
        (
            MINIMAL + "models: [{url: 'https://example.org/a', path: 'a'}, {source: 'https://x.org', path: 'A'}]\n",
            "twice",
        ),
        (MINIMAL + "models: [{url: 'ftp://example.org/a', path: 'a'}]\n", "is not an https address"),
        (MINIMAL + "models: [{path: 'a'}]\n", "exactly one of url and source"),
        (MINIMAL + "env: {'A B': x}\n", "A B"),
        (MINIMAL + "custom_nodes: [{repo: 'https://user:token@example.org/a'}]\n", "user name or password"),
        (MINIMAL + "custom_nodes: [{repo: 'http://localhost.evil.example/a'}]\n", "is not an https address"),
        (MINIMAL + "models: [{url: 'http://127.0.0.1.evil.example/x.pt'}]\n", "is not an https address"),
        (MINIMAL + "python_packages: ['a @ https://user:secret@example.org/a.whl']\n", "user name or password"),
        (MINIMAL + 'root: "abc\\n"\n', "is not of the right form"),
        (MINIMAL + "custom_nodes: [{repo: 'https://example.org/a', name: python_packages}]\n", "is taken"),
        (MINIMAL + "custom_nodes: [{repo: 'https://example.org/ComfyUI'}]\n", "is also ComfyUI itself"),
        (MINIMAL + "custom_nodes: [{repo: './-node'}]\n", "no folder name"),
        (MINIMAL + "custom_nodes: [{repo: './--output-file=x'}]\n", "no folder name"),
        (MINIMAL + "cleanup: {keep: [{pattern: x}]}\n", "cleanup.keep[0].reason: is missing"),
    ],
)
def test_hostile_or_wrong_recipe_is_refused(tmp_path: Path, text: str, expected: str) -> None:
    assert any(expected in fault for fault in faults(write(tmp_path, text)))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "is empty"),
        (b"# only a comment\n", "is empty"),
        (b"a: " + b"x" * 5_000_000, "is larger than"),
        (b"\xff\xfe\x00s", "is not UTF-8"),
        (b"[" * 2000, "nested too deeply"),
    ],
)
def test_unreadable_recipe_is_refused(tmp_path: Path, content: bytes, expected: str) -> None:
    path = tmp_path / "recipe.yml"
    path.write_bytes(content)
    with pytest.raises(InputError, match=expected) as caught:
        load_recipe(path)
    assert caught.value.exit_code == 2


def test_broken_json_names_the_line(tmp_path: Path) -> None:
    assert "wan.json:2:" in faults(write(tmp_path, '{\n "a": 1,,\n}', "wan.json"))[0]


def test_local_repository_is_relative_to_the_recipe(tmp_path: Path) -> None:
    (tmp_path / "recipes").mkdir()
    path = write(tmp_path / "recipes", MINIMAL.replace("https://github.com/comfyanonymous/ComfyUI", "../app"))
    assert load_recipe(path).comfy.url == str(tmp_path / "app")


def test_timestamps_stay_text(tmp_path: Path) -> None:
    assert load_recipe(write(tmp_path, MINIMAL + "version: 2026-11-21\n")).version == "2026-11-21"


def test_unknown_recipe_name_lists_the_known_ones() -> None:
    with pytest.raises(InputError, match="quickstart"):
        find_recipe("nonsense")


def test_every_shipped_recipe_is_valid() -> None:
    for path in find_recipe("quickstart").parent.glob("*.yml"):
        load_recipe(path)


def test_schema_explains_every_field() -> None:
    def explained(node: dict[str, object]) -> None:
        for name, field in node.get("properties", {}).items():  # type: ignore[attr-defined]
            assert "description" in field or "const" in field, name
            explained(field)

    explained(schema())
    for definition in ("repository", "model"):
        explained(schema()["$defs"][definition])
