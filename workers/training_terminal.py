"""Trains in this process, for the command line: the same training without queue, browser or Redis."""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from backend.contract.datasets import is_world
from backend.contract.explainers import ExplainerRecord, ExplainerShelf
from backend.contract.keys import canonical_json
from backend.contract.problems import ProblemCode, ProblemError
from backend.contract.trainings import TrainingSpec
from models.catalogue import ModelCatalogue
from models.loader import ModelLoader
from models.training.job import RESERVED, STOP, TrainingKind, TrainingStopped
from models.training.kinds import choose_preset, find_kind, find_kinds, make_recipe
from workers.settings import WorkerSettings
from workers.training import TrainingHouse

STOPPED_STATUS = 130
"""What a shell expects of a program that was ended by Ctrl-C."""
CURVES_SHOWN = 8


@dataclass(frozen=True)
class Order:
    """What was asked for on the command line.

    Args:
        kind: Kind of training; a hyphen may stand for an underscore.
        model: Name of the base model.
        data: Folder of pictures, or ``birds`` / ``birds:<number>``.
        preset: Named settings; ``None``: the kind's own choice for this machine.
        given: Settings as ``name=value``.
        out: Shelf of explainers; ``None``: that of the settings.
        title: Of the explainer.
        restart: Whether a checkpoint is thrown away.
    """

    kind: str
    model: str
    data: str
    preset: str | None = None
    given: Sequence[str] = ()
    out: Path | None = None
    title: str = ""
    restart: bool = False


def train_here(order: Order, settings: WorkerSettings, screen: Console) -> int:
    """Trains with a bar and the curves' newest numbers; returns the exit status.

    Ctrl-C stops at the next step with the checkpoint kept; the same command goes on from there.

    Raises:
        ProblemError: With words for people.
    """
    loader = ModelLoader(
        ModelCatalogue(settings.models_dir), device=settings.device, budget_bytes=settings.model_budget_bytes
    )
    kinds = find_kinds(settings.methods_dir)
    shelf = ExplainerShelf(order.out or settings.explainers_folder)
    house = TrainingHouse(loader, kinds, shelf, settings.data_dir)
    kind = find_kind(order.kind, kinds)
    spec, training_id = _make_spec(order, kind, loader)
    if order.restart:
        shutil.rmtree(house.folder(training_id), ignore_errors=True)
    source = None if is_world(order.data) else Path(order.data)
    display = _Display(screen, f"{kind.title} · {order.model}")
    with _stopping(display) as cancelled, display.shown():
        try:
            record = house.perform(training_id, spec, emit=display.tell, cancelled=cancelled, source=source)
        except TrainingStopped:
            display.end()
            screen.print("Stopped. The checkpoint is kept; the same command goes on from it.")
            return STOPPED_STATUS
        display.end()
    _show_result(screen, record)
    return 0


def read_given(given: Sequence[str]) -> dict[str, Any]:
    """Returns settings by name from ``name=value``; a value that is no JSON is taken as text.

    Raises:
        ProblemError: ``params_invalid``.
    """
    found: dict[str, Any] = {}
    for text in given:
        name, sign, value = text.partition("=")
        if not sign or not name:
            raise ProblemError(ProblemCode.PARAMS_INVALID, f"{text!r} is no setting; write name=value.")
        try:
            found[name] = json.loads(value)
        except json.JSONDecodeError:
            found[name] = value
    return found


def _make_spec(order: Order, kind: TrainingKind, loader: ModelLoader) -> tuple[TrainingSpec, str]:
    """Returns what is trained and an id that the same command finds again."""
    given = read_given(order.given)
    preset = choose_preset(kind, order.preset, has_gpu=loader.device.type == "cuda")
    recipe = make_recipe(kind, preset, given).model_dump(mode="json")
    weights = loader.describe(order.model).weights
    spec = TrainingSpec(
        kind=kind.name,
        model=order.model,
        weights=weights,
        data=order.data if is_world(order.data) else Path(order.data).name or "pictures",
        preset=preset,
        recipe=given,
        title=order.title,
    )
    place = order.data if is_world(order.data) else str(Path(order.data).resolve())
    identity = canonical_json([kind.name, order.model, weights, place, recipe, kind.pictures.get(preset)])
    return spec, f"{kind.name.replace('_', '-')}-{hashlib.sha256(identity.encode()).hexdigest()[:16]}"


