"""Runs a network in batches on the device: compose, run, halve on out-of-memory, count, check for cancellation."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor

from backend.contract.problems import ProblemCode, ProblemError
from backend.contract.schemas import ModelKind
from models import architectures, taps
from workers.masks import Scene
from workers.precision import choose_precision, ready
from workers.requests import Answers, Batch, Request, Scored, fill_batches, rows_of, take_rows

if TYPE_CHECKING:
    from models.loader import LoadedModel

T = TypeVar("T")
Score = Callable[[Tensor], Tensor]
"""Logits ``[n, C]`` float32 to scores ``[n, C']``."""

REFERENCE_PIXELS = 224 * 224
BATCH_AT_REFERENCE = {"cuda": 256, "cpu": 4}
"""Pictures per batch at 224 x 224; other sizes in proportion to their area. On a CPU a batch beyond its caches is
slower, and a run can only be stopped between two batches."""
LARGEST_BATCH = 1024
BATCHES_AHEAD = 2
"""How many batches may wait on the device; keeps cancelling quick and progress true."""
CHECKED_PASSES = 64
TOLERATED_DIFFERENCE = 0.01
"""Largest difference of a score between half precision and float32 for which half precision is kept."""


def _ignore(_passes: int) -> None:
    return None


class Engine:
    """Forward passes of one model.

    Batches have a constant size (the last one is padded), are channels-last and run in inference mode. Between two
    batches the engine asks whether the run is still wanted. A batch that does not fit is halved, for the rest of
    the engine's life.

    Args:
        model: The loaded model.
        check_cancelled: Raises when the run is no longer wanted.
        on_passes: Told after each batch how many passes it held.
        batch_size: Pictures per batch; ``None``: chosen from the device and the input size.

    Attributes:
        passes: Forward passes so far, padding and precision checks not counted.
        check_passes: Passes spent on comparing half precision with float32.
        seconds: Time spent in passes.
        fell_back: Whether half precision was given up because scores moved by more than 0.01.
        dtype: Precision of the network's body in the last run.
    """

    def __init__(
        self,
        model: LoadedModel,
        *,
        check_cancelled: Callable[[], None],
        on_passes: Callable[[int], None] = _ignore,
        batch_size: int | None = None,
    ) -> None:
        if batch_size is not None and batch_size < 1:
            raise ValueError(f"batch_size is at least 1, not {batch_size}")
        self.model = model
        self.passes = 0
        self.check_passes = 0
        self.seconds = 0.0
        self.fell_back = False
        self.dtype = torch.float32
        self._check_cancelled = check_cancelled
        self._on_passes = on_passes
        self._batch_size = batch_size or _default_batch(model.device, model.preprocessing.input_size)
        self._first: tuple[int, float] | None = None
        self._ahead: deque[tuple[torch.cuda.Event, Tensor]] = deque()
        model.network.to(memory_format=torch.channels_last)

    @property
    def batch_size(self) -> int:
        """Pictures per batch; smaller after the device ran out of memory."""
        return self._batch_size

    @batch_size.setter
    def batch_size(self, value: int) -> None:
        if value < 1:
            raise ValueError(f"batch_size is at least 1, not {value}")
        self._batch_size = value

    @property
    def rate(self) -> float | None:
        """Measured passes per second, without the first (warming) batch when there were several; None before."""
        if self._first is None:
            return None
        passes, seconds = self.passes - self._first[0], self.seconds - self._first[1]
        if passes and seconds > 0:
            return passes / seconds
        return self.passes / self.seconds if self.seconds > 0 else None

    def scene(self, picture: Tensor, substrate: Tensor) -> Scene:
        """Returns picture and substrate normalised and on the device.

        Args:
            picture: ``[3, H, W]`` float32, 0-1.
            substrate: ``[3, H, W]`` float32, 0-1.
        """
        both = self.model.preprocessing.normalise(torch.stack((picture, substrate)).float())
        both = both.to(self.model.device)
        return Scene(both[0].contiguous(), both[1].contiguous())

    def forward(self, pictures: Tensor) -> Tensor:
        """Returns the network's raw output for each picture.

        Args:
            pictures: ``[B, 3, h, w]``, normalised.

        Returns:
            ``[B, C]`` float32 on the device.

        Raises:
            ProblemError: ``not_finite``, ``out_of_memory`` or ``not_supported``.
        """
        parts = self._each_batch(pictures, lambda batch: self._run(batch, torch.float32))
        output = torch.cat(parts)
        _require_finite(output)
        return output

    def capture(self, pictures: Tensor, blocks: Sequence[str]) -> tuple[Tensor | None, dict[str, Tensor]]:
        """Returns the network's output and the activations of some blocks, from the same passes.

        Args:
            pictures: ``[B, 3, h, w]``, normalised.
            blocks: Names of blocks of the model's layout.

        Returns:
            The output ``[B, C]`` float32 (None for a model without class scores) and, per block,
            ``[B, channels, grid h, grid w]`` float32 on the device.

        Raises:
            ProblemError: ``not_finite`` or ``out_of_memory``.
        """
        wanted = {block.name: block for block in self.model.layout.blocks if block.name in set(blocks)}
        missing = [name for name in blocks if name not in wanted]
        if missing:
            raise ValueError(f"the model has no block {missing[0]!r}; it has {', '.join(self._block_names())}")
        size = (int(pictures.shape[-2]), int(pictures.shape[-1]))

        def run(batch: Tensor) -> tuple[Tensor | None, dict[str, Tensor]]:
            with taps.capture(self.model.network, list(wanted)) as seen:
                output = self._call(batch, torch.float32)
            grids = {name: architectures.to_grid(seen[name], block, input_size=size) for name, block in wanted.items()}
            is_classifier = self.model.card.kind == ModelKind.CLASSIFIER
            return (self._logits(output, len(batch)) if is_classifier else None), grids

        parts = self._each_batch(pictures, run)
        activations = {name: torch.cat([grids[name] for _, grids in parts]).float() for name in blocks}
        for activation in activations.values():
            _require_finite(activation)
        outputs = [output for output, _ in parts if output is not None]
        return (torch.cat(outputs) if outputs else None), activations

    def masked_scores(
        self,
        requests: Iterable[Request | None],
        *,
        score: Score,
        precision: str = "fp32",
    ) -> Generator[Scored, None, None]:
        """Yields the scores of masked pictures, request by request, as soon as a batch completes them.

        Requests are drawn only when their rows are needed and are mixed within batches; the order of requests alone
        decides what shares a batch, so the same requests give the same bits. ``None`` among the requests ends the
        batch at hand (so that what came before is answered before more is drawn).

        Args:
            requests: In the order to be scored; may be a generator that waits for its own work.
            score: Logits ``[n, C]`` float32 to scores ``[n, C']``.
            precision: ``auto``, ``fp32``, ``bf16`` or ``fp16``. In half precision the first passes run in float32
                as well; if a score differs by more than 0.01, everything runs in float32.

        Raises:
            ProblemError: ``not_finite``, ``out_of_memory`` or ``not_supported``.
        """
        self.dtype = choose_precision(precision, self.model.device, size_bytes=self.model.size_bytes)
        is_checked = self.dtype == torch.float32
        answers = Answers()
        for batch in fill_batches(requests, lambda: self._batch_size):
            self._check_cancelled()
            started = time.perf_counter()
            scores = self._score(batch, score) if is_checked else self._score_twice(batch, score)
            is_checked = True
            self._pace(scores)
            self._count(rows_of(batch), time.perf_counter() - started)
            yield from answers.add(batch, scores)
        self._catch_up()

    def each_masked(self, request: Request, run: Callable[[Tensor], T]) -> list[T]:
        """Returns what ``run`` makes of the masked pictures, batch by batch; not only for class scores.

        Nothing is padded and the numbers stay float32. Between two batches the engine asks whether the run is still
        wanted; a batch that does not fit is halved.

        Args:
            request: A scene and at least one mask.
            run: Takes ``[n, 3, H, W]``, contiguous, on the device.

        Raises:
            ProblemError: ``out_of_memory``.
        """

        def run_some(start: int, stop: int) -> T:
            self._check_cancelled()
            started = time.perf_counter()
            picture = request.scene.picture
            pictures = torch.empty((stop - start, *picture.shape), dtype=picture.dtype, device=picture.device)
            request.scene.show(request.masks.visible(start, stop), pictures)
            answer = run(pictures)
            self._count(stop - start, time.perf_counter() - started)
            return answer

        return self._halving(request.masks.count, run_some)

    def _score_twice(self, batch: Batch, score: Score) -> Tensor:
        """Scores the first batch of a half-precision run; falls back to float32 when the two disagree."""
        scores = self._score(batch, score)
        half, self.dtype = self.dtype, torch.float32
        exact = self._score(take_rows(batch, 0, CHECKED_PASSES), score)
        self.check_passes += len(exact)
        if bool((scores[: len(exact)] - exact).abs().max() <= TOLERATED_DIFFERENCE):
            self.dtype = half
            return scores
        self.fell_back = True
        return self._score(batch, score)

    def _score(self, batch: Batch, score: Score) -> Tensor:
        """Composes and scores a batch, in as many pieces as fit. Returns ``[rows, C']``."""

        def run(start: int, stop: int) -> Tensor:
            some = take_rows(batch, start, stop)
            with torch.inference_mode():
                return score(self._run(self._compose(some), self.dtype)[: rows_of(some)])

        return torch.cat(self._halving(rows_of(batch), run))

    def _halving(self, total: int, run: Callable[[int, int], T]) -> list[T]:
        """Calls ``run`` on rows ``start`` to ``stop`` until all are done; smaller pieces when memory runs out."""
        parts: list[T] = []
        done = 0
        while done < total:
            stop = min(done + self._batch_size, total)
            is_full = False
            try:
                parts.append(run(done, stop))
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                is_full = True
            if is_full:  # outside the handler, so that the failed batch is no longer held by its traceback
                self._halve()
                continue
            done = stop
        return parts

    def _compose(self, batch: Batch) -> Tensor:
        """Returns ``[batch_size, 3, H, W]`` channels-last: the masked pictures, padded with the first one."""
        picture = batch[0].request.scene.picture
        pictures = torch.empty(
            (self._batch_size, *picture.shape),
            dtype=picture.dtype,
            device=picture.device,
            memory_format=torch.channels_last,
        )
        row = 0
        for piece in batch:
            visible = piece.request.masks.visible(piece.start, piece.stop)
            piece.request.scene.show(visible, pictures[row : row + piece.count])
            row += piece.count
        pictures[row:] = pictures[:1]
        return pictures

    def _each_batch(self, pictures: Tensor, run: Callable[[Tensor], T]) -> list[T]:
        """Runs pictures that are already composed, in as many pieces as fit."""
        if pictures.ndim != 4 or not len(pictures):
            raise ValueError(f"pictures are [B, 3, h, w] with B >= 1, not {list(pictures.shape)}")

        def run_some(start: int, stop: int) -> T:
            self._check_cancelled()
            started = time.perf_counter()
            batch = pictures[start:stop].to(self.model.device, torch.float32)
            answer = run(batch.contiguous(memory_format=torch.channels_last))
            self._count(stop - start, time.perf_counter() - started)
            return answer

        return self._halving(len(pictures), run_some)

    def _run(self, pictures: Tensor, dtype: torch.dtype) -> Tensor:
        return self._logits(self._call(pictures, dtype), len(pictures))

    def _call(self, pictures: Tensor, dtype: torch.dtype) -> object:
        with ready(self.model.network, dtype, self.model.device):
            output: object = self.model.network(pictures)
        return output

    def _logits(self, output: object, count: int) -> Tensor:
        if not isinstance(output, Tensor) or output.ndim != 2 or len(output) != count:
            raise ProblemError(
                ProblemCode.NOT_SUPPORTED,
                f"{self.model.card.title} does not answer with one score per class, which this method needs.",
            )
        return output.float()

    def _halve(self) -> None:
        """Makes batches smaller after the device ran out of memory, or gives up at one picture."""
        if self._batch_size == 1:
            raise ProblemError(ProblemCode.OUT_OF_MEMORY, self._memory_message())
        self._batch_size //= 2
        self._ahead.clear()
        if self.model.device.type == "cuda":
            torch.cuda.empty_cache()

    def _memory_message(self) -> str:
        height, width = self.model.preprocessing.input_size
        message = f"{self.model.card.title} does not fit into memory even with one picture of {height} x {width} pixels"
        if self.model.device.type == "cuda":
            free, total = torch.cuda.mem_get_info(self.model.device)
            message += f" ({free / 2**30:.1f} GiB of {total / 2**30:.1f} GiB are free)"
        return f"{message}. Choose a smaller model or free memory on the device."

    def _pace(self, scores: Tensor) -> None:
        """Refuses scores that are not finite; waits on a GPU until at most two batches are under way.

        On a GPU one byte per batch is copied without waiting, and read when its batch is known to be done.
        """
        if self.model.device.type != "cuda":
            _require_finite(scores)
            return
        is_finite = torch.empty((), dtype=torch.bool, pin_memory=True)
        is_finite.copy_(torch.isfinite(scores).all(), non_blocking=True)
        event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        event.record()
        self._ahead.append((event, is_finite))
        while len(self._ahead) > BATCHES_AHEAD:
            self._wait_for_oldest()

    def _wait_for_oldest(self) -> None:
        event, is_finite = self._ahead.popleft()
        event.synchronize()
        _require_finite(is_finite)

    def _catch_up(self) -> None:
        started = time.perf_counter()
        while self._ahead:
            self._wait_for_oldest()
        self.seconds += time.perf_counter() - started

    def _count(self, passes: int, seconds: float) -> None:
        self.passes += passes
        self.seconds += seconds
        if self._first is None:
            self._first = (self.passes, self.seconds)
        self._on_passes(passes)

    def _block_names(self) -> list[str]:
        return [block.name for block in self.model.layout.blocks]


def _default_batch(device: torch.device, size: tuple[int, int]) -> int:
    at_reference = BATCH_AT_REFERENCE["cuda" if device.type == "cuda" else "cpu"]
    wanted = at_reference * REFERENCE_PIXELS / (size[0] * size[1])
    smaller = int(max(1.0, min(wanted, LARGEST_BATCH)))
    return 1 << (smaller.bit_length() - 1)


def is_out_of_memory(error: BaseException) -> bool:
    """Returns whether an error says that memory ran out, on a GPU or not."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and ("out of memory" in text or "can't allocate memory" in text)


def _require_finite(values: Tensor) -> None:
    is_finite = values if values.dtype == torch.bool else torch.isfinite(values)
    if not bool(is_finite.all()):
        raise ProblemError(
            ProblemCode.NOT_FINITE,
            "The model answered with a value that is not a finite number, so no map can be drawn from it.",
        )
