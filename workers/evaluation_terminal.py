"""Measures a finished explainer again, for the command line: on fresh pictures, or on classes that it never saw."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from backend.contract.explainers import ExplainerRecord, ExplainerShelf
from backend.contract.problems import ProblemCode, ProblemError
from backend.contract.settings import read_settings
from models.catalogue import ModelCatalogue
from models.loader import ModelLoader
from models.training.job import Examination
from models.training.kinds import find_kind, find_kinds
from models.training.sources import BIRDS, open_data
from workers.settings import WorkerSettings

screen = Console()


def evaluate(
    kind: Annotated[str, typer.Argument(help="What was trained.")],
    explainer: Annotated[str, typer.Option(help="Id of the explainer.")],
    data: Annotated[str, typer.Option(help="Folder with one sub-folder for each class, or birds.")] = BIRDS,
    unseen: Annotated[str | None, typer.Option(help="u1 or u2: the pictures' classes are new to it.")] = None,
    allow_seen: Annotated[bool, typer.Option("--allow-seen", help="Known classes may be among them.")] = False,
    class_map: Annotated[Path | None, typer.Option(help="JSON: the data's class by the model's class.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:<number>.")] = None,
) -> None:
    """Measures a finished explainer: the same answer as its model, the same place, each beside its floors.

    With --unseen on classes that it never saw (u1: nothing is trained; u2: new class weights alone).
    """
    settings = read_settings(WorkerSettings, **({} if device is None else {"device": device}))
    chosen = find_kind(kind, find_kinds(settings.methods_dir))
    if chosen.evaluate is None:
        raise ProblemError(ProblemCode.NOT_SUPPORTED, f"{chosen.title} cannot be measured by itself.")
    record = _find(ExplainerShelf(settings.explainers_folder), chosen.name, explainer)
    loader = ModelLoader(
        ModelCatalogue(settings.models_dir), device=settings.device, budget_bytes=settings.model_budget_bytes
    )
    question = Examination(
        record=record,
        base=loader.load(record.manifest.base.name),
        source=open_data(data),
        unseen=unseen,
        allow_seen=allow_seen,
        class_map=_read_map(class_map),
    )
    figures = chosen.evaluate(question)
    table = Table("Measure", "Value", title=record.manifest.title or record.id)
    for name, value in figures.items():
        if isinstance(value, int | float | str) or value is None:
            table.add_row(name, f"{value:.4f}" if isinstance(value, float) else str(value))
    screen.print(table)


def _find(shelf: ExplainerShelf, method: str, identifier: str) -> ExplainerRecord:
    found = [record for record in shelf.list(method) if record.id == identifier]
    if not found:
        known = ", ".join(record.id for record in shelf.list(method)) or "none"
        raise ProblemError(ProblemCode.NOT_FOUND, f"There is no explainer {identifier!r}. There are: {known}.")
    damage = found[0].damage()
    if damage:
        raise ProblemError(ProblemCode.MODEL_BROKEN, f"The explainer {identifier} cannot be used: {damage}.")
    return found[0]


def _read_map(path: Path | None) -> dict[str, str]:
    if path is None:
        return {}
    try:
        read: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ProblemError(ProblemCode.PARAMS_INVALID, "The class map is no readable JSON file.") from error
    if not isinstance(read, dict) or not all(isinstance(value, str) for value in read.values()):
        raise ProblemError(
            ProblemCode.PARAMS_INVALID, "The class map names one class of the data by each of the model's."
        )
    return {str(name): value for name, value in read.items()}


def run(arguments: list[str]) -> None:
    """Reads the rest of a command line and does what it asks."""
    app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    app.command()(evaluate)
    app(arguments, prog_name="vitrine evaluate", standalone_mode=False)
