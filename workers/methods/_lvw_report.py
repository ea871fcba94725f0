"""Puts a reading into arrays, layers, a table of words, crops, scalars and texts."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from backend.contract.results import ClassScore, Column, Encoding, Layer, Region, Scalar, Table
from models.heads.word_places import box_and_mask, place_on_cells
from models.training._lvw_crops import crop_name, nearest_others, to_picture
from models.training._lvw_fidelity import PERCENTILES, chance
from workers.method import MapArray, Result
from workers.methods._lvw_read import BaseAttention, Reading
from workers.methods._lvw_texts import write_texts

MOST_CELLS = 2**20
MOST_CONTRIBUTIONS = 10**6
KEPT_CLASSES = 8
CROPPED_WORDS = 32
CROP_SIDE = 72
BEST_SIMILARITY = 9.2103404
OTHERS = -1
COLUMNS = (
    Column(key="word", title="Word"),
    Column(key="weight", title="Weight", digits=3, hint="Of the word for the class explained."),
    Column(key="contribution", title="Contribution", unit="logits", digits=3, hint="Score times weight."),
    Column(key="contrast", title="Against the other", unit="logits", digits=3, hint="What it adds to the difference."),
    Column(key="similar_rank", title="Rank in this picture", hint="Among the words that resemble something here."),
    Column(key="decide_rank", title="Rank in deciding", hint="Among the words that add or take most."),
    Column(key="source_class", title="Taken from"),
    Column(key="source_picture", title="Picture", hint="Number of the training picture it was taken from."),
    Column(key="shared_usage", title="Used by", hint="Classes in which a quarter of the pictures have the word."),
    Column(key="shared_neighbours", title="Near in", hint="Classes with two or more of its nearest patches."),
    Column(key="shared_weight", title="Speaks for", hint="Classes with a positive weight."),
    Column(key="distance", title="Distance", digits=4, hint="Squared, of its best place here; 0 is the patch itself."),
    Column(key="row", title="Row", hint="Of the cell where it was found."),
    Column(key="column", title="Column", hint="Of the cell where it was found."),
    Column(key="flags", title="Flags"),
    Column(key="crop", title="Crop", hint="Place of its source among the crops; its nearest patches follow."),
)
CROP_COLUMNS = (
    Column(key="crop", title="Crop"),
    Column(key="word", title="Word"),
    Column(key="kind", title="Kind", hint="Source of the word, or one of its nearest patches."),
    Column(key="class", title="Class"),
    Column(key="distance", title="Distance", digits=4, hint="Squared, to the word."),
)
CLASS_COLUMNS = (
    Column(key="class", title="Number"),
    Column(key="name", title="Class"),
    Column(key="logit", title="Logit", digits=3),
    Column(key="probability", title="Word network", digits=3),
    Column(key="base_probability", title="Model", digits=3),
)


@dataclass(frozen=True, eq=False)
class Report:
    """Turns a reading, and later the base's attention, into a result.

    Args:
        reading: Of the word network.
        params: Settings of the run.
    """

    reading: Reading
    params: Any

    def result(self, attention: BaseAttention | None) -> Result:
        """Returns the result; without the base's attention it is an intermediate one."""
        reading = self.reading
        scalars = self._scalars(attention)
        return Result(
            arrays=self._arrays(attention),
            layers=self._layers(attention),
            regions=self._regions(),
            region_columns=COLUMNS,
            tables=(self._crop_table(), self._class_table(attention)),
            classes=self._classes(),
            scalars=scalars,
            texts=write_texts(reading, scalars, attention),
            target=reading.base_class(reading.target),
        )

    # which words ----------------------------------------------------------------------------------------------------

    @cached_property
    def similar(self) -> list[int]:
        """The words that resemble something here most."""
        return _first(self.reading.scores, self.params.top_words)

    @cached_property
    def deciding(self) -> list[int]:
        """The words that add to the target, or take from it, most."""
        return self._deciding(self.reading.target)

    @cached_property
    def listed(self) -> list[int]:
        """The words of either list, the most similar first."""
        return list(dict.fromkeys([*self.similar, *self.deciding]))

    @cached_property
    def kept_classes(self) -> list[int]:
        """Classes that people may switch to without another run, at most eight, those in question first."""
        reading = self.reading
        best = _first(reading.logits, 5)
        asked = [reading.target, reading.contrast, reading.answer]
        return list(dict.fromkeys(index for index in (*asked, *best) if index is not None))[:KEPT_CLASSES]

    @cached_property
    def cropped(self) -> list[int]:
        """The words with crops: the listed ones first, then those that decide other kept classes."""
        others = [word for index in self.kept_classes for word in self._deciding(index)]
        return list(dict.fromkeys([*self.listed, *others]))[: max(CROPPED_WORDS, len(self.listed))]

    def _deciding(self, index: int) -> list[int]:
        return _first(self.reading.contributions[index].abs(), self.params.top_words)

    # arrays and layers ----------------------------------------------------------------------------------------------

    def _arrays(self, attention: BaseAttention | None) -> dict[str, MapArray]:
        reading = self.reading
        kept, classes = self._map_words, self._contribution_classes()
        contributions = reading.contributions
        arrays = {
            "word_maps": MapArray(reading.maps[kept].numpy(), reading.frame),
            "word_ids": MapArray(np.array(kept, np.int32)),
            "scores": MapArray(reading.scores.numpy()),
            "word_cells": MapArray(reading.cells.numpy().astype(np.int32)),
            "contributions": MapArray(contributions[classes].numpy()),
            "contribution_classes": MapArray(np.array(classes, np.int32)),
            "logit_cells": MapArray(self._logit_cells().numpy(), reading.frame),
            "integrated": MapArray(reading.view.numpy().astype(np.float16), reading.frame),
            "logits": MapArray(reading.logits.numpy()),
            "crops": MapArray(self._crops),
        }
        if attention is None:
            return arrays
        return arrays | {
            "base_attention": MapArray(attention.grid.numpy(), reading.frame),
            "iou_curve": MapArray(_with_percentiles(attention.curve)),
            "iou_floors": MapArray(self._floors(attention)),
            "base_logits": MapArray(attention.logits.numpy()),
        }

    @cached_property
    def _map_words(self) -> list[int]:
        words = self.reading.maps.shape[0]
        if self.reading.maps.numel() <= MOST_CELLS:
            return list(range(words))
        others = [word for index in self.kept_classes for word in self._deciding(index)]
        return sorted({*self.listed, *others})

    def _contribution_classes(self) -> list[int]:
        weights = self.reading.weights
        return list(range(len(weights))) if weights.numel() <= MOST_CONTRIBUTIONS else self.kept_classes

    def _logit_cells(self) -> Tensor:
        """Adds up in double precision, so that the stored map sums to the logit."""
        contributions = self.reading.contributions[self.reading.target].double()
        grid = (int(self.reading.maps.shape[1]), int(self.reading.maps.shape[2]))
        return place_on_cells(contributions, self.reading.cells, grid).float()

    def _floors(self, attention: BaseAttention) -> np.ndarray[Any, Any]:
        size = self.reading.view.shape[-1]
        own = attention.gaussian.numpy()
        metrics = self.reading.opened.record.manifest.metrics
        mean = (metrics.get("curves") or {}).get("book") or [0.0] * len(PERCENTILES)
        return np.stack([np.array(chance(size * size)), own, np.array(mean)], axis=1).astype(np.float32)

    def _layers(self, attention: BaseAttention | None) -> list[Layer]:
        reading = self.reading
        name, target = reading.opened.classes[reading.target], reading.base_class(reading.target)
        layers = [_unit_layer("overlap", "Overlap map", "integrated", ("no word here", "the picture's words are here"))]
        if attention is not None:
            layers.append(
                _unit_layer("attention", "Where the model looks", "base_attention", ("looks away", "looks here"))
            )
        layers.append(
            Layer(
                name="logit",
                title="Logit by cell",
                array="logit_cells",
                encoding=Encoding.SIGNED,
                ends=(f"speaks against {name}", f"adds to {name}"),
                unit="logits",
                smooth=False,
                target=target,
            )
        )
        place = {word: index for index, word in enumerate(self._map_words)}
        layers += [
            Layer(
                name=f"word {word}",
                title=f"Word {word}",
                array="word_maps",
                index=place[word],
                encoding=Encoding.SEQUENTIAL,
                range=(0.0, BEST_SIMILARITY),
                ends=("unlike the word", f"9.21 = identical to its training patch of {self._source(word)}"),
                role="detail",
            )
            for word in self.listed
        ]
        return layers

    # words ----------------------------------------------------------------------------------------------------------

    def _regions(self) -> list[Region]:
        return [*(self._region(word) for word in self.listed), self._other_words()]

    def _region(self, word: int) -> Region:
        reading, book = self.reading, self.reading.opened.book
        size = reading.view.shape[-1]
        box, mask = box_and_mask(reading.maps[word], size)
        height, width = reading.picture.shape[:2]
        shared = [", ".join(reading.opened.classes[index] for index in found) for found in book.shared(word)]
        return Region(
            id=word,
            label=f"word {word}, from {self._source(word)}",
            score=float(reading.scores[word]),
            area=float(mask.mean()),
            box=to_picture(box, reading.preprocessing, width, height),
            values={
                "word": word,
                "weight": float(reading.weights[reading.target, word]),
                **self._added([word]),
                "similar_rank": _rank(word, self.similar),
                "decide_rank": _rank(word, self.deciding),
                "source_class": self._source(word),
                "source_picture": int(book.source_index[word]),
                "shared_usage": shared[0],
                "shared_neighbours": shared[1],
                "shared_weight": shared[2],
                "distance": float(reading.distances[word]),
                "row": int(reading.cells[word, 0]),
                "column": int(reading.cells[word, 1]),
                "flags": book.flags(word),
                "crop": self._crop_places[word],
            },
        )

    def _other_words(self) -> Region:
        others = [word for word in range(len(self.reading.scores)) if word not in set(self.listed)]
        return Region(
            id=OTHERS,
            label=f"the other {len(others)} words",
            area=1.0,
            box=self.reading.seen,
            values=self._added(others),
        )

    def _added(self, words: list[int]) -> dict[str, Scalar]:
        reading = self.reading
        own = reading.contributions[reading.target].double()
        if reading.contrast is None:
            return {"contribution": float(own[words].sum()), "contrast": None}
        difference = own - reading.contributions[reading.contrast].double()
        return {"contribution": float(own[words].sum()), "contrast": float(difference[words].sum())}

    def _source(self, word: int) -> str:
        return self.reading.opened.classes[int(self.reading.opened.book.source_label[word])]

    # crops and classes ----------------------------------------------------------------------------------------------

    @cached_property
    def _crop_rows(self) -> list[tuple[int, str, str, float, str]]:
        """Word, kind, class, distance and file of each crop."""
        book, classes = self.reading.opened.book, self.reading.opened.classes
        files = self.reading.opened.record.manifest.files
        rows = []
        for word in self.cropped:
            rows.append((word, "source", self._source(word), 0.0, crop_name(word, 0)))
            near = nearest_others(book.neighbours[word], int(book.source_index[word]))
            for number, place in enumerate(near[: self.params.exemplars], start=1):
                name = classes[int(book.neighbour_label[word, place])]
                distance = float(book.neighbour_distance[word, place])
                rows.append((word, "neighbour", name, distance, crop_name(word, number)))
        return [row for row in rows if row[4] in files]

    @cached_property
    def _crop_places(self) -> dict[int, int | None]:
        sources = {row[0]: at for at, row in enumerate(self._crop_rows) if row[1] == "source"}
        return {word: sources.get(word) for word in self.listed}

    @cached_property
    def _crops(self) -> np.ndarray[Any, Any]:
        """``[N, 72, 72, 3]`` uint8, each crop whole, on the colour of an empty case."""
        crops = np.zeros((len(self._crop_rows), CROP_SIDE, CROP_SIDE, 3), np.uint8)
        for at, row in enumerate(self._crop_rows):
            with Image.open(self.reading.opened.record.path(row[4])) as image:
                whole = ImageOps.pad(image.convert("RGB"), (CROP_SIDE, CROP_SIDE), color=(20, 20, 24))
            crops[at] = np.asarray(whole)
        return crops

    def _crop_table(self) -> Table:
        rows = tuple((at, *row[:4]) for at, row in enumerate(self._crop_rows))
        return Table(name="crops", title="Crops", columns=CROP_COLUMNS, rows=rows)

    def _class_table(self, attention: BaseAttention | None) -> Table:
        reading = self.reading
        own = reading.logits.softmax(0)
        base = None if attention is None else attention.logits.softmax(0)
        rows = []
        for index in _first(reading.logits, len(reading.logits))[:1000]:
            at = reading.base_class(index)
            known = None if base is None or at is None else float(base[at])
            rows.append((index, reading.opened.classes[index], float(reading.logits[index]), float(own[index]), known))
        return Table(name="classes", title="Classes", columns=CLASS_COLUMNS, rows=tuple(rows))

    def _classes(self) -> list[ClassScore]:
        """Returns the best classes of the word network under the base's numbers, as far as it has them."""
        reading = self.reading
        probabilities = reading.logits.softmax(0)
        found = [(reading.base_class(index), index) for index in _first(reading.logits, 5)]
        return [
            ClassScore(index=at, label=reading.opened.classes[index], score=float(probabilities[index]))
            for at, index in found
            if at is not None
        ]

    # scalars --------------------------------------------------------------------------------------------------------

    def _scalars(self, attention: BaseAttention | None) -> dict[str, Scalar]:
        reading, record = self.reading, self.reading.opened.record
        probabilities = reading.logits.softmax(0)
        size, metrics = reading.view.shape[-1], record.manifest.metrics
        effort = reading.contributions[reading.target].abs()
        scalars: dict[str, Scalar] = {
            "answer": reading.opened.classes[reading.answer],
            "probability": float(probabilities[reading.answer]),
            "logit": float(reading.logits[reading.target]),
            "logit_contrast": None if reading.contrast is None else float(reading.logits[reading.contrast]),
            "share_shown": float(effort[self.listed].sum() / effort.sum()) if float(effort.sum()) > 0 else 1.0,
            "words": len(reading.scores),
            "distinct_words": len(set(reading.opened.book.duplicate_of.tolist())),
            "k": reading.opened.k,
            "exemplars": self.params.exemplars,
            "percentile": float(self.params.percentile),
            "book": record.id,
        }
        scalars |= {f"book_{name}": _number(metrics.get(name)) for name in BOOK_FIGURES}
        if attention is None:
            return scalars
        base = int(attention.logits.argmax())
        in_book = int(reading.to_book[base])
        cut = max(1, round(size * size * (100 - float(self.params.percentile)) / 100)) / (size * size)
        return scalars | {
            "base_answer": reading.base_names[base] if base < len(reading.base_names) else f"class {base}",
            "base_probability": float(attention.logits.softmax(0)[base]),
            "agree": None if in_book < 0 else in_book == reading.answer,
            "iou": None if attention.is_constant else attention.iou,
            "iou_gaussian": None if attention.is_constant else attention.gaussian_iou,
            "iou_chance": cut / (2 - cut),
        }


BOOK_FIGURES = ("accuracy", "base_accuracy", "agreement", "iou", "iou_gaussian", "iou_other", "iou_chance")


def _first(values: Tensor, count: int) -> list[int]:
    """Returns the places of the highest values, the lower place first on ties."""
    order: list[int] = torch.argsort(values, descending=True, stable=True)[:count].tolist()
    return order


def _rank(word: int, listed: list[int]) -> int | None:
    return listed.index(word) + 1 if word in listed else None


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _unit_layer(name: str, title: str, array: str, ends: tuple[str, str]) -> Layer:
    return Layer(name=name, title=title, array=array, encoding=Encoding.SEQUENTIAL, range=(0.0, 1.0), ends=ends)


def _with_percentiles(curve: Tensor) -> np.ndarray[Any, Any]:
    return np.stack([np.array(PERCENTILES, np.float32), curve.numpy().astype(np.float32)], axis=1)
