"""NAVE: which places of a picture an encoder represents in the same way."""

from __future__ import annotations

from typing import Any

from backend.contract.results import ResultKind
from backend.contract.schemas import ModelCard, Preset
from workers import method
from workers.method import Context, Result
from workers.methods._nave_blocks import BlockCache, usable_blocks
from workers.methods._nave_features import _composite, composite_features, isometric_compression
from workers.methods._nave_floors import RANDOM_FLOOR_SEEDS
from workers.methods._nave_kmeans import Clustering, _lloyd, _seed_indices, _weighted_kmeans, cluster
from workers.methods._nave_maps import _adjusted_rand, _components, _margin, match_labels
from workers.methods._nave_nested import _ward_tables
from workers.methods._nave_params import Params
from workers.methods._nave_run import Run
from workers.methods._nave_take import _take_blocks

__all__ = [
    "Clustering",
    "Nave",
    "Params",
    "_adjusted_rand",
    "_components",
    "_composite",
    "_lloyd",
    "_margin",
    "_seed_indices",
    "_take_blocks",
    "_ward_tables",
    "_weighted_kmeans",
    "cluster",
    "composite_features",
    "isometric_compression",
    "match_labels",
]


class Nave(method.Method):
    """Colours the places that the network represents alike.

    The activations of a few blocks are cut into places, brought to length one, and grouped by k-means; each group
    gets a colour. No label, no gradient and no class enters: it describes the encoder, not the answer.

    Limits: a group has no name and need not be what a prediction rests on. The number of groups is a choice, and
    k-means finds groups in noise too, so the map is shown beside floors that know nothing of the network. Outlines
    come from the finest block, which weighs most in convolutional networks. Colours compare between two maps only
    after matching (one picture) or with shared groups (several pictures).

    Source:
        Boubekki, Fadel, Mair: Neuro-Activated Vision Explanations, 2024, arXiv 2411.19700. Deviations are listed in
        ``docs/methods/nave.md``.

    Cost:
        One forward pass per picture, whatever is asked; three more for the untrained floor.
    """

    name = "nave"
    title = "NAVE: what is seen as alike"
    question = "Which places are represented alike?"
    summary = "Groups the encoder's activations; same colour means the network treats these places alike."
    help = """
    The activations of a few blocks are cut into places and grouped by likeness; each group gets a colour. No label,
    no gradient and no class enters: the map describes the network's encoder, not its answer.

    **How to read it**

    - The same colour means that the network represents these places alike. Colours have no order.
    - *Explained* is the share of the network's variation that the groups account for. Compare it with the floors:
      groups by colour alone, or a plain grid.
    - Move *Groups* to merge or split without a new run. *Firmness* is low where a place lies between two groups.

    **What it cannot tell**

    - What the prediction rests on. A group has no name, and a prominent one need not matter for the answer.
    - How many groups there really are: the number is a choice, and noise is grouped as well.
    - Whether two maps agree by their colours, unless the colours were matched.
    """
    version = 1
    place = 20
    result_kind = ResultKind.LABEL_MAP
    has_target = False
    has_seed = True
    several_pictures = True
    source = "Boubekki, Fadel, Mair, 2024, arXiv 2411.19700"
    Params = Params
    presets = (
        Preset(name="published", title="As published", hint="Last three stages, or last block; 5 groups.", params={}),
        Preset(
            name="multi_depth",
            title="Three depths",
            hint="Vitrine's choice for transformers: a middle, a late and the last block.",
            params={"preset": "multi_depth"},
        ),
        Preset(name="layers", title="Layer by layer", hint="Every block by itself as well.", params={"layers": True}),
        Preset(
            name="against_chance",
            title="Against all floors",
            hint="Also against the same network untrained; 3 more passes.",
            params={"floors": ["grid", "rgb", "rgb_xy", "random"]},
        ),
    )

    def __init__(self, cache: BlockCache | None = None) -> None:
        self._cache = cache or BlockCache()

    def supports(self, model: ModelCard) -> str | None:
        """Returns ``None`` for every model that keeps a grid of at least 2 x 2 places."""
        if not model.described:
            return f"{model.title} has not been looked into yet, so its grids are not known."
        if not usable_blocks(model):
            return f"No block of {model.title} keeps a grid of at least 2 x 2 places, so there is nothing to group."
        return None

    def cost(self, model: ModelCard, params: Any) -> int:  # noqa: ARG002 - the same for every model
        """Returns 1 pass, and 3 more for the untrained floor."""
        return 1 + (len(RANDOM_FLOOR_SEEDS) if "random" in params.floors else 0)

    def remedy(self, model: ModelCard) -> str:
        """Returns how own models can name their blocks."""
        if model.described and not usable_blocks(model):
            return "Name modules that keep a grid under [taps] in its model.toml, if it has any."
        return ""

    def explain(self, context: Context) -> Result:
        """Returns label maps with groups, tables and floors.

        Raises:
            ProblemError: ``params_invalid`` for an unknown block, ``not_finite`` for activations that are no numbers.
        """
        return Run(context, self._cache).answer()
