"""Tiny encoders with known activations, and contexts of one or more pictures, for NAVE."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from backend.contract.schemas import BlockCard, PictureRecord
from models.architectures import find_layout
from models.loader import LoadedModel
from models.preprocessing import Preprocessing
from tests.fakes_models import as_loaded
from workers.engine import Engine
from workers.method import Context, Picture, Result
from workers.methods.nave import Params
from workers.validation import validate_result

Pixels = NDArray[np.uint8]


class Stages(nn.Module):
    """Four stages of strides 2, 4, 8 and 16 with random weights, and a head."""

    def __init__(self, widths: Sequence[int] = (6, 10, 40, 90)) -> None:
        super().__init__()
        torch.manual_seed(123)
        channels = (3, *widths)
        for stage, (before, after) in enumerate(zip(channels, widths, strict=False)):
            block = nn.Sequential(nn.Conv2d(before, after, 3, stride=2, padding=1), nn.ReLU(inplace=True))
            self.add_module(f"stage{stage}", block)
        self.n_stages = len(widths)
        self.head = nn.Linear(widths[-1], 4)

    def forward(self, pictures: Tensor) -> Tensor:
        for stage in range(self.n_stages):
            pictures = self.get_submodule(f"stage{stage}")(pictures)
        logits: Tensor = self.head(pictures.mean(dim=(2, 3)))
        return logits


class Cells(nn.Module):
    """Mean colours of cells of 8 x 8 pixels; as maps, or with channels last."""

    def __init__(self, *, is_last: bool = False) -> None:
        super().__init__()
        self.cells = CellMeans(is_last=is_last)
        self.gain = nn.Parameter(torch.ones(()), requires_grad=False)
        self.is_last = is_last
        if is_last:
            self.output_fmt = "NHWC"

    def forward(self, pictures: Tensor) -> Tensor:
        means: Tensor = self.cells(pictures) * self.gain
        return means.mean(dim=(1, 2) if self.is_last else (2, 3))


class CellMeans(nn.Module):
    """Average pooling over 8 x 8 pixels."""

    def __init__(self, *, is_last: bool) -> None:
        super().__init__()
        self.is_last = is_last

    def forward(self, pictures: Tensor) -> Tensor:
        means = nn.functional.avg_pool2d(pictures, 8)
        return means.permute(0, 2, 3, 1) if self.is_last else means


def make_vit(
    size: tuple[int, int] = (32, 48), *, registers: int = 0, depth: int = 4, is_dynamic: bool = False
) -> VisionTransformer:
    """Returns a vision transformer of patches of 8 x 8 whose tokens never mix: blocks pass them on unchanged."""
    torch.manual_seed(1)
    network = VisionTransformer(
        img_size=size,
        patch_size=8,
        embed_dim=16,
        depth=depth,
        num_heads=2,
        num_classes=5,
        reg_tokens=registers,
        dynamic_img_size=is_dynamic,
    )
    with torch.no_grad():
        network.pos_embed.zero_()
        for block in network.blocks:
            for linear in (block.attn.proj, block.mlp.fc2):
                linear.weight.zero_()
                linear.bias.zero_()
    return network


def make_model(
    network: nn.Module,
    size: tuple[int, int] = (32, 48),
    *,
    blocks: Sequence[str] | None = None,
    digest: str | None = None,
    crop_mode: str = "squash",
    crop_pct: float = 1.0,
    name: str = "tiny",
) -> LoadedModel:
    """Returns any network as a loaded model; ``blocks`` overrides which modules are its blocks."""
    preprocessing = Preprocessing(
        input_size=size,
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        crop_pct=crop_pct,
        crop_mode=crop_mode,
        interpolation="nearest",
    )
    model = as_loaded(network, preprocessing=preprocessing, name=name)
    if blocks is not None:
        layout = find_layout(network, size, override=blocks)
        cards = tuple(
            BlockCard(name=b.name, channels=b.channels, grid=b.grid, layout=b.layout, stage=b.stage)
            for b in layout.blocks
        )
        model = replace(model, layout=layout, card=model.card.model_copy(update={"blocks": cards}))
    return replace(model, weights_digest=digest) if digest else model


def make_picture(pixels: Pixels) -> Picture:
    """Returns a canonical picture whose id depends on its content."""
    number = abs(hash((pixels.shape, pixels.tobytes())))
    record = PictureRecord(id=f"{number:064x}", width=pixels.shape[1], height=pixels.shape[0])
    return Picture(record=record, pixels=pixels)


def noise(size: tuple[int, int] = (32, 48), seed: int = 0) -> Pixels:
    """Returns soft coloured noise ``[H, W, 3]``."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 7, 3))
    rows = np.linspace(0, 4, size[0]).round().astype(int)
    columns = np.linspace(0, 6, size[1]).round().astype(int)
    fine = np.random.default_rng(seed + 1).integers(0, 40, (*size, 3))
    return (coarse[rows][:, columns] * 0.8 + fine).clip(0, 255).astype(np.uint8)


@dataclass
class Told:
    """What a run reported, and how often it asked whether it is still wanted."""

    progress: list[tuple[int, int, str]] = field(default_factory=list)
    partials: list[Result] = field(default_factory=list)
    checks: int = 0


def make_context(
    model: LoadedModel,
    pictures: Sequence[Pixels],
    params: Params | None = None,
    *,
    seed: int = 0,
    on_check: Callable[[int], None] = lambda _count: None,
) -> tuple[Context, Told]:
    """Returns a context and where its reports go; every partial result is checked as the executor would."""
    told = Told()

    def check() -> None:
        told.checks += 1
        on_check(told.checks)

    def partial(result: Result) -> None:
        validate_result(result, partial=True)
        told.partials.append(result)

    context = Context(
        pictures=[make_picture(pixels) for pixels in pictures],
        model=model,
        engine=Engine(model, check_cancelled=check, batch_size=4),
        params=params or Params(),
        target=None,
        seed=seed,
        progress=lambda done, total, stage="": told.progress.append((done, total, stage)),
        partial=partial,
        check_cancelled=check,
        fetch=_nothing_stored,
        load_model=lambda _name: model,
    )
    return context, told


def _nothing_stored(key: str) -> object:  # type: ignore[misc]
    raise KeyError(key)


STAGES = ("stage0", "stage1", "stage2", "stage3")
QUICK = {"floors": (), "nested": False}


def staged_model(**settings_: object) -> LoadedModel:
    """Returns a network of four stages on 64 x 96 pixels."""
    return make_model(Stages(), (64, 96), blocks=STAGES, **settings_)  # type: ignore[arg-type]


def bright_cell(row: int, column: int, size: tuple[int, int] = (32, 48)) -> np.ndarray:
    """Returns a dim picture with one bright cell of 8 x 8 pixels."""
    pixels = np.full((*size, 3), 60, dtype=np.uint8)
    pixels[row * 8 : row * 8 + 8, column * 8 : column * 8 + 8] = (250, 40, 90)
    return pixels


def labels_of(result: Result, name: str = "labels_000") -> np.ndarray:
    """Returns the labels of a picture as whole numbers."""
    return np.asarray(result.arrays[name].data).astype(np.int64)
