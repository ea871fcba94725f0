"""Which blocks are looked at, and their activations: one forward pass per picture, whatever is asked afterwards."""

from __future__ import annotations

import copy
import threading
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from backend.contract.problems import ProblemCode, ProblemError
from backend.contract.schemas import BlockCard, ModelCard
from models.loader import LoadedModel
from workers.methods._nave_features import isometric_compression

CACHE_BYTES = 256 * 1024**2
STAGES_KEPT = 3


def usable_blocks(card: ModelCard) -> list[BlockCard]:
    """Returns the blocks with at least 2 x 2 positions, in the order of the forward pass."""
    return [block for block in card.blocks if min(block.grid) >= 2]


def is_plain(blocks: Sequence[BlockCard]) -> bool:
    """Returns whether several blocks share one grid and one width, as in a plain vision transformer."""
    return len(blocks) > 1 and len({(block.grid, block.channels) for block in blocks}) == 1


def choose_blocks(card: ModelCard, preset: str, names: Sequence[str]) -> list[BlockCard]:
    """Returns the blocks of a preset, from the finest grid on (ties: shallower first).

    Args:
        card: Of a described model.
        preset: ``published``, ``multi_depth`` or ``custom``.
        names: For ``custom``.

    Raises:
        ProblemError: If a name is unknown or its grid is too small.
    """
    blocks = usable_blocks(card)
    if preset == "custom":
        chosen = _named(card, blocks, names)
    elif preset == "multi_depth" and is_plain(blocks):
        depth = len(blocks)
        places = [depth - 1 - step * max(1, depth // 4) for step in (2, 1, 0)]
        chosen = [blocks[place] for place in places if place >= 0]
    else:
        last = {(block.stage, block.channels): block for block in blocks}
        chosen = [block for block in blocks if block in last.values()][-STAGES_KEPT:]
    return sorted(chosen, key=lambda block: (-block.grid[0] * block.grid[1], blocks.index(block)))


def _named(card: ModelCard, blocks: Sequence[BlockCard], names: Sequence[str]) -> list[BlockCard]:
    known = {block.name: block for block in blocks}
    missing = [name for name in names if name not in known]
    if missing:
        raise ProblemError(
            ProblemCode.PARAMS_INVALID,
            f"{card.title} has no block {missing[0]!r} with a grid. Its blocks are {', '.join(known)}.",
        )
    return [known[name] for name in dict.fromkeys(names)]


def evenly_spaced(blocks: Sequence[BlockCard], most: int) -> list[BlockCard]:
    """Returns at most so many blocks, from shallow to deep, the first and the last among them."""
    count = min(most, len(blocks))
    if count < 2:
        return list(blocks[-1:])
    return [blocks[round(step * (len(blocks) - 1) / (count - 1))] for step in range(count)]


@dataclass(frozen=True)
class NormChoice:
    """What is done to token blocks before anything else.

    Args:
        path: Module of the final norm, or ``None`` for the raw residual stream.
        note: What a person should know of the choice; may be empty.
    """

    path: str | None
    note: str = ""


def choose_norm(model: LoadedModel, setting: str) -> NormChoice:
    """Returns which norm to apply for ``auto``, ``raw`` or ``normed``.

    ``auto`` is the model's final LayerNorm for models trained as DINOv2 was, and none for all others.
    """
    layout = model.layout
    if not any(block.layout == "tokens" for block in layout.blocks):
        return NormChoice(None, "The final norm applies to token models only." if setting == "normed" else "")
    if setting == "raw":
        return NormChoice(None, "Blocks are read raw, without the model's final norm.")
    if setting == "auto" and not _is_dino(model.card):
        return NormChoice(
            None, "Blocks are read raw, without the model's final norm, as for all but DINOv2-type models."
        )
    if layout.final_norm is None or isinstance(model.network.get_submodule(layout.final_norm), nn.Identity):
        return NormChoice(None, "The model has no final norm before its pooling, so normed blocks equal raw ones.")
    return NormChoice(layout.final_norm, "The model's final norm was applied to every block.")


def _is_dino(card: ModelCard) -> bool:
    words = f"{card.name} {card.architecture} {card.family}".lower()
    return "dinov2" in words or "dinov3" in words


def apply_norm(network: nn.Module, path: str | None, grid: Tensor) -> Tensor:
    """Returns maps ``[B, C, h, w]`` after the norm of that path, in float32; maps of another width stay as they are."""
    if path is None:
        return grid
    norm = copy.deepcopy(network.get_submodule(path)).to(grid.dtype)
    width = next((int(parameter.shape[-1]) for parameter in norm.parameters()), grid.shape[1])
    if width != grid.shape[1]:
        return grid
    with torch.inference_mode():
        normed: Tensor = norm(grid.flatten(2).transpose(1, 2).contiguous())
    return normed.transpose(1, 2).reshape(grid.shape)


@dataclass(frozen=True, eq=False)
class Kept:
    """A block's activations ``[C, h, w]`` (perhaps compressed) and its channels before compression."""

    maps: Tensor
    channels: int

    @property
    def is_compressed(self) -> bool:
        """Whether the columns have lost their meaning."""
        return self.maps.shape[0] != self.channels


class BlockCache:
    """Activations of blocks by what they depend on; the least recently used leave first. Thread-safe.

    Args:
        budget_bytes: Most bytes to hold.
    """

    def __init__(self, budget_bytes: int = CACHE_BYTES) -> None:
        self._budget = budget_bytes
        self._held: OrderedDict[Hashable, Kept] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    @property
    def size_bytes(self) -> int:
        """Bytes held."""
        return self._bytes

    def get(self, key: Hashable, *, is_full: bool) -> Kept | None:
        """Returns what is held; ``None`` when nothing is, or not all channels though they are wanted."""
        with self._lock:
            kept = self._held.get(key)
            if kept is None or (is_full and kept.is_compressed):
                return None
            self._held.move_to_end(key)
            return kept

    def put(self, key: Hashable, kept: Kept) -> None:
        """Holds a block, in place of what was held under the key."""
        with self._lock:
            self._drop(key)
            self._held[key] = kept
            self._bytes += _bytes(kept)
            while self._bytes > self._budget:
                self._drop(next(iter(self._held)))

    def _drop(self, key: Hashable) -> None:
        kept = self._held.pop(key, None)
        self._bytes -= _bytes(kept) if kept is not None else 0


def _bytes(kept: Kept) -> int:
    return kept.maps.numel() * kept.maps.element_size()


def compressed(cache: BlockCache, key: Hashable, kept: Kept) -> Kept:
    """Returns the block with as few channels as inner products need, and lets the cache hold that form."""
    maps = isometric_compression(kept.maps)
    if maps is kept.maps:
        return kept
    smaller = Kept(maps, kept.channels)
    cache.put(key, smaller)
    return smaller
