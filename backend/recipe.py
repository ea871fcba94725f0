"""What was asked and with what, so that anybody can do it again."""

from __future__ import annotations

import json
import shlex
from typing import Any

from backend.contract.results import Manifest
from backend.evidence_folder import picture_names
from backend.shares import Share


def make_recipe(share: Share) -> dict[str, Any]:
    """Returns the questions behind a share as plain data; it does not hold the share's id."""
    return {
        "title": share.title,
        "created": share.created,
        "pictures": [
            {"id": record.id, "width": record.width, "height": record.height, "source": record.source}
            for record in share.pictures
        ],
        "runs": [_to_entry(manifest) for manifest in share.manifests],
    }


def _to_entry(manifest: Manifest) -> dict[str, Any]:
    asked = {
        "image_ids": list(manifest.image_ids),
        "model": manifest.model,
        "weights_digest": manifest.weights_digest,
        "preprocessing": manifest.preprocessing,
        "method": manifest.method,
        "method_version": manifest.method_version,
        "params": manifest.params,
        "target": manifest.target,
        "target_label": manifest.target_label,
        "seed": manifest.seed,
    }
    done = {
        "run_key": manifest.run_key,
        "versions": manifest.versions,
        "device": manifest.device,
        "dtype": manifest.dtype,
        "passes": manifest.passes,
        "seconds": manifest.seconds,
        "arrays": {name: ref.digest for name, ref in sorted(manifest.arrays.items())},
    }
    return {**asked, **done, "command": to_command(manifest)}


def to_command(manifest: Manifest) -> str:
    """Returns the command line that asks the same question about saved copies of its pictures."""
    names = picture_names(len(manifest.image_ids))
    words = ["vitrine", "explain", *names, "--model", manifest.model, "--method", manifest.method]
    if manifest.target is not None:
        words += ["--target", str(manifest.target)]
    if manifest.seed:
        words += ["--seed", str(manifest.seed)]
    for name, value in sorted(manifest.params.items()):
        words += ["--param", f"{name}={json.dumps(value)}"]
    return shlex.join([*words, "--out", "folder"])
