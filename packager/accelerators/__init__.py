"""Builds of torch: which there are, which one this machine can run, which is wanted, and which was installed."""

from packager.accelerators.choice import FAMILY, TorchChoice, TorchWish, choose_torch
from packager.accelerators.detect import AUTO, Detected, detect
from packager.accelerators.table import (
    Accelerator,
    accelerators,
    check_accelerator,
    find_accelerator,
    torch_label,
    wheel_tag,
)
from packager.accelerators.variant import TorchBuild, assert_variant, read_builds

__all__ = [
    "AUTO",
    "FAMILY",
    "Accelerator",
    "Detected",
    "TorchBuild",
    "TorchChoice",
    "TorchWish",
    "accelerators",
    "assert_variant",
    "check_accelerator",
    "choose_torch",
    "detect",
    "find_accelerator",
    "read_builds",
    "torch_label",
    "wheel_tag",
]
