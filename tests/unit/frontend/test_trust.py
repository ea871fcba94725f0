"""The strip that says whether a map beats chance."""

from __future__ import annotations

import pytest

from backend.contract.results import Column, Encoding, Layer, Manifest, ResultKind, Table, Texts
from frontend.components.spark import ribbon, spark
from frontend.components.trust import can_be_checked, trust_place, trust_strip, unchecked
from frontend.renderers import render
from frontend.renderers.agreement import shade, triangle
from tests.fakes_page import IMAGE, KEY, by_class, label_manifest, props, scalar_manifest, words_of


def curve_manifest(
    *, own: float = 0.2, random: float = 0.6, beats_random: bool = True, beats_all: bool = True
) -> Manifest:
    keys = ("share", "deletion_map", "insertion_map", "deletion_random", "insertion_random")
    columns = tuple(Column(key=key, title=key) for key in keys)
    curves = Table(
        name="curves", title="", columns=columns, rows=((0.0, 1, 0, 1, 0), (0.5, 0, 1, 0.5, 0.5), (1.0, 0, 1, 0, 1))
    )
    orders = Table(name="orders", title="Orders", columns=(Column(key="name", title="Order"),), rows=(("This map",),))
    return Manifest(
        run_key=KEY,
        image_ids=(IMAGE,),
        picture_size=(60, 40),
        model="m",
        model_title="M",
        weights_digest="w",
        preprocessing="p",
        method="any",
        method_title="Check",
        method_version=1,
        params={},
        kind=ResultKind.CURVES,
        tables=(orders, curves),
        scalars={
            "deletion": own,
            "deletion_random": random,
            "insertion": 0.9,
            "insertion_random": 0.5,
            "beats_random": beats_random,
            "beats_all": beats_all,
        },
        texts=Texts(reading="It falls early.", badge="beats chance" if beats_all else "no better than random"),
    )


def test_the_strip_shows_both_numbers_beside_random() -> None:
    words = words_of(trust_strip(curve_manifest(own=0.2, random=0.61)))
    for part in ("Removed", "0.20", "random 0.61", "Shown", "0.90", "random 0.50", "It falls early."):
        assert part in words


def test_a_map_that_beats_every_order_needs_no_badge_and_a_weak_one_gets_a_grey_curve_and_words() -> None:
    good = trust_strip(curve_manifest())
    assert by_class(good, "v-trust-badge") == []
    assert by_class(good, "is-weak") == []
    weak = trust_strip(curve_manifest(beats_random=False, beats_all=False))
    assert "no better than random" in words_of(by_class(weak, "v-trust-badge")[0])
    assert len([part for part in by_class(weak, "is-weak") if "v-spark" in props(part)["className"]]) == 4


def test_only_maps_with_an_order_of_places_can_be_checked() -> None:
    assert can_be_checked(scalar_manifest())
    groups = label_manifest()
    assert can_be_checked(groups) is any(layer.encoding != Encoding.LABELS for layer in groups.layers)
    only_groups = groups.model_copy(update={"layers": tuple(x for x in groups.layers if x.encoding == Encoding.LABELS)})
    assert not can_be_checked(only_groups)
    layer = Layer(name="a", title="A", array="a", encoding=Encoding.SIGNED)
    assert not can_be_checked(groups.model_copy(update={"layers": (layer,), "caption": "a bird"}))


def test_before_the_check_there_is_a_link_and_after_it_the_strip() -> None:
    before = trust_place(KEY)
    assert "Check against chance" in words_of(before)
    assert "Removed" in words_of(trust_place(KEY, curve_manifest()))
    assert "The worker left." in words_of(unchecked(KEY, "The worker left."))


def test_a_check_alone_shows_the_picture_without_a_map() -> None:
    drawn = render(curve_manifest())
    assert drawn.viewer["layers"] == []
    assert drawn.viewer["picture"]["width"] == 60
    assert drawn.strip is not None


def test_a_ribbon_is_as_wide_as_asked_everywhere_on_a_straight_line() -> None:
    outline = ribbon([(0.0, 5.0), (10.0, 5.0), (20.0, 5.0)], 3.0)
    assert [value for point in outline for value in point] == pytest.approx(
        [0, 6.5, 10, 6.5, 20, 6.5, 20, 3.5, 10, 3.5, 0, 3.5]
    )


def test_curves_stay_inside_their_box() -> None:
    drawn = spark([(0.0, -2.0), (1.0, 3.0)], [(0.0, 0.5), (1.0, 0.5)], label="x", size=(40, 20))
    area = props(drawn.children[0])["style"]["clipPath"]
    assert area.startswith("polygon(1.0px 19.0px, 39.0px 1.0px")


@pytest.mark.parametrize(("correlation", "expected"), [(1.0, 0), (0.9, 0), (0.5, 3), (0.0, 5), (-1.0, 5)])
def test_the_more_a_pair_disagrees_the_darker_its_cell(correlation: float, expected: int) -> None:
    assert shade(correlation) == expected


def test_the_triangle_offers_every_pair_once_and_none_for_a_flat_map() -> None:
    names = ("a", "b", "rank_correlation", "overlap")
    pairs = Table(
        name="pairs",
        title="Pairs",
        columns=tuple(Column(key=key, title=key) for key in names),
        rows=((2, 1, 0.25, 0.5), (3, 1, None, 0.0), (3, 2, -0.5, 0.0)),
    )
    maps = Table(
        name="maps",
        title="Maps",
        columns=tuple(Column(key=key, title=key) for key in ("number", "method", "model", "layer")),
        rows=((1, "One: long", "M", "x"), (2, "Two", "M", "x"), (3, "Three", "N", "x")),
    )
    manifest = curve_manifest().model_copy(update={"kind": ResultKind.AGREEMENT, "tables": (pairs, maps)})
    drawn = triangle(manifest)
    buttons = [props(button) for button in by_class(drawn, "v-pair")]
    assert [(button["data-a"], button["data-b"]) for button in buttons] == [("map 1", "map 2"), ("map 2", "map 3")]
    assert buttons[0]["aria-label"].startswith("One, M minus Two, M: rank correlation 0.25, overlap of the top 50%")
