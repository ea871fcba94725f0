"""A further method in a folder outside the project: nothing else knows of it."""

from __future__ import annotations

from typing import Any

import numpy as np
from pydantic import Field

from backend.contract.results import Box, Encoding, Layer, ResultKind, Texts
from backend.contract.schemas import ModelCard
from workers.method import Context, MapArray, Method, Params, Result


class SixthParams(Params):
    """What the tests turn."""

    passes: int = Field(default=3, ge=1, title="Passes", description="Forward passes to make.")
    ending: str = Field(default="well", title="Ending", description="well, badly, nan, sleepy, deaf or exit.")


class Sixth(Method):
    """Counts forward passes and ends as it is told to."""

    name = "sixth"
    title = "Sixth"
    question = "How does it end?"
    summary = "Ends as it is told to."
    result_kind = ResultKind.SCALAR_MAP
    has_seed = True
    Params = SixthParams

    def supports(self, model: ModelCard) -> str | None:
        return None

    def cost(self, model: ModelCard, params: Any) -> int:
        return int(params.passes)

    def explain(self, context: Context) -> Result:
        params = context.params
        _end_early(params.ending)
        preprocessing = context.model.preprocessing
        picture = preprocessing.normalise(preprocessing.prepare(context.picture.pixels).pixels.unsqueeze(0))
        for step in range(params.passes):
            context.engine.forward(picture)
            context.partial(_draw(context, (step + 1) / params.passes))
            context.progress(step + 1, params.passes, stage="counting")
        return _draw(context, float("nan") if params.ending == "nan" else 1.0)


def _end_early(ending: str) -> None:
    if ending == "badly":
        raise RuntimeError("a secret path: /home/somebody/weights")
    if ending == "exit":
        import os

        os._exit(7)
    if ending == "deaf":
        _sleep_whatever_happens()
    if ending == "sleepy":
        import time

        time.sleep(3600)


def _sleep_whatever_happens() -> None:
    import contextlib
    import time

    while True:
        with contextlib.suppress(BaseException):
            time.sleep(60)


def _draw(context: Context, value: float) -> Result:
    record = context.picture.record
    frame = context.model.preprocessing.frame(record.width, record.height)
    return Result(
        arrays={"map": MapArray(np.full((2, 3), value, dtype=np.float32), frame=Box(*frame))},
        layers=(Layer(name="map", title="Map", array="map", encoding=Encoding.SEQUENTIAL, ends=("low", "high")),),
        texts=Texts(reading="Counted."),
    )
