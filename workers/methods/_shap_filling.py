"""What hidden places show, as a picture for people."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.preprocessing import Preprocessing
from workers.methods._shap_game import Round


def filling_pixels(game: Round, preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """Returns the filling as a picture ``[Hm, Wm, 3]`` uint8."""
    hidden = game.scene.substrate.double().cpu().numpy()
    mean, std = (np.array(values)[:, None, None] for values in (preprocessing.mean, preprocessing.std))
    pixels = np.rint(255 * (hidden * std + mean).clip(0, 1)).astype(np.uint8)
    return np.ascontiguousarray(pixels.transpose(1, 2, 0))
