"""Explanations without a queue, a browser or Redis: the same executor on a folder that is thrown away."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from backend.contract.artifacts import FolderArtifactStore, npy_to_array
from backend.contract.explainers import ExplainerShelf
from backend.contract.keys import picture_id
from backend.contract.params import fill_params, resolve_explainer
from backend.contract.problems import ProblemCode, ProblemError
from backend.contract.results import Manifest
from backend.contract.schemas import ModelCard, PictureRecord, RunSpec
from backend.contract.settings import read_settings
from models.catalogue import ModelCatalogue
from models.embedders import use_embedder
from models.loader import ModelLoader
from workers.catalogue import find_methods
from workers.executor import Update, execute
from workers.method import Method
from workers.settings import WorkerSettings


@dataclass(frozen=True, eq=False)
class Answer:
    """A result with its arrays.

    Args:
        manifest: Everything but the numbers.
        blobs: ``.npy`` bytes by digest.
        picture_png: The canonical picture, the first of several.
        further_pngs: The other pictures, in the order of the question.
    """

    manifest: Manifest
    blobs: Mapping[str, bytes]
    picture_png: bytes
    further_pngs: tuple[bytes, ...] = ()

    @property
    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """The arrays by their names in the manifest."""
        return {name: npy_to_array(self.blobs[ref.digest]) for name, ref in self.manifest.arrays.items()}


class LocalRuns:
    """Runs methods in this process; models stay loaded between runs.

    Args:
        loader: Gives models.
        methods: What can be asked, by name.
        explainers: Where trained explainers are; by default those that came with Vitrine.
    """

    def __init__(
        self, loader: ModelLoader, methods: Mapping[str, Method], explainers: ExplainerShelf | None = None
    ) -> None:
        self.loader = loader
        self.methods = methods
        self.explainers = explainers or ExplainerShelf()

    def explain(
        self,
        pixels: NDArray[np.uint8],
        *,
        model: str,
        method: str,
        params: Mapping[str, Any] | None = None,
        target: int | None = None,
        seed: int = 0,
        further: Sequence[NDArray[np.uint8]] = (),
        record: PictureRecord | None = None,
        emit: Callable[[Update], None] = lambda _update: None,
        check_cancelled: Callable[[], None] = lambda: None,
    ) -> Answer:
        """Returns the answer to one question.

        Args:
            pixels: ``[H, W, 3]`` uint8 sRGB, turned upright.
            model: Name as the model list shows it.
            method: Name of the method.
            params: Settings that differ from the method's defaults.
            target: Class to explain; ``None``: the model's own answer.
            seed: Of everything random.
            further: More pictures of the same question, for methods that take several.
            record: What is known of the first picture.
            emit: Told of progress and partial results.
            check_cancelled: Raises to stop the run.

        Raises:
            ProblemError: With words for people, when the question cannot be answered.
        """
        card = self.explainers.on_card(self.loader.describe(model))
        records = [record or _bare_record(pixels), *map(_bare_record, further)]
        spec = make_spec(card, self._method(method), records, params=params or {}, target=target, seed=seed)
        with tempfile.TemporaryDirectory(prefix="vitrine-") as folder:
            store = FolderArtifactStore(Path(folder))
            pngs = [_to_png(one) for one in (pixels, *further)]
            for picture, png in zip(records, pngs, strict=True):
                store.put_picture(picture, png)
            manifest = execute(
                spec,
                store,
                loader=self.loader,
                methods=self.methods,
                emit=emit,
                check_cancelled=check_cancelled,
                explainers=self.explainers,
            )
            blobs = {digest: store.get_blob(digest) or b"" for digest in manifest.digests()}
        return Answer(manifest=manifest, blobs=blobs, picture_png=pngs[0], further_pngs=tuple(pngs[1:]))

    def _method(self, name: str) -> Method:
        if name not in self.methods:
            known = ", ".join(sorted(self.methods)) or "none"
            raise ProblemError(ProblemCode.METHOD_UNKNOWN, f"There is no method {name!r}. Known methods: {known}.")
        return self.methods[name]


def explain(
    pixels: NDArray[np.uint8],
    *,
    model: str,
    method: str,
    params: Mapping[str, Any] | None = None,
    target: int | None = None,
    seed: int = 0,
    further: Sequence[NDArray[np.uint8]] = (),
    settings: WorkerSettings | None = None,
) -> Answer:
    """Returns the answer to one question, from nothing; for scripts and notebooks.

    Args:
        pixels: ``[H, W, 3]`` uint8 sRGB, turned upright.
        model: Name as the model list shows it.
        method: Name of the method.
        params: Settings that differ from the method's defaults.
        target: Class to explain; ``None``: the model's own answer.
        seed: Of everything random.
        further: More pictures of the same question, for methods that take several.
        settings: Device and folders; by default what the environment says.

    Raises:
        ProblemError: With words for people, when the question cannot be answered.
    """
    runs = open_local_runs(settings or read_settings(WorkerSettings))
    return runs.explain(pixels, model=model, method=method, params=params, target=target, seed=seed, further=further)


def open_local_runs(settings: WorkerSettings) -> LocalRuns:
    """Returns what runs methods in this process, on the device and with the folders of the settings."""
    use_embedder(settings.embedder_dir)
    catalogue = ModelCatalogue(settings.models_dir)
    loader = ModelLoader(catalogue, device=settings.device, budget_bytes=settings.model_budget_bytes)
    return LocalRuns(loader, find_methods(settings.methods_dir), ExplainerShelf(settings.explainers_folder))


def make_spec(
    card: ModelCard,
    method: Method,
    pictures: Sequence[PictureRecord],
    *,
    params: Mapping[str, Any],
    target: int | None = None,
    seed: int = 0,
) -> RunSpec:
    """Returns a complete question, with every setting filled in as the backend does it."""
    schema = method.card().params_schema
    return RunSpec(
        image_ids=tuple(picture.id for picture in pictures),
        model=card.name,
        weights=card.weights,
        preprocessing=card.preprocessing,
        method=method.name,
        method_version=method.version,
        params=resolve_explainer(schema, fill_params(schema, dict(params)), method.name, card.explainers),
        target=target if method.has_target else None,
        seed=seed if method.has_seed else 0,
    )


def _bare_record(pixels: NDArray[np.uint8]) -> PictureRecord:
    return PictureRecord(id=picture_id(pixels), width=pixels.shape[1], height=pixels.shape[0])


def _to_png(pixels: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", compress_level=1)
    return buffer.getvalue()
