"""Results with values of regions and with learned words: manifests and the arrays that belong to them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

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
from tests.fakes_page import make_manifest

Arrays = dict[str, NDArray[Any]]
FRAME = Box(0, 0, 96, 64)
PHI = (0.40, 0.25, -0.05, 0.02)
"""Sums to 0.62 = 1.00 - 0.38."""
WORDS = ("a", "red", "bird", "on", "a", "branch")
WORD_PHI = np.array(
    [
        [0.0, 0.0, 0.0, 0.0],
        [2.0, 0.5, -0.25, 0.0],
        [1.0, 1.5, 0.0, 0.25],
        [0.0, 0.0, 0.25, 0.0],
        [0.0, 0.0, 0.0, 0.0],
        [-0.5, 0.0, 3.0, 0.5],
    ]
)
PHRASES = ("a red bird", "on a branch")
PHRASE_PHI = np.stack([WORD_PHI[:3].sum(axis=0), WORD_PHI[3:].sum(axis=0)])
CLASS_PHI = np.array([[0.4, 0.25, -0.05, 0.02], [-0.3, 0.1, 0.0, 0.2]])


def _columns(*keys: str) -> tuple[Column, ...]:
    return tuple(Column(key=key, title=key.replace("_", " ").capitalize()) for key in keys)


def refs(arrays: Arrays, frames: dict[str, Box]) -> dict[str, ArrayRef]:
    """Names each array by a digest of its own."""
    return {
        name: ArrayRef(digest=f"{place:02x}" * 32, dtype=str(array.dtype), shape=array.shape, frame=frames.get(name))
        for place, (name, array) in enumerate(arrays.items(), start=1)
    }


def region_arrays(*, words: bool = True) -> Arrays:
    """Quarters of a picture of 96 x 64 pixels, numbered row by row."""
    rows, columns = np.mgrid[0:64, 0:96]
    labels = (2 * (rows >= 32) + (columns >= 48)).astype(np.int16)
    arrays: Arrays = {
        "labels": labels,
        "contribution": np.asarray(PHI, dtype=np.float32)[labels],
        "scores": np.eye(4, dtype=np.float32).reshape(4, 2, 2),
        "deletion": np.array([1.0, 0.6, 0.5, 0.4, 0.38]),
        "insertion": np.array([0.38, 0.8, 0.9, 0.95, 1.0]),
        "random_order": np.array([1.0, 0.8, 0.65, 0.5, 0.38]),
        "filling": np.full((8, 8, 3), (10, 200, 30), dtype=np.uint8),
    }
    return arrays | ({"word_phi": WORD_PHI, "phrase_phi": PHRASE_PHI} if words else {"class_phi": CLASS_PHI})


def _regions() -> tuple[Region, ...]:
    only = ("a red bird", "a bird", "a branch", "nothing visible")
    without = ("a branch", "a red bird", "a red bird", "a red bird on a branch")
    return tuple(
        Region(
            id=at,
            label=f"region {at + 1}",
            score=phi,
            area=0.25,
            box=Box(48 * (at % 2), 32 * (at // 2), 48 * (at % 2) + 48, 32 * (at // 2) + 32),
            layer="regions",
            values={
                "share": phi / 0.62,
                "std_error": 0.03,
                "only_caption": only[at],
                "only_value": 0.5 + phi,
                "without_caption": without[at],
                "without_value": 1 - phi,
            },
        )
        for at, phi in enumerate(PHI)
    )


def region_layers() -> tuple[Layer, ...]:
    """The partition, the signed map, and one soft map for each region."""
    ends = ("moves it away", "supports the caption")
    soft = [
        Layer(
            name=f"factor {k}",
            title=f"Factor {k + 1}",
            array="scores",
            index=k,
            encoding=Encoding.SEQUENTIAL,
            role="detail",
        )
        for k in range(4)
    ]
    return (
        Layer(
            name="regions",
            title="Regions",
            array="labels",
            encoding=Encoding.LABELS,
            ends=("each number is one region", ""),
            role="detail",
        ),
        Layer(
            name="contribution",
            title="Contribution",
            array="contribution",
            encoding=Encoding.SIGNED,
            smooth=False,
            unit="closeness",
            ends=ends,
        ),
        *soft,
        Layer(name="hidden", title="What hidden regions show", array="filling", encoding=Encoding.RGB, role="detail"),
    )


def region_manifest(**changes: Any) -> Manifest:
    """What each quarter adds to a caption of six words."""
    arrays = region_arrays()
    given: dict[str, Any] = {
        "picture_size": (96, 64),
        "seen": FRAME,
        "arrays": refs(arrays, dict.fromkeys(("labels", "contribution", "scores", "filling"), FRAME)),
        "layers": region_layers(),
        "regions": _regions(),
        "region_columns": (
            Column(key="share", title="Share", unit="%"),
            Column(key="std_error", title="Error", digits=2),
            Column(key="only_caption", title="Only this"),
            Column(key="without_caption", title="Without this"),
        ),
        "caption": "a red bird on a branch",
        "scalars": {"v_full": 1.0, "v_empty": 0.38, "sum_phi": 0.62, "exact": True, "caption_hidden": "nothing visible"}
        | {"spearman_black_mean": 0.9, "spearman_black_blur": 0.7, "spearman_mean_blur": 0.95},
        "tables": (
            Table(name="words", title="Words", columns=_columns("text"), rows=tuple((word,) for word in WORDS)),
            Table(name="phrases", title="Phrases", columns=_columns("text"), rows=tuple((text,) for text in PHRASES)),
            Table(
                name="captions",
                title="Captions",
                columns=_columns("caption", "count"),
                rows=(("a red bird", 5), ("a bird", 3), ("a branch", 8)),
            ),
        ),
        "texts": Texts(reading="The caption rests mostly on region 1.", badge="exact"),
    }
    return make_manifest(ResultKind.REGION_VALUES, **{**given, **changes})


def class_manifest(**changes: Any) -> Manifest:
    """What each quarter adds to the probability of a class, with a second class from the same passes."""
    arrays = region_arrays(words=False)
    rows = ((3, "crested-tam", 1.0, 0.38), (7, "jay", 0.2, 0.2))
    given: dict[str, Any] = {
        "arrays": refs(arrays, dict.fromkeys(("labels", "contribution", "scores", "filling"), FRAME)),
        "caption": None,
        "target": 3,
        "target_label": "crested-tam",
        "tables": (
            Table(name="classes", title="Classes", columns=_columns("class", "name", "full", "empty"), rows=rows),
        ),
    }
    return region_manifest(**{**given, **changes})


WORD_SCORES = np.array([9.0, 1.0, 5.0, 2.0, 0.5, 4.0], dtype=np.float32)
WORD_CELLS = np.array([[0, 0], [1, 2], [1, 0], [0, 2], [1, 1], [0, 0]], dtype=np.int32)
WEIGHTS = np.array([[0.5, 0.1, -0.2, 0.3, 0.0, 0.1], [-0.1, 0.0, 0.8, 0.1, 0.2, 0.0]], dtype=np.float32)
"""Weights of two classes (3 and 7) for six words on a grid of 2 x 3 cells."""


def word_arrays() -> Arrays:
    """Six words on two rows of three cells; crops of one colour each."""
    maps = np.full((6, 2, 3), 0.1, dtype=np.float32)
    for word, (row, column) in enumerate(WORD_CELLS):
        maps[word, row, column] = WORD_SCORES[word]
    contributions = WEIGHTS * WORD_SCORES
    logit = np.zeros((2, 3), dtype=np.float32)
    for word, (row, column) in enumerate(WORD_CELLS):
        logit[row, column] += contributions[0, word]
    crops = np.stack([np.full((8, 8, 3), 40 * k, dtype=np.uint8) for k in range(6)])
    return {
        "word_maps": maps,
        "word_ids": np.arange(6, dtype=np.int32),
        "scores": WORD_SCORES,
        "word_cells": WORD_CELLS,
        "contributions": contributions,
        "contribution_classes": np.array([3, 7], dtype=np.int32),
        "logit_cells": logit,
        "integrated": np.linspace(0, 1, 64, dtype=np.float16).reshape(8, 8),
        "base_attention": np.linspace(0, 1, 6, dtype=np.float32).reshape(2, 3),
        "iou_curve": np.stack([np.arange(5, 100, 5), np.linspace(0.9, 0.1, 19)], axis=1).astype(np.float32),
        "iou_floors": np.tile(np.linspace(0.8, 0.05, 19)[:, None], (1, 3)).astype(np.float32),
        "crops": crops,
    }


def word_manifest(**changes: Any) -> Manifest:
    """Three of six words are listed: 0, 2 and 5 by similarity, 0, 2 and 3 by what they add to class 3."""
    arrays = word_arrays()
    frames = dict.fromkeys(("word_maps", "logit_cells", "integrated", "base_attention"), FRAME)
    contributions = arrays["contributions"][0]
    ranks = {0: (1, 1), 2: (2, 2), 5: (3, None), 3: (None, 3)}
    regions = [
        Region(
            id=word,
            label=f"word {word + 1}, from {'crested-tam' if word != 2 else 'jay'}",
            score=float(WORD_SCORES[word]),
            area=0.1,
            box=Box(
                32 * WORD_CELLS[word][1],
                32 * WORD_CELLS[word][0],
                32 * WORD_CELLS[word][1] + 20,
                32 * WORD_CELLS[word][0] + 20,
            ),
            values={
                "contribution": float(contributions[word]),
                "similar_rank": ranks[word][0],
                "decide_rank": ranks[word][1],
                "source_class": "crested-tam" if word != 2 else "jay",
                "shared_usage": "crested-tam, jay",
            },
        )
        for word in ranks
    ]
    rest = float(contributions.sum() - contributions[list(ranks)].sum())
    regions.append(Region(id=-1, label="the other 2 words", area=0.0, box=FRAME, values={"contribution": rest}))
    words = tuple(
        Layer(
            name=f"word {word}",
            title=f"Word {word + 1}",
            array="word_maps",
            index=word,
            encoding=Encoding.SEQUENTIAL,
            range=(0, 9.21),
            ends=("unlike", "like"),
            role="detail",
        )
        for word in ranks
    )
    crops = tuple(
        (k, word, kind, name, 0.1 * k)
        for k, (word, kind, name) in enumerate(
            [
                (0, "source", "crested-tam"),
                (0, "neighbour", "jay"),
                (2, "source", "jay"),
                (3, "source", "crested-tam"),
                (5, "source", "jay"),
                (5, "neighbour", "jay"),
            ]
        )
    )
    given: dict[str, Any] = {
        "picture_size": (96, 64),
        "seen": FRAME,
        "arrays": refs(arrays, frames),
        "layers": (
            Layer(
                name="overlap",
                title="Overlap map",
                array="integrated",
                encoding=Encoding.SEQUENTIAL,
                range=(0, 1),
                ends=("no word", "a word"),
            ),
            Layer(
                name="attention",
                title="Base attention",
                array="base_attention",
                encoding=Encoding.SEQUENTIAL,
                ends=("little", "much"),
                role="detail",
            ),
            Layer(
                name="logit",
                title="Logit by cell",
                array="logit_cells",
                encoding=Encoding.SIGNED,
                smooth=False,
                unit="logits",
                ends=("against", "for"),
                target=3,
                role="detail",
            ),
            *words,
        ),
        "regions": tuple(regions),
        "region_columns": (Column(key="contribution", title="Contribution", digits=2),),
        "target": 3,
        "target_label": "crested-tam",
        "classes": (ClassScore(index=3, label="crested-tam", score=0.9), ClassScore(index=7, label="jay", score=0.1)),
        "scalars": {
            "answer": "crested-tam",
            "probability": 0.9,
            "base_answer": "crested-tam",
            "base_probability": 0.98,
            "agree": True,
            "words": 6,
        }
        | {
            "book_agreement": 0.96,
            "book_iou": 0.63,
            "book_iou_gaussian": 0.6,
            "book_iou_other": 0.41,
            "book_iou_chance": 0.33,
        },
        "tables": (
            Table(
                name="crops", title="Crops", columns=_columns("crop", "word", "kind", "class", "distance"), rows=crops
            ),
            Table(
                name="classes",
                title="Classes",
                columns=_columns("class", "name", "logit", "probability", "base_probability"),
                rows=((3, "crested-tam", 4.1, 0.9, 0.98), (7, "jay", 1.0, 0.1, 0.01)),
            ),
        ),
        "texts": Texts(reading="The strongest word was taken from a picture of crested-tam."),
    }
    return make_manifest(ResultKind.VISUAL_WORDS, **{**given, **changes})
