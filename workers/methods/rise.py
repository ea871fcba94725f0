"""RISE: thousands of soft random masks; a place is worth the mean score of the pictures in which it was seen."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as functional
from pydantic import Field
from torch import Tensor

from backend.contract.results import ResultKind, Texts
from backend.contract.schemas import ModelCard, Preset
from workers.masks import Scene
from workers.method import Context, Method, Params, Result
from workers.methods._reference_map import CHECK_PASSES, Asked, Drawn, ask, map_result, no_classes, partial_result
from workers.requests import Request
from workers.substrates import make_substrate

CHUNK = 64
COMPARED_EVERY = 256
STABLE_CORRELATION = 0.99
STABLE_TIMES = 2
FLAT = 1e-12
PARTIAL_INTERVAL_S = 0.5
COARSE = 28
"""Maps are compared on at most this grid: neighbouring pixels of soft masks say the same."""


class RiseParams(Params):
    """How many masks, how coarse, how much they show."""

    masks: int = Field(default=2000, ge=64, le=20_000, title="Masks", description="At most this many masked pictures.")
    cells: int = Field(default=7, ge=2, le=32, title="Cells", description="Cells of a mask along each side.")
    keep: float = Field(
        default=0.5, ge=0.05, le=0.95, title="Share shown", description="Chance of each cell to be shown."
    )
    substrate: Literal["dataset_mean", "black", "blur", "mean", "white"] = Field(
        default="dataset_mean", title="Hidden shows", description="What is seen where a mask hides the picture."
    )
    classes: int = Field(default=3, ge=1, le=10, title="Classes", description="How many of the best classes get a map.")
    early_stop: bool = Field(
        default=True, title="Stop when stable", description="Ends when more masks no longer change the map."
    )


class Rise(Method):
    """Shows the model thousands of half hidden pictures and asks which places were seen whenever it did well.

    Each mask is a coarse grid of random cells, enlarged softly and shifted by a random part of a cell. A place's value
    is the mean probability over the pictures in which it was seen, weighted by how visible it was. All classes come
    from the same passes.

    Values stay close together, because half of every picture is hidden: read the order, not the height. Small things
    between cells are washed out.
    """

    name = "rise"
    title = "RISE"
    question = "Which places are seen when the model does well?"
    summary = "Reference: thousands of random soft masks, averaged by the model's answer."
    version = 1
    place = 66
    result_kind = ResultKind.SCALAR_MAP
    has_target = True
    has_seed = True
    source = "Petsiuk, Das, Saenko: RISE. BMVC 2018, arXiv 1806.07421"
    Params = RiseParams
    presets = (
        Preset(name="fast", title="Fast", hint="At most 500 masks.", params={"masks": 500}),
        Preset(name="standard", title="Standard", hint="At most 2,000 masks.", params={}),
        Preset(
            name="thorough",
            title="Thorough",
            hint="6,000 masks to the end.",
            params={"masks": 6000, "early_stop": False},
        ),
    )

    def supports(self, model: ModelCard) -> str | None:
        return no_classes(model)

    def cost(self, model: ModelCard, params: Any) -> int:  # noqa: ARG002 - part of the contract
        return int(params.masks) + 1 + CHECK_PASSES

    def explain(self, context: Context) -> Result:
        """Returns one map ``[H, W]`` per class, 0-1: mean probability while the place was seen.

        Divided by each pixel's own mean visibility instead of the expected one, so that pixels at the rim, which random
        shifts show a little less often, are not darker for that reason.

        Cost: one pass per mask, one for the classes, five for the reading.

        Raises:
            ProblemError: ``not_supported``, ``params_invalid`` or ``out_of_memory``.
        """
        params: RiseParams = context.params
        asked = ask(context, classes=params.classes)
        masks = random_masks(params.masks, params.cells, params.keep, asked.size, context.seed).to(context.model.device)
        heat, used, correlation = _run(context, asked, masks)
        stopped = used < params.masks
        note = f"{used:,} of {params.masks:,} masks" + (": the map no longer changed." if stopped else ".")
        scalars = {"masks": used, "stopped_early": stopped, "last_correlation": correlation}
        return map_result(context, asked, heat, DRAWN, texts=Texts(notes=(note,)), scalars={**scalars})


DRAWN = Drawn("mean probability", ("seldom seen when it did well", "seen when it did well"))


@dataclass(frozen=True, eq=False)
class SoftMasks:
    """Random masks that are enlarged when they are needed.

    Attributes:
        cells: ``[N, s + 1, s + 1]`` float32, 0 or 1.
        offsets: ``[N, 2]`` int64, rows and columns cut off at the upper left.
        enlarged: Height and width before the cut.
        size: Height and width of a mask in pixels.
    """

    cells: Tensor
    offsets: Tensor
    enlarged: tuple[int, int]
    size: tuple[int, int]

    @property
    def count(self) -> int:
        """How many masks there are."""
        return len(self.cells)

    def to(self, device: torch.device) -> SoftMasks:
        """Returns the masks on a device."""
        return SoftMasks(self.cells.to(device), self.offsets, self.enlarged, self.size)

    def part(self, start: int, stop: int) -> SoftMasks:
        """Returns masks ``start`` to ``stop``."""
        return SoftMasks(self.cells[start:stop], self.offsets[start:stop], self.enlarged, self.size)

    def visible(self, start: int, stop: int) -> Tensor:
        """Returns ``[n, H, W]`` float32, the share of each pixel that is shown, 0-1."""
        soft = functional.interpolate(
            self.cells[start:stop, None], size=self.enlarged, mode="bilinear", align_corners=False
        )[:, 0]
        height, width = self.size
        cut = [
            mask[top : top + height, left : left + width]
            for mask, (top, left) in zip(soft, self.offsets[start:stop].tolist(), strict=True)
        ]
        return torch.stack(cut)


def random_masks(count: int, cells: int, keep: float, size: tuple[int, int], seed: int) -> SoftMasks:
    """Returns random soft masks; the first n of them are the same for every larger count.

    Args:
        count: How many.
        cells: Cells along each side that cover the picture.
        keep: Chance of a cell to be shown.
        size: Height and width in pixels.
        seed: Of the random numbers, drawn on the CPU.
    """
    side = [-(-length // cells) for length in size]
    rng = np.random.default_rng(seed)
    drawn = rng.random((count, (cells + 1) ** 2 + 2), dtype=np.float64)
    grid = torch.from_numpy((drawn[:, 2:] < keep).astype(np.float32)).reshape(count, cells + 1, cells + 1)
    offsets = torch.from_numpy((drawn[:, :2] * np.asarray(side)).astype(np.int64))
    return SoftMasks(grid, offsets, ((cells + 1) * side[0], (cells + 1) * side[1]), size)


def _run(context: Context, asked: Asked, masks: SoftMasks) -> tuple[Tensor, int, float | None]:
    """Returns maps ``[K, H, W]``, how many masks were used, and how alike the last two looks were."""
    params: RiseParams = context.params
    substrate = make_substrate(
        params.substrate, asked.prepared.pixels, dataset_mean=context.model.preprocessing.mean, seed=context.seed
    )
    scene = context.engine.scene(asked.prepared.pixels, substrate)
    indices = torch.tensor(asked.indices, device=context.model.device)
    total = masks.count + 1 + CHECK_PASSES
    tally = _Tally(len(asked.indices), asked.size, context.model.device)
    shown_at = time.monotonic()

    def score(logits: Tensor) -> Tensor:
        return torch.softmax(logits, dim=1)[:, indices]

    for answer in context.engine.masked_scores(_requests(scene, masks), score=score):
        tally.add(answer.request.masks.visible(0, answer.request.masks.count), answer.scores)
        context.progress(1 + tally.used, total)
        if params.early_stop and tally.is_stable():
            break
        if time.monotonic() - shown_at > PARTIAL_INTERVAL_S:
            shown_at = time.monotonic()
            context.partial(partial_result(asked, tally.maps(), DRAWN))
    return tally.maps(), tally.used, tally.correlation


def _requests(scene: Scene, masks: SoftMasks) -> Iterator[Request]:
    for start in range(0, masks.count, CHUNK):
        yield Request(scene, masks.part(start, start + CHUNK))


class _Tally:
    """Scores and visibility added up, and whether the order of places still changes."""

    def __init__(self, classes: int, size: tuple[int, int], device: torch.device) -> None:
        self._sums = torch.zeros((classes, *size), dtype=torch.float32, device=device)
        self._seen = torch.zeros(size, dtype=torch.float32, device=device)
        self._before: Tensor | None = None
        self._compared_at = 0
        self._calm = 0
        self.used = 0
        self.correlation: float | None = None

    def add(self, visible: Tensor, scores: Tensor) -> None:
        """Takes in ``[n, H, W]`` masks with their ``[n, K]`` scores."""
        self._sums += torch.einsum("nk,nhw->khw", scores.float(), visible)
        self._seen += visible.sum(0)
        self.used += len(visible)

    def maps(self) -> Tensor:
        """Returns ``[K, H, W]``, 0-1; places never seen are 0."""
        return torch.where(self._seen > 0, self._sums / self._seen.clamp_min(1e-9), torch.zeros_like(self._sums))

    def is_stable(self) -> bool:
        """Compares the target's map with the one of some masks ago; true after two calm looks."""
        if self.used - self._compared_at < COMPARED_EVERY:
            return False
        self._compared_at = self.used
        now = functional.adaptive_avg_pool2d(self.maps()[:1], (COARSE, COARSE))[0].cpu()
        if self._before is not None:
            self.correlation = _correlation(now, self._before)
            self._calm = self._calm + 1 if self.correlation >= STABLE_CORRELATION else 0
        self._before = now
        return self._calm >= STABLE_TIMES


def _correlation(one: Tensor, other: Tensor) -> float:
    """Returns Pearson's correlation of two maps: places without any effect, whose order is noise, hardly count.

    1 when both are flat: more masks will not change that.
    """
    first, second = (each.double().flatten() - each.double().mean() for each in (one, other))
    norm = float(first.norm() * second.norm())
    return float(first @ second) / norm if norm > FLAT else 1.0
