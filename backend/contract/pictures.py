"""Results over several pictures: which layer lies on which, how large each is, and what was seen of it."""

from __future__ import annotations

from backend.contract.results import Box, Layer, Manifest


def picture_count(manifest: Manifest) -> int:
    """Returns how many pictures the layers of a result lie on; at least one."""
    known = min(len(manifest.image_ids), len(manifest.picture_sizes))
    return max([1, *(layer.picture + 1 for layer in manifest.layers if layer.picture < known)])


def size_of(manifest: Manifest, place: int) -> tuple[int, int]:
    """Returns width and height of one picture of a result."""
    return manifest.picture_size if place == 0 else manifest.picture_sizes[place]


def layers_of(manifest: Manifest, place: int) -> list[Layer]:
    """Returns the layers that lie on one picture and whose array is there, in the method's order."""
    return [layer for layer in manifest.layers if layer.picture == place and layer.array in manifest.arrays]


def seen_of(manifest: Manifest, place: int) -> Box | None:
    """Returns what the model saw of one picture, clipped to it; ``None``: not known.

    For the first picture the result says it; for the others it is what their main map covers.
    """
    if place == 0:
        return manifest.seen
    frames = [manifest.arrays[layer.array].frame for layer in layers_of(manifest, place)]
    frame = next((frame for frame in frames if frame is not None), None)
    if frame is None:
        return None
    width, height = size_of(manifest, place)
    return Box(
        max(0.0, frame.left), max(0.0, frame.top), min(float(width), frame.right), min(float(height), frame.bottom)
    )


def family(layer: Layer) -> str:
    """Returns the name that a layer shares with its like on the other pictures (``labels_002`` gives ``labels``)."""
    return layer.name.removesuffix(f"_{layer.picture:03d}")


def is_shared(manifest: Manifest) -> bool:
    """Whether a group means the same in all pictures of a result."""
    return picture_count(manifest) > 1 and manifest.params.get("joint") is True


def group_colours(manifest: Manifest, layer: Layer) -> dict[int, int]:
    """Returns the place in the palette of each region that a label layer, or its like on another picture, names."""
    families = {other.name: family(other) for other in manifest.layers}
    own = family(layer)
    return {
        region.id: region.colour
        for region in manifest.regions
        if region.colour is not None and (region.layer is None or families.get(region.layer, region.layer) == own)
    }
