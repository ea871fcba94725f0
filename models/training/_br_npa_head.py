"""The short training: only the weights of the groups, on vectors of the frozen base model that are computed once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from models.heads.br_npa import group_features
from models.loader import LoadedModel
from models.preprocessing import Preprocessing
from models.training._br_npa_artifact import base_trunk
from models.training._br_npa_loss import Terms, loss_terms
from models.training._br_npa_measure import BATCH, Scores
from models.training._br_npa_pictures import STAGE_NUMBERS, Decoded
from models.training._br_npa_stage import Stage
from models.twins import dilated_twin, exact_float32

EXACT = 1e-4
"""Largest difference, relative to the largest feature, for which a finer grid counts as the base model's own."""
TRIED_STRIDES = (8, 16)
TRIED_PICTURES = 4


@dataclass(frozen=True, eq=False)
class Vectors:
    """What a head learns from.

    Args:
        values: float32 ``[N, 2, maps * C]``: of each picture and of its mirror image.
        valid: bool ``[N, maps]``, of the pictures themselves.
    """

    values: Tensor
    valid: Tensor


def finest_exact_stride(base: LoadedModel, pictures: Decoded, geometry: Preprocessing) -> int | None:
    """Returns the finest output stride whose features are the base model's own; ``None``: its own grid.

    Measured on a few pictures in float32, where both grids have a cell.
    """
    batch = geometry.normalise(pictures.pixels[:TRIED_PICTURES].float().div(255)).to(base.device)
    with torch.inference_mode(), exact_float32():
        native: Tensor = base.network.forward_features(batch)  # type: ignore[operator]
        for stride in TRIED_STRIDES:
            twin = dilated_twin(base, stride)
            if twin is None:
                continue
            dense: Tensor = twin.network.forward_features(batch)  # type: ignore[operator]
            ratio = round(dense.shape[2] / native.shape[2])
            common = dense[..., :: max(1, ratio), :: max(1, ratio)]
            if ratio > 1 and common.shape == native.shape:
                error = (common - native).abs().max() / native.abs().max().clamp_min(1e-30)
                if float(error) <= EXACT:
                    return stride
    return None


def cache_vectors(
    base: LoadedModel,
    pictures: Decoded,
    geometry: Preprocessing,
    *,
    stride: int | None,
    n_maps: int,
    mirrored: bool,
    check: Callable[[], None],
) -> Vectors:
    """Returns the group vectors of every picture (and of its mirror image) on the frozen base, computed once.

    Args:
        base: The base model.
        pictures: As it sees them.
        geometry: For the normalisation.
        stride: Output stride of the twin to read; ``None``: the base itself.
        n_maps: Groups.
        mirrored: Whether mirror images are wanted; else the picture's own vectors stand in for them.
        check: Called before each batch; raises to stop.
    """
    trunk = base_trunk(base, stride)
    values, valid = [], []
    with torch.inference_mode(), exact_float32():
        for start in range(0, len(pictures), BATCH):
            check()
            batch = geometry.normalise(pictures.pixels[start : start + BATCH].to(base.device).float().div(255))
            sides = [batch, batch.flip(3)] if mirrored else [batch]
            groups = [group_features(trunk.forward_features(side), n_maps) for side in sides]  # type: ignore[operator]
            both = [one.vectors.flatten(1).float().cpu() for one in groups]
            values.append(torch.stack([both[0], both[-1]], dim=1))
            valid.append(groups[0].valid.cpu())
    return Vectors(torch.cat(values).clone(), torch.cat(valid).clone())


@dataclass(eq=False)
class HeadStage(Stage):
    """Trains the head alone; what was cached takes the place of the trunk.

    Args:
        vectors: Of the training part.
        seen: Of the validation part.
    """

    vectors: Vectors | None = None
    seen: Vectors | None = None

    def _lay_out(self) -> None:
        """Leaves the trunk's tensors where they are: they are the base model's own."""

    def _groups(self) -> list[dict[str, Any]]:
        rate = self.recipe.lr_head
        return [{"params": list(self.network.head.parameters()), "lr": rate, "highest": rate}]

    def _weights(self) -> dict[str, Tensor]:
        weights: dict[str, Tensor] = self.network.head.state_dict()
        return weights

    def _load(self, weights: dict[str, Tensor]) -> None:
        self.network.head.load_state_dict(weights)

    def _set_mode(self) -> None:
        self.network.dropout.train()  # the frozen trunk is the base model itself and stays as it is

    def _forward(self, chosen: np.ndarray[Any, np.dtype[np.int64]]) -> Terms:
        assert self.vectors is not None
        sides = [
            int(np.random.default_rng([self.recipe.seed, STAGE_NUMBERS[self.name], self.epoch, int(index)]).integers(2))
            for index in chosen
        ]
        rows = self.vectors.values[torch.from_numpy(chosen), torch.tensor(sides)].to(self.device)
        labels = self.train.labels[torch.from_numpy(chosen)].to(self.device)
        logits = self.network.head(self.network.dropout(rows))
        return loss_terms(logits, None, labels, alpha=0.0, temperature=1.0)

    @torch.inference_mode()
    def _measured(self) -> Scores:
        assert self.seen is not None
        self.network.dropout.eval()
        logits = nn.functional.linear(self.seen.values[:, 0].to(self.device), self.network.head.weight).cpu()
        answers, labels = logits.argmax(1), self.validation.labels
        is_matched = bool((self.base_answers >= 0).any())
        return Scores(
            accuracy=float((answers == labels).double().mean()),
            cross_entropy=float(functional.cross_entropy(logits, labels)),
            agreement=float((answers == self.base_answers).double().mean()) if is_matched else None,
            valid_share=tuple(self.seen.valid.double().mean(0).tolist()),
        )
