"""One training of a word book from pictures to published files."""

from __future__ import annotations

import dataclasses
import hashlib
import platform
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch

from models.heads.lvw import Projection, VisualWordNetwork
from models.loader import LoadedModel, load
from models.training import _lvw_stages as stages
from models.training._lvw_artifact import source_picture, write_all_crops, write_files
from models.training._lvw_attention import Attention, attention_key, base_attention
from models.training._lvw_book import WordBook, make_book
from models.training._lvw_checkpoint import Progress, load_own_state, own_state
from models.training._lvw_evidence import Measure, evidence, match_classes
from models.training._lvw_parts import Part, Store, read_part
from models.training._lvw_purity import word_parts
from models.training._lvw_recipe import LvwRecipe
from models.training._lvw_teacher import taught
from models.training.checkpoints import Checkpoints
from models.training.data import PictureSet
from models.training.job import FINISH, STOP, Announcer, Cancelled, Emit, TrainingJob, TrainingStopped

EXPENSIVE, CACHED = 3.0, 0.02
"""Passes that a picture counts for when it is trained on, and when only caches are read."""
SHOWN_WORDS = 24


@dataclass(frozen=True, eq=False)
class Parts:
    """The parts of the data with the base's attention for each."""

    train: Part
    validation: Part
    test: Part | None
    attention: dict[str, Attention]
    classes: tuple[str, ...]
    pictures: dict[str, PictureSet]

    def part(self, name: str) -> Part:
        """Returns a part by name."""
        found = {"train": self.train, "validation": self.validation, "test": self.test}[name]
        if found is None:
            raise ValueError(f"the data have no {name} part")
        return found


