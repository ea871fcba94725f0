"""Measures what a run cost: peak memory of the device, and names what it ran on."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

_NAMED = ("vitrine", "torch", "torchvision", "timm", "numpy")
_CLEAR = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")


def library_versions() -> dict[str, str]:
    """Returns the versions that a result depends on."""
    versions = {"python": platform.python_version()}
    for name in _NAMED:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions


def describe_device(device: torch.device) -> str:
    """Returns the device in words, such as ``cpu`` or ``cuda (NVIDIA A100)``."""
    if device.type == "cuda":
        return f"cuda ({torch.cuda.get_device_name(device)})"
    return device.type


def reset_peak(device: torch.device) -> None:
    """Begins a new measurement of peak memory."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    try:
        _CLEAR.write_text("5")
    except OSError:
        return


def peak_bytes(device: torch.device) -> int | None:
    """Returns the peak since :func:`reset_peak`: the GPU's memory, or the process's where there is no GPU.

    ``None`` where the system does not tell.
    """
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    try:
        lines = _STATUS.read_text().splitlines()
    except OSError:
        return None
    peaks = [int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")]
    return peaks[0] if peaks else None
