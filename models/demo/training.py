"""The training loop of the demo models: resumable, the same on every run with one thread.

Forward passes of training compute in bfloat16 and channels-last, which halves the time on a recent CPU; weights,
gradients and every measurement are float32.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from models.demo.dataset import HINT_SIDE, DrawnSet, cell_shares, slots
from models.demo.hints import Hints
from models.demo.recipes import MEAN, STD, Recipe, build_network

_Batch = tuple[Tensor, Tensor, Tensor, Tensor]
"""Pictures [B, 3, H, W], species [B], variants [B, 5] and shares of cells [B, 8, 8, 8]."""


@dataclass(frozen=True)
class Epoch:
    """What one pass over the training pictures gave: mean loss and accuracy 0-1 on the check pictures."""

    number: int
    loss: float
    accuracy: float


def normalised(pixels: npt.NDArray[np.uint8]) -> Tensor:
    """Pictures uint8 [B, H, W, 3] as model input float32 [B, 3, H, W]."""
    pictures = torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2).float().div_(255)
    return (pictures - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)


def train(
    recipe: Recipe,
    pictures: DrawnSet,
    check: DrawnSet,
    *,
    checkpoint: Path,
    on_epoch: Callable[[Epoch], None] | None = None,
    on_step: Callable[[int, int], None] | None = None,
) -> nn.Module:
    """The trained network in evaluation mode.

    Args:
        recipe: What to train.
        pictures: Training pictures.
        check: Pictures for the accuracy reported after each epoch; recipes may be chosen by these, by no others.
        checkpoint: File written after every epoch; if it exists and fits, training goes on from there.
        on_epoch: Called after each epoch.
        on_step: Called after each step with (steps done, steps in all).
    """
    torch.manual_seed(recipe.seed)
    network = build_network(recipe).to(memory_format=torch.channels_last)
    _attend_in_the_open(network)
    run = _Run(recipe, network, Hints(cast("int", network.num_features)), steps=len(pictures) // recipe.batch)
    for number in range(_restored(checkpoint, run), recipe.epochs):
        loss = run.epoch(number, pictures, on_step)
        _store(checkpoint, run, number + 1)
        if on_epoch is not None:
            on_epoch(Epoch(number + 1, loss, accuracy(network, check)))
    return network.eval()


class _Run:
    """A training under way: everything that changes from step to step.

    Args:
        recipe: What to train.
        network: The network as it starts.
        hints: The extra outputs.
        steps: Steps per epoch.
    """

    def __init__(self, recipe: Recipe, network: nn.Module, hints: Hints, *, steps: int) -> None:
        self.recipe, self.network, self.hints, self.steps = recipe, network, hints, steps
        self.optimiser = _optimiser(recipe, network, hints)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimiser, recipe.rate, total_steps=steps * recipe.epochs, pct_start=0.15, cycle_momentum=False
        )

    @property
    def state(self) -> dict[str, Any]:
        """What a checkpoint holds, by name."""
        return {"network": self.network, "hints": self.hints, "optimiser": self.optimiser, "schedule": self.schedule}

    def epoch(self, number: int, pictures: DrawnSet, on_step: Callable[[int, int], None] | None) -> float:
        """Pass once over the pictures; the mean loss."""
        recipe = self.recipe
        rng = np.random.default_rng([recipe.seed, number])
        order = rng.permutation(len(pictures))
        self.network.train()
        total = 0.0
        for step in range(self.steps):
            chosen = order[step * recipe.batch : (step + 1) * recipe.batch]
            total += self._step(_batch(recipe, pictures, chosen, rng))
            if on_step is not None:
                on_step(number * self.steps + step + 1, self.steps * recipe.epochs)
        return total / self.steps

    def _step(self, batch: _Batch) -> float:
        loss = _loss(self.recipe, self.network, self.hints, batch)
        for part in (self.network, self.hints):
            part.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_([*self.network.parameters(), *self.hints.parameters()], 1.0)
        self.optimiser.step()
        self.schedule.step()
        return float(loss.detach())


def answers(network: nn.Module, pixels: npt.NDArray[np.uint8], *, batch: int = 100) -> npt.NDArray[np.int64]:
    """The network's first answers int64 [N] for pictures uint8 [N, H, W, 3]."""
    network.eval()
    with torch.inference_mode():
        parts = [network(normalised(pixels[i : i + batch])).argmax(1).numpy() for i in range(0, len(pixels), batch)]
    return np.concatenate(parts).astype(np.int64)


