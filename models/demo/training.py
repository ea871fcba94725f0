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

from models.demo.dataset import HINT_SIDE, DrawnSet, slots
from models.demo.grammar import Beak, Crest, Part, Plumage, Tail, Wing
from models.demo.recipes import MEAN, STD, Recipe, build_network

_SLOT_SIZES = tuple(len(kind) for kind in (Plumage, Beak, Crest, Wing, Tail))


@dataclass(frozen=True)
class Epoch:
    """What one pass over the training pictures gave: mean loss and accuracy 0-1 on the check pictures."""

    number: int
    loss: float
    accuracy: float


class Hints(nn.Module):
    """Extra outputs that exist only while training: the variant of every slot and where the parts are.

    They tell the network what to look at, so that few pictures suffice; the finished model does not contain them.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.slots = nn.ModuleList(nn.Linear(channels, size) for size in _SLOT_SIZES)
        self.parts = nn.Linear(channels, len(Part))

    def forward(self, grid: Tensor, variants: Tensor, shares: Tensor) -> Tensor:
        """The loss of the hints, a scalar.

        Args:
            grid: Features [B, 8, 8, C].
            variants: Right variants int64 [B, 5].
            shares: Share of each cell covered by each part [B, 8, 8, 8], 0-1.
        """
        pooled = grid.mean((1, 2))
        losses = [functional.cross_entropy(head(pooled), variants[:, i]) for i, head in enumerate(self.slots)]
        where = functional.binary_cross_entropy_with_logits(self.parts(grid), shares)
        return torch.stack(losses).mean() + 2.0 * where


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
        check: Pictures for the accuracy reported after each epoch (never used to choose anything).
        checkpoint: File written after every epoch; if it exists and fits, training goes on from there.
        on_epoch: Called after each epoch.
        on_step: Called after each step with (steps done, steps in all).
    """
    torch.manual_seed(recipe.seed)
    network = build_network(recipe).to(memory_format=torch.channels_last)
    hints = Hints(cast("int", network.num_features))
    optimiser = torch.optim.AdamW(_groups(recipe, network, hints), lr=recipe.rate, betas=(0.9, 0.98))
    steps = len(pictures) // recipe.batch
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, recipe.rate, total_steps=steps * recipe.epochs, pct_start=0.15, cycle_momentum=False
    )
    state = {"network": network, "hints": hints, "optimiser": optimiser, "schedule": schedule}
    for number in range(_restored(checkpoint, recipe, state), recipe.epochs):
        rng = np.random.default_rng([recipe.seed, number])
        order = rng.permutation(len(pictures))
        network.train()
        total = 0.0
        for step in range(steps):
            chosen = order[step * recipe.batch : (step + 1) * recipe.batch]
            total += _step(recipe, network, hints, optimiser, _batch(recipe, pictures, chosen, rng))
            schedule.step()
            if on_step is not None:
                on_step(number * steps + step + 1, steps * recipe.epochs)
        _store(checkpoint, recipe, state, number + 1)
        if on_epoch is not None:
            on_epoch(Epoch(number + 1, total / steps, accuracy(network, check)))
    return network.eval()


def answers(network: nn.Module, pixels: npt.NDArray[np.uint8], *, batch: int = 100) -> npt.NDArray[np.int64]:
    """The network's first answers int64 [N] for pictures uint8 [N, H, W, 3]."""
    network.eval()
    with torch.inference_mode():
        parts = [network(normalised(pixels[i : i + batch])).argmax(1).numpy() for i in range(0, len(pixels), batch)]
    return np.concatenate(parts).astype(np.int64)


def accuracy(network: nn.Module, pictures: DrawnSet) -> float:
    """The share of right first answers, 0-1."""
    return float((answers(network, pictures.pixels) == pictures.species).mean())


def _groups(recipe: Recipe, network: nn.Module, hints: nn.Module) -> list[dict[str, Any]]:
    """Parameter groups: no decay for biases, scales and position codes."""
    named = [*network.named_parameters(), *hints.named_parameters()]
    plain = [p for name, p in named if p.ndim < 2 or "pos_embed" in name or "cls_token" in name]
    kept = {id(p) for p in plain}
    return [
        {"params": [p for _, p in named if id(p) not in kept], "weight_decay": recipe.decay},
        {"params": plain, "weight_decay": 0.0},
    ]


_Batch = tuple[Tensor, Tensor, Tensor, Tensor]


def _batch(recipe: Recipe, pictures: DrawnSet, chosen: npt.NDArray[np.int64], rng: np.random.Generator) -> _Batch:
    """A batch, mirrored and displaced at random; colours stay, because colour is evidence."""
    pixels, parts = pictures.pixels[chosen], pictures.parts[chosen].copy()
    result = np.empty_like(pixels)
    side, pad = pixels.shape[1], recipe.shift
    for index, picture in enumerate(pixels):
        mirrored = rng.random() < 0.5
        down, right = rng.integers(0, 2 * pad + 1, 2)
        padded = np.pad(picture[:, ::-1] if mirrored else picture, ((pad, pad), (pad, pad), (0, 0)), mode="edge")
        result[index] = padded[down : down + side, right : right + side]
        if mirrored:
            parts[index] = parts[index][:, ::-1]
    species = pictures.species[chosen]
    variants = torch.from_numpy(slots(species))
    return normalised(result), torch.from_numpy(species), variants, torch.from_numpy(parts)


def _step(
    recipe: Recipe, network: nn.Module, hints: nn.Module, optimiser: torch.optim.Optimizer, batch: _Batch
) -> float:
    pictures, species, variants, shares = batch
    pictures = pictures.contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        features = cast("Any", network).forward_features(pictures)
        logits = cast("Any", network).forward_head(features)
    loss = functional.cross_entropy(logits.float(), species)
    if recipe.hints:
        loss = loss + recipe.hints * hints(_as_grid(features).float(), variants, shares)
    optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_([*network.parameters(), *hints.parameters()], 1.0)
    optimiser.step()
    return float(loss.detach())


def _as_grid(features: Tensor) -> Tensor:
    """Features as [B, 8, 8, C], without prefix tokens."""
    if features.ndim == 4:
        return features.permute(0, 2, 3, 1)
    return features[:, -HINT_SIDE * HINT_SIDE :].reshape(len(features), HINT_SIDE, HINT_SIDE, -1)


def _store(path: Path, recipe: Recipe, state: dict[str, Any], epochs: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    content = {name: part.state_dict() for name, part in state.items()}
    torch.save({"recipe": repr(recipe), "epochs": epochs, **content}, partial)
    partial.replace(path)


def _restored(path: Path, recipe: Recipe, state: dict[str, Any]) -> int:
    """Load a checkpoint of the same recipe and return how many epochs it has behind it, else 0."""
    if not path.exists():
        return 0
    stored = torch.load(path, weights_only=True)
    if stored["recipe"] != repr(recipe):
        return 0
    for name, part in state.items():
        part.load_state_dict(stored[name])
    return int(stored["epochs"])
