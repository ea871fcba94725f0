"""The stages of training a word book: warm, joint, projection, last layer. Each function does one step of one stage."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from models import taps
from models.heads.lvw import LossTerms, Projection, VisualWordNetwork, WordOutput, lvw_loss, project_onto
from models.training._lvw_attention import Attention
from models.training._lvw_parts import Part, Store, mirror, shuffled
from models.training._lvw_recipe import LvwRecipe
from models.twins import exact_float32

DECAY = 1e-3
LEAST_FOR_STATISTICS = 16
TERMS = ("total", "cross_entropy", "cluster", "l1", "alignment")


class TrainingFault(RuntimeError):  # noqa: N818 - a name of the field, not of Python
    """Training cannot go on; the last checkpoint is kept."""


@dataclass(eq=False)
class Bench:
    """Everything the stages work with.

    Attributes:
        recipe: What was asked for.
        network: Being trained.
        train: Training part.
        validation: Validation part.
        attention: Of the base, for the training part.
        store: Room for caches.
        optimisers: ``warm``, ``joint`` and ``last``; each keeps its state over its stages.
        check_stopped: Raises when the job is no longer wanted.
        on_pictures: Told how many pictures went through, and how (``forward``, ``train`` or ``cached``).
        maps: Trunk maps ``[N, 2, F, h, w]`` of pictures and their mirrors, while the trunk stands still.
        cells: Cells ``[N, 2, D, h, w]`` of the last sweep.
        validation_cells: ``[M, D, h, w]`` of the last sweep.
    """

    recipe: LvwRecipe
    network: VisualWordNetwork
    train: Part
    validation: Part
    attention: Attention
    store: Store
    check_stopped: Callable[[], None]
    on_pictures: Callable[[int, str], None]
    optimisers: dict[str, torch.optim.Adam] = field(default_factory=dict)
    scaler: torch.amp.GradScaler | None = None
    maps: Tensor | None = None
    cells: Tensor | None = None
    validation_cells: Tensor | None = None

    @property
    def device(self) -> torch.device:
        """Where the network lives."""
        return self.network.words.device


def make_optimisers(recipe: LvwRecipe, network: VisualWordNetwork) -> dict[str, torch.optim.Adam]:
    """Returns the three optimisers; with ``nominal`` the class weights are in the last one only."""
    add_on = {"params": list(network.add_on.parameters()), "lr": recipe.lr_words, "weight_decay": DECAY}
    words = {"params": [network.words], "lr": recipe.lr_words, "weight_decay": 0.0}
    weights = {"params": [network.classifier.weight], "lr": recipe.lr_w_joint, "weight_decay": 0.0}
    shared = [weights] if recipe.classifier_init == "zero" else []
    trunk = {"params": list(network.trunk.parameters()), "lr": recipe.lr_trunk, "weight_decay": DECAY}
    moving = [trunk] if recipe.train_trunk else []
    return {
        "warm": torch.optim.Adam([dict(group) for group in (add_on, words, *shared)]),
        "joint": torch.optim.Adam([dict(group) for group in (*moving, add_on, words, *shared)]),
        "last": torch.optim.Adam([network.classifier.weight], lr=recipe.lr_last),
    }


def set_rates(optimiser: torch.optim.Optimizer, recipe: LvwRecipe, factor: float, *, with_trunk: bool) -> list[float]:
    """Sets the rates of a warm or joint optimiser to ``factor`` times their start and returns them."""
    trunk = [recipe.lr_trunk] if with_trunk and recipe.train_trunk else []
    weights = [recipe.lr_w_joint] if recipe.classifier_init == "zero" else []
    rates = [rate * factor for rate in (*trunk, recipe.lr_words, recipe.lr_words, *weights)]
    for group, rate in zip(optimiser.param_groups, rates, strict=True):
        group["lr"] = rate
    return rates


@torch.no_grad()
def cache_maps(bench: Bench) -> None:
    """Computes the trunk's maps of all training pictures and their mirrors, in evaluation mode."""
    if bench.maps is not None:
        return
    with taps.evaluation_mode(bench.network), exact_float32():
        for view in (0, 1):
            for start, features in _trunk_maps(bench, bench.train, mirrored=bool(view)):
                if bench.maps is None:
                    bench.maps = bench.store.room((len(bench.train), 2, *features.shape[1:]))
                bench.maps[start : start + len(features), view] = features.float().cpu()


