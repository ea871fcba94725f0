"""Shapes that cross a border: what is asked, what is on offer, how a run stands."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from pydantic import Field

from backend.contract.names import EXPLAIN_QUEUE
from backend.contract.problems import Problem
from backend.contract.results import Contract, Manifest, ResultKind, Scalar

Sha256 = r"^[0-9a-f]{64}$"


class RunState(StrEnum):
    """Where a run stands. ``DONE``, ``FAILED`` and ``CANCELLED`` are final."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """Whether nothing more will happen without a new request."""
        return self in (RunState.DONE, RunState.FAILED, RunState.CANCELLED)


class PictureRecord(Contract):
    """A stored picture: canonical 8-bit sRGB, already turned as its EXIF tag asks."""

    id: str = Field(pattern=Sha256)
    width: int
    height: int
    name: str = ""
    """File name given by the person, shown but never used as a path."""
    source: str = "upload"
    """``upload``, ``drawn`` (built-in world) or ``photograph`` (sample)."""
    notes: tuple[str, ...] = ()
    """What was changed on the way in (turned, converted from CMYK, first frame of an animation)."""
    truth: dict[str, Any] | None = None
    """For drawn pictures: species, caption, seed; what a right explanation must point at."""


class RunSpec(Contract):
    """One question: one method, one model, one or more pictures. Its canonical JSON is its identity."""

    image_ids: tuple[str, ...] = Field(min_length=1, max_length=256)
    model: str
    weights: str
    """Identity of the weights: sha256 of the files for local models, ``hub:<name>`` otherwise."""
    preprocessing: str
    method: str
    method_version: int
    params: dict[str, Any]
    """Every parameter, defaults filled in."""
    target: int | None = None
    seed: int = Field(default=0, ge=0, lt=2**31)


class RunRequest(Contract):
    """What a person asks for; the backend completes it to a :class:`RunSpec`."""

    image_id: str = Field(pattern=Sha256)
    more_image_ids: tuple[str, ...] = Field(default=(), max_length=255)
    model: str = Field(min_length=1, max_length=300)
    method: str = Field(min_length=1, max_length=64)
    params: dict[str, Any] = Field(default_factory=dict)
    target: int | None = Field(default=None, ge=0)
    seed: int = Field(default=0, ge=0, lt=2**31)


class Progress(Contract):
    """How far a run is, in forward passes."""

    done: int
    total: int
    seconds_left: float | None = None
    stage: str = ""


class RunView(Contract):
    """How a run stands, as the API answers it and as Redis stores it (without ``position``)."""

    key: str = Field(pattern=Sha256)
    state: RunState
    spec: RunSpec
    progress: Progress | None = None
    position: int | None = None
    """Place in the queue, 0 is next; only while queued."""
    partial: Manifest | None = None
    problem: Problem | None = None
    cached: bool = False
    """Whether the answer was there before it was asked for."""
    attempt: int = 1
    submitted: float
    started: float | None = None
    finished: float | None = None


class RunEvent(Contract):
    """One entry of the event stream. Fields that did not change are ``None``."""

    run: str
    state: RunState
    progress: Progress | None = None
    position: int | None = None
    partial: Manifest | None = None
    problem: Problem | None = None
    at: float

    @property
    def subject(self) -> str:
        """What the event is about."""
        return self.run


class BlockCard(Contract):
    """A place in a network whose output lies on a grid of picture positions."""

    name: str
    channels: int
    grid: tuple[int, int]
    """Height and width of the grid for the model's own input size."""
    layout: str
    """``nchw``, ``nhwc`` or ``tokens``."""
    stage: int
    """Blocks of one stage share a grid size; counted from the shallowest."""


class ExplainerCard(Contract):
    """A trained explainer, as far as a choice or a form needs to know it."""

    method: str
    id: str
    title: str
    created: float
    base: str
    """Name of the model that it was trained for."""
    base_digest: str
    preprocessing: str
    """Of the base model when it was trained; a book read with another one would see other pictures."""
    data: str = ""
    """Name of the pictures that it learned from."""
    class_count: int = 0
    is_builtin: bool = False
    metrics: dict[str, Scalar] = Field(default_factory=dict)


class ModelKind(StrEnum):
    """What a model answers with."""

    CLASSIFIER = "classifier"
    ENCODER = "encoder"
    CAPTIONER = "captioner"


class ModelCard(Contract):
    """What is known of a model without loading its weights."""

    name: str
    title: str
    kind: ModelKind
    source: str
    """``demo``, ``own``, ``timm`` or ``hub``."""
    family: str = ""
    architecture: str = ""
    described: bool = False
    """Whether the fields below were read off the network itself (else they are unknown)."""
    input_size: tuple[int, int] | None = None
    """Height and width in pixels."""
    preprocessing: str = "model"
    weights: str
    class_count: int | None = None
    class_names: tuple[str, ...] = ()
    """Left out (empty) above 20 classes; the prediction and the manifest name what they show."""
    parameter_count: int | None = None
    blocks: tuple[BlockCard, ...] = ()
    prefix_tokens: int = 0
    note: str = ""
    problem: Problem | None = None
    passes_per_second: float | None = None
    """Measured on the worker, for the cost estimate."""
    explainers: tuple[ExplainerCard, ...] = ()
    """Trained for this model and complete, the newest first."""


class Preset(Contract):
    """A named set of parameters."""

    name: str
    title: str
    hint: str = ""
    params: dict[str, Any]


class MethodCard(Contract):
    """How a method describes itself; the page is drawn from it."""

    name: str
    title: str
    question: str
    """Short question the method answers, as the head of its column."""
    summary: str
    """One sentence for the method card."""
    help: str
    """Text for the Guide (Markdown): the idea, how to read it, its limits."""
    version: int
    kind: ResultKind
    role: str = "explanation"
    """``explanation`` or ``prediction``."""
    params_schema: dict[str, Any]
    """JSON schema of the parameters (``properties`` with ``default``, ``title``, ``description``)."""
    presets: tuple[Preset, ...] = ()
    has_target: bool = False
    has_seed: bool = False
    several_pictures: bool = False
    source: str = ""
    """Authors, year, arXiv."""


class Capability(Contract):
    """Whether a method can run on a model, and what it costs."""

    model: str
    method: str
    possible: bool
    reason: str = ""
    remedy: str = ""
    """What would make it possible, in words."""
    passes: int | None = None
    """With the method's default parameters."""
    seconds: float | None = None
    preset_passes: dict[str, int] = Field(default_factory=dict)
    """Passes with each preset of the method, by the preset's name."""


class WorkerCard(Contract):
    """A worker as it announces itself."""

    name: str
    device: str
    state: str
    run: str | None = None
    seen: float
    queue: str = EXPLAIN_QUEUE
    """What it works for: ``explain`` or ``training``."""


class Catalogue(Contract):
    """What the workers offer; published to Redis by them, served by the backend."""

    methods: tuple[MethodCard, ...]
    models: tuple[ModelCard, ...]
    """Demo and own models, fully described."""
    timm_names: tuple[str, ...] = ()
    """Every pretrained name timm knows."""
    capabilities: tuple[Capability, ...] = ()
    versions: dict[str, str] = Field(default_factory=dict)
    published: float = 0.0
