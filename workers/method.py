"""What an explanation method is: one class in one file, which describes itself and turns a picture into a result.

A method file needs nothing but this module. It is found by its place (``workers/methods/<name>.py``), describes
itself to the catalogue, and is drawn on the page from that description; no other file knows its name.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from backend.contract.explainers import ExplainerShelf
from backend.contract.results import (
    Box,
    ClassScore,
    Column,
    Layer,
    Region,
    ResultKind,
    Scalar,
    Table,
    Texts,
)
from backend.contract.schemas import MethodCard, ModelCard, PictureRecord, Preset

if TYPE_CHECKING:
    from models.loader import LoadedModel
    from workers.engine import Engine


class Params(BaseModel):
    """Base of every method's parameters: frozen, closed, every field with a default, a title and a description."""

    model_config = ConfigDict(frozen=True, extra="forbid")


@dataclass(frozen=True, eq=False)
class MapArray:
    """An array of a result, with the rectangle of the picture that it covers.

    Args:
        data: Numbers at native resolution; maps are ``[H, W]`` or stacks ``[N, H, W]`` (``[H, W, 3]`` for colour).
        frame: Rectangle in picture pixels that the grid covers exactly; ``None`` when it is not a map.
        precise: Whether float64 numbers are stored as such; else they are rounded to float32.
    """

    data: NDArray[np.generic]
    frame: Box | None = None
    precise: bool = False


@dataclass(frozen=True, eq=False)
class Result:
    """What a method returns; the executor adds identity, versions and time, and stores it.

    Every field has the meaning of its namesake in :class:`backend.contract.results.Manifest`.
    """

    arrays: dict[str, MapArray] = field(default_factory=dict)
    layers: Sequence[Layer] = ()
    regions: Sequence[Region] = ()
    region_columns: Sequence[Column] = ()
    tables: Sequence[Table] = ()
    classes: Sequence[ClassScore] = ()
    caption: str | None = None
    scalars: dict[str, Scalar] = field(default_factory=dict)
    texts: Texts = field(default_factory=Texts)
    target: int | None = None
    """The class that was explained, when the method chose it itself."""
    seen: Box | None = None
    """What was seen of the first picture, when the method did not use the model's own resize and crop."""


@dataclass(frozen=True, eq=False)
class Picture:
    """A canonical picture: ``pixels`` is ``[H, W, 3]`` uint8 sRGB, already turned."""

    record: PictureRecord
    pixels: NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Stored:
    """A result fetched for another run to build on (a NAVE map used as regions, say)."""

    arrays: dict[str, MapArray]
    layers: Sequence[Layer]
    regions: Sequence[Region]
    scalars: Mapping[str, Scalar] = field(default_factory=dict)
    model: str = ""
    """Name of the model that was asked; empty when nobody knows."""
    titles: tuple[str, str] = ("", "")
    """Titles of the method and of the model, for people."""
    image_ids: Sequence[str] = ()
    target: int | None = None


@dataclass(frozen=True, eq=False)
class Context:
    """Everything a method may use during one run.

    Attributes:
        pictures: At least one; methods with ``several_pictures`` may get more.
        model: The loaded model, in evaluation mode.
        engine: Runs batches on the device, counts passes, checks for cancellation, halves on out-of-memory.
        params: An instance of the method's own ``Params``.
        target: Class asked for, or ``None`` for the model's own answer.
        seed: Seed of everything random.
        progress: ``progress(done, total, stage="")`` in forward passes (or the method's own steps).
        partial: Publishes an intermediate result; rate limits are the caller's concern, not the method's.
        check_cancelled: Raises :class:`workers.outcome.Cancelled` when the run is no longer wanted.
        fetch: Returns an earlier result by run key, or raises a ProblemError (``result_gone``).
        load_model: Loads a second model by name (comparisons, studies).
        explainers: Where trained explainers are found, by the method's name and the model's ``weights_digest``.
    """

    pictures: Sequence[Picture]
    model: LoadedModel
    engine: Engine
    params: Any
    target: int | None
    seed: int
    progress: Callable[..., None]
    partial: Callable[[Result], None]
    check_cancelled: Callable[[], None]
    fetch: Callable[[str], Stored]
    load_model: Callable[[str], LoadedModel]
    explainers: ExplainerShelf = field(default_factory=ExplainerShelf)

    @property
    def picture(self) -> Picture:
        """The first picture."""
        return self.pictures[0]


class Method(ABC):
    """An explanation method.

    The class docstring begins with the help text for people; ``help`` may hold a longer Markdown text.
    Change the mathematics, raise ``version``.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    question: ClassVar[str]
    summary: ClassVar[str]
    help: ClassVar[str] = ""
    version: ClassVar[int] = 1
    result_kind: ClassVar[ResultKind]
    role: ClassVar[str] = "explanation"
    place: ClassVar[int] = 100
    """Place in lists, the smallest first; the first two are chosen for a newcomer."""
    has_target: ClassVar[bool] = False
    has_seed: ClassVar[bool] = False
    several_pictures: ClassVar[bool] = False
    source: ClassVar[str] = ""
    Params: ClassVar[type[BaseModel]] = Params
    presets: ClassVar[Sequence[Preset]] = ()

    @abstractmethod
    def supports(self, model: ModelCard) -> str | None:
        """Returns ``None`` when the method can run on the model, else the reason in one sentence for people."""

    @abstractmethod
    def cost(self, model: ModelCard, params: Any) -> int:
        """Returns the typical number of forward passes for one picture."""

    @abstractmethod
    def explain(self, context: Context) -> Result:
        """Returns the explanation.

        Raises:
            ProblemError: With a sentence for people, when the question cannot be answered.
        """

    def remedy(self, model: ModelCard) -> str:  # noqa: ARG002 - part of the contract
        """Returns what would make an unsupported model possible; empty when nothing would."""
        return ""

    def card(self) -> MethodCard:
        """Returns the description that the catalogue publishes."""
        return MethodCard(
            name=self.name,
            title=self.title,
            question=self.question,
            summary=self.summary,
            help=inspect.cleandoc(self.help or type(self).__doc__ or ""),
            version=self.version,
            kind=self.result_kind,
            role=self.role,
            params_schema=self.Params.model_json_schema(),
            presets=tuple(self.presets),
            has_target=self.has_target,
            has_seed=self.has_seed,
            several_pictures=self.several_pictures,
            source=self.source,
        )
