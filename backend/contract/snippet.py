"""The few lines of Python that compute a result again."""

from __future__ import annotations

import json
import pprint
from collections.abc import Sequence

from backend.contract.results import Manifest

_TEMPLATE = '''"""{title} of {model} on {what} beside this file, computed again."""

from pathlib import Path

import numpy as np
from PIL import Image

from workers.local import explain

PARAMS = {params}


def main() -> None:
{read}
    answer = explain({given}, model={model!r}, method={method!r}, params=PARAMS, target={target!r}, seed={seed!r})
    print(answer.manifest.texts.reading)
    for name, array in answer.arrays.items():
        print(name, array.dtype, array.shape)


if __name__ == "__main__":  # a method may start processes, and these import this file
    main()
'''
_ONE = """    picture = np.asarray(Image.open(Path(__file__).parent / {names}).convert("RGB"))"""
_SEVERAL = """    names = [
{names}
    ]
    pictures = [np.asarray(Image.open(Path(__file__).parent / name).convert("RGB")) for name in names]"""


def make_snippet(manifest: Manifest, *, pictures: Sequence[str] = ("picture.png",)) -> str:
    """Returns a script that, beside its pictures, computes the same result with Vitrine's own code.

    Args:
        manifest: Of the result.
        pictures: File names of the pictures, or their paths seen from the script's folder, in the result's order.
    """
    is_one = len(pictures) == 1
    listed = json.dumps(pictures[0]) if is_one else "\n".join(f"        {json.dumps(name)}," for name in pictures)
    return _TEMPLATE.format(
        title=manifest.method_title,
        what="the picture" if is_one else "the pictures",
        read=(_ONE if is_one else _SEVERAL).format(names=listed),
        given="picture" if is_one else "pictures[0], further=pictures[1:]",
        model=manifest.model,
        method=manifest.method,
        params=pprint.pformat(manifest.params, width=100, sort_dicts=True),
        target=manifest.target,
        seed=manifest.seed,
    )
