"""The command that trains the demo captioner from nothing: ``python -m models.demo.train_captioner``."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy
import PIL
import tokenizers
import torch
import transformers
import typer
from rich.console import Console
from transformers import VisionEncoderDecoderModel

from models.demo.captioner_data import captioned_set, default_cache
from models.demo.captioner_measure import exact_share, measured
from models.demo.captioner_model import NAME, save_captioner
from models.demo.captioner_training import CaptionerRecipe, train
from models.demo.dataset import CHECK_FROM, FRESH_FROM, TRAIN_FROM
from models.demo.weights import WEIGHTS

_CHECK_PICTURES = 250
_FRESH_PICTURES = 1_000
_LARGE_PICTURES = 96


def train_demo_captioner(
    cache: Annotated[Path | None, typer.Option(help="Folder for drawn pictures and the checkpoint.")] = None,
    out: Annotated[Path, typer.Option(help="Folder that gets birds-captioner/ with everything in it.")] = WEIGHTS,
    threads: Annotated[int, typer.Option(min=1, help="Threads for training; 1 repeats bit for bit.")] = 1,
) -> None:
    """Draw the pictures, train the captioner, measure it on fresh pictures, store it; Ctrl-C stops, a rerun goes on."""
    console = Console(stderr=True)
    recipe = CaptionerRecipe()
    folder = cache or default_cache()
    torch.set_num_threads(threads)
    transformers.logging.set_verbosity_error()
    start = time.perf_counter()
    training, check, fresh = (
        captioned_set(first, count, mixed=what == "training", cache=folder, on_progress=_progress(console, what))
        for what, first, count in (
            ("training", TRAIN_FROM, recipe.pictures),
            ("check", CHECK_FROM, _CHECK_PICTURES),
            ("fresh", FRESH_FROM, _FRESH_PICTURES),
        )
    )
    drawn = time.perf_counter()

    def report(steps: int, words: float, cells: float, network: VisionEncoderDecoderModel) -> None:
        seconds = time.perf_counter() - drawn
        console.print(
            f"step {steps} of {recipe.steps}: caption loss {words:.4f}, hints {cells:.3f}, "
            f"exact {exact_share(network, check):.3f} of {len(check)} check pictures, {seconds:.0f} s"
        )

    network = train(recipe, training, checkpoint=folder / f"{NAME}.checkpoint", on_report=report)
    trained = time.perf_counter()
    metrics = measured(network, fresh, large=_LARGE_PICTURES)
    metrics["training"] = _training(recipe, threads, drawn - start, trained - drawn)
    target = save_captioner(network, metrics, folder=out)
    console.print(f"{NAME}: {metrics['exact']:.4f} of {len(fresh)} fresh captions exactly right; written to {target}")


def _training(recipe: CaptionerRecipe, threads: int, drawing_s: float, training_s: float) -> dict[str, object]:
    return {
        "pictures": recipe.pictures,
        "steps": recipe.steps,
        "batch": recipe.batch,
        "hidden": recipe.hidden,
        "hints": recipe.hints,
        "seed": recipe.seed,
        "threads": threads,
        "seconds_drawing": round(drawing_s),
        "seconds_training": round(training_s),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "tokenizers": tokenizers.__version__,
            "numpy": numpy.__version__,
            "pillow": PIL.__version__,
        },
    }


def _progress(console: Console, what: str) -> Callable[[int, int], None]:
    def report(done: int, total: int) -> None:
        if done == total or done % 1000 == 0:
            console.print(f"drawing {what} pictures: {done} of {total}")

    return report


if __name__ == "__main__":
    typer.run(train_demo_captioner)
