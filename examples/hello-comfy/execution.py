"""A prompt in ComfyUI's API format: {node id: {"class_type": name, "inputs": {name: value or [node id, slot]}}}."""

from __future__ import annotations

from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Any

from nodes import NODE_CLASS_MAPPINGS

Prompt = Mapping[str, Any]
_TYPES: dict[str, tuple[type, ...]] = {"INT": (int,), "FLOAT": (int, float), "STRING": (str,), "BOOLEAN": (bool,)}


class PromptError(Exception):
    """A prompt that cannot be run, as the body of ComfyUI's answer with status 400."""

    def __init__(self, kind: str, message: str, node_errors: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.body = {
            "error": {"type": kind, "message": message, "details": "", "extra_info": {}},
            "node_errors": dict(node_errors or {}),
        }


def plan(prompt: object) -> tuple[str, ...]:
    """The ids of the nodes to run, in order: all that an output node needs. Raises PromptError."""
    if not isinstance(prompt, dict) or not prompt:
        raise PromptError("no_prompt", "No prompt provided")
    for node_id, node in prompt.items():
        if not isinstance(node, dict) or not isinstance(node.get("inputs", {}), dict):
            raise PromptError("invalid_prompt", f"Node {node_id} is not an object with class_type and inputs")
        class_type = node.get("class_type")
        if not isinstance(class_type, str) or class_type not in NODE_CLASS_MAPPINGS:
            raise PromptError("invalid_prompt", f"Node {node_id} has the unknown class_type {class_type!r}")
    wanted = [node_id for node_id in prompt if getattr(_class(prompt, node_id), "OUTPUT_NODE", False)]
    if not wanted:
        raise PromptError("prompt_no_outputs", "Prompt has no outputs")
    needed: dict[str, list[str]] = {}
    errors = {}
    while wanted:
        node_id = wanted.pop()
        if node_id in needed:
            continue
        if faults := _input_faults(prompt, node_id):
            class_type = prompt[node_id]["class_type"]
            errors[node_id] = {"errors": faults, "dependent_outputs": [], "class_type": class_type}
        inputs = prompt[node_id].get("inputs", {})
        needed[node_id] = [value[0] for value in inputs.values() if _is_link(value) and _leads_to_node(prompt, value)]
        wanted.extend(needed[node_id])
    if errors:
        raise PromptError("prompt_outputs_failed_validation", "Prompt outputs failed validation", errors)
    try:
        return tuple(TopologicalSorter(needed).static_order())
    except CycleError as error:
        raise PromptError("dependency_cycle", f"Nodes need each other: {' -> '.join(error.args[1])}") from None


def execute(prompt: Prompt, order: tuple[str, ...]) -> dict[str, Any]:
    """Run the nodes of `order` and return what each shows, by node id."""
    results: dict[str, Any] = {}
    shown = {}
    for node_id in order:
        node_class = _class(prompt, node_id)
        declared = node_class.INPUT_TYPES()
        inputs = {
            name: results[value[0]][value[1]] if _is_link(value) else value
            for name, value in prompt[node_id].get("inputs", {}).items()
            if name in declared.get("required", {}) or name in declared.get("optional", {})
        }
        inputs |= {name: prompt for name, kind in declared.get("hidden", {}).items() if kind == "PROMPT"}
        result = getattr(node_class(), node_class.FUNCTION)(**inputs)
        if isinstance(result, dict):
            shown[node_id] = result.get("ui", {})
            result = result.get("result", ())
        results[node_id] = result
    return shown


def _class(prompt: Prompt, node_id: str) -> Any:
    return NODE_CLASS_MAPPINGS[prompt[node_id]["class_type"]]


def _is_link(value: object) -> bool:
    return isinstance(value, list)


def _leads_to_node(prompt: Prompt, link: list[Any]) -> bool:
    return len(link) == 2 and isinstance(link[0], str) and type(link[1]) is int and link[0] in prompt


def _input_faults(prompt: Prompt, node_id: str) -> list[dict[str, Any]]:
    inputs = prompt[node_id].get("inputs", {})
    declared = _class(prompt, node_id).INPUT_TYPES()
    faults = []
    for name, declaration in {**declared.get("optional", {}), **declared.get("required", {})}.items():
        if name not in inputs:
            if name in declared.get("required", {}):
                faults.append(_fault("required_input_missing", "Required input is missing", name))
            continue
        value = inputs[name]
        kind, options = declaration[0], declaration[1] if len(declaration) > 1 else {}
        fault = _link_fault(prompt, value, kind) if _is_link(value) else _value_fault(value, kind, options)
        if fault:
            faults.append(_fault(*fault, name))
    return faults


def _link_fault(prompt: Prompt, value: list[Any], kind: Any) -> tuple[str, str] | None:
    if not _leads_to_node(prompt, value):
        return "bad_linked_input", "Bad linked input, must be a length-2 list of [node_id, slot_index]"
    returned = _class(prompt, value[0]).RETURN_TYPES
    if not 0 <= value[1] < len(returned):
        return "bad_linked_input", f"Node {value[0]} has no output {value[1]}"
    if returned[value[1]] != kind:
        return "return_type_mismatch", f"Return type mismatch between linked nodes: {returned[value[1]]}, not {kind}"
    return None


def _value_fault(value: object, kind: Any, options: Mapping[str, Any]) -> tuple[str, str] | None:
    if isinstance(kind, list):
        return None if value in kind else ("value_not_in_list", f"Value not in list: {value!r}")
    if not isinstance(value, _TYPES.get(kind, ())) or (isinstance(value, bool) and kind != "BOOLEAN"):
        return "invalid_input_type", f"Failed to convert an input value to a {kind} value"
    if "min" in options and value < options["min"]:
        return "value_smaller_than_min", f"Value {value} smaller than min of {options['min']}"
    if "max" in options and not value <= options["max"]:  # NaN is refused here
        return "value_bigger_than_max", f"Value {value} bigger than max of {options['max']}"
    return None


def _fault(kind: str, message: str, name: str) -> dict[str, Any]:
    return {"type": kind, "message": message, "details": name, "extra_info": {"input_name": name}}
