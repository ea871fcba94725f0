"""What a run leaves behind: a manifest that names arrays, layers, regions, tables and texts.

Every rectangle is ``(left, top, right, bottom)`` in pixels of the canonical picture (after the EXIF turn),
with ``right`` and ``bottom`` exclusive. Pixel ``(i, j)`` covers ``[j, j + 1) x [i, i + 1)``.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

SCHEMA_VERSION = 1

Scalar = bool | int | float | str | None


class ResultKind(StrEnum):
    """The closed set of result shapes; the page has one renderer for each."""

    SCALAR_MAP = "scalar_map"
    """One number per place, signed (relevance) or unsigned (saliency); perhaps for several classes."""
    LABEL_MAP = "label_map"
    """A partition of the picture into regions without order."""
    RANKED_MAPS = "ranked_maps"
    """A few maps in order of rank, drawn together as one composite."""
    VISUAL_WORDS = "visual_words"
    """Learned words, where they were found and what each adds to a class score."""
    REGION_VALUES = "region_values"
    """Signed values of the regions of a partition."""
    PREDICTION = "prediction"
    """What a model answers: class probabilities or a caption."""
    CURVES = "curves"
    """Scores along an order of places, beside orders that know nothing: the check of another result."""
    AGREEMENT = "agreement"
    """Several maps of one picture on one grid as ranks, with what they share and how far each pair agrees."""


class Encoding(StrEnum):
    """How the numbers of a layer become colours."""

    SEQUENTIAL = "sequential"
    SIGNED = "signed"
    LABELS = "labels"
    RGB = "rgb"


class Box(NamedTuple):
    """A rectangle in picture pixels; ``right`` and ``bottom`` are exclusive."""

    left: float
    top: float
    right: float
    bottom: float


class Contract(BaseModel):
    """Base of every stored or transmitted shape: frozen, and closed to unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class ArrayRef(Contract):
    """Names one stored array by the sha256 of its ``.npy`` bytes."""

    digest: str = Field(pattern=r"^[0-9a-f]{64}$")
    dtype: str
    shape: tuple[int, ...]
    frame: Box | None = None
    """Rectangle of the picture that the array's last two axes (``[..., H, W]``; for ``rgb`` layers
    ``[H, W, 3]``) cover exactly. May reach beyond the picture where the model pads. ``None``: not a map."""


class Layer(Contract):
    """One way to look at a result: which numbers, how to colour them, what their ends mean."""

    name: str
    title: str
    array: str
    """Key into :attr:`Manifest.arrays`."""
    index: int | None = None
    """Position on the array's first axis, for stacks ``[N, H, W]``."""
    encoding: Encoding
    range: tuple[float, float] | None = None
    """Natural range of the values (for example 0 to 1); ``None``: the array's own."""
    ends: tuple[str, str] = ("", "")
    """Words at the low and the high end of the legend. For labels: (sentence, "")."""
    unit: str = ""
    smooth: bool = True
    """Whether the map may be drawn with interpolation (never for labels)."""
    target: int | None = None
    """Class index this layer speaks of."""
    role: str = "main"
    """``main``: shown first; ``detail``: offered in the panel."""
    picture: int = 0
    """Position in :attr:`Manifest.image_ids` of the picture that the layer lies on."""


class Region(Contract):
    """A labelled part of the picture."""

    id: int
    """Value of the region in the label layer, when ``layer`` is given."""
    label: str
    score: float | None = None
    area: float
    """Share of the area that the model saw, 0-1."""
    box: Box
    colour: int | None = None
    """Index into the categorical palette."""
    layer: str | None = None
    values: dict[str, Scalar] = Field(default_factory=dict)
    """Further columns of the region table; keys are described in ``Manifest.region_columns``."""


class Column(Contract):
    """Heading of one column of a table."""

    key: str
    title: str
    unit: str = ""
    digits: int | None = None
    """Decimals to print; ``None``: text or whole number."""
    hint: str = ""


class Table(Contract):
    """A small table of a result, rows as lists in the order of ``columns``."""

    name: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Scalar, ...], ...]


class Texts(Contract):
    """Sentences for people."""

    reading: str = ""
    """One or two sentences that say what this map shows, with numbers and their counterpart."""
    badge: str = ""
    """The one thing worth knowing, in at most four words (for example "post hoc")."""
    cautions: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    """Fallbacks and choices made on the way."""


class ClassScore(Contract):
    """One class of the model with its score."""

    index: int
    label: str
    score: float


class Manifest(Contract):
    """Everything about one finished (or partial) run except the bytes of its arrays."""

    schema_version: int = SCHEMA_VERSION
    run_key: str
    image_ids: tuple[str, ...]
    picture_size: tuple[int, int]
    """Width and height of the first picture."""
    picture_sizes: tuple[tuple[int, int], ...] = ()
    """Width and height of every picture, in the order of ``image_ids``."""
    model: str
    model_title: str
    weights_digest: str
    preprocessing: str
    method: str
    method_title: str
    method_version: int
    params: dict[str, Any]
    target: int | None = None
    target_label: str | None = None
    seed: int = 0
    kind: ResultKind
    seen: Box | None = None
    """Rectangle of the picture that the model saw (clipped to the picture)."""
    arrays: dict[str, ArrayRef] = Field(default_factory=dict)
    layers: tuple[Layer, ...] = ()
    regions: tuple[Region, ...] = ()
    region_columns: tuple[Column, ...] = ()
    tables: tuple[Table, ...] = ()
    classes: tuple[ClassScore, ...] = ()
    """Kept classes with their scores on the intact picture, best first."""
    caption: str | None = None
    scalars: dict[str, Scalar] = Field(default_factory=dict)
    texts: Texts = Texts()
    versions: dict[str, str] = Field(default_factory=dict)
    device: str = ""
    dtype: str = "float32"
    passes: int = 0
    seconds: float = 0.0
    peak_memory_bytes: int | None = None
    created: float = 0.0
    """Seconds since the epoch."""
    partial: bool = False

    def digests(self) -> set[str]:
        """Returns the digests of all arrays the manifest names."""
        return {array.digest for array in self.arrays.values()}
