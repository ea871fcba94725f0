"""The finished result on the first visit: a real run, stored with the page.

``python -m frontend.example`` asks a running Vitrine for it and writes it to ``assets/example``.
"""

from __future__ import annotations

import io
import json
import time
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer
from PIL import Image

from backend.contract.results import Manifest
from frontend.renderers import render

FOLDER = Path(__file__).parent / "assets" / "example"
ADDRESS = "/assets/example"
JPEG_QUALITY = 88


@cache
def load_example() -> dict[str, Any] | None:
    """Returns title, reading and viewer description of the stored run; ``None`` when none is stored."""
    file = FOLDER / "example.json"
    if not file.is_file():
        return None
    example: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return example


def make_example(
    method: Annotated[str, typer.Option(help="Method whose map is shown.")],
    model: Annotated[str, typer.Option(help="Model that is looked into.")],
    sample: Annotated[str, typer.Option(help="Sample picture, by its id.")],
    address: Annotated[str, typer.Option(help="Where Vitrine runs.")] = "http://127.0.0.1:8050",
    out: Annotated[Path, typer.Option(help="Folder that gets the example.")] = FOLDER,
) -> None:
    """Run one method on one sample and store picture, map and words as the example of the first visit."""
    with httpx.Client(base_url=f"{address.rstrip('/')}/api/v1", timeout=60) as api:
        picture = _ok(api.post(f"/samples/{sample}")).json()
        request = {"image_id": picture["id"], "model": model, "method": method}
        manifest = _wait(api, _ok(api.post("/runs", json=request)).json()["key"])
        layer = manifest.layers[0]
        array = _ok(api.get(f"/artifacts/{manifest.arrays[layer.array].digest}")).content
        image = _ok(api.get(f"/images/{picture['id']}/picture")).content
    out.mkdir(parents=True, exist_ok=True)
    (out / "map.npy").write_bytes(array)
    Image.open(io.BytesIO(image)).convert("RGB").save(out / "picture.jpg", quality=JPEG_QUALITY, optimize=True)
    text = json.dumps(describe(manifest, picture), indent=2, ensure_ascii=False)
    (out / "example.json").write_text(text + "\n", encoding="utf-8")


def describe(manifest: Manifest, picture: dict[str, Any]) -> dict[str, Any]:
    """Returns the example: the viewer's description with local addresses, the words, and where it comes from."""
    viewer = render(manifest).viewer
    layer = {**viewer["layers"][0], "url": f"{ADDRESS}/map.npy"}
    viewer = {**viewer, "picture": {**viewer["picture"], "url": f"{ADDRESS}/picture.jpg"}, "layers": [layer]}
    return {
        "title": f"{picture.get('name') or manifest.target_label}, read by {manifest.model_title}",
        "reading": manifest.texts.reading,
        # A group of its own: the example must not stretch the common range of other maps.
        "viewer": {**viewer, "regions": [], "nested": None, "group": "example"},
        "source": {
            "run": manifest.run_key,
            "model": manifest.model,
            "method": manifest.method,
            "method_version": manifest.method_version,
            "params": manifest.params,
            "versions": manifest.versions,
        },
    }


def _wait(api: httpx.Client, key: str) -> Manifest:
    while True:
        run = _ok(api.get(f"/runs/{key}")).json()
        if run["problem"]:
            raise typer.BadParameter(run["problem"]["message"])
        if run["state"] == "done":
            return Manifest.model_validate(_ok(api.get(f"/runs/{key}/result")).json())
        time.sleep(0.5)


def _ok(answer: httpx.Response) -> httpx.Response:
    if answer.is_error:
        raise typer.BadParameter(f"{answer.request.url.path}: {answer.text}")
    return answer


if __name__ == "__main__":
    typer.run(make_example)
