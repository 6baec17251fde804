"""ComfyUI's log: what loaded, what did not, and why. Hostile: half a log, CRLF, names with spaces, no reason given."""

from __future__ import annotations

from packager.probes.app_log import parse
from packager.proof.needs import system_needs

SOUND = """\
Import times for custom nodes:
   0.0 seconds: /b/ComfyUI/custom_nodes/websocket_image_save.py
   1.3 seconds: /b/proof \u00e9 space/ComfyUI/custom_nodes/rgthree comfy

"""

XCB = """\
Traceback (most recent call last):
  File "/b/ComfyUI/nodes.py", line 2133, in load_custom_node
    module_spec.loader.exec_module(module)
  File "/b/ComfyUI/custom_nodes/VHS/__init__.py", line 4, in <module>
    import cv2
ImportError: {reason}

Cannot import /b/ComfyUI/custom_nodes/VHS module for custom nodes: {reason}

Import times for custom nodes:
   0.1 seconds (IMPORT FAILED): /b/ComfyUI/custom_nodes/VHS
   0.2 seconds: /b/ComfyUI/custom_nodes/KJNodes
""".format(reason="libxcb.so.1: cannot open shared object file: No such file or directory")


def test_loaded_nodes_with_spaces_and_files() -> None:
    log = parse(SOUND)
    assert [item.name for item in log.imports] == ["websocket_image_save.py", "rgthree comfy"]
    assert [item.seconds for item in log.imports] == [0.0, 1.3]
    assert log.failures == ()


def test_failed_node_has_its_exception_and_traceback() -> None:
    (failure,) = parse(XCB).failures
    assert failure.name == "VHS"
    assert failure.reason.startswith("ImportError: libxcb.so.1: cannot open")
    assert "import cv2" in failure.traceback
    assert "opencv-python-headless" in (system_needs().remedy(failure.traceback) or "")
    assert [item.failed for item in parse(XCB).imports] == [True, False]


def test_windows_line_ends_and_paths() -> None:
    (failure,) = parse(XCB.replace("/b/ComfyUI/custom_nodes/", "C:\\b\\custom_nodes\\").replace("\n", "\r\n")).failures
    assert failure.name == "VHS"
    assert "ImportError" in failure.reason


def test_chain_keeps_the_first_cause() -> None:
    log = parse(
        "Traceback (most recent call last):\n"
        '  File "git/__init__.py", line 296, in <module>\n'
        "ImportError: Bad git executable.\n"
        "\n"
        "The above exception was the direct cause of the following exception:\n"
        "\n"
        "Traceback (most recent call last):\n"
        '  File "manager/__init__.py", line 1, in <module>\n'
        "ImportError: Failed to initialize\n"
        "\n"
        "Cannot import /n/manager module for custom nodes: Failed to initialize\n"
    )
    assert log.failures[0].reason == "ImportError: Failed to initialize"
    assert "GIT_PYTHON_REFRESH" in (system_needs().remedy(log.failures[0].traceback) or "")
    assert len(log.tracebacks) == 1


def test_built_in_node_is_told_once_by_its_name() -> None:
    log = parse(
        "Traceback (most recent call last):\n"
        '  File "/b/comfy_extras/nodes_audio.py", line 3, in <module>\n'
        "ModuleNotFoundError: No module named 'torchaudio'\n"
        "\n"
        "Cannot import /b/comfy_extras/nodes_audio.py module for custom nodes: No module named 'torchaudio'\n"
        "WARNING: some comfy_extras/ nodes did not import correctly.\n"
        "\n"
        "IMPORT FAILED: nodes_audio.py\n"
    )
    assert [(failure.name, failure.reason) for failure in log.failures] == [
        ("nodes_audio.py", "ModuleNotFoundError: No module named 'torchaudio'")
    ]


def test_failed_prestartup_script_is_a_failure_although_the_node_loads() -> None:
    log = parse(
        "Failed to execute startup-script: /n/manager/prestartup_script.py / no git\n"
        "\nPrestartup times for custom nodes:\n"
        "   0.3 seconds (PRESTARTUP FAILED): /n/manager\n"
        "\nImport times for custom nodes:\n"
        "   0.1 seconds: /n/manager\n"
    )
    assert [(failure.name, failure.reason) for failure in log.failures] == [("manager", "no git")]
    assert [item.failed for item in log.imports] == [False]


def test_skipped_node_has_the_reason_of_its_own_line() -> None:
    log = parse(
        'Traceback (most recent call last):\n  File "x"\nValueError: of another node\n'
        "Skip /n/empty module for custom nodes due to the lack of NODE_CLASS_MAPPINGS or NODES_LIST (need one).\n"
        "   0.0 seconds (IMPORT FAILED): /n/empty\n"
    )
    assert log.failures[0].reason.startswith("the lack of NODE_CLASS_MAPPINGS")
    assert log.failures[0].traceback == ""


def test_failed_entry_point() -> None:
    log = parse(
        "Error while calling comfy_entrypoint in /n/v3: boom\n   0.0 seconds (IMPORT FAILED): /n/v3\n"
        "comfy_entrypoint in /n/v4 is not callable, skipping.\n   0.0 seconds (IMPORT FAILED): /n/v4\n"
    )
    assert [failure.reason for failure in log.failures] == ["boom", "is not callable, skipping."]


def test_half_a_log() -> None:
    log = parse(XCB[: XCB.index("ImportError")])
    assert log.failures == ()
    assert len(log.tracebacks) == 1
    assert parse("   0.1 seconds (IMPORT FAILED): /n/x").failures[0].reason == "the log gives no reason"
    assert parse("") == parse("\n\n")