def warm_epoch(bench: Bench, epoch: int) -> dict[str, float]:
    """Trains add-on and words (from ``zero``: class weights too) on cached maps; returns the mean loss terms."""
    cache_maps(bench)

    def step(chosen: Tensor, mirrored: Tensor) -> LossTerms:
        output = bench.network.from_features(_cached(bench, chosen, mirrored))
        return lvw_loss(output, _labels(bench, chosen), None, bench.recipe.loss_weights)

    return _epoch(bench, bench.optimisers["warm"], epoch, step, "cached")


def joint_epoch(bench: Bench, epoch: int) -> dict[str, float]:
    """Trains everything that may move, with alignment; returns the mean loss terms."""
    recipe = bench.recipe
    if not recipe.train_trunk:
        cache_maps(bench)
    else:
        bench.maps = None

    def step(chosen: Tensor, mirrored: Tensor) -> LossTerms:
        seen = bench.attention.at(chosen, bench.train.size)
        attention = mirror(seen, mirrored).to(bench.device) if recipe.w_align else None
        output = _moving(bench, chosen, mirrored)
        return lvw_loss(output, _labels(bench, chosen), attention, recipe.loss_weights)

    return _epoch(bench, bench.optimisers["joint"], epoch, step, "train" if recipe.train_trunk else "cached")


@torch.no_grad()
def sweep(bench: Bench) -> None:
    """Computes the cells of training pictures, their mirrors and validation pictures, in float32."""
    network, depth = bench.network, bench.network.words.shape[1]
    with taps.evaluation_mode(network), exact_float32():
        for view in (0, 1):
            for start, cells in _all_cells(bench, bench.train, view):
                if bench.cells is None:
                    bench.cells = bench.store.room((len(bench.train), 2, depth, *cells.shape[2:]))
                bench.cells[start : start + len(cells), view] = cells
        for start, cells in _all_cells(bench, bench.validation, None):
            if bench.validation_cells is None:
                bench.validation_cells = bench.store.room((len(bench.validation), *cells.shape[1:]))
            bench.validation_cells[start : start + len(cells)] = cells


def project(bench: Bench) -> Projection:
    """Moves every word onto its nearest cell of the training pictures, as they are (never mirrored)."""
    sweep(bench)
    assert bench.cells is not None
    size = bench.recipe.batch_size
    batches = zip(torch.split(bench.cells[:, 0], size), torch.split(bench.train.labels, size), strict=True)
    with exact_float32(), _deterministic():
        return project_onto(bench.network, batches)


@torch.no_grad()
def cached_scores(bench: Bench) -> Tensor:
    """Returns the scores ``[N, 2, P]`` of training pictures and their mirrors from their cells."""
    assert bench.cells is not None
    with taps.evaluation_mode(bench.network), exact_float32():
        both = torch.split(bench.cells.flatten(0, 1), bench.recipe.batch_size)
        scores = torch.cat([bench.network.from_cells(cells.to(bench.device)).scores.cpu() for cells in both])
    return scores.reshape(-1, 2, scores.shape[1])


def train_last_layer(bench: Bench, scores: Tensor, epoch: int) -> dict[str, float]:
    """Trains the class weights alone on cached scores ``[N, 2, P]``; exact, because nothing else moves."""
    weight, recipe = bench.network.classifier.weight, bench.recipe
    optimiser = bench.optimisers["last"]
    sums = {"cross_entropy": 0.0, "l1": 0.0}
    for number in range(recipe.last_passes):
        bench.check_stopped()
        order, mirrored = shuffled(len(bench.train), recipe.seed, epoch, number + 1)
        sums = {"cross_entropy": 0.0, "l1": 0.0}
        for chosen in torch.split(order, recipe.batch_size):
            seen = scores[chosen, mirrored[chosen].long()].to(bench.device)
            entropy = functional.cross_entropy(functional.linear(seen, weight), _labels(bench, chosen))
            l1 = weight.abs().sum()
            _step(optimiser, entropy + recipe.w_l1 * l1, None)
            sums["cross_entropy"] += float(entropy.detach()) * len(chosen)
            sums["l1"] += float(l1.detach()) * len(chosen)
    return {name: total / len(bench.train) for name, total in sums.items()}


