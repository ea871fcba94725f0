"""What composing, counting and cancelling cost: masked passes through the engine against the bare network.

Run ``python -m benchmarks.engine [--model NAME] [--device auto]``. The bare network runs on a batch that is already
there; the engine draws every picture from labels first. The aim is a ratio of at least 0.9 at the engine's own batch.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch

from benchmarks.measured_model import measured_model
from models.loader import LoadedModel
from workers.engine import Engine
from workers.masks import LabelMasks
from workers.requests import Request

BATCHES = (16, 64)
PASSES = 128
ROUNDS = 3
REGIONS = 24


def main() -> None:
    """Prints a table of batch sizes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default=None, help="a model's name; default: a small network with random weights")
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()
    model = measured_model(arguments.model, device=arguments.device)
    own = Engine(model, check_cancelled=lambda: None).batch_size
    print(f"{model.card.title} on {model.device}, {torch.get_num_threads()} threads; the engine would choose {own}")
    print(f"{'batch':>6} {'bare, passes/s':>16} {'engine, passes/s':>17} {'ratio':>7}")
    for batch in sorted({*BATCHES, own}):
        bare, masked = compare(model, batch)
        print(f"{batch:>6} {bare:>16.1f} {masked:>17.1f} {masked / bare:>7.2f}")


def compare(model: LoadedModel, batch: int) -> tuple[float, float]:
    """Returns passes per second of the bare network and of the engine; median of alternating rounds."""
    runs = (_bare(model, batch), _masked(model, batch))
    rates: tuple[list[float], list[float]] = ([], [])
    for round_number in range(ROUNDS + 1):
        for run, found in zip(runs, rates, strict=True):
            started = time.perf_counter()
            passes = run()
            if model.device.type == "cuda":
                torch.cuda.synchronize()
            if round_number:  # the first round warms up
                found.append(passes / (time.perf_counter() - started))
    return statistics.median(rates[0]), statistics.median(rates[1])


def _bare(model: LoadedModel, batch: int) -> Callable[[], int]:
    height, width = model.preprocessing.input_size
    pictures = torch.rand(batch, 3, height, width, device=model.device).contiguous(memory_format=torch.channels_last)
    model.network.to(memory_format=torch.channels_last)

    def run() -> int:
        done = 0
        with torch.inference_mode():
            while done < PASSES:
                model.network(pictures)
                done += batch
        return done

    return run


def _masked(model: LoadedModel, batch: int) -> Callable[[], int]:
    engine = Engine(model, check_cancelled=lambda: None, batch_size=batch)
    size = model.preprocessing.input_size
    scene = engine.scene(torch.rand(3, *size), torch.rand(3, *size))
    labels = torch.randint(0, REGIONS, size, dtype=torch.int16, device=model.device)

    def run() -> int:
        before = engine.passes
        count = -(-PASSES // batch) * batch
        full, rest = divmod(count, REGIONS)
        sizes = [REGIONS] * full + ([rest] if rest else [])
        requests = [Request(scene, LabelMasks(labels, size)) for size in sizes]
        for _answer in engine.masked_scores(requests, score=lambda logits: torch.softmax(logits, dim=1)):
            pass
        return engine.passes - before

    return run


if __name__ == "__main__":
    main()
