"""Everything that the routes use, opened and closed together."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import redis

from backend.archives import ArchiveLimits
from backend.catalogue import CatalogueReader
from backend.connections import open_listener, open_pool
from backend.contract.artifacts import ArtifactStore, RedisArtifactStore
from backend.contract.explainers import ExplainerShelf
from backend.datasets import DatasetShelf
from backend.event_stream import EventStream
from backend.events import EventHub
from backend.queue import QueueRuns
from backend.requests import RequestCompleter
from backend.runs import RunBackend
from backend.samples import SampleGallery, find_photograph_dir
from backend.settings import WebSettings
from backend.shares import ShareStore
from backend.trainings import QueueTrainings

DECODERS = 2


@dataclass(frozen=True, eq=False)
class Services:
    """What one web process holds open.

    Attributes:
        decoding: Pictures are decoded at most two at a time; each may need half a gigabyte for a moment.
    """

    settings: WebSettings
    queue: redis.Redis
    cache: redis.Redis
    store: ArtifactStore
    runs: RunBackend
    catalogue: CatalogueReader
    completer: RequestCompleter
    hub: EventHub
    shares: ShareStore
    samples: SampleGallery
    trainings: QueueTrainings
    explainers: ExplainerShelf
    datasets: DatasetShelf
    decoding: threading.BoundedSemaphore = field(default_factory=lambda: threading.BoundedSemaphore(DECODERS))


@asynccontextmanager
async def open_services(settings: WebSettings) -> AsyncIterator[Services]:
    """Opens connections, stores and the event hub, and closes them in reverse order."""
    queue = open_pool(settings.queue_redis_url, most=settings.queue_connections)
    cache = open_pool(settings.cache_redis_url, most=settings.cache_connections)
    listener = open_listener(settings.queue_redis_url)
    store = RedisArtifactStore(cache)
    runs = QueueRuns(queue, store, max_waiting=settings.max_waiting_runs)
    catalogue = CatalogueReader(queue, local_dirs=settings.local_dir_models)
    trainings = QueueTrainings(queue, cache, catalogue, settings.data_dir)
    hub = EventHub(EventStream(listener), runs, trainings)
    decoding = threading.BoundedSemaphore(DECODERS)
    services = Services(
        settings=settings,
        queue=queue,
        cache=cache,
        store=store,
        runs=runs,
        catalogue=catalogue,
        completer=RequestCompleter(catalogue, store),
        hub=hub,
        shares=ShareStore(settings.data_dir / "shares", store, max_bytes=settings.max_share_bytes),
        samples=SampleGallery(photograph_dir=find_photograph_dir()),
        trainings=trainings,
        explainers=ExplainerShelf(settings.explainers_folder),
        datasets=DatasetShelf(settings.data_dir, _archive_limits(settings), decoding=lambda: decoding),
        decoding=decoding,
    )
    try:
        await hub.start()
        yield services
    finally:
        await hub.stop()
        await listener.aclose()
        cache.close()
        queue.close()


def _archive_limits(settings: WebSettings) -> ArchiveLimits:
    return ArchiveLimits(
        files=settings.max_dataset_pictures,
        total_bytes=settings.max_dataset_bytes,
        file_bytes=settings.max_upload_bytes,
        max_pixels=settings.max_pixels,
    )
