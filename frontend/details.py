"""The tables below a map, drawn when somebody unfolds them; Inspect and shares use the same callback."""

from __future__ import annotations

from typing import Any

from dash import MATCH, Dash, Input, Output, State, ctx, no_update

from backend.contract.results import Manifest
from frontend.api import ApiClient, ApiError
from frontend.callbacks import on
from frontend.components.problem_notice import problem_notice
from frontend.renderers.panel_details import NEEDED
from frontend.renderers.parts import details_body


def register_details(app: Dash, api: ApiClient) -> None:
    """Adds the callback."""
    head = {"type": "details-head", "run": MATCH, "share": MATCH}
    body = {"type": "details-body", "run": MATCH, "share": MATCH}

    @on(
        app,
        Output(body, "children"),
        Input(head, "n_clicks"),
        State(body, "children"),
        prevent_initial_call=True,
    )
    async def unfold(_clicks: int, shown: Any) -> Any:
        if shown:
            return no_update
        asked = ctx.triggered_id
        try:
            manifest = await _find(api, asked["run"], asked["share"])
            return details_body(manifest, await _curves(api, manifest, asked["share"]))
        except ApiError as error:
            return [problem_notice(error.problem)]


async def _find(api: ApiClient, run: str, share: str) -> Manifest:
    if not share:
        return await api.result(run)
    manifests = [Manifest.model_validate(item) for item in (await api.share(share))["manifests"]]
    return next(manifest for manifest in manifests if manifest.run_key == run)


async def _curves(api: ApiClient, manifest: Manifest, share: str) -> dict[str, Any]:
    """Returns the small arrays that are drawn as curves."""
    names = [name for name in NEEDED.get(manifest.kind, ()) if name in manifest.arrays]
    return {name: await api.array(manifest.arrays[name].digest, share=share) for name in names}
