"""Relocation: what names the folder it was built in is made to find its place by itself, and what is left is found."""

from packager.relocation.apply import apply_relocation
from packager.relocation.leaks import Leak, scan_leaks
from packager.relocation.plan import plan_relocation

__all__ = ["Leak", "apply_relocation", "plan_relocation", "scan_leaks"]
