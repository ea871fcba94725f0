"""BR-NPA: groups of alike features in order of strength, and a classifier that reads nothing but them.

Source: T. Gomez, S. Ling, T. Fréour, H. Mouchère, "BR-NPA: A Non-Parametric High-Resolution Attention Model to
improve the Interpretability of Attention", Pattern Recognition 2022, arXiv 2106.02566. Deviations: similarities are
clamped to 0-1 (features may be signed), a round without anything left to find is marked invalid instead of
repeating an old seed, and the head has no bias, so that its logits split exactly into groups and cells.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import timm
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

EPS = 1e-5
SCORE_FLOOR = 1e-3
"""A round whose best strength is below this share of the first one finds nothing."""
SUM_FLOOR = 1e-12
UPSCALED_STAGES = ("layer3", "layer4")
FINE_STRIDE = 8


@dataclass(frozen=True, eq=False)
class FeatureGroups:
    """Groups of cells whose features point the same way, strongest first.

    Without a batch (input ``[C, H, W]``) the leading dimension is absent.

    Attributes:
        maps: ``[B, N, H, W]``, >= 0, each map sums to 1; an invalid map is uniform.
        vectors: ``[B, N, C]``, ``maps`` applied to the features.
        seeds: ``[B, N]`` int64, flat index of the cell a group grew from; -1 where invalid.
        scores: ``[B, N]``, strength of the best cell left in each round; never increases along N.
        activity: ``[B, H, W]``, norm of each cell's feature, in feature units.
        valid: ``[B, N]`` bool.
    """

    maps: Tensor
    vectors: Tensor
    seeds: Tensor
    scores: Tensor
    activity: Tensor
    valid: Tensor


def group_features(features: Tensor, n_maps: int = 3) -> FeatureGroups:
    """Returns ``n_maps`` groups of cells, found one after the other by strength and likeness.

    The strongest cell is the first seed; every cell joins with its cosine to the seed; what joined is suppressed by
    that cosine, and the strongest cell that is left is the next seed. No weights are involved. Gradients flow through
    the features, not through the choice of seeds.

    Args:
        features: ``[C, H, W]`` or ``[B, C, H, W]``, floating point. Read in float32 (float64 stays).
        n_maps: Number of rounds, >= 1; more than there are cells is allowed, the rounds then run out.

    Returns:
        The groups; maps do not depend on any class, and their strengths compare only within one picture.

    Raises:
        TypeError: If the features are not a tensor.
        ValueError: If the shape is wrong, a dimension is empty, the dtype is no floating point or ``n_maps`` < 1.
    """
    return _group(features, n_maps, None)


class BrNpaClassifier(nn.Module):
    """A classifier that sees only the group vectors: ``logits = W [v_1; ...; v_N]``, without bias.

    Args:
        trunk: Offers ``forward_features(pictures) -> [B, C, H, W]`` and ``num_features`` (= C).
        n_classes: Number of classes K.
        n_maps: Number of groups N; slot ``i`` of the head always reads the i-th group.
        dropout: Share of inputs of the head dropped while training, 0-1.
    """

    def __init__(self, trunk: nn.Module, n_classes: int, *, n_maps: int = 3, dropout: float = 0.0) -> None:
        super().__init__()
        if n_classes < 1 or n_maps < 1:
            raise ValueError(f"a classifier needs at least one class and one map, not {n_classes} and {n_maps}")
        self.trunk = trunk
        self.n_maps = n_maps
        self.n_channels = int(trunk.num_features)  # type: ignore[arg-type]
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(self.n_channels * n_maps, n_classes, bias=False)
        self._last: tuple[Tensor, FeatureGroups] | None = None

    def forward(self, pictures: Tensor) -> tuple[Tensor, FeatureGroups]:
        """Returns logits ``[B, K]`` and the groups they were read from.

        Args:
            pictures: ``[B, 3, H, W]``, normalised as the trunk demands.
        """
        features = self.trunk.forward_features(pictures)  # type: ignore[operator]
        groups = group_features(features, self.n_maps)
        with torch.autocast(device_type=features.device.type, enabled=False):
            vectors = groups.vectors.to(self.head.weight.dtype)
            logits: Tensor = self.head(self.dropout(vectors.flatten(1)))
        self._last = None if self.training else (features.detach(), groups)
        return logits, groups

    def decompose(self, class_index: int | Tensor) -> Tensor:
        """Returns what each cell of each group added to one logit in the last forward pass.

        Args:
            class_index: One class for all pictures, or ``[B]`` int64.

        Returns:
            ``[B, N, H, W]``, signed, in logits; the sum over N, H and W is the logit.

        Raises:
            RuntimeError: Before a forward pass in evaluation mode, or in training mode.
        """
        rows = self.head.weight.detach()[torch.as_tensor(class_index, device=self.head.weight.device)]
        return self._split_rows(rows)

    def _split_rows(self, rows: Tensor) -> Tensor:
        """Splits any linear reading of the vectors, ``[N*C]`` or ``[B, N*C]``: a class, or a difference of classes."""
        if self._last is None:
            raise RuntimeError("decompose reads the last forward pass in evaluation mode; run one first")
        features, groups = self._last
        n_batch, n_channels, height, width = features.shape
        slots = rows.expand(n_batch, -1).reshape(n_batch, self.n_maps, n_channels)
        cells = features.to(slots.dtype).flatten(2)
        per_cell = torch.bmm(slots, cells).reshape(n_batch, self.n_maps, height, width)
        return per_cell * groups.maps.detach().to(slots.dtype)

    def train(self, mode: bool = True) -> BrNpaClassifier:
        """Switches the mode and forgets the last forward pass."""
        self._last = None
        super().train(mode)
        return self


def _build_trunk(
    architecture: str, state: Mapping[str, Tensor], upscaling: str, *, arguments: Mapping[str, Any] | None = None
) -> nn.Module:
    """Returns the trunk of a residual network with the base's weights, at its own or at a finer resolution.

    Args:
        architecture: timm's name of it.
        state: Weights of the base model (its classifier is left out) or of such a trunk.
        upscaling: ``none``: unchanged; ``stride``: the last two stages without stride and without dilation, so that
            the weights no longer fit what they see; ``dilation``: output stride 8 with the same meaning of weights.
        arguments: Further arguments of ``timm.create_model``.

    Raises:
        ValueError: If the network has no such stages, or cannot be made finer in this way.
    """
    asked = {name: value for name, value in (arguments or {}).items() if name not in ("num_classes", "pretrained_cfg")}
    if upscaling not in ("none", "stride", "dilation"):
        raise ValueError(f"upscaling is none, stride or dilation, not {upscaling!r}")
    if upscaling == "dilation":
        asked["output_stride"] = FINE_STRIDE
    elif upscaling == "stride":
        asked.pop("output_stride", None)
    try:
        trunk: nn.Module = timm.create_model(architecture, pretrained=False, num_classes=0, **asked)
    except (TypeError, NotImplementedError, AssertionError, RuntimeError) as error:
        raise ValueError(f"{architecture} cannot be built with the upscaling {upscaling!r}") from error
    if not all(isinstance(getattr(trunk, stage, None), nn.Sequential) for stage in UPSCALED_STAGES):
        raise ValueError(f"{architecture} has no stages {' and '.join(UPSCALED_STAGES)}")
    if upscaling == "stride":
        _without_strides(trunk, architecture)
    wanted = trunk.state_dict()
    head = str((getattr(trunk, "pretrained_cfg", None) or {}).get("classifier") or "fc")
    kept = {name: tensor for name, tensor in state.items() if name in wanted or not name.startswith(f"{head}.")}
    try:
        trunk.load_state_dict(kept, strict=True)
    except RuntimeError as error:  # a shortcut that is only there because of its stride, say
        raise ValueError(f"the weights of {architecture} do not fit the upscaling {upscaling!r}") from error
    return trunk


def _without_strides(trunk: nn.Module, architecture: str) -> None:
    """Lets the last two stages keep the grid: stride 1 in their first blocks and in the shortcuts beside them."""
    for stage in UPSCALED_STAGES:
        first = next(iter(trunk.get_submodule(stage).children()))
        if not isinstance(getattr(first, "aa", nn.Identity()), nn.Identity | type(None)):
            raise ValueError(f"{architecture} blurs before it pools; its stride cannot be taken away")
        for name, module in list(first.named_modules()):
            if isinstance(module, nn.Conv2d):
                module.stride = (1, 1)
            elif isinstance(module, nn.AvgPool2d):
                parent, _, child = name.rpartition(".")
                setattr(first.get_submodule(parent), child, nn.Identity())
            elif isinstance(module, nn.MaxPool2d):
                raise ValueError(f"{architecture} pools inside a block; its stride cannot be taken away")


def _group(features: Tensor, n_maps: int, seed_allowed: Tensor | None) -> FeatureGroups:
    """Groups with an optional mask ``[H, W]`` or ``[B, H, W]`` of cells that may become seeds."""
    _validate(features, n_maps)
    single = features.ndim == 3
    batch = features[None] if single else features
    n_batch, _, height, width = batch.shape
    allowed = None if seed_allowed is None else seed_allowed.expand(n_batch, height, width).flatten(1)
    with torch.autocast(device_type=features.device.type, enabled=False):
        cells = (batch if batch.dtype == torch.float64 else batch.float()).flatten(2)
        groups = _rounds(cells, n_maps, allowed)
    maps, vectors, seeds, scores, activity, valid = groups
    result = FeatureGroups(
        maps=maps.reshape(n_batch, n_maps, height, width),
        vectors=vectors,
        seeds=seeds,
        scores=scores,
        activity=activity.reshape(n_batch, height, width),
        valid=valid,
    )
    return _without_batch(result) if single else result


def _rounds(cells: Tensor, n_maps: int, allowed: Tensor | None) -> tuple[Tensor, ...]:
    n_cells = cells.shape[2]
    activity = torch.linalg.vector_norm(cells, dim=1)
    norms = activity + EPS
    left = norms
    alive = torch.ones(cells.shape[0], dtype=torch.bool, device=cells.device)
    first_score: Tensor | None = None
    rows: list[tuple[Tensor, Tensor, Tensor, Tensor, Tensor]] = []
    for _ in range(n_maps):
        seed, score = _strongest(left, allowed)
        first_score = score if first_score is None else first_score
        seed_cell = cells.gather(2, seed[:, None, None].expand(-1, cells.shape[1], 1))
        seed_norm = norms.gather(1, seed[:, None])
        cosine = (torch.bmm(seed_cell.transpose(1, 2), cells)[:, 0] / (norms * seed_norm)).clamp(0, 1)
        total = cosine.sum(1, keepdim=True)
        alive = alive & (score >= SCORE_FLOOR * first_score) & (total[:, 0] > SUM_FLOOR)
        shares = cosine / total.clamp_min(SUM_FLOOR)
        attention = torch.where(alive[:, None], shares, torch.full_like(shares, 1.0 / n_cells))
        vector = torch.bmm(attention[:, None], cells.transpose(1, 2))[:, 0]
        rows.append((attention, vector, torch.where(alive, seed, -1), score, alive))
        left = torch.where(alive[:, None], (1 - cosine) * left, left)
    maps, vectors, seeds, scores, valid = (torch.stack(parts, dim=1) for parts in zip(*rows, strict=True))
    return maps, vectors, seeds, scores, activity, valid


def _strongest(left: Tensor, allowed: Tensor | None) -> tuple[Tensor, Tensor]:
    """Returns index (lowest on ties, on every device) and value of the strongest cell that may be a seed."""
    ranked = left if allowed is None else torch.where(allowed, left, torch.full_like(left, -1.0))
    best = ranked.amax(1, keepdim=True)
    positions = torch.arange(left.shape[1], device=left.device)
    # NaN equals nothing: the index then stays in range and the NaN travels on in the values.
    index = torch.where(ranked == best, positions, left.shape[1]).amin(1).clamp(max=left.shape[1] - 1)
    return index, left.gather(1, index[:, None])[:, 0]


def _validate(features: Tensor, n_maps: int) -> None:
    if not isinstance(features, Tensor):
        raise TypeError(f"features are a tensor, not {type(features).__name__}")
    if features.ndim not in (3, 4):
        raise ValueError(f"features are [C, H, W] or [B, C, H, W], not {list(features.shape)}")
    if 0 in features.shape:
        raise ValueError(f"features have an empty dimension: {list(features.shape)}")
    if not features.is_floating_point():
        raise ValueError(f"features are floating point, not {features.dtype}")
    if n_maps < 1:
        raise ValueError(f"at least one map is needed, not {n_maps}")


def _without_batch(groups: FeatureGroups) -> FeatureGroups:
    return FeatureGroups(
        maps=groups.maps[0],
        vectors=groups.vectors[0],
        seeds=groups.seeds[0],
        scores=groups.scores[0],
        activity=groups.activity[0],
        valid=groups.valid[0],
    )


def _composite(maps: NDArray[np.float32], activity: NDArray[np.float32], valid: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Returns the colour part ``[H, W, 3]`` uint8 of up to three maps ``[N, H, W]``: red, green, blue by rank.

    Every range is taken over the valid maps jointly; an invalid or missing map leaves its channel empty.
    """
    shown = min(3, len(maps))
    kept = valid[:shown]
    colour = np.zeros((*activity.shape, 3), np.float32)
    if kept.any():
        spread = _min_max(maps[:shown][kept].astype(np.float32))
        weighted = _min_max(spread * _min_max(activity.astype(np.float32)))
        colour[..., np.nonzero(kept)[0]] = np.moveaxis(weighted, 0, -1)
    drawn: NDArray[np.uint8] = np.rint(255 * colour.clip(0, 1)).astype(np.uint8)
    return drawn


def _min_max(values: NDArray[np.float32]) -> NDArray[np.float32]:
    low, high = values.min(), values.max()
    if high > low:
        scaled: NDArray[np.float32] = (values - low) / (high - low)
        return scaled
    return np.ones_like(values) if high > 0 else np.zeros_like(values)
