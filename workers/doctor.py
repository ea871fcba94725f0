"""Looks at everything that Vitrine needs and says what to do about what is missing."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import httpx
import redis

from backend.contract.policy import read_policy
from workers.catalogue import find_methods
from workers.connection import connect, policy_fault
from workers.settings import WorkerSettings

HUB_WAIT_S = 4.0
OLDEST_PYTHON = (3, 11)
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


class Verdict(StrEnum):
    """How serious a finding is."""

    GOOD = "good"
    NOTE = "note"
    BAD = "bad"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Args:
        subject: What.
        verdict: ``bad`` stops Vitrine from working, ``note`` only limits it.
        found: What was there.
        remedy: What to do about it.
    """

    subject: str
    verdict: Verdict
    found: str
    remedy: str = ""


def examine(settings: WorkerSettings, *, own_server: Callable[[], str]) -> Iterator[Finding]:
    """Yields a finding for each thing that is needed or useful.

    Args:
        settings: Of the workers.
        own_server: Names the development Redis that would be started, or raises with words.
    """
    yield _python()
    yield from _packages()
    yield _looked_at("Device", lambda: _device(settings.device))
    yield from _redis(settings, own_server)
    yield _data_dir(settings.data_dir)
    yield _looked_at("Models", lambda: _models(settings.models_dir))
    yield _looked_at("Methods", lambda: _methods(settings.methods_dir))
    yield _looked_at("Model hub", _hub)
    yield _browser()


def _looked_at(subject: str, look: Callable[[], Finding]) -> Finding:
    """Returns the finding, also when looking itself fails: a doctor must not faint."""
    try:
        return look()
    except Exception as error:
        return Finding(subject, Verdict.BAD, f"cannot be looked at ({type(error).__name__})", str(error))


def _python() -> Finding:
    is_new = sys.version_info[:2] >= OLDEST_PYTHON
    return Finding(
        "Python",
        Verdict.GOOD if is_new else Verdict.BAD,
        platform.python_version(),
        "" if is_new else "Use Python 3.11 or later.",
    )


def _packages() -> Iterator[Finding]:
    for name in ("torch", "timm"):
        try:
            yield Finding(name, Verdict.GOOD, version(name))
        except PackageNotFoundError:
            yield Finding(name, Verdict.BAD, "not installed", "Install Vitrine with its extra: worker.")


def _device(choice: str) -> Finding:
    import torch

    if torch.cuda.is_available():
        count = torch.cuda.device_count()
        return Finding("Device", Verdict.GOOD, f"{count} x {torch.cuda.get_device_name(0)}, setting {choice}")
    if choice.startswith("cuda"):
        return Finding("Device", Verdict.BAD, "no NVIDIA GPU can be used", "Set VITRINE_DEVICE to auto or cpu.")
    return Finding(
        "Device", Verdict.NOTE, f"CPU, {torch.get_num_threads()} threads", "Runs work, only slower than on a GPU."
    )


def _redis(settings: WorkerSettings, own_server: Callable[[], str]) -> Iterator[Finding]:
    if not settings.has_own_queue_url:
        try:
            found = own_server()
        except Exception as error:
            yield Finding("Redis", Verdict.BAD, "none", str(error))
        else:
            yield Finding("Redis", Verdict.GOOD, f"`vitrine up` starts {found}")
        return
    yield _server("Queue Redis", settings.queue_redis_url, holds_queue=True)
    if settings.cache_redis_url != settings.queue_redis_url:
        yield _server("Cache Redis", settings.cache_redis_url, holds_queue=False)


def _server(subject: str, url: str, *, holds_queue: bool) -> Finding:
    try:
        with connect(url, retries=0) as server:
            release = server.info("server").get("redis_version", "unknown version")
            policy = read_policy(server) or "unknown policy"
            fault = policy_fault(server) if holds_queue else None
    except redis.RedisError as error:
        reason = type(error).__name__
        return Finding(subject, Verdict.BAD, f"cannot be reached ({reason})", "Start it, or correct its address.")
    found = f"{release}, {policy}"
    if fault is not None:
        return Finding(subject, Verdict.BAD, found, fault)
    if holds_queue and policy.startswith("volatile-"):
        return Finding(subject, Verdict.NOTE, found, "May forget how runs stand when it is full; better noeviction.")
    return Finding(subject, Verdict.GOOD, found)


def _data_dir(folder: Path) -> Finding:
    existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if existing.is_dir() and os.access(existing, os.W_OK | os.X_OK):
        return Finding("Data folder", Verdict.GOOD, str(folder))
    return Finding(
        "Data folder", Verdict.BAD, f"{folder} cannot be written", "Set VITRINE_DATA_DIR to a folder of yours."
    )


def _models(folder: Path | None) -> Finding:
    from models.catalogue import ModelCatalogue

    if folder is not None and not folder.is_dir():
        return Finding("Models", Verdict.BAD, f"{folder} is no folder", "Correct VITRINE_MODELS_DIR.")
    cards = ModelCatalogue(folder).cards()
    broken = [f"{card.name}: {card.problem.message}" for card in cards if card.problem is not None]
    found = f"{len(cards) - len(broken)} built-in and own"
    if broken:
        return Finding("Models", Verdict.NOTE, f"{found}, {len(broken)} broken", " ".join(broken))
    return Finding("Models", Verdict.GOOD, found)


def _methods(folder: Path | None) -> Finding:
    if folder is not None and not folder.is_dir():
        return Finding("Methods", Verdict.BAD, f"{folder} is no folder", "Correct VITRINE_METHODS_DIR.")
    broken: list[str] = []
    found = find_methods(folder, on_error=lambda name, error: broken.append(f"{name}: {error}"))
    listed = ", ".join(sorted(found)) or "none"
    if broken:
        return Finding("Methods", Verdict.BAD, listed, f"Cannot be used: {'; '.join(broken)}")
    return Finding("Methods", Verdict.GOOD, listed)


def _hub() -> Finding:
    from huggingface_hub import constants

    try:
        httpx.head(constants.ENDPOINT, timeout=HUB_WAIT_S)
    except httpx.HTTPError:
        return Finding(
            "Model hub",
            Verdict.NOTE,
            "cannot be reached",
            "Built-in, own and already downloaded models work; others need the hub once.",
        )
    return Finding("Model hub", Verdict.GOOD, "can be reached")


def _browser() -> Finding:
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        return Finding("Chromium", Verdict.NOTE, "not found", "Needed for the browser tests only.")
    return Finding("Chromium", Verdict.GOOD, found)
