"""Everything that can be set when a word book is trained, with the presets."""

from __future__ import annotations

from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from models.heads.lvw import LossWeights

Epoch = Annotated[int, Field(ge=0, le=2000)]


class LvwRecipe(BaseModel):
    """How a word book is trained. Epochs are counted from 0 over the warm and the joint stage together."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    words_per_class: int = Field(
        default=5, ge=1, le=50, title="Words per class", description="Number of words, unless given in all."
    )
    words: int | None = Field(
        default=None, ge=2, le=20_000, title="Words in all", description="Empty: words per class times classes."
    )
    depth: int = Field(default=128, ge=8, le=1024, title="Depth", description="Numbers per word.")
    k: int = Field(
        default=10, ge=1, le=100, title="Aligned words", description="Words per picture that are aligned and overlaid."
    )
    w_cluster: float = Field(
        default=0.8, ge=0, le=10, title="Cluster weight", description="Pulls each picture to a word. 0 switches it off."
    )
    w_l1: float = Field(
        default=1e-4, ge=0, le=1, title="Sparsity weight", description="Keeps class weights small. 0 switches it off."
    )
    w_align: float = Field(
        default=10.0,
        ge=0,
        le=1000,
        title="Alignment weight",
        description="Pulls the words to where the base model looks. 0 switches it off.",
    )
    trunk_start: Literal["base", "pretrained"] = Field(
        default="base",
        title="Start of the trunk",
        description="The base model's weights, or its family's published ones.",
    )
    train_trunk: bool = Field(
        default=True, title="Train the trunk", description="Off: words live on the base model's own features."
    )
    classifier_init: Literal["nominal", "zero"] = Field(
        default="nominal",
        title="Start of the weights",
        description="nominal: each word begins with a class of its own; zero: words may be shared from the start.",
    )
    target: Literal["labels", "teacher"] = Field(
        default="labels", title="Learns", description="The data's labels, or the base model's answers."
    )
    warm_epochs: int = Field(default=10, ge=1, le=500, title="Warm epochs", description="With the trunk frozen.")
    joint_epochs: int = Field(default=21, ge=0, le=500, title="Joint epochs", description="With alignment.")
    lr_trunk: float = Field(default=1e-4, ge=0, le=1, title="Rate of the trunk", description="Adam.")
    lr_words: float = Field(default=3e-3, ge=0, le=1, title="Rate of the words", description="Also of the add-on.")
    lr_w_joint: float = Field(
        default=1e-2, ge=0, le=1, title="Rate of the weights", description="Before the last layer; only from zero."
    )
    lr_last: float = Field(default=1e-4, ge=0, le=1, title="Rate of the last layer", description="After projections.")
    lr_step: int = Field(
        default=5, ge=1, le=1000, title="Rate step", description="Joint epochs until rates fall x 0.1."
    )
    projections: tuple[Epoch, ...] = Field(
        default=(10, 20, 30),
        title="Projections",
        description="Epochs of the joint stage after which words become real patches; the last one always is.",
    )
    last_passes: int = Field(default=20, ge=0, le=1000, title="Last layer", description="Passes after a projection.")
    batch_size: int = Field(default=80, ge=1, le=1024, title="Batch", description="Pictures per step.")
    batch_norm: Literal["train", "frozen"] = Field(
        default="train",
        title="Batch statistics",
        description="Of the trunk in the joint stage; frozen below 16 pictures.",
    )
    amp: Literal["auto", "off"] = Field(default="auto", title="Half precision", description="auto: on a GPU.")
    validation: float = Field(
        default=0.1, ge=0.02, le=0.5, title="Validation share", description="Of the training part; a val folder wins."
    )
    select: Literal["last", "validation"] = Field(
        default="last", title="Kept state", description="The last projected one, or the best on the validation part."
    )
    cache_budget: int = Field(
        default=2 * 2**30, ge=64 * 2**20, title="Memory for caches", description="Bytes; above it they lie in files."
    )
    seed: int = Field(default=0, ge=0, lt=2**31, title="Seed", description="Of everything random.")

    @property
    def epochs(self) -> int:
        """Epochs of both stages."""
        return self.warm_epochs + self.joint_epochs

    @property
    def projection_epochs(self) -> tuple[int, ...]:
        """Joint epochs after which words are projected; always the last epoch."""
        joint = {epoch for epoch in self.projections if self.warm_epochs <= epoch < self.epochs}
        return tuple(sorted(joint | {self.epochs - 1}))

    @property
    def loss_weights(self) -> LossWeights:
        """Weights of the loss."""
        return LossWeights(cluster=self.w_cluster, l1=self.w_l1, alignment=self.w_align, k=self.k)

    def word_count(self, class_count: int) -> int:
        """Returns P."""
        return self.words if self.words is not None else self.words_per_class * class_count

    def rate_factor(self, epoch: int) -> float:
        """Returns what all rates of a joint epoch are multiplied by."""
        return 10.0 ** -((epoch - self.warm_epochs) // self.lr_step)


PRESETS: MappingProxyType[str, MappingProxyType[str, Any]] = MappingProxyType(
    {
        "standard": MappingProxyType({}),
        "published_length": MappingProxyType({"joint_epochs": 191, "projections": tuple(range(10, 201, 10))}),
        "frozen": MappingProxyType(
            {
                "train_trunk": False,
                "classifier_init": "zero",
                "warm_epochs": 15,
                "joint_epochs": 25,
                "lr_step": 10,
                "projections": (30, 39),
                "last_passes": 100,
                "lr_last": 1e-3,
            }
        ),
        "demo": MappingProxyType(
            {
                "classifier_init": "zero",
                "words_per_class": 4,
                "warm_epochs": 15,
                "joint_epochs": 8,
                "lr_step": 3,
                "projections": (18, 22),
                "batch_size": 32,
                "last_passes": 100,
                "lr_last": 1e-3,
            }
        ),
    }
)
"""What each preset changes of the defaults."""


def read_recipe(preset: str = "standard", **changes: Any) -> LvwRecipe:
    """Returns the recipe of a preset with some values changed.

    Raises:
        ValueError: For an unknown preset or a value outside its bounds (pydantic's ValidationError).
    """
    if preset not in PRESETS:
        raise ValueError(f"the presets are {', '.join(PRESETS)}, not {preset!r}")
    return LvwRecipe.model_validate({**PRESETS[preset], **changes})
