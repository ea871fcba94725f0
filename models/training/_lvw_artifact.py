"""A finished word book as files: written beside its manifest, read back with everything checked."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from backend.contract.explainers import ExplainerRecord
from backend.contract.problems import ProblemCode, ProblemError
from models.explainers import read_tensors, write_tensors
from models.heads.lvw import Projection, VisualWordNetwork, similarity
from models.heads.word_places import word_box
from models.loader import LoadedModel
from models.training._lvw_book import WordBook
from models.training._lvw_checkpoint import load_own_state, own_state
from models.training._lvw_crops import nearest_others, source_crop, write_crops
from models.training._lvw_parts import Part
from models.training._lvw_stages import Bench

SHOWN_SIDE = 128
NETWORK, BOOK, CURVES = "network.safetensors", "book.safetensors", "curves.jsonl"


def write_files(
    folder: Path,
    network: VisualWordNetwork,
    book: WordBook,
    curves: Sequence[dict[str, Any]],
    *,
    with_trunk: bool,
) -> None:
    """Writes network, book and curves into the folder of an explainer."""
    write_tensors(folder / NETWORK, own_state(network, with_trunk=with_trunk))
    write_tensors(folder / BOOK, book.tensors())
    lines = [json.dumps(entry, sort_keys=True) for entry in curves]
    (folder / CURVES).write_text("\n".join(lines) + "\n", encoding="utf-8")


@torch.no_grad()
def write_all_crops(
    folder: Path,
    network: VisualWordNetwork,
    book: WordBook,
    cells: Tensor,
    part: Part,
    load: Callable[[int], NDArray[np.uint8]],
    check_stopped: Callable[[], None],
) -> None:
    """Writes each word's source with its box and up to six nearest patches of other pictures.

    Args:
        folder: Of the explainer.
        network: Projected.
        book: Of the words.
        cells: ``[N, D, h, w]`` of the training part.
        part: The training part.
        load: Returns a training picture by its place in the part.
        check_stopped: Raises when the job is no longer wanted.
    """
    for word in range(len(book.source_index)):
        check_stopped()
        source = int(book.source_index[word])
        chosen = nearest_others(book.neighbours[word], source)
        pictures = [source, *(int(book.neighbours[word, place]) for place in chosen)]
        vector = network.words[word].detach().cpu()[:, None, None]
        boxes = [word_box(similarity((cells[one] - vector).square().sum(0)), part.size) for one in pictures]
        write_crops(folder, word, load, list(zip(pictures, boxes, strict=True)), part.preprocessing)


@torch.no_grad()
def source_picture(
    word: int, bench: Bench, projection: Projection, part: Part, load: Callable[[int], NDArray[np.uint8]]
) -> bytes:
    """Returns a word's source with its box as WebP, while training goes on."""
    assert bench.cells is not None
    source = int(projection.source_index[word])
    vector = bench.network.words[word].detach().cpu()[:, None, None]
    box = word_box(similarity((bench.cells[source, 0] - vector).square().sum(0)), part.size)
    buffer = io.BytesIO()
    image = source_crop(load(source), box, part.preprocessing)
    image.thumbnail((SHOWN_SIDE, SHOWN_SIDE))
    image.save(buffer, format="WEBP", quality=70)
    return buffer.getvalue()


@dataclass(frozen=True, eq=False)
class OpenBook:
    """A word book that was read back.

    Attributes:
        record: The explainer.
        book: Everything known of its words.
        classes: Names of its classes.
        k: Words per picture in the overlap map.
    """

    record: ExplainerRecord
    book: WordBook
    classes: tuple[str, ...]
    k: int


def open_book(record: ExplainerRecord) -> OpenBook:
    """Returns the global view of a word book; needs neither network nor pictures.

    Raises:
        ProblemError: ``model_broken`` when the files are not those of a word book.
    """
    tensors = read_tensors(record, BOOK)
    classes = tuple(record.manifest.classes)
    try:
        book = WordBook(**tensors)
        k = int(record.content["recipe"]["k"])
        _validate(book, len(classes))
    except (TypeError, KeyError, ValueError) as error:
        raise _unfit(record, "its word table is not one that this version writes") from error
    return OpenBook(record, book, classes, k)


def load_network(opened: OpenBook, model: LoadedModel) -> VisualWordNetwork:
    """Returns the word network of a book in evaluation mode, on the base's device.

    Raises:
        ProblemError: ``model_broken`` when its weights do not fit the base model.
    """
    record = opened.record
    state = read_tensors(record, NETWORK)
    try:
        with torch.random.fork_rng(devices=[]):
            network = VisualWordNetwork.for_base(
                model,
                class_count=len(opened.classes),
                word_count=int(state["words"].shape[0]),
                depth=int(state["words"].shape[1]),
                classifier_init="zero",
                train_trunk=any(name.startswith("trunk.") for name in state),
            )
        load_own_state(network, state)
    except (KeyError, IndexError, ValueError) as error:
        raise _unfit(record, "its network does not fit the base model") from error
    return network.requires_grad_(False).eval()


def _validate(book: WordBook, class_count: int) -> None:
    words = len(book.source_index)
    shapes = {
        "source_cell": (words, 2),
        "usage": (class_count, words),
        "weights": (class_count, words),
        "histogram": (words, class_count),
        "neighbour_cell": (words, book.neighbours.shape[1], 2),
        "neighbour_label": tuple(book.neighbours.shape),
        "prevalence": (words,),
    }
    for name, shape in shapes.items():
        if tuple(getattr(book, name).shape) != shape:
            raise ValueError(f"{name} has the shape {list(getattr(book, name).shape)}")
    if bool((book.source_label >= class_count).any() or (book.neighbour_label >= class_count).any()):
        raise ValueError("a class is outside the book's classes")


def _unfit(record: ExplainerRecord, reason: str) -> ProblemError:
    return ProblemError(
        ProblemCode.MODEL_BROKEN, f"The word book {record.id} cannot be used: {reason}. Train it again."
    )
