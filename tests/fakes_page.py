"""Results, cards and component trees for the tests of the page."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from dash.development.base_component import Component

from backend.contract.results import (
    ArrayRef,
    Box,
    ClassScore,
    Column,
    Encoding,
    Layer,
    Manifest,
    Region,
    ResultKind,
    Table,
    Texts,
)
from backend.contract.schemas import MethodCard, PictureRecord, Preset

IMAGE = "1" * 64
KEY = "2" * 64


def every(tree: Any) -> Iterator[Component]:
    """Yields every component of a tree, from the outside in."""
    if isinstance(tree, list | tuple):
        for item in tree:
            yield from every(item)
    elif isinstance(tree, Component):
        yield tree
        yield from every(getattr(tree, "children", None))


def find(tree: Any, accepts: Callable[[Component], bool]) -> list[Component]:
    return [component for component in every(tree) if accepts(component)]


def props(component: Component) -> dict[str, Any]:
    return component.to_plotly_json()["props"]


def by_class(tree: Any, name: str) -> list[Component]:
    return find(tree, lambda one: name in str(getattr(one, "className", "") or "").split())


def by_attribute(tree: Any, name: str, value: str | None = None) -> list[Component]:
    return find(tree, lambda one: name in props(one) and (value is None or props(one)[name] == value))


def words_of(tree: Any) -> str:
    """Returns all text of a tree, as it would be read."""
    if isinstance(tree, str | int | float):
        return str(tree)
    if isinstance(tree, list | tuple):
        return " ".join(filter(None, (words_of(item) for item in tree)))
    if isinstance(tree, Component):
        return words_of(getattr(tree, "children", None))
    return ""


def array(digit: str, shape: tuple[int, ...], *, is_map: bool = True) -> ArrayRef:
    frame = Box(80, 0, 560, 480) if is_map else None
    return ArrayRef(digest=digit * 64, dtype="float32", shape=shape, frame=frame)


def make_manifest(kind: ResultKind, **changes: Any) -> Manifest:
    base: dict[str, Any] = {
        "run_key": KEY,
        "image_ids": (IMAGE,),
        "picture_size": (640, 480),
        "model": "tiny.one",
        "model_title": "Tiny",
        "weights_digest": "w",
        "preprocessing": "p",
        "method": "probe",
        "method_title": "Probe: what it probes",
        "method_version": 1,
        "params": {},
        "kind": kind,
        "seen": Box(80, 0, 560, 480),
        "passes": 12,
        "seconds": 1.5,
        "device": "cpu",
    }
    return Manifest(**{**base, **changes})


def scalar_manifest(**changes: Any) -> Manifest:
    """A map of a target, two kept classes, a detail layer and five cuts."""
    cuts = [
        Layer(name=f"cut_{i}", title=f"Cut {i}", array="cuts", index=i, encoding=Encoding.SEQUENTIAL, role="detail")
        for i in range(5)
    ]
    layers = (
        Layer(name="target", title="robin", array="map", encoding=Encoding.SEQUENTIAL, target=3, ends=("no", "yes")),
        Layer(name="c3", title="robin", array="maps", index=0, encoding=Encoding.SEQUENTIAL, target=3),
        Layer(name="c7", title="jay", array="maps", index=1, encoding=Encoding.SEQUENTIAL, target=7),
        Layer(name="spread", title="Spread", array="spread", encoding=Encoding.SEQUENTIAL, role="detail"),
        *cuts,
    )
    arrays = {"map": array("a", (7, 9)), "maps": array("b", (2, 7, 9)), "spread": array("c", (7, 9))}
    arrays["cuts"] = array("d", (5, 7, 9))
    regions = (Region(id=0, label="Part 1", score=0.9, area=0.1, box=Box(80, 0, 100, 20), values={"own": "robin"}),)
    given: dict[str, Any] = {
        "layers": layers,
        "arrays": arrays,
        "target": 3,
        "target_label": "robin",
        "classes": (ClassScore(index=3, label="robin", score=0.97), ClassScore(index=7, label="jay", score=0.02)),
        "regions": regions,
        "region_columns": (Column(key="own", title="Own answer"),),
        "scalars": {"p_intact": 0.97, "p_substrate": 0.05},
        "texts": Texts(reading="Parts give robin 0.9.", cautions=("The map is flat.",), notes=("A note.",)),
    }
    return make_manifest(ResultKind.SCALAR_MAP, **{**given, **changes})


def label_manifest(*, nested: bool = True, **changes: Any) -> Manifest:
    """A partition into five groups, with the tables of the slider."""
    layers = [
        Layer(name="groups", title="Groups", array="labels_000", encoding=Encoding.LABELS, ends=("Alike. More.", "")),
        Layer(name="floor", title="Floor", array="floor", encoding=Encoding.LABELS, role="detail"),
    ]
    arrays = {"labels_000": array("a", (5, 5)), "floor": array("b", (5, 5))}
    if nested:
        layers.append(
            Layer(name="base", title="Base", array="nested_base_000", encoding=Encoding.LABELS, role="detail")
        )
        arrays |= {
            "nested_base_000": array("c", (5, 5)),
            "nested_lut": array("d", (12, 12), is_map=False),
            "nested_colour": array("e", (12, 12), is_map=False),
            "nested_explained": array("f", (12,), is_map=False),
        }
    given: dict[str, Any] = {
        "layers": tuple(layers),
        "arrays": arrays,
        "scalars": {"n_effective": 5, "explained": 0.71, "explained_rgb": 0.58},
        "regions": (Region(id=0, label="group 1", area=0.5, box=Box(0, 0, 1, 1), colour=4, layer="groups"),),
        "tables": (Table(name="t", title="Blocks", columns=(Column(key="a", title="A"),), rows=((1,),)),),
        "texts": Texts(reading="Five groups.", cautions=("Groups have no names.",)),
    }
    return make_manifest(ResultKind.LABEL_MAP, **{**given, **changes})


def method_card(**changes: Any) -> MethodCard:
    schema = {
        "$defs": {"Mode": {"enum": ["soft", "hard"], "type": "string"}},
        "properties": {
            "mode": {"$ref": "#/$defs/Mode", "default": "soft", "title": "Mode", "description": "How."},
            "count": {"type": "integer", "default": 5, "minimum": 2, "maximum": 20, "title": "Count"},
            "share": {"type": "number", "default": 0.5, "minimum": 0, "maximum": 1},
            "limit": {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "null"}], "default": None},
            "nested": {"type": "boolean", "default": True, "title": "Nested"},
            "blocks": {"type": "array", "items": {"type": "string"}, "default": []},
            "floors": {"type": "array", "items": {"enum": ["a", "b"], "type": "string"}, "default": ["a"]},
            "name": {"type": "string", "default": ""},
        },
    }
    given: dict[str, Any] = {
        "name": "probe",
        "title": "Probe: what it probes",
        "question": "What is probed?",
        "summary": "Probes.",
        "help": "Help.",
        "version": 1,
        "kind": ResultKind.SCALAR_MAP,
        "params_schema": schema,
        "presets": (
            Preset(name="fast", title="Fast", hint="quick", params={"count": 2}),
            Preset(name="plain", title="Plain", params={}),
        ),
        "has_seed": True,
    }
    return MethodCard(**{**given, **changes})


def picture_record(**changes: Any) -> PictureRecord:
    return PictureRecord(**{"id": IMAGE, "width": 640, "height": 480, "name": "robin.jpg", **changes})
