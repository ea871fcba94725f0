"""PAMI beside a plain implementation of the same partitions: one mask at a time, segmentation first, one class.

Run ``python -m benchmarks.pami [--model NAME] [--preset standard] [--device auto]``. Both give the same map (the
largest difference is printed); the aim is to be at least five times as fast. Printed as well: when the first map is
there, which is what a person waits for.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from skimage import data as photographs

from backend.contract.schemas import PictureRecord
from benchmarks.measured_model import measured_model
from models.loader import LoadedModel
from workers.engine import Engine
from workers.method import Context, Picture, Result, Stored
from workers.methods._pami_cuts import list_views
from workers.methods.pami import Pami, PamiParams, partitions
from workers.substrates import make_substrate


@dataclass
class Timed:
    """One run: its map, how long it took, and when the first map was there."""

    heat: NDArray[np.float32]
    seconds: float
    first_map: float | None
    passes: int
    segmentation: float


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default=None)
    parser.add_argument("--preset", default="standard", choices=("fast", "standard"))
    parser.add_argument("--device", default="auto")
    parser.add_argument("--no-plain", action="store_true", help="leave out the slow implementation")
    arguments = parser.parse_args()
    model = measured_model(arguments.model, device=arguments.device)
    pixels = photographs.astronaut()
    print(f"{model.card.title} on {model.device}, {torch.get_num_threads()} threads, preset {arguments.preset}")
    print(f"{'':<26} {'seconds':>8} {'first map':>10} {'passes':>7} {'passes/s':>9} {'cutting':>8}")
    cold = run_vitrine(model, pixels, arguments.preset)
    _print("PAMI, cold pool", cold)
    warm = run_vitrine(model, pixels, arguments.preset)
    _print("PAMI, again", warm)
    if not arguments.no_plain:
        plain = run_plain(model, pixels, arguments.preset)
        _print("one mask at a time", plain)
        difference = float(np.abs(plain.heat - warm.heat).max())
        print(f"speed-up {plain.seconds / warm.seconds:.1f} (cold {plain.seconds / cold.seconds:.1f}); "
              f"largest difference of the maps {difference:.1e}")  # fmt: skip


def run_vitrine(model: LoadedModel, pixels: NDArray[np.uint8], preset: str) -> Timed:
    """Runs the method as a worker would."""
    started = time.perf_counter()
    first: list[float] = []

    def partial(result: Result) -> None:
        if result.layers and not first:
            first.append(time.perf_counter() - started)

    def fetch(_key: str) -> Stored:
        raise KeyError

    engine = Engine(model, check_cancelled=lambda: None)
    record = PictureRecord(id="0" * 64, width=pixels.shape[1], height=pixels.shape[0])
    result = Pami().explain(
        Context(
            pictures=[Picture(record, pixels)],
            model=model,
            engine=engine,
            params=PamiParams.model_validate({"preset": preset}),
            target=None,
            seed=0,
            progress=lambda *_: None,
            partial=partial,
            check_cancelled=lambda: None,
            fetch=fetch,
            load_model=lambda _name: model,
        )
    )
    seconds = time.perf_counter() - started
    cutting = result.scalars["seconds_segmentation"]
    heat = result.arrays["target_map"].data.astype(np.float32)
    return Timed(heat, seconds, first[0], engine.passes, float(cutting or 0))


@torch.inference_mode()
def run_plain(model: LoadedModel, pixels: NDArray[np.uint8], preset: str) -> Timed:
    """The obvious way: cut everything, then compose and classify one picture at a time on the device."""
    started = time.perf_counter()
    prepared = model.preprocessing.prepare(pixels).pixels
    height, width = prepared.shape[1:]
    picture = (prepared * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy()
    maps = partitions(picture, preset)
    cutting = time.perf_counter() - started
    network, device = model.network, model.device
    target = int(network(model.preprocessing.normalise(prepared)[None].to(device)).argmax())
    heat, passes = torch.zeros(height, width), 1
    for at, shift in enumerate(list_views((int(height), int(width)), preset)):
        shown = torch.roll(prepared, shift, dims=(1, 2))
        hidden = make_substrate("blur", shown)
        for labels in maps[at * 20 : at * 20 + 20]:
            rolled = torch.roll(labels, shift, dims=(0, 1))
            for label in range(int(labels.max()) + 1):
                mask = (rolled == label).float()
                masked = model.preprocessing.normalise(mask * shown + (1 - mask) * hidden)
                score = torch.softmax(network(masked[None].to(device)), dim=1)[0, target]
                heat += (labels == label) * float(score)
                passes += 1
    return Timed((heat / len(maps)).numpy(), time.perf_counter() - started, None, passes, cutting)


def _print(name: str, run: Timed) -> None:
    first = "-" if run.first_map is None else f"{run.first_map:.2f}"
    rate = run.passes / run.seconds
    print(f"{name:<26} {run.seconds:>8.2f} {first:>10} {run.passes:>7} {rate:>9.1f} {run.segmentation:>8.2f}")


if __name__ == "__main__":
    main()
