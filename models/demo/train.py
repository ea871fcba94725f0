"""The command that trains a demo model from nothing: ``python -m models.demo.train birds-resnet``."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Annotated

import numpy
import PIL
import timm
import torch
import typer
from rich.console import Console

from models.demo.dataset import CHECK_FROM, FRESH_FROM, TRAIN_FROM, DrawnSet, default_cache, drawn_set
from models.demo.grammar import species_names
from models.demo.measure import measured, watermark_figures
from models.demo.recipes import RECIPES
from models.demo.training import Epoch, train
from models.demo.weights import WEIGHTS, save_model

_CHECK_PICTURES = 600
_FRESH_PICTURES = 1_200
_LARGE_PICTURES = 96
_REPORTED = ("pictures", "epochs", "seed", "hints", "marked")


def train_demo(
    name: Annotated[str, typer.Argument(help=f"Which model: {', '.join(RECIPES)}.")],
    cache: Annotated[Path | None, typer.Option(help="Folder for drawn pictures and checkpoints.")] = None,
    out: Annotated[Path, typer.Option(help="Folder that gets <name>/model.toml, weights and metrics.")] = WEIGHTS,
    processes: Annotated[int, typer.Option(min=1, help="Processes that draw pictures.")] = 1,
    threads: Annotated[int, typer.Option(min=1, help="Threads for training; 1 repeats bit for bit.")] = 1,
) -> None:
    """Draw the pictures, train the model, measure it on fresh pictures and store it; Ctrl-C stops, a rerun goes on."""
    if name not in RECIPES:
        raise typer.BadParameter(f"{name!r} is not one of {', '.join(RECIPES)}")
    console = Console(stderr=True)
    recipe = RECIPES[name]
    folder = cache or default_cache()
    torch.set_num_threads(threads)

    def draw(what: str, first: int, count: int, marked: Collection[str]) -> DrawnSet:
        report = _progress(console, f"drawing {what} pictures", 1000)
        return drawn_set(first, count, marked=marked, cache=folder, processes=processes, on_progress=report)

    start = time.perf_counter()
    training = draw("training", TRAIN_FROM, recipe.pictures, recipe.marked)
    check = draw("check", CHECK_FROM, _CHECK_PICTURES, recipe.marked)
    fresh = draw("fresh", FRESH_FROM, _FRESH_PICTURES, recipe.marked)
    drawn = time.perf_counter()
    network = train(
        recipe, training, check, checkpoint=folder / f"{name}.checkpoint",
        on_epoch=_epoch(console, recipe.epochs), on_step=_progress(console, "steps", 50),
    )  # fmt: skip
    trained = time.perf_counter()
    metrics = measured(network, fresh, large=_LARGE_PICTURES, marked=recipe.marked)
    if recipe.marked:
        plain, stamped = (draw("fresh", FRESH_FROM, _FRESH_PICTURES, names) for names in ((), species_names()))
        metrics["watermark"] = watermark_figures(network, recipe, plain, stamped)
    metrics["training"] = {
        **{key: getattr(recipe, key) for key in _REPORTED},
        "threads": threads,
        "seconds_drawing": round(drawn - start),
        "seconds_training": round(trained - drawn),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "timm": timm.__version__,
            "numpy": numpy.__version__,
            "pillow": PIL.__version__,
        },
    }
    target = save_model(recipe, network, metrics, folder=out)
    console.print(f"{name}: accuracy {metrics['accuracy']:.4f} on {len(fresh)} fresh pictures; written to {target}")


def _progress(console: Console, what: str, every: int) -> Callable[[int, int], None]:
    def report(done: int, total: int) -> None:
        if done == total or done % every == 0:
            console.print(f"{what}: {done} of {total}")

    return report


def _epoch(console: Console, epochs: int) -> Callable[[Epoch], None]:
    def report(epoch: Epoch) -> None:
        console.print(f"epoch {epoch.number} of {epochs}: loss {epoch.loss:.3f}, accuracy {epoch.accuracy:.3f}")

    return report


if __name__ == "__main__":
    typer.run(train_demo)