class Training:
    """One training from pictures to published book.

    Args:
        job: What to train and where.
        method: Name under which the book is published.
        emit: Told what happens.
        cancelled: Asked between batches.
        measure: Turns evidence into figures.
    """

    def __init__(self, job: TrainingJob, method: str, *, emit: Emit, cancelled: Cancelled, measure: Measure) -> None:
        self.job, self.method, self.base = job, method, square(job.base)
        self.recipe: LvwRecipe = job.recipe
        self.cancelled, self.measure = cancelled, measure
        self.data = job.data.split(self.recipe.validation, self.recipe.seed)
        self.checkpoints = Checkpoints(
            job.checkpoints,
            recipe=self.recipe.model_dump(mode="json"),
            data=self.data.digest,
            base=job.base.weights_digest,
        )
        self.store = Store(job.folder / "caches", self.recipe.cache_budget)
        self.tell = Announcer(emit, total=1)
        self.passes, self.spent = 0.0, 0.0
        self.is_finishing = False
        self.started = time.monotonic()

    def run(self) -> Path:
        """Returns the folder of the published book."""
        parts = self._read()
        bench = self._bench(parts)
        progress = Progress.restored(self.checkpoints, bench)
        self.spent = progress.seconds
        self.passes = max(self.passes, progress.passes)
        self._take(bench, parts, progress)
        book = self._book(bench, parts, progress)
        metrics = self._measured_finally(bench, parts, book)
        folder = self._publish(bench, parts, progress, book, metrics)
        shutil.rmtree(self.job.folder / "caches", ignore_errors=True)
        return folder

    # pictures and attention -----------------------------------------------------------------------------------------

    def _read(self) -> Parts:
        sets = {"train": self.data.train, "validation": self.data.validation}
        if self.job.data.test is not None and len(self.job.data.test):
            sets["test"] = self.job.data.test
        self.tell.total = self._planned({name: len(pictures) for name, pictures in sets.items()})
        self.tell.enter("reading the pictures")
        parts = {name: self._part(pictures) for name, pictures in sets.items()}
        attention = {name: self._attention(part, sets[name].digests) for name, part in parts.items()}
        classes = self.data.classes
        if self.recipe.target == "teacher":
            classes, parts, attention, sets = taught(self.base.class_names, parts, attention, sets)
        self._warn_of_empty(attention["train"])
        return Parts(parts["train"], parts["validation"], parts.get("test"), attention, classes, sets)

    def _part(self, pictures: PictureSet) -> Part:
        return read_part(
            pictures.load,
            range(len(pictures)),
            pictures.labels.tolist(),
            preprocessing=self.base.preprocessing,
            store=self.store,
            check_stopped=self._check_stopped,
        )

    def _attention(self, part: Part, digests: tuple[str, ...], *, mirrored: bool = False) -> Attention:
        self.tell.enter("where the model looks")
        pictures = hashlib.sha256("\n".join(digests).encode()).hexdigest()
        size = self.recipe.batch_size
        key = attention_key(self.base, pictures, size, mirrored)
        folder = self.job.folder / "attention" / key

        def told(count: int) -> None:
            self._count(count, 1.0)
            self._check_stopped()

        return base_attention(self.base, part.batches(size, mirrored=mirrored), folder, on_batch=told)

    def _warn_of_empty(self, attention: Attention) -> None:
        share = float(attention.empty.float().mean())
        if share > 0.05:
            self.tell.say(f"The model's attention is the same everywhere for {share:.0%} of the pictures.")

    # stages ---------------------------------------------------------------------------------------------------------

    def _bench(self, parts: Parts) -> stages.Bench:
        recipe = self.recipe
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.seed)
            network = VisualWordNetwork.for_base(
                self.base,
                class_count=len(parts.classes),
                word_count=recipe.word_count(len(parts.classes)),
                depth=recipe.depth,
                classifier_init=recipe.classifier_init,
                train_trunk=recipe.train_trunk,
                trunk_of=self._published() if recipe.trunk_start == "pretrained" else None,
            )
        return stages.Bench(
            recipe=recipe,
            network=network,
            train=parts.train,
            validation=parts.validation,
            attention=parts.attention["train"],
            store=self.store,
            check_stopped=self._check_stopped,
            on_pictures=lambda count, kind: self._count(count, {"forward": 1.0, "train": EXPENSIVE}.get(kind, CACHED)),
            optimisers=stages.make_optimisers(recipe, network),
            scaler=stages.make_scaler(recipe, self.base.device),
        )

    def _published(self) -> LoadedModel:
        """Returns the family's published weights; a problem says when they are not on this machine."""
        published = load(self.base.card.architecture, str(self.base.device))
        return dataclasses.replace(published, preprocessing=self.base.preprocessing)

    def _take(self, bench: stages.Bench, parts: Parts, progress: Progress) -> None:
        """Takes the steps that are still to be taken, writing a checkpoint after each."""
        steps = planned_steps(self.recipe)
        while progress.done < len(steps):
            kind, epoch = steps[progress.done]
            if self.is_finishing and kind != "project":
                kind, epoch = "project", steps[progress.done - 1][1]
                progress.done = len(steps) - 1
            self._enter(kind, epoch)
            entry = (
                self._project(bench, parts, progress, epoch) if kind == "project" else self._epoch(bench, kind, epoch)
            )
            progress.curves.append(entry)
            progress.done += 1
            progress.seconds, progress.passes = self._seconds(), self.passes
            self.checkpoints.save(progress.state(bench))
            self.tell.point(epoch + 1.0, **_numbers(entry))
            self.is_finishing = self.is_finishing or self.cancelled() == FINISH
            if self.is_finishing and kind == "project":
                return

    def _enter(self, kind: str, epoch: int) -> None:
        names = {"warm": "warming up", "joint": "training", "project": "projecting words"}
        self.tell.enter(names[kind], epoch=epoch + 1, epochs=self.recipe.epochs)

    def _epoch(self, bench: stages.Bench, kind: str, epoch: int) -> dict[str, Any]:
        is_joint = kind == "joint"
        factor = self.recipe.rate_factor(epoch) if is_joint else 1.0
        rates = stages.set_rates(bench.optimisers[kind], self.recipe, factor, with_trunk=is_joint)
        loss = stages.joint_epoch(bench, epoch) if is_joint else stages.warm_epoch(bench, epoch)
        return {"stage": kind, "epoch": epoch, "rates": rates, "loss": loss}

    def _project(self, bench: stages.Bench, parts: Parts, progress: Progress, epoch: int) -> dict[str, Any]:
        projection = stages.project(bench)
        loss = stages.train_last_layer(bench, stages.cached_scores(bench), epoch)
        figures = self._figures(bench, parts, "validation", cells=bench.validation_cells)
        self._show(projection, bench, parts)
        if self.recipe.select == "last":
            progress.projection = projection
        elif figures["accuracy"] >= progress.kept_score:
            progress.projection, progress.kept_score = projection, float(figures["accuracy"])
            progress.kept = own_state(bench.network, with_trunk=self.recipe.train_trunk)
        return {
            "stage": "project",
            "epoch": epoch,
            "rates": [self.recipe.lr_last],
            "loss": loss,
            "validation": {name: value for name, value in figures.items() if name != "curves"},
            "distinct": projection.distinct,
            "moved": float(projection.distance.mean()),
        }

    def _show(self, projection: Projection, bench: stages.Bench, parts: Parts) -> None:
        """Shows the source patches of the first words."""
        assert bench.cells is not None
        load = parts.pictures["train"].load
        shown = range(min(SHOWN_WORDS, len(projection.source_index)))
        self.tell.show({f"word {word}": source_picture(word, bench, projection, parts.train, load) for word in shown})

    # measures -------------------------------------------------------------------------------------------------------

    def _figures(self, bench: stages.Bench, parts: Parts, name: str, **more: Any) -> dict[str, Any]:
        return self.measure(
            evidence(
                bench.network,
                parts.part(name),
                parts.attention[name],
                k=self.recipe.k,
                classes=match_classes(self.base.class_names, parts.classes),
                batch_size=self.recipe.batch_size,
                on_pictures=lambda count: self._count(count, 1.0),
                **more,
            )
        )

    def _measured_finally(self, bench: stages.Bench, parts: Parts, book: WordBook) -> dict[str, Any]:
        """Measures the finished book once, on pictures that chose nothing."""
        name = "validation" if parts.test is None else "test"
        turned = self._attention(parts.part(name), parts.pictures[name].digests, mirrored=True)
        self.tell.enter("measuring")
        figures = self._figures(bench, parts, name, mirrored=turned)
        figures["part"] = name
        figures["empty_attention"] = int(parts.attention["train"].empty.sum())
        figures["distinct_words"] = int((book.duplicate_of == torch.arange(len(book.duplicate_of))).sum())
        return figures

    def _book(self, bench: stages.Bench, parts: Parts, progress: Progress) -> WordBook:
        self.tell.enter("reading the words")
        if progress.kept is not None:
            load_own_state(bench.network, progress.kept)
        assert progress.projection is not None
        stages.sweep(bench)
        assert bench.cells is not None
        return make_book(
            bench.network,
            bench.cells[:, 0],
            parts.train.labels,
            progress.projection,
            k=self.recipe.k,
            class_count=len(parts.classes),
            batch_size=self.recipe.batch_size,
            check_stopped=self._check_stopped,
        )

    # the book as files ----------------------------------------------------------------------------------------------

    def _publish(
        self, bench: stages.Bench, parts: Parts, progress: Progress, book: WordBook, metrics: dict[str, Any]
    ) -> Path:
        assert bench.cells is not None
        assert progress.projection is not None
        self.tell.enter("writing the book")
        pictures = parts.pictures["train"]
        folder = self.job.shelf.temporary()
        try:
            write_files(folder, bench.network, book, progress.curves, with_trunk=self.recipe.train_trunk)
            cells = bench.cells[:, 0]
            write_all_crops(folder, bench.network, book, cells, parts.train, pictures.load, self._check_stopped)
            content = self._manifest(parts, progress, metrics)
            grid = int(cells.shape[2]), int(cells.shape[3])
            known = word_parts(book, pictures.parts, self.base.preprocessing, grid)
            content |= {} if known is None else {"parts": known}
            record = self.job.shelf.publish(folder, content)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        self.tell.step(self.tell.total - self.tell.done)
        return record.folder

    def _manifest(self, parts: Parts, progress: Progress, metrics: dict[str, Any]) -> dict[str, Any]:
        base, created = self.base, time.time()
        stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime(created))
        return {
            "method": self.method,
            "id": f"{stamp}-{_short_digest(self.data.digest, self.recipe.model_dump_json())}",
            "title": self.job.title or f"Word book on {self.data.name}",
            "created": created,
            "base": {
                "name": base.name,
                "weights_digest": base.weights_digest,
                "preprocessing": self.job.base.card.preprocessing,
            },
            "classes": list(parts.classes),
            "data": {**self.data.describe(), "n_test": 0 if parts.test is None else len(parts.test)},
            "metrics": metrics,
            "recipe": self.recipe.model_dump(mode="json"),
            "projection": _as_lists(progress.projection),
            "versions": {"torch": torch.__version__, "timm": timm.__version__, "python": platform.python_version()},
            "device": base.device.type,
            "seconds": round(self._seconds(), 1),
        }

    # telling and being told -----------------------------------------------------------------------------------------

    def _check_stopped(self) -> None:
        if self.cancelled() == STOP:
            raise TrainingStopped("The training was stopped; it can go on from its last checkpoint.")

    def _seconds(self) -> float:
        return self.spent + time.monotonic() - self.started

    def _planned(self, counts: dict[str, int]) -> int:
        """Returns the passes of the whole training."""
        recipe, n, held = self.recipe, counts["train"], counts["validation"]
        measured = counts.get("test", held)
        joint = n * (EXPENSIVE if recipe.train_trunk else CACHED) * recipe.joint_epochs
        sweeps = (len(recipe.projection_epochs) + 1) * ((2 * n if recipe.train_trunk else 0) + 2 * held)
        return round(sum(counts.values()) + 2 * n + n * CACHED * recipe.warm_epochs + joint + sweeps + 2 * measured)

    def _count(self, pictures: int, passes: float) -> None:
        self.passes = min(self.passes + pictures * passes, self.tell.total - 1.0)
        self.tell.step(max(0, round(self.passes) - self.tell.done))


