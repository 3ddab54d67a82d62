"""Devices by the names that torch gives them."""

from __future__ import annotations

import warnings

from .. import _sememe
from ..codec import Device


def device(name: object) -> Device:
    """`cuda`, `mps` and others are a GPU if there is one; the CPU gives the same codes."""
    text = "cpu" if name is None else str(name)
    if text in ("cpu", "auto"):
        return "auto" if text == "auto" else "cpu"
    if _sememe.device_info("auto")["kind"] != "cpu":
        return "gpu"
    warnings.warn(f"there is no GPU for device={text!r}; the CPU is used, with the same codes", RuntimeWarning, stacklevel=3)
    return "cpu"
