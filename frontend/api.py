"""The page's own way to the API: over HTTP like everybody else, only without leaving the process."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import httpx
from fastapi import FastAPI
from numpy.typing import NDArray

from backend.contract.artifacts import npy_to_array
from backend.contract.problems import Problem, ProblemCode, make_problem
from backend.contract.results import Manifest
from backend.contract.schemas import Capability, MethodCard, ModelCard, RunView

ROOT = "/api/v1"
INTERNAL = "http://vitrine.internal"
MAX_UPLOAD_BYTES = 20_000_000


class ApiError(Exception):
    """The API answered with a problem."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


class ApiClient:
    """Asks the API in the same process; every answer is a contract object.

    Args:
        api: The application that serves the API.
    """

    def __init__(self, api: FastAPI) -> None:
        transport = httpx.ASGITransport(app=api, raise_app_exceptions=False)
        settings = getattr(api.state, "settings", None)
        self.max_upload_bytes: int = getattr(settings, "max_upload_bytes", MAX_UPLOAD_BYTES)
        """Largest picture file, for the words beside the drop zone."""
        self._http = httpx.AsyncClient(transport=transport, base_url=INTERNAL, timeout=30)

    async def close(self) -> None:
        """Closes the connection; nothing may be asked afterwards."""
        await self._http.aclose()

    async def warm_up(self) -> None:
        """Fetches the page once, so that Dash registers its routes before the first deep link."""
        response = await self._http.get("/")
        response.raise_for_status()

    async def samples(self) -> list[dict[str, Any]]:
        """Returns the built-in pictures: id, title, group, size, thumbnail, credit."""
        answer: list[dict[str, Any]] = await self._get("/samples")
        return answer

    async def methods(self) -> list[MethodCard]:
        """Returns the methods on offer."""
        return [MethodCard.model_validate(item) for item in await self._get("/methods")]

    async def models(self, search: str = "", *, limit: int = 30, offset: int = 0) -> tuple[int, list[ModelCard]]:
        """Returns how many models match a search, and the first of them."""
        answer = await self._get("/models", search=search, limit=limit, offset=offset)
        return int(answer["total"]), [ModelCard.model_validate(item) for item in answer["items"]]

    async def model(self, name: str) -> ModelCard:
        """Returns what is known of one model."""
        return ModelCard.model_validate(await self._get(f"/models/{quote(name, safe='/:')}"))

    async def capabilities(self, models: list[str]) -> list[Capability]:
        """Returns which methods can run on the models, and at what cost."""
        if not models:
            return []
        return [Capability.model_validate(item) for item in await self._get("/capabilities", model=models)]

    async def run(self, key: str) -> RunView:
        """Returns how a run stands."""
        return RunView.model_validate(await self._get(f"/runs/{key}"))

    async def result(self, key: str) -> Manifest:
        """Returns what a finished run left."""
        return Manifest.model_validate(await self._get(f"/runs/{key}/result"))

    async def share(self, share_id: str) -> dict[str, Any]:
        """Returns a share: title, dates, pictures, manifests, looks, sizes."""
        answer: dict[str, Any] = await self._get(f"/shares/{quote(share_id, safe='')}")
        return answer

    async def array(self, digest: str, *, share: str = "") -> NDArray[Any]:
        """Returns an array of a result; of a share's with the share's id."""
        base = f"/shares/{quote(share, safe='')}" if share else ""
        response = await self._http.get(f"{ROOT}{base}/artifacts/{digest}")
        if response.is_success:
            return npy_to_array(response.content)
        raise ApiError(_to_problem(response))

    async def file(self, path: str) -> bytes:
        """Returns the bytes at any path below ``/api/v1``."""
        response = await self._http.get(ROOT + path)
        if response.is_success:
            return response.content
        raise ApiError(_to_problem(response))

    async def get(self, path: str, **query: Any) -> Any:
        """Returns the JSON at any path below ``/api/v1`` (for pages with questions of their own)."""
        return await self._get(path, **query)

    async def _get(self, path: str, **query: Any) -> Any:
        response = await self._http.get(ROOT + path, params=query)
        if response.is_success:
            return response.json()
        raise ApiError(_to_problem(response))


def _to_problem(response: httpx.Response) -> Problem:
    try:
        return Problem.model_validate(response.json())
    except ValueError:
        return make_problem(ProblemCode.INTERNAL, f"The server answered {response.status_code}. Try again.")
