"""What both methods can be asked: how the picture is cut, what hides a region, how many coalitions are tried."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from backend.contract.schemas import ModelCard, Preset
from workers.method import Params
from workers.shapley_plan import EXACT_PLAYERS, SAMPLED_PAIRS

FILLINGS = ("black", "mean", "blur")
NAVE = "nave"
CaptionCut = Literal["factors", "grid", "slic", "shared", "drawn"]
ClassCut = Literal["nave", "slic", "grid", "shared", "drawn"]


class GameParams(Params):
    """How a picture is cut into regions and which coalitions of them are tried."""

    k: int = Field(
        default=8, ge=2, le=16, title="Regions", description="Asked for; fewer may come. Ten need about 1,000 passes."
    )
    rows: int = Field(default=3, ge=1, le=6, title="Rows", description="Of the grid; rows times columns up to 24.")
    cols: int = Field(default=3, ge=1, le=6, title="Columns", description="Of the grid.")
    hidden: Literal["black", "mean", "blur"] = Field(
        default="black", title="Filling", description="What hidden regions show; the mean is that of the picture."
    )
    budget: int | None = Field(
        default=None,
        ge=128,
        le=65_536,
        title="Budget",
        description="Most masked pictures to try. Empty: all up to 12 regions, about 2,000 beyond.",
    )
    tolerance: float = Field(
        default=0.01,
        ge=0,
        le=0.2,
        title="Stop at this error",
        description="Only when not all are tried: stop once every value's standard error is below this; 0 never.",
    )
    robustness: bool = Field(
        default=False, title="Other fillings", description="Repeat the game with the two other fillings: three times."
    )
    curves: Literal["auto", "on", "off"] = Field(
        default="auto",
        title="Check curves",
        description="Hide and reveal regions by their value. Auto: when every coalition is known anyway.",
    )
    batch_size: int | None = Field(
        default=None, ge=1, le=256, title="Batch size", description="Pictures at once; empty: chosen by the device."
    )
    region_source: str | None = Field(
        default=None,
        title="Regions of a result",
        description="Run key of a result of this picture whose label map is used, for shared regions.",
    )
    drawn: str = Field(
        default="",
        max_length=20_000,
        title="Drawn regions",
        description="Polygons in picture pixels: x,y x,y x,y; x,y x,y x,y. What none holds is one more region.",
    )

    @field_validator("budget", "batch_size", mode="before")
    @classmethod
    def _auto_is_empty(cls, value: Any) -> Any:
        return None if value == "auto" else value

    @field_validator("curves", mode="before")
    @classmethod
    def _yes_is_on(cls, value: Any) -> Any:
        return {True: "on", False: "off", None: "auto"}.get(value, value)

    @model_validator(mode="after")
    def _validate_together(self) -> GameParams:
        if self.rows * self.cols > 24:
            raise ValueError(f"a grid has at most 24 cells, not {self.rows} x {self.cols} = {self.rows * self.cols}")
        cut = getattr(self, "regions", "")
        if cut == "shared" and not self.region_source:
            raise ValueError("shared regions need region_source, the run key of a result of this picture")
        if cut == "drawn" and not self.drawn.strip():
            raise ValueError("drawn regions need at least one polygon in drawn")
        return self


class CaptionParams(GameParams):
    """The settings of a captioner's game."""

    regions: CaptionCut = Field(
        default="factors",
        title="Cut",
        description="Factors: by the captioner's own features. Grid, superpixels, those of another result, or drawn.",
    )
    num_beams: int = Field(default=1, ge=1, le=5, title="Beams", description="Of the decoding; 1 is greedy.")
    max_new_tokens: int = Field(default=24, ge=4, le=64, title="Longest caption", description="In tokens.")
    prompt: str = Field(
        default="",
        max_length=200,
        title="Prompt",
        description="A question or a beginning, the same for every masked picture, where the model takes one.",
    )
    token_view: bool = Field(
        default=False, title="Words", description="Also score every word: which region made the model write it?"
    )


class ClassParams(GameParams):
    """The settings of a classifier's game."""

    regions: ClassCut = Field(
        default="nave",
        title="Cut",
        description="Nave: what the network represents alike. Superpixels, grid, those of another result, or drawn.",
    )
    value: Literal["probability", "logit"] = Field(
        default="probability", title="Value", description="Of the class: its probability, or its raw score."
    )


def presets() -> tuple[Preset, ...]:
    """Returns the named settings that both methods share."""
    return (
        Preset(name="quick", title="Quick", hint="Six regions, at most 64 passes.", params={"k": 6}),
        Preset(name="standard", title="Standard", hint="Eight regions, at most 256 passes.", params={"k": 8}),
        Preset(name="detailed", title="Detailed", hint="Ten regions, at most 1,024 passes.", params={"k": 10}),
    )


def passes(params: GameParams, card: ModelCard) -> int:  # noqa: ARG001 - the same for every model
    """Returns the most passes of a game: one per coalition, three games with robustness (the full picture once)."""
    count = params.k
    if getattr(params, "regions", "") == "grid":
        count = params.rows * params.cols
    if params.budget is None:
        one = 2**count if count <= EXACT_PLAYERS else 2 * count + 2 * SAMPLED_PAIRS
    else:
        one = min(2**count, params.budget)
    return 3 * one - 2 if params.robustness else one
