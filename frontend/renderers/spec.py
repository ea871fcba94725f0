"""From a manifest to what the canvas viewer draws: addresses, layers, frames, regions; no pixels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from backend.contract.pictures import layers_of, size_of
from backend.contract.results import Encoding, Layer, Manifest, Region
from frontend.api import ROOT


@dataclass(frozen=True)
class Addresses:
    """Where pictures and arrays are fetched: from the API, or from one share.

    Args:
        base: Path before ``/artifacts``.
        pictures: Pattern of a picture's address with ``{id}``.
        share: Id of the share; empty for live results.
    """

    base: str = ROOT
    pictures: str = f"{ROOT}/images/{{id}}/picture"
    share: str = ""

    @classmethod
    def of_share(cls, share_id: str) -> Addresses:
        """Returns the addresses of a share, which need neither Redis nor a worker."""
        base = f"{ROOT}/shares/{quote(share_id, safe='')}"
        return cls(base=base, pictures=f"{base}/pictures/{{id}}", share=share_id)

    def picture(self, image_id: str, *, max_side: int | None = None) -> str:
        """Returns the address of a picture's bytes; of a smaller copy with ``max_side``."""
        address = self.pictures.format(id=image_id)
        return address if max_side is None else f"{address}?max_side={max_side}"

    def array(self, digest: str, index: int | None = None) -> str:
        """Returns the address of an array, or of one map of a stack, as ``.npy``."""
        address = f"{self.base}/artifacts/{digest}"
        return address if index is None else f"{address}/slice?index={index}"


def viewer_spec(
    manifest: Manifest,
    addresses: Addresses,
    *,
    layers: list[Layer],
    active: str | None = None,
    nested: dict[str, Any] | None = None,
    badge: str = "",
    look: dict[str, Any] | None = None,
    numbered: bool = False,
) -> dict[str, Any]:
    """Returns the description that ``overlay_viewer.js`` draws.

    Args:
        manifest: What the run left (perhaps a partial one).
        addresses: Where arrays are fetched.
        layers: Layers to offer, the first one shown first.
        active: Name of the layer to show; default: the look's, else the first.
        nested: Tables of the granularity slider, if the result has them.
        badge: The one thing worth knowing.
        look: What somebody chose before (``{"layer": ..., "k": ...}``), as a share keeps it.
        numbered: Whether regions are always outlined and numbered, on signed maps with their values.
    """
    width, height = manifest.picture_size
    names = [layer.name for layer in layers]
    wanted = (look or {}).get("layer") or active
    if nested is not None and (look or {}).get("k"):
        nested = {**nested, "k": int(look["k"])} if look else nested
    return {
        "run": manifest.run_key,
        "title": f"{manifest.method_title}, {manifest.model_title}",
        "picture": {"url": addresses.picture(manifest.image_ids[0]), "width": width, "height": height},
        "seen": list(manifest.seen) if manifest.seen else None,
        "layers": [layer_spec(manifest, addresses, layer) for layer in layers],
        "active": wanted if wanted in names else (names[0] if names else ""),
        "regions": [region_spec(region) for region in manifest.regions if region.layer in (None, *names)],
        "nested": nested,
        "badge": "partial map" if manifest.partial else badge,
        "state": "partial" if manifest.partial else "done",
        "group": manifest.kind.value,
        "reading": manifest.texts.reading,
        "numbered": numbered,
    }


def layer_spec(manifest: Manifest, addresses: Addresses, layer: Layer) -> dict[str, Any]:
    """Returns one layer as the viewer takes it."""
    array = manifest.arrays[layer.array]
    return {
        "name": layer.name,
        "title": layer.title,
        "url": addresses.array(array.digest, layer.index),
        "encoding": layer.encoding.value,
        "frame": list(array.frame) if array.frame else [0, 0, *size_of(manifest, layer.picture)],
        "range": list(layer.range) if layer.range else None,
        "ends": _ends(layer),
        "unit": "" if layer.unit == "probability" else layer.unit,
        "smooth": layer.smooth and layer.encoding is not Encoding.LABELS,
        "target": layer.target,
        "role": layer.role,
    }


def fetch_whole(manifest: Manifest, addresses: Addresses, viewer: dict[str, Any], array: str) -> None:
    """Lets the layers of a stack come out of one small array, so that going from one to the next asks for nothing."""
    if array not in manifest.arrays:
        return
    indices = {layer.name: layer.index for layer in manifest.layers if layer.array == array}
    for layer in viewer["layers"]:
        if indices.get(layer["name"]) is not None:
            layer["url"] = addresses.array(manifest.arrays[array].digest)
            layer["index"] = indices[layer["name"]]


def _ends(layer: Layer) -> list[str]:
    if layer.encoding is not Encoding.LABELS:
        return list(layer.ends)
    # The legend is one line; what follows the first sentence stands among the limits.
    sentence = layer.ends[0].split(". ")[0].rstrip(".")
    return [sentence[:1].lower() + sentence[1:], ""]


def region_spec(region: Region) -> dict[str, Any]:
    """Returns one region as the viewer takes it."""
    return {
        "id": region.id,
        "label": region.label,
        "layer": region.layer,
        "colour": region.colour,
        "box": list(region.box),
        "score": region.score,
        "area": region.area,
    }


def bare_spec(*, title: str, picture: dict[str, Any], seen: list[float] | None, group: str) -> dict[str, Any]:
    """Returns a description without any map, for cells that have no result yet."""
    return {
        "run": "",
        "title": title,
        "picture": picture,
        "seen": seen,
        "layers": [],
        "active": "",
        "regions": [],
        "nested": None,
        "badge": "",
        "state": "waiting",
        "group": group,
    }


def drawable(manifest: Manifest, accepts: Callable[[Layer], bool] = lambda _layer: True) -> list[Layer]:
    """Returns the layers of the first picture whose array is there, main ones first, in the method's order."""
    return main_first([layer for layer in layers_of(manifest, 0) if accepts(layer)])


def main_first(layers: list[Layer]) -> list[Layer]:
    """Returns layers with the main ones before the details, else in their order."""
    return sorted(layers, key=lambda layer: layer.role != "main")
