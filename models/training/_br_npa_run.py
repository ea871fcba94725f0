"""One training from pictures to the published explainer, with everything that survives an interruption."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from backend.contract.problems import ProblemCode, ProblemError
from models.explainers import ExplainerShelf
from models.heads.br_npa import BrNpaClassifier, _composite
from models.loader import LoadedModel
from models.training._br_npa_artifact import (
    architecture_entries,
    base_trunk,
    class_map,
    geometry_entries,
    new_network,
    publish,
    with_head,
)
from models.training._br_npa_head import HeadStage, cache_vectors, finest_exact_stride
from models.training._br_npa_measure import Scores, centre, fidelity
from models.training._br_npa_pictures import decode_seen, decode_whole, explainer_geometry
from models.training._br_npa_recipe import BrNpaRecipe
from models.training._br_npa_stage import READ_EVERY, Stage, first_micro_batch
from models.training.checkpoints import Checkpoints
from models.training.data import TrainingData
from models.training.job import FINISH, STOP, Announcer, Cancelled, Emit, TrainingStopped

TEACHER, STUDENT, HEAD = "teacher", "student", "head"
TITLES = {TEACHER: "Coarse classifier", STUDENT: "Fine classifier", HEAD: "Weights of the groups"}
TIMED_STEPS = 10
PREVIEWS = 4
FIDELITY_PICTURES = 2


@dataclass(frozen=True)
class Plan:
    """What is trained and for how many epochs; made once and kept by every checkpoint."""

    scope: str
    teacher: int
    student: int


@dataclass(eq=False)
class Run:
    """One run of a job; see :class:`models.training.br_npa.BrNpaTraining` for its arguments."""

    recipe: BrNpaRecipe
    data: TrainingData
    base: LoadedModel
    folder: Path
    shelf: ExplainerShelf
    emit: Emit
    cancelled: Cancelled
    clock: Callable[[], float]
    fit: Callable[[BrNpaRecipe, tuple[float, float], float], Plan]
    measures: Mapping[str, Callable[..., Any]]
    title: str
    method: str
    finished: dict[str, Any] = field(default_factory=dict)
    is_early: bool = False

    def run(self) -> Path:
        """Returns the folder of the published explainer."""
        self.started = self.written = self.clock()
        self.checkpoints = Checkpoints(
            self.folder / "checkpoints",
            recipe=self.recipe.model_dump(mode="json"),
            data=self.data.digest,
            base=self.base.weights_digest,
        )
        known = self.checkpoints.load() or {}
        self.spent = float(known.get("spent", 0.0))
        self.finished = dict(known.get("finished", {}))
        self.is_early = bool(known.get("is_early", False))
        self.emit({"stage": "Reading pictures"})
        if known:
            self.plan = Plan(**known["plan"])
            self._read()
        else:
            self.plan = Plan(self.recipe.scope, self.recipe.epochs_teacher, self.recipe.epochs_student)
            self._read()
            self._make_plan()
            self._write(None)
        self.announcer = Announcer(self.emit, total=self._total(), done=self._done())
        network = self._trained(known)
        return self._published(network)

    # pictures and plan

    def _read(self) -> None:
        recipe = self.recipe.model_copy(update={"scope": self.plan.scope})
        self.geometry = explainer_geometry(self.base.preprocessing, recipe)
        if self.plan.scope == HEAD:
            self.train = decode_seen(self.data.train, self.geometry, self._check)
            self.validation = decode_seen(self.data.validation, self.geometry, self._check)
        else:
            cache = self.folder / "caches" / "train.npy"
            self.train = decode_whole(self.data.train, self.geometry, self._check, cache=cache)
            self.validation = decode_whole(self.data.validation, self.geometry, self._check)
        self._ask_base()

    def _ask_base(self) -> None:
        """Notes what the base model answers on the validation part, as classes of the data."""
        base = self.base
        seen = decode_seen(self.data.validation, base.preprocessing, self._check)
        places = class_map(base.class_names, self.data.classes)
        answers = []
        with torch.inference_mode():
            for start in range(0, len(seen), 32):
                self._check()
                some = seen.pixels[start : start + 32]
                logits = base.network(base.preprocessing.normalise(some.float().div(255)).to(base.device))
                answers += [places[index] if index < len(places) else -1 for index in logits.argmax(1).tolist()]
        self.base_answers = torch.tensor(answers)
        is_known = set(self.data.classes) <= set(base.class_names)
        right = (self.base_answers == self.validation.labels).double().mean()
        self.base_accuracy = float(right) if is_known else None

    def _make_plan(self) -> None:
        recipe = self.recipe
        if recipe.scope == HEAD:
            self.plan = Plan(HEAD, 0, recipe.epochs_student)
        elif not (recipe.fit_time and recipe.max_minutes):
            self.plan = Plan("full", recipe.epochs_teacher, recipe.epochs_student if recipe.has_student else 0)
        else:
            self.emit({"stage": "Timing a few steps"})
            coarse = self._seconds_per_epoch(TEACHER)
            fine = self._seconds_per_epoch(STUDENT) if recipe.has_student else 0.0
            self.plan = self.fit(recipe, (coarse, fine), recipe.max_minutes * 60 - self._elapsed())
            if self.plan.scope == HEAD:
                self.emit({"message": "There is not enough time for a network of its own; only the head is trained."})
                self._read()

    def _seconds_per_epoch(self, name: str) -> float:
        stage = self._stage(name, teacher=self._network(TEACHER) if name == STUDENT else None)
        began = self.clock()
        for _ in range(TIMED_STEPS):
            self._check()
            stage.time_step()
        return (self.clock() - began) / TIMED_STEPS * stage.steps

    # stages

    def _trained(self, known: dict[str, Any]) -> BrNpaClassifier:
        """Trains what is still to be trained and returns the best network of the last stage reached."""
        names = [HEAD] if self.plan.scope == HEAD else [TEACHER, STUDENT] if self.plan.student else [TEACHER]
        for name in names:
            self.last = name
            if name in self.finished:
                continue
            if self.is_early and name != names[0]:
                self.last = TEACHER
                break
            teacher = self._network(TEACHER, self.finished[TEACHER]["state"]) if name == STUDENT else None
            stage = self._stage(name, teacher=teacher)
            if known.get("stage") == name:
                stage.restore(known["state"])
            self.announcer.enter(TITLES[name], epoch=stage.epoch + 1, epochs=stage.epochs)
            stage.run(self._after_step, self._after_epoch)
            self._close(stage)
        return self._network(self.last, self.finished[self.last]["state"]).eval()

    def _close(self, stage: Stage) -> None:
        best = stage.best
        assert best is not None
        self.finished[stage.name] = {
            "state": best.state,
            "epoch": best.epoch,
            "scores": best.scores.plain(),
            "history": stage.history,
        }
        self._write(None)

    def _stage(self, name: str, *, teacher: BrNpaClassifier | None) -> Stage:
        arguments: dict[str, Any] = {
            "name": name,
            "recipe": self.recipe,
            "teacher": None if teacher is None else teacher.eval().requires_grad_(False),
            "train": self.train,
            "validation": self.validation,
            "base_answers": self.base_answers,
            "geometry": self.geometry,
            "epochs": self.plan.teacher if name == TEACHER else self.plan.student,
            "micro_batch": first_micro_batch(self.recipe),
        }
        if name != HEAD:
            start = self._network(name)
            if name == STUDENT and self.recipe.student_init == TEACHER and TEACHER in self.finished:
                start.load_state_dict(self.finished[TEACHER]["state"])
            return Stage(network=start, **arguments)
        options: dict[str, Any] = {"stride": self._head_stride(), "n_maps": self.recipe.n_maps, "check": self._check}
        self.emit({"stage": "Computing vectors"})
        vectors = cache_vectors(self.base, self.train, self.geometry, mirrored=self.recipe.flip, **options)
        seen = cache_vectors(self.base, self.validation, self.geometry, mirrored=False, **options)
        return HeadStage(network=self._network(HEAD), vectors=vectors, seen=seen, **arguments)

    def _network(self, name: str, state: dict[str, Tensor] | None = None) -> BrNpaClassifier:
        """Returns the network of a stage as it begins, or with the weights given."""
        recipe, count = self.recipe, len(self.data.classes)
        if name == HEAD:
            network = with_head(base_trunk(self.base, self._head_stride()), count, recipe, seed=recipe.seed)
            network.head.to(self.base.device)
            if state is not None:
                network.head.load_state_dict(state)
            return network
        upscaling = "none" if name == TEACHER else recipe.upscaling
        try:
            network = new_network(self.base, recipe, upscaling, count, seed=recipe.seed)
        except ValueError as error:
            raise ProblemError(
                ProblemCode.NOT_SUPPORTED, f"{self.base.card.title} cannot be trained like this: {error}."
            ) from error
        if state is not None:
            network.load_state_dict(state)
        return network

    def _head_stride(self) -> int | None:
        if "stride" not in self.finished:
            self.finished["stride"] = finest_exact_stride(self.base, self.validation, self.geometry)
        stride: int | None = self.finished["stride"]
        return stride

    # between steps

    def _after_step(self, stage: Stage) -> bool:
        read = stage.losses() if stage.step % READ_EVERY == 0 or stage.step == stage.steps else {}
        self.announcer.step(min(self.recipe.batch_size, len(self.train)), **read)
        wish = self.cancelled()
        if wish == STOP:
            self._write(stage)
            raise TrainingStopped
        limit = self.recipe.max_minutes
        if wish == FINISH or (limit is not None and self._elapsed() >= limit * 60):
            self.is_early = True
            return True
        if self.clock() - self.written >= self.recipe.checkpoint_minutes * 60:
            self._write(stage)
        return False

    def _after_epoch(self, stage: Stage) -> None:
        scores = stage.history[-1]
        shown = {name: scores[name] for name in ("loss", "cross_entropy", "distillation")}
        shown["validation_accuracy"] = scores["accuracy"]
        if scores["agreement"] is not None:
            shown["agreement"] = scores["agreement"]
        before = self.plan.teacher if stage.name == STUDENT else 0
        self.announcer.point(before + stage.epoch, **shown)
        if stage.name != HEAD:
            self.announcer.show(self._previews(stage.network))
        self._write(stage)
        if not stage.is_finished:
            self.announcer.enter(TITLES[stage.name], epoch=stage.epoch + 1, epochs=stage.epochs)

    def _previews(self, network: BrNpaClassifier) -> dict[str, bytes]:
        """Returns the composites of the first validation pictures, so that one sees the groups form."""
        pixels = centre(self.validation, 0, PREVIEWS, self.geometry)
        network.eval()
        with torch.inference_mode():
            groups = network(self.geometry.normalise(pixels).to(self.base.device))[1]
        network.train(False)
        shown = {}
        for index, picture in enumerate(pixels):
            maps, activity, valid = (
                value[index].float().cpu().numpy() for value in (groups.maps, groups.activity, groups.valid)
            )
            colour = _composite(maps, activity, valid > 0)
            grey = picture.mean(0).numpy()
            spread = (grey - grey.min()) / max(float(grey.max() - grey.min()), 1e-6)
            size = (picture.shape[2], picture.shape[1])
            large = np.asarray(Image.fromarray(colour).resize(size, Image.Resampling.NEAREST), np.float32) / 255
            blend = 0.8 * large + 0.2 * spread[..., None]
            file = io.BytesIO()
            Image.fromarray(np.rint(255 * blend.clip(0, 1)).astype(np.uint8)).save(file, "PNG")
            shown[f"validation {index + 1}"] = file.getvalue()
        return shown

    def _write(self, stage: Stage | None) -> None:
        self.written = self.clock()
        self.checkpoints.save(
            {
                "plan": asdict(self.plan),
                "spent": self._elapsed(),
                "finished": self.finished,
                "is_early": self.is_early,
                "stage": None if stage is None else stage.name,
                "state": None if stage is None else stage.state(),
            }
        )

    def _check(self) -> None:
        if self.cancelled() == STOP:
            raise TrainingStopped

    def _elapsed(self) -> float:
        return self.spent + self.clock() - self.started

    def _total(self) -> int:
        epochs = self.plan.student if self.plan.scope == HEAD else self.plan.teacher + self.plan.student
        return epochs * math.ceil(len(self.train) / self.recipe.batch_size) * self.recipe.batch_size

    def _done(self) -> int:
        return self.plan.teacher * len(self.train) if TEACHER in self.finished else 0

    # the end

    def _published(self, network: BrNpaClassifier) -> Path:
        self.emit({"stage": "Measuring", "message": "Hides and shows cells to measure what the maps are worth."})
        for parameter in network.head.parameters():
            parameter.requires_grad_(False)
        found = fidelity(
            network, self.validation, self.geometry, measures=self.measures, count=FIDELITY_PICTURES,
            seed=self.recipe.seed, check=self._check,
        )  # fmt: skip
        folder = publish(self.shelf, network, self._recipe_used(), self._entries(network, found))
        self.checkpoints.clear()
        return folder

    def _recipe_used(self) -> BrNpaRecipe:
        return self.recipe.model_copy(update={"scope": self.plan.scope})

    def _entries(self, network: BrNpaClassifier, found: dict[str, Any]) -> dict[str, Any]:
        base, recipe, result = self.base, self.recipe, self.finished[self.last]
        height, width = self.geometry.input_size
        with torch.inference_mode():
            maps = network(torch.zeros(1, 3, height, width, device=base.device))[1].maps
        network.train(False)
        grid = [int(maps.shape[2]), int(maps.shape[3])]
        upscaling = "none" if self.last == TEACHER else recipe.upscaling
        return {
            "method": self.method,
            "title": self.title or f"{base.card.title}, {self.data.name}",
            "base": {
                "name": base.name,
                "weights_digest": base.weights_digest,
                "preprocessing": base.card.preprocessing,
            },
            "architecture": architecture_entries(base),
            "scope": self.plan.scope,
            "upscaling": upscaling if self.plan.scope != HEAD else "none",
            "output_stride": height / grid[0],
            "output_stride_built": self._head_stride() if self.plan.scope == HEAD else None,
            "n_maps": recipe.n_maps,
            "input_size": height,
            "geometry": geometry_entries(self.geometry),
            "grid": grid,
            "classes": list(self.data.classes),
            "same_classes_as_base": tuple(self.data.classes) == tuple(base.class_names),
            "data": self.data.describe(),
            "metrics": self._metrics(Scores(**result["scores"]), found),
            "stopped_early": self.is_early,
            "epochs": asdict(self.plan),
            "best_epoch": result["epoch"],
            "history": [
                row for name in (TEACHER, STUDENT, HEAD) for row in self.finished.get(name, {}).get("history", [])
            ],
            "device": str(base.device),
            "seconds": round(self._elapsed(), 1),
        }

    def _metrics(self, scores: Scores, found: dict[str, Any]) -> dict[str, Any]:
        taught = self.finished.get(TEACHER, {}).get("scores", {})
        values = {
            "accuracy": scores.accuracy,
            "base_accuracy": self.base_accuracy,
            "teacher_accuracy": taught.get("accuracy") if self.last == STUDENT else None,
            "agreement": scores.agreement,
            "valid_share": list(scores.valid_share),
            "fidelity": found,
        }
        return {name: value for name, value in values.items() if value is not None}
