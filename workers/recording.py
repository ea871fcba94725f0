"""Writes what a method found: arrays first, the manifest that names them last."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from backend.contract import names
from backend.contract.artifacts import ArtifactStore, array_to_npy
from backend.contract.keys import run_key
from backend.contract.results import ArrayRef, Box, Manifest
from backend.contract.schemas import PictureRecord, RunSpec
from workers.measure import describe_device, library_versions
from workers.method import MapArray, Method, Result

if TYPE_CHECKING:
    from models.loader import LoadedModel


class Recorder:
    """Stores the results of one run.

    Args:
        spec: The question.
        store: Where arrays and the manifest go.
        method: What was asked.
        model: What was asked about.
        pictures: The pictures, in the order of the question.
    """

    def __init__(
        self,
        spec: RunSpec,
        store: ArtifactStore,
        *,
        method: Method,
        model: LoadedModel,
        pictures: Sequence[PictureRecord],
    ) -> None:
        self._spec = spec
        self._store = store
        self._method = method
        self._model = model
        self._pictures = list(pictures)
        self._picture = self._pictures[0]
        self._versions = library_versions()
        self.key = run_key(spec)

    def partial(self, result: Result) -> Manifest:
        """Stores the arrays of an intermediate result for a short while and returns its manifest."""
        return self._manifest(result, partial=True, ttl_s=names.PARTIAL_TTL_S)

    def finish(self, result: Result, **measured: Any) -> Manifest:
        """Stores arrays and manifest of the result and returns the manifest.

        Args:
            result: What the method found, checked.
            measured: ``passes``, ``seconds``, ``peak_memory_bytes`` and ``dtype`` of the manifest.
        """
        manifest = self._manifest(result, partial=False, ttl_s=None, **measured)
        self._store.put_manifest(manifest)
        return manifest

    def _manifest(self, result: Result, *, partial: bool, ttl_s: int | None, **measured: Any) -> Manifest:
        spec, card = self._spec, self._model.card
        target = spec.target if result.target is None else result.target
        return Manifest(
            run_key=self.key,
            image_ids=spec.image_ids,
            picture_size=(self._picture.width, self._picture.height),
            picture_sizes=tuple((picture.width, picture.height) for picture in self._pictures),
            model=spec.model,
            model_title=card.title,
            weights_digest=self._model.weights_digest,
            preprocessing=spec.preprocessing,
            method=spec.method,
            method_title=self._method.title,
            method_version=spec.method_version,
            params=spec.params,
            target=target,
            target_label=self._label(target),
            seed=spec.seed,
            kind=self._method.result_kind,
            seen=self._seen(result),
            arrays={name: self._put(array, ttl_s=ttl_s) for name, array in result.arrays.items()},
            layers=tuple(result.layers),
            regions=tuple(result.regions),
            region_columns=tuple(result.region_columns),
            tables=tuple(result.tables),
            classes=tuple(result.classes),
            caption=result.caption,
            scalars=dict(result.scalars),
            texts=result.texts,
            versions=self._versions,
            device=describe_device(self._model.device),
            created=time.time(),
            partial=partial,
            **measured,
        )

    def _put(self, array: MapArray, *, ttl_s: int | None) -> ArrayRef:
        data = array.data if array.precise else _to_stored_type(array.data)
        digest = self._store.put_blob(array_to_npy(data), ttl_s=ttl_s)
        return ArrayRef(digest=digest, dtype=str(data.dtype), shape=data.shape, frame=array.frame)

    def _label(self, target: int | None) -> str | None:
        class_names = self._model.class_names
        return class_names[target] if target is not None and 0 <= target < len(class_names) else None

    def _seen(self, result: Result) -> Box:
        width, height = self._picture.width, self._picture.height
        if result.seen is None:
            return self._model.preprocessing.seen(width, height)
        left, top, right, bottom = result.seen
        return Box(max(0.0, left), max(0.0, top), min(float(width), right), min(float(height), bottom))


def _to_stored_type(data: NDArray[np.generic]) -> NDArray[np.generic]:
    """Returns float16, float32, whole numbers or bytes; what browsers can read."""
    if data.dtype == np.float64:
        return data.astype(np.float32)
    if data.dtype == np.bool_:
        return data.astype(np.uint8)
    if data.dtype in (np.int64, np.uint64):
        return data.astype(np.int32)
    return data