def planned_steps(recipe: LvwRecipe) -> list[tuple[str, int]]:
    """Returns every step with its epoch: warm and joint epochs, and projections with their last-layer stage."""
    steps: list[tuple[str, int]] = []
    for epoch in range(recipe.epochs):
        steps.append(("warm" if epoch < recipe.warm_epochs else "joint", epoch))
        if epoch in recipe.projection_epochs:
            steps.append(("project", epoch))
    return steps


def square(model: LoadedModel) -> LoadedModel:
    """Returns the model with a square input of its shorter side, which is what both networks see."""
    side = min(model.preprocessing.input_size)
    if model.preprocessing.input_size == (side, side):
        return model
    return dataclasses.replace(model, preprocessing=dataclasses.replace(model.preprocessing, input_size=(side, side)))


def _numbers(entry: dict[str, Any]) -> dict[str, float]:
    """Returns the numbers of a step by the names of the training's curves."""
    loss = {"loss" if name == "total" else name: value for name, value in entry["loss"].items()}
    if entry["stage"] == "project":
        figures = entry["validation"]
        wanted = {"accuracy": "validation_accuracy", "agreement": "agreement", "iou": "iou"}
        found = {name: figures[key] for key, name in wanted.items() if figures.get(key) is not None}
        return {**found, "distinct_words": float(entry["distinct"])}
    return {**loss, "rate": entry["rates"][0]}


def _short_digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:6]


def _as_lists(projection: Projection | None) -> dict[str, Any]:
    if projection is None:
        return {}
    return {
        "source_index": projection.source_index.tolist(),
        "source_label": projection.source_label.tolist(),
        "cell": projection.cell.tolist(),
        "distinct": projection.distinct,
    }
