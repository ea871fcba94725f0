"""The code that makes the same maps: from a terminal, and over HTTP with nothing but httpx."""

from __future__ import annotations

import json
import shlex
from typing import Any

Cell = dict[str, Any]


def file_name(picture: str) -> str:
    """Returns a file name for a picture that may only have a title (samples do)."""
    name = picture.strip() or "picture"
    return name if "." in name else name.lower().replace(" ", "-") + ".png"


def file_names(pictures: list[str]) -> list[str]:
    """Returns a file name for each picture, all of them different."""
    names: list[str] = []
    for picture in pictures:
        name = wanted = file_name(picture)
        number = 2
        while name in names:
            stem, dot, kind = wanted.rpartition(".")
            name, number = f"{stem}-{number}{dot}{kind}", number + 1
        names.append(name)
    return names


def command_line(pictures: list[str], cells: list[Cell]) -> str:
    """Returns the command that makes the maps without a browser; two when only some look at several pictures.

    Args:
        pictures: File names of the pictures, the first one alone for most methods.
        cells: Requests with ``model``, ``method``, ``params``, ``target``, ``seed``, ``more_image_ids``.
    """
    alone = [cell for cell in cells if not cell.get("more_image_ids")]
    together = [cell for cell in cells if cell.get("more_image_ids")]
    parts = [(pictures[:1], alone, "maps/"), (pictures, together, "maps-together/" if alone else "maps/")]
    return "\n\n".join(_command(names, asked, out) for names, asked, out in parts if asked)


def _command(pictures: list[str], cells: list[Cell], out: str) -> str:
    lines = ["vitrine explain " + " ".join(shlex.quote(name) for name in pictures)]
    lines += ["--model " + shlex.quote(model) for model in dict.fromkeys(cell["model"] for cell in cells)]
    lines.append("--method " + shlex.quote(",".join(dict.fromkeys(cell["method"] for cell in cells))))
    lines += [f"--param {shlex.quote(setting)}" for setting in dict.fromkeys(_settings(cells))]
    lines += [f"--target {target}" for target in dict.fromkeys(_targets(cells))]
    lines += [f"--seed {seed}" for seed in dict.fromkeys(cell["seed"] for cell in cells if cell.get("seed"))][:1]
    lines.append(f"--out {out}")
    return " \\\n  ".join(lines)


def python_snippet(address: str, pictures: list[str], cells: list[Cell]) -> str:
    """Returns a script that uploads the pictures, asks for the same runs, waits and saves every array.

    Args:
        address: Where this Vitrine answers.
        pictures: File names of the pictures, the first one alone for most methods.
        cells: Requests with ``model``, ``method``, ``params``, ``target``, ``seed``, ``more_image_ids``.
    """
    used = pictures if any(cell.get("more_image_ids") for cell in cells) else pictures[:1]
    listed = "\n".join(f"    {_run(cell)}," for cell in cells)
    return _SCRIPT.format(address=address.rstrip("/"), pictures=json.dumps(used, ensure_ascii=False), runs=listed)


def _run(cell: Cell) -> str:
    keys = ("model", "method", "params", "target", "seed")
    text = _python({key: cell[key] for key in keys if cell.get(key) not in (None, {}, 0)})
    # Ids of pictures are known only after the upload.
    return text if not cell.get("more_image_ids") else f'{text[:-1]}, "more_image_ids": images[1:]}}'


def _settings(cells: list[Cell]) -> list[str]:
    return [
        f"{cell['method']}.{name}={value if isinstance(value, str) else json.dumps(value)}"
        for cell in cells
        for name, value in (cell.get("params") or {}).items()
    ]


def _targets(cells: list[Cell]) -> list[int]:
    # The command explains one class for all models; with several wanted the model's own answer is safer.
    targets = [cell["target"] for cell in cells if cell.get("target") is not None]
    return targets[:1] if len(set(targets)) == 1 else []


def _python(value: Any) -> str:
    return repr(value)


_SCRIPT = """import pathlib
import time

import httpx

vitrine = httpx.Client(base_url="{address}/api/v1", timeout=60)
images = []
for picture in map(pathlib.Path, {pictures}):
    sent = vitrine.post("/images", files={{"file": (picture.name, picture.read_bytes())}})
    images.append(sent.raise_for_status().json()["id"])
wanted = [
{runs}
]
batch = {{"runs": [{{"image_id": images[0], **run}} for run in wanted]}}
answers = vitrine.post("/runs/batch", json=batch).raise_for_status().json()

for answer in answers:
    if answer["problem"]:
        raise SystemExit(answer["problem"]["message"])
    run = answer["run"]
    while run["state"] in ("queued", "running"):
        time.sleep(0.5)
        run = vitrine.get(f"/runs/{{run['key']}}").raise_for_status().json()
    if run["problem"]:
        raise SystemExit(run["problem"]["message"])
    result = vitrine.get(f"/runs/{{run['key']}}/result").raise_for_status().json()
    print(result["method_title"], "on", result["model_title"], "-", result["texts"]["reading"])
    for name, array in result["arrays"].items():
        file = pathlib.Path(f"{{run['key'][:8]}}-{{name.replace('/', '-')}}.npy")
        file.write_bytes(vitrine.get(f"/artifacts/{{array['digest']}}").raise_for_status().content)
"""
