"""Requests as people would write them, for the API's description."""

from __future__ import annotations

from typing import Any

IMAGE = "feab17f80512789b73b1fd650de3bf6edfade3cf8cc1a52ebf42f25b811cbeca"
RUN = "1a03c8d02a47e0c7ea712d33b45335ba4ce70d6b3f1fbd6aaffc2ff0917bf9c3"
MODEL = "resnet50.a1_in1k"
METHOD = "name-of-a-method"

_RUN = {"image_id": IMAGE, "model": MODEL, "method": METHOD}

RUN_EXAMPLES: dict[str, Any] = {
    "defaults": {"summary": "With the method's defaults", "value": _RUN},
    "target": {
        "summary": "One class, one setting, a seed",
        "value": {**_RUN, "params": {"name-of-a-setting": 8}, "target": 285, "seed": 1},
    },
}
BATCH_EXAMPLES: dict[str, Any] = {
    "grid": {
        "summary": "Two models with one method",
        "value": {"runs": [_RUN, {**_RUN, "model": "vit_base_patch16_224.augreg_in1k"}]},
    }
}
PREDICTION_EXAMPLES: dict[str, Any] = {"one": {"value": {"image_id": IMAGE, "models": [MODEL]}}}
SHARE_EXAMPLES: dict[str, Any] = {
    "month": {
        "summary": "For thirty days",
        "value": {"title": "Wings and tail", "runs": [RUN], "looks": {"opacity": 0.6}, "expires_days": 30},
    }
}
CHANGE_EXAMPLES: dict[str, Any] = {"longer": {"value": {"expires_days": 90}}}
MODEL_EXAMPLES: dict[str, Any] = {
    "timm": {"value": {"name": MODEL}},
    "hub": {"value": {"name": "hf-hub:owner/name"}},
    "directory": {"value": {"name": "local-dir:/models/birds"}},
}
TRAINING_EXAMPLES: dict[str, Any] = {
    "birds": {
        "summary": "On drawn birds, with the right settings for the machine",
        "value": {"kind": "name-of-a-kind", "model": "birds-resnet", "data": "birds:1200"},
    },
    "own": {
        "summary": "On an uploaded data set, with a preset and a setting",
        "value": {
            "kind": "name-of-a-kind",
            "model": MODEL,
            "data": "finches",
            "preset": "standard",
            "recipe": {"seed": 1},
            "title": "Finches of the garden",
        },
    },
}
