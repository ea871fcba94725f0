"""The training loop of the demo captioner: resumable, the same on every run with one thread."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import VisionEncoderDecoderModel

from models.demo.captioner_data import KINDS, CaptionedSet, partial_caption
from models.demo.captioner_hiding import FILLINGS, draw_hidden, filled, visible_parts_of
from models.demo.captioner_model import PADDING, WIDTH, build_captioner, encoded, vocabulary
from models.demo.grammar import Part
from models.demo.painter import CODES
from models.demo.texture import Rng
from models.demo.training import normalised

IGNORED = -100
CELLS = 16
"""Side of the encoder's grid."""
_SHOWN_ON: tuple[tuple[Part, ...], ...] = ((Part.BODY, Part.HEAD), (Part.BEAK,), (Part.CREST,), (Part.PERCH,))
"""Where each of the named kinds can be seen."""


@dataclass(frozen=True)
class CaptionerRecipe:
    """How the captioner is trained.

    Attributes:
        pictures: Training pictures.
        steps: Steps in all.
        batch: Pictures per step.
        rate: Highest learning rate.
        decay: Weight decay.
        hints: Weight of the hint losses (which part every cell shows, and of which variant).
        hidden: Share of the pictures in which something is hidden.
        shift: Largest random displacement in pixels.
        seed: Start of all random numbers.
    """

    pictures: int = 6_000
    steps: int = 1_200
    batch: int = 32
    rate: float = 2e-3
    decay: float = 0.05
    hints: float = 1.0
    hidden: float = 0.36
    shift: int = 8
    seed: int = 3


@dataclass(frozen=True, eq=False)
class Batch:
    """Pictures ready for a step.

    Attributes:
        pictures: float32 [B, 3, 128, 128], normalised.
        tokens: int64 [B, T] with start and end, padded.
        shares: float32 [B, 16, 16, 9], share of every cell that shows nothing (first) or each part; hidden ones show
            nothing.
        kinds: int64 [B, 4].
    """

    pictures: Tensor
    tokens: Tensor
    shares: Tensor
    kinds: Tensor


