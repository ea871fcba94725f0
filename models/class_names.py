"""What the numbers of a model's answer are called."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from timm.data import ImageNetInfo, infer_imagenet_subset


def name_classes(count: int, config: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns one name per class: the model's own, else those of the ImageNet edition with as many classes.

    Args:
        count: Number of class scores.
        config: timm's pretrained configuration; ``label_names`` and ``label_descriptions`` are used where given.

    Returns:
        ``count`` names; ``class 17`` where nothing is known.
    """
    names = config.get("label_names")
    if isinstance(names, list | tuple) and len(names) == count:
        return _described([str(name) for name in names], config.get("label_descriptions"))
    subset = infer_imagenet_subset({"num_classes": count})
    if subset is not None:
        return imagenet_names(subset)
    return tuple(f"class {index}" for index in range(count))


@lru_cache(maxsize=8)
def imagenet_names(subset: str) -> tuple[str, ...]:
    """Returns the classes of an ImageNet edition.

    The first word for each; where several classes share it, all synonyms; where they share those too, also what the
    dictionary says (the crane that flies and the crane that lifts).
    """
    info = ImageNetInfo(subset)
    synonyms = info.label_descriptions()
    words = [text.split(",")[0].strip() for text in synonyms]
    told = [_with_meaning(text) for text in info.label_descriptions(detailed=True)]
    names = []
    word_uses, synonym_uses = Counter(words), Counter(synonyms)
    for word, text, long in zip(words, synonyms, told, strict=True):
        names.append(word if word_uses[word] == 1 else text if synonym_uses[text] == 1 else long)
    return tuple(names)


def _with_meaning(description: str) -> str:
    """Returns ``crane (large long-necked wading bird of marshes)`` from WordNet's ``synonyms: definition``."""
    synonyms, _, definition = description.partition(": ")
    return f"{synonyms} ({re.split('[;,]', definition)[0].strip()})"


def _described(names: Sequence[str], descriptions: Any) -> tuple[str, ...]:
    if not isinstance(descriptions, Mapping):
        return tuple(names)
    return tuple(str(descriptions.get(name) or name) for name in names)
