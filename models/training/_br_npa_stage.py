"""One stage of the training of a feature-group classifier; every step can be the last one before a pause."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from backend.contract.problems import ProblemCode, ProblemError
from models.heads.br_npa import BrNpaClassifier
from models.preprocessing import Preprocessing
from models.training._br_npa_loss import Terms, loss_terms
from models.training._br_npa_measure import Scores, measure
from models.training._br_npa_pictures import STAGE_NUMBERS, Decoded, augmented, epoch_order
from models.training._br_npa_recipe import FEWEST_FOR_STATISTICS, BrNpaRecipe

LARGEST_GRADIENT = 5.0
MOST_SKIPPED = 20
READ_EVERY = 20
"""Losses are read from the device this often, so that no step waits for it."""
RISING_SHARE = 0.1
LOWEST_RATE = 1e-3
"""Where the one-cycle schedule starts and ends, as a share of the highest rate."""
DROPOUT_STREAM = 7


@dataclass(eq=False)
class Best:
    """The best epoch so far: highest accuracy, then lowest cross-entropy, then the earliest."""

    state: dict[str, Tensor]
    epoch: int
    scores: Scores

    def is_beaten_by(self, scores: Scores) -> bool:
        """Whether a later epoch with these scores is better."""
        return (scores.accuracy, -scores.cross_entropy) > (self.scores.accuracy, -self.scores.cross_entropy)


@dataclass(eq=False)
class Stage:
    """Trains one classifier.

    Args:
        name: ``teacher`` or ``student``.
        recipe: What was asked for.
        network: To train, on its device.
        teacher: Frozen, in evaluation mode; ``None`` in the first stage.
        train: To learn from.
        validation: To choose the epoch by.
        base_answers: int64 ``[N]``, the base model's answers on the validation part as classes of the data; -1: none.
        geometry: Of the explainer.
        epochs: Passes over the training part.
        micro_batch: Pictures at once; halved when memory runs out.
    """

    name: str
    recipe: BrNpaRecipe
    network: BrNpaClassifier
    teacher: BrNpaClassifier | None
    train: Decoded
    validation: Decoded
    base_answers: Tensor
    geometry: Preprocessing
    epochs: int
    micro_batch: int
    epoch: int = 0
    step: int = 0
    best: Best | None = None
    history: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.device = next(self.network.parameters()).device
        self._lay_out()
        self.optimiser = _optimiser(self.recipe, self._groups(), self.device)
        self.half = _half_precision(self.recipe, self.device)
        self.scaler = torch.amp.GradScaler("cuda", enabled=self.half is torch.float16)
        self.sums = torch.zeros(4, dtype=torch.float64, device=self.device)  # loss, cross-entropy, distillation, seen
        self.skipped = torch.zeros((), device=self.device)

    @property
    def steps(self) -> int:
        """Steps of one epoch."""
        return math.ceil(len(self.train) / self.recipe.batch_size)

    @property
    def done(self) -> int:
        """Pictures learned from in this stage."""
        return self.epoch * len(self.train) + min(self.step * self.recipe.batch_size, len(self.train))

    @property
    def is_finished(self) -> bool:
        """Whether all epochs are behind it."""
        return self.epoch >= self.epochs

    def run(self, after_step: Callable[[Stage], bool], after_epoch: Callable[[Stage], None]) -> None:
        """Trains to the end of the stage.

        Args:
            after_step: Called after each step; ends the stage early by returning True. May raise to pause.
            after_epoch: Called after each epoch, when it has been measured.
        """
        is_over = False
        while not self.is_finished and not is_over:
            order = epoch_order(self.recipe, self.name, self.epoch, len(self.train))
            while self.step < self.steps and not is_over:
                size = self.recipe.batch_size
                self._one_step(order[self.step * size : (self.step + 1) * size])
                self.step += 1
                if self.step % READ_EVERY == 0 or self.step == self.steps:
                    self._require_numbers()
                is_over = after_step(self)
            if self.step == self.steps or self.best is None:
                self._end_epoch()
                after_epoch(self)

    def losses(self) -> dict[str, float]:
        """Returns the means of the running epoch; waits for the device."""
        total, cross_entropy, distillation, seen = self.sums.tolist()
        count = max(seen, 1.0)
        return {
            "loss": total / count,
            "cross_entropy": cross_entropy / count,
            "distillation": distillation / count,
        }

    def state(self) -> dict[str, Any]:
        """Returns everything that the next step depends on, as plain values and tensors."""
        best = self.best
        return {
            "epoch": self.epoch,
            "step": self.step,
            "epochs": self.epochs,
            "micro_batch": self.micro_batch,
            "network": self._weights(),
            "optimiser": self.optimiser.state_dict(),
            "scaler": self.scaler.state_dict(),
            "sums": self.sums,
            "skipped": self.skipped,
            "history": self.history,
            "best": None if best is None else {"state": best.state, "epoch": best.epoch, "scores": best.scores.plain()},
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on where :meth:`state` was taken."""
        self.epoch, self.step = int(state["epoch"]), int(state["step"])
        self.epochs, self.micro_batch = int(state["epochs"]), int(state["micro_batch"])
        self._load(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.scaler.load_state_dict(state["scaler"])
        self.sums = state["sums"].to(self.device)
        self.skipped = state["skipped"].to(self.device)
        self.history = list(state["history"])
        best = state["best"]
        self.best = best and Best(best["state"], int(best["epoch"]), Scores(**best["scores"]))

    def rate(self) -> float:
        """Returns the learning rate of the next step, as a share of the highest."""
        if self.recipe.schedule == "step":
            return float(0.9 ** (self.epoch // 2))
        at = (self.epoch * self.steps + self.step) / max(1, self.epochs * self.steps - 1)
        share = at / RISING_SHARE if at < RISING_SHARE else (1 - at) / (1 - RISING_SHARE)
        return LOWEST_RATE + (1 - LOWEST_RATE) * 0.5 * (1 - math.cos(math.pi * min(1.0, max(0.0, share))))

    def take_best(self) -> None:
        """Puts the weights of the best epoch into the network, in evaluation mode."""
        assert self.best is not None
        self._load(self.best.state)
        self.network.eval()

    def time_step(self) -> None:
        """Takes one step on the first pictures; only for telling how long steps take, on a network to throw away."""
        self._one_step(np.arange(min(self.recipe.batch_size, len(self.train)), dtype=np.int64))

    def _lay_out(self) -> None:
        self.network.to(memory_format=torch.channels_last)

    def _groups(self) -> list[dict[str, Any]]:
        recipe, network = self.recipe, self.network
        return [
            {"params": list(network.trunk.parameters()), "lr": recipe.lr_trunk, "highest": recipe.lr_trunk},
            {"params": list(network.head.parameters()), "lr": recipe.lr_head, "highest": recipe.lr_head},
        ]

    def _weights(self) -> dict[str, Tensor]:
        weights: dict[str, Tensor] = self.network.state_dict()
        return weights

    def _load(self, weights: dict[str, Tensor]) -> None:
        self.network.load_state_dict(weights)

    def _measured(self) -> Scores:
        return measure(self.network, self.validation, self.base_answers, self.geometry)

    def _one_step(self, chosen: np.ndarray[Any, np.dtype[np.int64]]) -> None:
        """Learns from one batch; in smaller pieces from now on if it does not fit."""
        while True:
            try:
                terms = self._gradients(chosen)
                break
            except torch.OutOfMemoryError:
                if self.micro_batch == 1:
                    raise ProblemError(
                        ProblemCode.OUT_OF_MEMORY,
                        "Not even one picture at a time fits into the memory. Choose a smaller input size.",
                    ) from None
            self.micro_batch = max(1, self.micro_batch // 2)
            self.optimiser.zero_grad(set_to_none=True)
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
        self._update(terms, len(chosen))

    def _gradients(self, chosen: np.ndarray[Any, np.dtype[np.int64]]) -> Terms:
        """Adds up the gradients of one batch, piece by piece, weighted so that the pieces do not matter."""
        self._set_mode()
        self.optimiser.zero_grad(set_to_none=True)
        parts = []
        with _own_dropout(self.recipe, self.name, self.epoch * self.steps + self.step, self.device):
            for start in range(0, len(chosen), self.micro_batch):
                some = chosen[start : start + self.micro_batch]
                terms = self._forward(some)
                share = len(some) / len(chosen)
                self.scaler.scale(terms.total * share).backward()  # type: ignore[no-untyped-call]
                parts.append(torch.stack([term.detach() * share for term in terms]))
        return Terms(*torch.stack(parts).sum(0).unbind())

    def _forward(self, chosen: np.ndarray[Any, np.dtype[np.int64]]) -> Terms:
        recipe = self.recipe
        pixels = augmented(
            self.train, chosen, recipe, side=self.geometry.input_size[0], stage=self.name, epoch=self.epoch,
            device=self.device,
        )  # fmt: skip
        batch = self.geometry.normalise(pixels).contiguous(memory_format=torch.channels_last)
        labels = self.train.labels[torch.from_numpy(chosen)].to(self.device, non_blocking=True)
        with self._precision():
            taught = None
            if self.teacher is not None:
                with torch.inference_mode():
                    taught = self.teacher(batch)[0].float()
                taught = taught.clone()  # an inference tensor may not meet a graph
            logits, _ = self.network(batch)
        return loss_terms(logits, taught, labels, alpha=recipe.alpha, temperature=recipe.temperature)

    def _update(self, terms: Terms, count: int) -> None:
        """Takes one step of the optimiser, or none where a number was not finite."""
        rate = self.rate()
        for group in self.optimiser.param_groups:
            group["lr"] = group["highest"] * rate
        self.scaler.unscale_(self.optimiser)
        moving = [parameter for group in self.optimiser.param_groups for parameter in group["params"]]
        norm = nn.utils.clip_grad_norm_(moving, LARGEST_GRADIENT)
        is_good = torch.isfinite(terms.total) & torch.isfinite(norm)
        if self.scaler.is_enabled():
            self.scaler.step(self.optimiser)
            self.scaler.update()
        elif self.device.type == "cuda":
            # The fused step reads this on the device and does nothing there, so that nobody waits.
            self.optimiser.found_inf = (~is_good).float()  # type: ignore[attr-defined]
            self.optimiser.step()
        elif bool(is_good):
            self.optimiser.step()
        row = torch.stack([*terms, torch.ones((), device=self.device)]).double() * count
        self.sums += torch.where(is_good, row, torch.zeros_like(row))
        self.skipped = torch.where(is_good, torch.zeros_like(self.skipped), self.skipped + 1)

    def _require_numbers(self) -> None:
        if float(self.skipped) >= min(MOST_SKIPPED, self.steps):
            raise ProblemError(
                ProblemCode.NOT_FINITE,
                f"The loss was no number for {int(self.skipped)} steps in a row. Lower the learning rates.",
            )

    def _end_epoch(self) -> None:
        losses = self.losses()
        scores = self._measured()
        self.epoch += 1
        self.step = 0
        self.sums.zero_()
        self.history.append({"stage": self.name, "epoch": self.epoch, **losses, **scores.plain()})
        if self.best is None or self.best.is_beaten_by(scores):
            state = {name: tensor.detach().cpu().clone() for name, tensor in self._weights().items()}
            self.best = Best(state, self.epoch, scores)

    def _set_mode(self) -> None:
        self.network.train()
        if self.recipe.freeze_batchnorm or self.micro_batch < FEWEST_FOR_STATISTICS:
            for module in self.network.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()

    def _precision(self) -> AbstractContextManager[Any]:
        return nullcontext() if self.half is None else torch.autocast(self.device.type, self.half)


def first_micro_batch(recipe: BrNpaRecipe) -> int:
    """Returns how many pictures are tried at once."""
    return recipe.micro_batch or recipe.batch_size


def _optimiser(recipe: BrNpaRecipe, groups: list[dict[str, Any]], device: torch.device) -> torch.optim.Optimizer:
    fused = device.type == "cuda"
    if recipe.optimiser == "sgd":
        return torch.optim.SGD(groups, momentum=0.9, weight_decay=recipe.weight_decay, fused=fused)
    return torch.optim.AdamW(groups, weight_decay=recipe.weight_decay, fused=fused)


def _half_precision(recipe: BrNpaRecipe, device: torch.device) -> torch.dtype | None:
    if recipe.amp == "off" or device.type != "cuda":
        return None
    return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16


@contextmanager
def _own_dropout(recipe: BrNpaRecipe, stage: str, step: int, device: torch.device) -> Iterator[None]:
    """Lets what is dropped in a step follow from seed, stage and step, and leaves the process's own chance alone."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        seed = np.random.SeedSequence([recipe.seed, STAGE_NUMBERS[stage], step, DROPOUT_STREAM])
        torch.manual_seed(int(seed.generate_state(1)[0]))
        yield