class Hints(nn.Module):
    """Extra outputs per cell that exist only while training: which part is there, and of which variant."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.parts = nn.Linear(channels, len(Part) + 1)
        self.kinds = nn.ModuleList(nn.Linear(channels, len(names)) for names in KINDS)

    def forward(self, cells: Tensor, shares: Tensor, kinds: Tensor) -> Tensor:
        """The loss of the hints, a scalar.

        Args:
            cells: Features [B, 16, 16, C].
            shares: Shares [B, 16, 16, 9].
            kinds: Right variants int64 [B, 4].
        """
        loss = -(functional.log_softmax(self.parts(cells), -1) * shares).sum(-1).mean()
        for column, (head, parts) in enumerate(zip(self.kinds, _SHOWN_ON, strict=True)):
            weight = shares[..., [CODES[part] for part in parts]].sum(-1)
            right = kinds[:, column].view(-1, 1, 1, 1).expand(*cells.shape[:3], 1)
            log_probability = functional.log_softmax(head(cells), -1).gather(-1, right)[..., 0]
            loss = loss - (log_probability * weight).sum() / weight.sum().clamp(min=1.0)
        return loss


def make_batch(recipe: CaptionerRecipe, pictures: CaptionedSet, chosen: npt.NDArray[np.int64], rng: Rng) -> Batch:
    """A batch: mirrored and displaced at random, something hidden in about a third; colours stay, they are evidence."""
    pixels = np.empty_like(pictures.pixels[chosen])
    shown = np.empty_like(pictures.labels[chosen])
    captions = []
    for index, number in enumerate(chosen):
        picture, labels = _moved(pictures.pixels[number], pictures.labels[number], recipe.shift, rng)
        parts = frozenset(Part)
        if rng.random() < recipe.hidden:
            hidden = draw_hidden(rng, labels)
            parts = visible_parts_of(labels, hidden)
            picture = filled(picture, hidden, FILLINGS[int(rng.integers(len(FILLINGS)))])
            labels = np.where(hidden, 0, labels)
        pixels[index], shown[index] = picture, labels
        captions.append(partial_caption(pictures.kinds[number], parts))
    return Batch(normalised(pixels), encoded(captions), _cell_shares(shown), torch.from_numpy(pictures.kinds[chosen]))


def train(
    recipe: CaptionerRecipe,
    pictures: CaptionedSet,
    *,
    checkpoint: Path,
    every: int = 150,
    on_report: Callable[[int, float, float, VisionEncoderDecoderModel], None] | None = None,
) -> VisionEncoderDecoderModel:
    """The trained network in evaluation mode.

    Args:
        recipe: How to train.
        pictures: Training pictures.
        checkpoint: File written every so many steps; if it exists and fits, training goes on from there.
        every: How many.
        on_report: Called as often, with steps done, mean caption loss, mean hint loss and the network.
    """
    torch.manual_seed(recipe.seed)
    network = build_captioner()
    hints = Hints(WIDTH)
    optimiser = torch.optim.AdamW(_groups(recipe, network, hints), lr=recipe.rate, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, recipe.rate, total_steps=recipe.steps, pct_start=0.12, cycle_momentum=False
    )
    state = {"network": network, "hints": hints, "optimiser": optimiser, "schedule": schedule}
    losses: list[tuple[float, float]] = []
    for step in range(_restored(checkpoint, recipe, state), recipe.steps):
        network.train()
        rng = np.random.default_rng([recipe.seed, step])
        batch = make_batch(recipe, pictures, _chosen(recipe, len(pictures), step), rng)
        losses.append(_step(recipe, network, hints, optimiser, batch))
        schedule.step()
        if (step + 1) % every == 0 or step + 1 == recipe.steps:
            _store(checkpoint, recipe, state, step + 1)
            if on_report is not None:
                words, cells = np.mean(losses, axis=0)
                on_report(step + 1, float(words), float(cells), network.eval())
            losses.clear()
    return network.eval()


def _chosen(recipe: CaptionerRecipe, count: int, step: int) -> npt.NDArray[np.int64]:
    """The pictures of a step: epoch by epoch in a new order each, no picture twice in an epoch."""
    per_epoch = count // recipe.batch
    order = np.random.default_rng([recipe.seed, 1, step // per_epoch]).permutation(count)
    first = step % per_epoch * recipe.batch
    return np.asarray(order[first : first + recipe.batch], np.int64)


def _step(
    recipe: CaptionerRecipe,
    network: VisionEncoderDecoderModel,
    hints: Hints,
    optimiser: torch.optim.Optimizer,
    batch: Batch,
) -> tuple[float, float]:
    with torch.autocast("cpu", torch.bfloat16):
        seen = network.encoder(batch.pictures).last_hidden_state
        logits = network.decoder(input_ids=batch.tokens[:, :-1], encoder_hidden_states=seen, use_cache=False).logits
    goal = batch.tokens[:, 1:].masked_fill(batch.tokens[:, 1:] == vocabulary()[PADDING], IGNORED)
    words = functional.cross_entropy(logits.float().flatten(0, 1), goal.flatten(), ignore_index=IGNORED)
    cells = hints(seen[:, -CELLS * CELLS :].float().unflatten(1, (CELLS, CELLS)), batch.shares, batch.kinds)
    loss = words + recipe.hints * cells
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_([*network.parameters(), *hints.parameters()], 1.0)
    optimiser.step()
    return float(words.detach()), float(cells.detach())


def _moved(
    picture: npt.NDArray[np.uint8], labels: npt.NDArray[np.uint8], pad: int, rng: Rng
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    if rng.random() < 0.5:
        picture, labels = picture[:, ::-1], labels[:, ::-1]
    down, right = (int(offset) for offset in rng.integers(0, 2 * pad + 1, 2))
    rows, columns = slice(down, down + labels.shape[0]), slice(right, right + labels.shape[1])
    padded = np.pad(picture, ((pad, pad), (pad, pad), (0, 0)), mode="edge")
    return padded[rows, columns], np.pad(labels, pad, mode="edge")[rows, columns]


def _cell_shares(labels: npt.NDArray[np.uint8]) -> Tensor:
    """The share of every cell that each code covers: labels [B, 128, 128] to [B, 16, 16, 9]."""
    kinds, side = len(Part) + 1, labels.shape[1] // CELLS
    row = np.arange(labels.shape[1]) // side
    cell = (row[:, None] * CELLS + row[None, :]) * kinds
    picture = np.arange(len(labels))[:, None, None] * (CELLS * CELLS * kinds)
    counts = np.bincount((labels + cell + picture).ravel(), minlength=len(labels) * CELLS * CELLS * kinds)
    shares: Tensor = torch.from_numpy(counts.reshape(-1, CELLS, CELLS, kinds)).float() / side**2
    return shares


def _groups(recipe: CaptionerRecipe, network: nn.Module, hints: nn.Module) -> list[dict[str, Any]]:
    """Parameter groups: no decay for biases, scales, embeddings and position codes."""
    named = [*network.named_parameters(), *hints.named_parameters()]
    plain = [parameter for name, parameter in named if parameter.ndim < 2 or ".wte." in name or ".wpe." in name]
    kept = {id(parameter) for parameter in plain}
    return [
        {"params": [parameter for _, parameter in named if id(parameter) not in kept], "weight_decay": recipe.decay},
        {"params": plain, "weight_decay": 0.0},
    ]


def _store(path: Path, recipe: CaptionerRecipe, state: dict[str, Any], steps: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    content = {name: part.state_dict() for name, part in state.items()}
    torch.save({"recipe": repr(recipe), "steps": steps, **content}, partial)
    partial.replace(path)


def _restored(path: Path, recipe: CaptionerRecipe, state: dict[str, Any]) -> int:
    """Load a checkpoint of the same recipe and return how many steps it has behind it, else 0."""
    if not path.exists():
        return 0
    stored = torch.load(path, weights_only=True)
    if stored["recipe"] != repr(recipe):
        return 0
    for name, part in state.items():
        part.load_state_dict(stored[name])
    return int(stored["steps"])
