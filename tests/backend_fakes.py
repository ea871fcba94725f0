"""A catalogue without workers and results without models, for tests of the web process."""

from __future__ import annotations

import io
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from backend.contract.artifacts import ArtifactStore, array_to_npy
from backend.contract.keys import picture_id
from backend.contract.results import ArrayRef, Box, Encoding, Layer, Manifest, Region, ResultKind
from backend.contract.schemas import (
    Capability,
    Catalogue,
    MethodCard,
    ModelCard,
    ModelKind,
    PictureRecord,
    RunSpec,
)

IMAGE_ID = "a" * 64

PARAMS_SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "$defs": {"Mode": {"enum": ["fast", "exact"], "type": "string"}},
    "properties": {
        "steps": {"type": "integer", "title": "Steps", "default": 8, "minimum": 1, "maximum": 100},
        "width": {"type": "number", "title": "Width", "default": 0.5, "exclusiveMinimum": 0},
        "mode": {"$ref": "#/$defs/Mode", "title": "Mode", "default": "fast"},
    },
}


def make_model(name: str = "tiny-cnn", **changes: Any) -> ModelCard:
    card = ModelCard(
        name=name,
        title=name.title(),
        kind=ModelKind.CLASSIFIER,
        source="demo",
        described=True,
        input_size=(64, 64),
        preprocessing="64x64 bicubic",
        weights="f" * 64,
        class_count=12,
    )
    return card.model_copy(update=changes)


def make_method(name: str, **changes: Any) -> MethodCard:
    card = MethodCard(
        name=name,
        title=name.title(),
        question="?",
        summary="",
        help="",
        version=3,
        kind=ResultKind.SCALAR_MAP,
        params_schema=PARAMS_SCHEMA,
    )
    return card.model_copy(update=changes)


def make_catalogue() -> Catalogue:
    return Catalogue(
        methods=(
            make_method("plain"),
            make_method("aimed", has_target=True, has_seed=True, several_pictures=True),
            make_method("answer", kind=ResultKind.PREDICTION, role="prediction", params_schema={"properties": {}}),
        ),
        models=(make_model(), make_model("no-grid")),
        timm_names=("resnet18.a1_in1k", "resnet50.a1_in1k", "vit_base_patch16_224.augreg_in1k"),
        capabilities=(
            Capability(model="tiny-cnn", method="plain", possible=True, passes=40),
            Capability(model="tiny-cnn", method="aimed", possible=True, passes=400),
            Capability(model="tiny-cnn", method="answer", possible=True, passes=1),
            Capability(model="no-grid", method="plain", possible=False, reason="It has no grid.", remedy="Use a CNN."),
            Capability(model="no-grid", method="aimed", possible=True, passes=10),
            Capability(model="no-grid", method="answer", possible=True, passes=1),
        ),
    )


def make_spec(image_id: str = IMAGE_ID, **changes: Any) -> RunSpec:
    spec = RunSpec(
        image_ids=(image_id,),
        model="tiny-cnn",
        weights="f" * 64,
        preprocessing="64x64 bicubic",
        method="plain",
        method_version=3,
        params={"steps": 8, "width": 0.5, "mode": "fast"},
    )
    return spec.model_copy(update=changes)


def make_pixels(width: int = 60, height: int = 40, *, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def encode(pixels: NDArray[np.generic], kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format=kind, **options)
    return buffer.getvalue()


def put_picture(store: ArtifactStore, *, width: int = 60, height: int = 40, seed: int = 0) -> PictureRecord:
    pixels = make_pixels(width, height, seed=seed)
    record = PictureRecord(id=picture_id(pixels), width=width, height=height, name="bird.png")
    store.put_picture(record, encode(pixels))
    return record


def put_result(
    store: ArtifactStore,
    record: PictureRecord,
    key: str,
    arrays: Mapping[str, NDArray[np.generic]] | None = None,
    **changes: Any,
) -> Manifest:
    """Stores arrays and a manifest whose first layer is ``map`` and covers the whole picture."""
    arrays = arrays or {"map": np.linspace(0, 1, 35, dtype=np.float32).reshape(5, 7)}
    frame = Box(0, 0, record.width, record.height)
    references = {}
    for name, array in arrays.items():
        digest = store.put_blob(array_to_npy(array))
        references[name] = ArrayRef(digest=digest, dtype=str(array.dtype), shape=array.shape, frame=frame)
    first = next(iter(arrays))
    manifest = Manifest(
        run_key=key,
        image_ids=(record.id,),
        picture_size=(record.width, record.height),
        model="tiny-cnn",
        model_title="Tiny CNN",
        weights_digest="f" * 64,
        preprocessing="64x64 bicubic",
        method="plain",
        method_title="Plain",
        method_version=3,
        params={"steps": 8},
        target=2,
        kind=ResultKind.SCALAR_MAP,
        seen=Box(10, 0, 50, 40),
        arrays=references,
        layers=(Layer(name=first, title="Map", array=first, encoding=Encoding.SEQUENTIAL, ends=("low", "high")),),
        regions=(Region(id=1, label="beak", score=0.5, area=0.1, box=Box(1, 2, 3, 4), layer=first, colour=0),),
        versions={"vitrine": "0"},
        created=1000.0,
    ).model_copy(update=changes)
    store.put_manifest(manifest)
    return manifest


def png_bomb(width: int, height: int) -> bytes:
    """Returns a real PNG of one colour: huge when decoded, tiny as a file."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes((1, 0, 0, 0, 0))
    packer = zlib.compressobj(9)
    row = bytes(1 + (width + 7) // 8)
    packed = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")
