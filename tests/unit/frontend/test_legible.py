from __future__ import annotations

import pytest

from backend.contract.results import ClassScore, Texts
from frontend.components.words import class_name, signed
from frontend.renderers import render
from frontend.renderers.legible import legible
from tests.fakes_page import scalar_manifest, words_of


@pytest.mark.parametrize(
    ("label", "words"),
    [
        ("crested-tam", "crested tam"),
        ("smooth-headed-tam", "smooth headed tam"),
        ("red_kite", "red kite"),
        ("three-toed sloth", "three-toed sloth"),
        ("T-shirt", "T-shirt"),
        ("robin", "robin"),
    ],
)
def test_names_of_folders_become_words_and_words_stay(label: str, words: str) -> None:
    assert class_name(label) == words


def test_sentences_titles_and_tables_say_words_while_ids_stay() -> None:
    manifest = scalar_manifest(
        target_label="crested-tam",
        classes=(ClassScore(index=3, label="crested-tam", score=0.9),),
        texts=Texts(reading="Parts give crested-tam 0.9, not uncrested-tam.", cautions=("No crested-tam here.",)),
    )
    shown = legible(manifest)
    assert shown.target_label == "crested tam"
    assert shown.texts.reading == "Parts give crested tam 0.9, not uncrested-tam."
    assert shown.texts.cautions == ("No crested tam here.",)
    assert [layer.name for layer in shown.layers] == [layer.name for layer in manifest.layers]
    assert (shown.target, shown.run_key) == (manifest.target, manifest.run_key)
    assert "crested tam" in words_of(render(manifest).reading)


def test_a_result_without_such_names_stays_as_it_is() -> None:
    manifest = scalar_manifest()
    assert legible(manifest) is manifest


def test_signs_are_printed_in_front_of_what_is_not_nothing() -> None:
    assert [signed(value) for value in (0.213, -0.05, 0.0, 0.001)] == ["+0.21", "−0.05", "0.00", "0.00"]
