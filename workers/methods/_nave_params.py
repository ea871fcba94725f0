"""The settings of a clustering: which blocks, how many groups, which floors beside them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from workers import method

Floor = Literal["random", "grid", "rgb", "rgb_xy"]


class Params(method.Params):
    """What can be set for one run."""

    preset: Literal["published", "multi_depth", "custom"] = Field(
        default="published",
        title="Blocks",
        description="Published: the last three stages, or the last block of a transformer. Multi depth: three depths "
        "of a transformer. Custom: your own choice.",
    )
    blocks: tuple[str, ...] = Field(
        default=(), max_length=24, title="Own blocks", description="Names of blocks, for the custom choice."
    )
    weighting: Literal["paper", "equal"] = Field(
        default="paper",
        title="Weights of blocks",
        description="Paper: wider blocks weigh less. Equal: all the same. No effect where all widths are equal.",
    )
    final_norm: Literal["auto", "raw", "normed"] = Field(
        default="auto",
        title="Final norm",
        description="Transformers only: whether the model's last norm is applied to each block.",
    )
    n_clusters: int = Field(
        default=5, ge=2, le=20, title="Groups", description="How many groups to make. There is no true number."
    )
    n_init: int = Field(default=4, ge=1, le=16, title="Restarts", description="The best of so many starts is kept.")
    max_iter: int = Field(default=300, ge=10, le=1000, title="Iterations", description="Most steps of one start.")
    token_upsample: Literal[1, 2] = Field(
        default=1,
        title="Finer token grid",
        description="Transformers only: refine the grid by this factor before grouping.",
    )
    nested: bool = Field(
        default=True, title="Granularity slider", description="Also prepare fewer and more groups, merged step by step."
    )
    nested_max: int = Field(
        default=20, ge=2, le=20, title="Most groups of the slider", description="Where the merging begins."
    )
    layers: bool = Field(default=False, title="Layer by layer", description="Also group each block by itself.")
    layers_max: int = Field(
        default=12, ge=2, le=24, title="Most layers", description="Evenly spaced, the first and the last included."
    )
    joint: bool = Field(
        default=False, title="Shared groups", description="Group all pictures together, so that colours mean the same."
    )
    refine_passes: int = Field(
        default=1,
        ge=0,
        le=10,
        title="Refining passes",
        description="Exact passes over all pictures when they do not fit into memory.",
    )
    max_feature_mb: int = Field(
        default=1024,
        ge=64,
        le=16384,
        title="Memory for features (MiB)",
        description="Above it, groups are approximate.",
    )
    input_mode: Literal["model", "native"] = Field(
        default="model",
        title="Input",
        description="Model: resized and cropped as the model demands. Native: the picture as it is.",
    )
    max_side: int = Field(
        default=1024,
        ge=64,
        le=2048,
        title="Longest side (pixels)",
        description="Native input only: larger pictures are reduced.",
    )
    floors: tuple[Floor, ...] = Field(
        default=("grid", "rgb"),
        title="Floors",
        description="What the map must beat: a grid, colour, colour and place, the network untrained (3 more passes).",
        json_schema_extra={"uniqueItems": True},
    )
    xy_weight: float = Field(
        default=0.5, ge=0, le=4, title="Weight of the place", description="For the floor of colour and place."
    )

    @field_validator("blocks", "floors")
    @classmethod
    def _each_once(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(values))

    @model_validator(mode="after")
    def _custom_names_blocks(self) -> Params:
        if self.preset == "custom" and not self.blocks:
            raise ValueError("the custom choice needs the name of at least one block")
        return self
