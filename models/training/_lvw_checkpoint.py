"""The state of a training between two steps."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from models.heads.lvw import Projection, VisualWordNetwork
from models.training._lvw_stages import Bench
from models.training.checkpoints import Checkpoints

BEFORE_TRUNK = "trunk."


@dataclass(eq=False)
class Progress:
    """How far a training is.

    Attributes:
        done: Finished steps.
        curves: One entry per finished step.
        projection: Of the kept state; ``None`` before the first.
        kept: The kept state where it is not the network's own, for ``select="validation"``.
        kept_score: Its validation accuracy.
        seconds: Time spent so far.
        passes: Passes counted so far.
    """

    done: int = 0
    curves: list[dict[str, Any]] = field(default_factory=list)
    projection: Projection | None = None
    kept: dict[str, Tensor] | None = None
    kept_score: float = -1.0
    seconds: float = 0.0
    passes: float = 0.0

    @classmethod
    def restored(cls, checkpoints: Checkpoints, bench: Bench) -> Progress:
        """Puts the newest checkpoint back and returns how far it was; a fresh start without one."""
        stored = checkpoints.load()
        if stored is None:
            return cls()
        load_own_state(bench.network, stored["network"])
        for name, optimiser in bench.optimisers.items():
            optimiser.load_state_dict(stored["optimisers"][name])
        if bench.scaler is not None and stored["scaler"] is not None:
            bench.scaler.load_state_dict(stored["scaler"])
        return cls(
            done=stored["done"],
            curves=stored["curves"],
            projection=None if stored["projection"] is None else Projection(**stored["projection"]),
            kept=stored["kept"],
            kept_score=stored["kept_score"],
            seconds=stored["seconds"],
            passes=stored["passes"],
        )

    def state(self, bench: Bench) -> dict[str, Any]:
        """Returns everything a checkpoint holds: tensors and plain values."""
        return {
            "network": own_state(bench.network, with_trunk=bench.recipe.train_trunk),
            "optimisers": {name: optimiser.state_dict() for name, optimiser in bench.optimisers.items()},
            "scaler": None if bench.scaler is None else bench.scaler.state_dict(),
            "done": self.done,
            "curves": self.curves,
            "projection": None if self.projection is None else dict(vars(self.projection)),
            "kept": self.kept,
            "kept_score": self.kept_score,
            "seconds": self.seconds,
            "passes": self.passes,
        }


def own_state(network: VisualWordNetwork, *, with_trunk: bool) -> dict[str, Tensor]:
    """Returns copies of the tensors that belong to the word network; the trunk only where it is its own."""
    state = network.state_dict()
    chosen = {name: tensor for name, tensor in state.items() if with_trunk or not name.startswith(BEFORE_TRUNK)}
    return {name: tensor.detach().cpu().clone() for name, tensor in chosen.items()}


def load_own_state(network: VisualWordNetwork, state: dict[str, Tensor]) -> None:
    """Puts such tensors back.

    Raises:
        ValueError: If a name or shape does not fit.
    """
    has_trunk = any(name.startswith(BEFORE_TRUNK) for name in state)
    wanted = {name for name in network.state_dict() if has_trunk or not name.startswith(BEFORE_TRUNK)}
    if wanted != set(state):
        odd = sorted(wanted ^ set(state))
        raise ValueError(f"the stored network does not fit: {odd[0]}")
    try:
        network.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise ValueError("the stored network does not fit: a tensor has another shape") from error