def accuracy(network: nn.Module, pictures: DrawnSet) -> float:
    """The share of right first answers, 0-1."""
    return float((answers(network, pictures.pixels) == pictures.species).mean())


def _attend_in_the_open(network: nn.Module) -> None:
    """Let attention layers multiply matrices instead of calling the fused kernel.

    For so few tokens its backward pass takes longer on a CPU than everything else in the network.
    """
    for layer in network.modules():
        if hasattr(layer, "fused_attn"):
            cast("Any", layer).fused_attn = False


def _optimiser(recipe: Recipe, network: nn.Module, hints: nn.Module) -> torch.optim.Optimizer:
    """AdamW, without decay for biases, scales and position codes."""
    named = [*network.named_parameters(), *hints.named_parameters()]
    plain = [p for name, p in named if p.ndim < 2 or "pos_embed" in name or "_token" in name]
    kept = {id(p) for p in plain}
    groups: list[dict[str, Any]] = [
        {"params": [p for _, p in named if id(p) not in kept], "weight_decay": recipe.decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=recipe.rate, betas=(0.9, 0.98))


def _batch(recipe: Recipe, pictures: DrawnSet, chosen: npt.NDArray[np.int64], rng: np.random.Generator) -> _Batch:
    """A batch, mirrored and displaced at random; colours stay, because colour is evidence."""
    pixels, labels = pictures.pixels[chosen], pictures.labels[chosen]
    side, pad = pixels.shape[1], recipe.shift
    for index in range(len(chosen)):
        turn = -1 if rng.random() < 0.5 else 1
        down, right = rng.integers(0, 2 * pad + 1, 2)
        window = (slice(down, down + side), slice(right, right + side))
        pixels[index] = np.pad(pixels[index][:, ::turn], ((pad, pad), (pad, pad), (0, 0)), mode="edge")[window]
        labels[index] = np.pad(labels[index][:, ::turn], pad, mode="edge")[window]
    species = pictures.species[chosen]
    variants, shares = torch.from_numpy(slots(species)), torch.from_numpy(cell_shares(labels))
    return normalised(pixels), torch.from_numpy(species), variants, shares


def _loss(recipe: Recipe, network: nn.Module, hints: nn.Module, batch: _Batch) -> Tensor:
    pictures, species, variants, shares = batch
    pictures = pictures.contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        features = cast("Any", network).forward_features(pictures)
        logits = cast("Any", network).forward_head(features)
    loss = functional.cross_entropy(logits.float(), species)
    if recipe.hints:
        summary, grid = _summary_and_grid(features.float())
        loss = loss + recipe.hints * hints(summary, grid, variants, shares)
    return loss


def _summary_and_grid(features: Tensor) -> tuple[Tensor, Tensor]:
    """What the network answers from [B, C] (class token, or the mean of the grid), and the grid [B, 8, 8, C]."""
    if features.ndim == 4:
        grid = features.permute(0, 2, 3, 1)
        return grid.mean((1, 2)), grid
    cells = features[:, -HINT_SIDE * HINT_SIDE :]
    return features[:, 0], cells.reshape(len(features), HINT_SIDE, HINT_SIDE, -1)


def _store(path: Path, run: _Run, epochs: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    content = {name: part.state_dict() for name, part in run.state.items()}
    torch.save({"recipe": repr(run.recipe), "epochs": epochs, **content}, partial)
    partial.replace(path)


def _restored(path: Path, run: _Run) -> int:
    """Load a checkpoint of the same recipe and return how many epochs it has behind it, else 0."""
    if not path.exists():
        return 0
    stored = torch.load(path, weights_only=True)
    if stored["recipe"] != repr(run.recipe):
        return 0
    for name, part in run.state.items():
        part.load_state_dict(stored[name])
    return int(stored["epochs"])
