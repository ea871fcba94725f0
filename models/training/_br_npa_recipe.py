"""Everything that can be set when a feature-group classifier is trained, with the presets."""

from __future__ import annotations

import hashlib
import json
from types import MappingProxyType
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

FEWEST_FOR_STATISTICS = 8
"""Below this many pictures at once the batch statistics of a trunk stay frozen."""


class BrNpaRecipe(BaseModel):
    """How a feature-group classifier is trained: first at the base's resolution, then finer, taught by the first."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    scope: Literal["full", "head"] = Field(
        default="full",
        title="What is trained",
        description="full: a network of its own; head: only the weights of the groups, on the base model's features.",
    )
    upscaling: Literal["dilation", "stride", "none"] = Field(
        default="dilation",
        title="Finer maps",
        description="dilation: starts from a working network; stride: learns its weights anew; none: the base's grid.",
    )
    student_init: Literal["base", "teacher"] = Field(
        default="base", title="Start of the fine network", description="The base model's weights, or the coarse one's."
    )
    n_maps: int = Field(default=3, ge=1, le=8, title="Groups", description="Maps per picture.")
    input_size: int | None = Field(
        default=None, ge=32, le=512, multiple_of=32, title="Input size", description="Pixels; empty: the base model's."
    )
    alpha: float = Field(
        default=0.4, ge=0, le=1, title="Share of the teacher", description="0: labels only; 1: the teacher only."
    )
    temperature: float = Field(
        default=16, ge=0.5, le=50, title="Temperature", description="Softens both answers before they are compared."
    )
    epochs_teacher: int = Field(default=20, ge=1, le=200, title="Coarse epochs", description="First stage.")
    epochs_student: int = Field(default=20, ge=1, le=200, title="Fine epochs", description="Second stage.")
    optimiser: Literal["adamw", "sgd"] = Field(
        default="adamw", title="Optimiser", description="sgd has a momentum of 0.9."
    )
    lr_trunk: float = Field(default=1e-4, ge=1e-6, le=1e-1, title="Rate of the trunk", description="At its highest.")
    lr_head: float = Field(default=1e-3, ge=1e-6, le=1e-1, title="Rate of the head", description="At its highest.")
    schedule: Literal["onecycle", "step"] = Field(
        default="onecycle",
        title="Schedule",
        description="onecycle: rises for a tenth, then falls as a cosine; step: x 0.9 every two epochs.",
    )
    weight_decay: float = Field(default=1e-4, ge=0, le=0.1, title="Weight decay", description="Pulls weights to zero.")
    dropout: float = Field(default=0, ge=0, le=0.6, title="Dropout", description="Share of the head's inputs left out.")
    batch_size: int = Field(default=32, ge=1, le=512, title="Batch", description="Pictures per step.")
    micro_batch: int | None = Field(
        default=None,
        ge=1,
        le=512,
        title="Pictures at once",
        description="A divisor of the batch; gradients are added up. Empty: as many as fit.",
    )
    crop_ratio: float = Field(
        default=0.875, ge=0.5, le=1, title="Crop", description="Side of the random crop against the whole picture's."
    )
    flip: bool = Field(default=True, title="Mirror", description="Whether pictures are mirrored at random.")
    brightness: float = Field(default=0.126, ge=0, le=0.5, title="Brightness", description="Largest random change.")
    saturation: float = Field(default=0.5, ge=0, le=0.9, title="Saturation", description="Largest random change.")
    freeze_batchnorm: bool = Field(
        default=False,
        title="Freeze statistics",
        description="Keeps the base model's batch statistics; always so below eight pictures at once.",
    )
    validation_fraction: float = Field(
        default=0.15, ge=0.05, le=0.5, title="Validation", description="Share of each class that only measures."
    )
    max_minutes: float | None = Field(
        default=None, ge=1, le=10_000, title="Minutes", description="Stops then and keeps the best epoch so far."
    )
    fit_time: bool = Field(
        default=False,
        title="Fit into the time",
        description="Cuts epochs beforehand to the minutes given, by timing a few steps.",
    )
    checkpoint_minutes: float = Field(
        default=5, ge=0.5, le=60, title="Minutes between checkpoints", description="Besides one at each epoch."
    )
    seed: int = Field(default=0, ge=0, lt=2**31, title="Seed", description="Of everything random.")
    amp: Literal["auto", "off"] = Field(
        default="auto", title="Half precision", description="auto: for the trunk on a GPU; groups stay exact."
    )

    @model_validator(mode="after")
    def _whole_micro_batches(self) -> BrNpaRecipe:
        if self.micro_batch is not None and self.batch_size % self.micro_batch:
            raise ValueError(f"micro_batch divides batch_size ({self.batch_size}); {self.micro_batch} does not")
        return self

    @property
    def has_student(self) -> bool:
        """Whether a second, finer network is trained."""
        return self.scope == "full" and self.upscaling != "none"

    def canonical(self) -> str:
        """Returns all settings as one line of JSON, the same for equal recipes."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))

    def digest(self) -> str:
        """Returns the sha256 of all settings."""
        return hashlib.sha256(self.canonical().encode()).hexdigest()


PRESETS: MappingProxyType[str, dict[str, Any]] = MappingProxyType(
    {
        "standard": {},
        "paper": {
            "input_size": 448,
            "upscaling": "stride",
            "optimiser": "sgd",
            "lr_trunk": 1e-3,
            "lr_head": 1e-3,
            "weight_decay": 0.0,
            "batch_size": 12,
            "epochs_teacher": 50,
            "epochs_student": 50,
            "schedule": "step",
        },
        "demo": {
            "validation_fraction": 0.2,
            "lr_trunk": 3e-4,
            "lr_head": 3e-3,
            "epochs_teacher": 4,
            "epochs_student": 4,
            "crop_ratio": 1.0,  # a tail at the edge is evidence of the species
            "brightness": 0.0,
            "saturation": 0.0,
            "max_minutes": 18.0,
            "fit_time": True,
        },
        "head": {"scope": "head", "epochs_student": 30, "lr_head": 3e-3},
    }
)
"""Named sets of settings; what they leave out keeps its default."""


def preset(name: str, **changes: Any) -> BrNpaRecipe:
    """Returns a named recipe with some settings changed.

    Raises:
        ValueError: If there is no preset of that name, or a setting is not possible.
    """
    if name not in PRESETS:
        raise ValueError(f"there is no preset {name!r}; there are {', '.join(PRESETS)}")
    return BrNpaRecipe.model_validate({**PRESETS[name], **changes})