@contextmanager
def _stopping(display: _Display) -> Iterator[Callable[[], str | None]]:
    """Makes the first Ctrl-C a wish to stop and the second one the end."""
    wish: list[str] = []

    def ask(_signum: int, _frame: FrameType | None) -> None:
        if wish:
            raise KeyboardInterrupt
        wish.append(STOP)
        display.note = "stopping at the next step; the checkpoint is kept (Ctrl-C again: at once)"

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: wish[0] if wish else None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@dataclass
class _Display:
    """A bar, the numbers of the moment, and one line for each point of the curves."""

    screen: Console
    title: str
    note: str = ""
    _values: dict[str, float] = field(default_factory=dict)
    _bar: Progress = field(init=False)
    _live: Live = field(init=False)

    def __post_init__(self) -> None:
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.completed:,.0f}/{task.total:,.0f}  {task.fields[left]}", markup=False),
            TimeElapsedColumn(),
            console=self.screen,
        )
        self._task = self._bar.add_task(self.title, total=1, left="")
        self._live = Live(get_renderable=self._render, console=self.screen, refresh_per_second=4, transient=True)

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Shows the bar inside the block."""
        with self._live:
            yield

    def end(self) -> None:
        """Takes the bar away."""
        self._live.stop()

    def tell(self, event: dict[str, Any]) -> None:
        """Shows what a training told."""
        numbers = {
            name: float(value)
            for name, value in event.items()
            if name not in RESERVED and isinstance(value, int | float) and not isinstance(value, bool)
        }
        self._values |= numbers
        if event.get("message"):
            self.screen.print(escape(str(event["message"])), soft_wrap=True)
        if event.get("point") is not None and numbers:
            self.screen.print(f"[dim]epoch {event['point']:g}[/]  {_words(numbers)}", highlight=False, soft_wrap=True)
        if "done" in event or "stage" in event:
            self._advance(event)

    def _advance(self, event: dict[str, Any]) -> None:
        stage = str(event.get("stage") or "")
        epochs = f" {event['epoch']}/{event['epochs']}" if event.get("epochs") and event.get("epoch") else ""
        left = event.get("seconds_left")
        self._bar.update(
            self._task,
            description=" · ".join(filter(None, (self.title, f"{stage}{epochs}"))),
            completed=event.get("done"),
            total=event.get("total"),
            left=f"{_duration(left)} left" if isinstance(left, int | float) else "",
        )

    def _render(self) -> Group:
        lines = [self._bar.get_renderable(), Text.from_markup(f"[dim]{_words(self._values)}[/]")]
        return Group(*lines, Text(self.note)) if self.note else Group(*lines)


def _words(numbers: dict[str, float]) -> str:
    shown = list(numbers.items())[:CURVES_SHOWN]
    return "  ".join(f"{escape(name.replace('_', ' '))} {value:.4g}" for name, value in shown)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _show_result(screen: Console, record: ExplainerRecord) -> None:
    card = record.card()
    table = Table("Measured", "Value", title=escape(card.title), title_justify="left")
    for name, value in card.metrics.items():
        shown = f"{value:.4g}" if isinstance(value, float) else str(value)
        table.add_row(escape(name.replace("_", " ")), escape(shown))
    if card.metrics:
        screen.print(table)
    screen.print(f"Explainer [bold]{escape(record.id)}[/] for {escape(card.base)}", highlight=False)
    screen.print(escape(str(record.folder)), style="dim", soft_wrap=True)