def _epoch(
    bench: Bench,
    optimiser: torch.optim.Adam,
    epoch: int,
    loss: Callable[[Tensor, Tensor], LossTerms],
    kind: str,
) -> dict[str, float]:
    order, mirrored = shuffled(len(bench.train), bench.recipe.seed, epoch)
    sums = dict.fromkeys(TERMS, 0.0)
    bench.network.train()
    for chosen in torch.split(order, bench.recipe.batch_size):
        bench.check_stopped()
        _set_statistics(bench, len(chosen))
        terms = loss(chosen, mirrored[chosen])
        _step(optimiser, terms.total, bench.scaler if kind == "train" else None)
        for name in TERMS:
            sums[name] += float(getattr(terms, name).detach()) * len(chosen)
        bench.on_pictures(len(chosen), kind)
    bench.network.eval()
    return {name: total / len(bench.train) for name, total in sums.items()}


def _step(optimiser: torch.optim.Optimizer, loss: Tensor, scaler: torch.amp.GradScaler | None) -> None:
    if not math.isfinite(float(loss.detach())):
        raise TrainingFault("The loss is no longer a finite number; try smaller learning rates.")
    optimiser.zero_grad(set_to_none=True)
    if scaler is None:
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        return
    scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
    scaler.step(optimiser)
    scaler.update()


def _set_statistics(bench: Bench, count: int) -> None:
    """Lets the trunk's batch statistics move only where a batch is large enough for them to mean something."""
    is_moving = bench.recipe.train_trunk and bench.recipe.batch_norm == "train" and count >= LEAST_FOR_STATISTICS
    for module in bench.network.trunk.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.train(is_moving)


def _moving(bench: Bench, chosen: Tensor, mirrored: Tensor) -> WordOutput:
    if not bench.recipe.train_trunk:
        return bench.network.from_features(_cached(bench, chosen, mirrored))
    pictures = bench.train.pictures(chosen, mirrored).to(bench.device, memory_format=torch.channels_last)
    with _mixed(bench):
        cells = bench.network.cells(pictures)
    return bench.network.from_cells(cells)


def _mixed(bench: Bench) -> AbstractContextManager[object]:
    if bench.device.type != "cuda" or bench.recipe.amp == "off":
        return nullcontext()
    dtype = torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    return torch.autocast("cuda", dtype)


def make_scaler(recipe: LvwRecipe, device: torch.device) -> torch.amp.GradScaler | None:
    """Returns the scaler that half precision needs on GPUs without bfloat16, else ``None``."""
    if device.type != "cuda" or recipe.amp == "off" or torch.cuda.is_bf16_supported():
        return None
    return torch.amp.GradScaler("cuda")


def _cached(bench: Bench, chosen: Tensor, mirrored: Tensor) -> Tensor:
    assert bench.maps is not None
    return bench.maps[chosen, mirrored.long()].to(bench.device)


def _labels(bench: Bench, chosen: Tensor) -> Tensor:
    return bench.train.labels[chosen].to(bench.device)


def _trunk_maps(bench: Bench, part: Part, *, mirrored: bool) -> Iterator[tuple[int, Tensor]]:
    for number, (pictures, _) in enumerate(part.batches(bench.recipe.batch_size, mirrored=mirrored)):
        bench.check_stopped()
        yield number * bench.recipe.batch_size, bench.network.trunk(pictures.to(bench.device))
        bench.on_pictures(len(pictures), "forward")


def _all_cells(bench: Bench, part: Part, view: int | None) -> Iterator[tuple[int, Tensor]]:
    """Yields start and cells of each batch; of training pictures from the cached maps where these still hold."""
    if view is not None and bench.maps is not None and not bench.recipe.train_trunk:
        for number, maps in enumerate(torch.split(bench.maps[:, view], bench.recipe.batch_size)):
            bench.check_stopped()
            yield number * bench.recipe.batch_size, bench.network.add_on(maps.to(bench.device)).float().cpu()
        return
    for start, features in _trunk_maps(bench, part, mirrored=bool(view)):
        yield start, bench.network.add_on(features).float().cpu()


@contextmanager
def _deterministic() -> Iterator[None]:
    """Keeps cuDNN to algorithms that always give the same bits."""
    before = torch.backends.cudnn.deterministic
    torch.backends.cudnn.deterministic = True
    try:
        yield
    finally:
        torch.backends.cudnn.deterministic = before
