"""What number a part gets: from the network's raw outputs to PAMI's scores."""

from __future__ import annotations

from enum import StrEnum

import torch
from torch import Tensor
from torch.nn import functional

LOWEST_LOG = -16.0
LOWEST_REST = 1e-7


class Score(StrEnum):
    """The number given to each part."""

    PROBABILITY = "probability"
    SIGMOID = "sigmoid"
    PROBABILITY_GAIN = "probability_gain"
    LOG_ODDS = "log_odds"
    LOGIT = "logit"

    @property
    def is_probability(self) -> bool:
        """Whether scores lie within 0 and 1."""
        return self in (Score.PROBABILITY, Score.SIGMOID)

    @property
    def knows_probability(self) -> bool:
        """Whether a part's probability can be told from its score."""
        return self.is_probability or self is Score.PROBABILITY_GAIN

    @property
    def range(self) -> tuple[float, float] | None:
        """Natural range of the values."""
        if self.is_probability:
            return (0.0, 1.0)
        return (-1.0, 1.0) if self is Score.PROBABILITY_GAIN else None


def probabilities(logits: Tensor, score: Score) -> Tensor:
    """Returns probabilities ``[n, C]``: softmax, or sigmoid per class for ``sigmoid`` and single outputs."""
    if score is Score.SIGMOID or logits.shape[1] == 1:
        return torch.sigmoid(logits)
    return torch.softmax(logits, dim=1)


def score_logits(logits: Tensor, score: Score) -> Tensor:
    """Returns the scores of parts before any background is subtracted.

    Args:
        logits: ``[n, C]`` float32.
        score: Which number; ``probability_gain`` gives probabilities, from which the caller subtracts the
            background's.

    Returns:
        ``[n, C]``: 0-1 for probabilities, about -16 to 16 for log odds, free for logits.
    """
    if score is Score.LOGIT:
        return logits
    if score is not Score.LOG_ODDS:
        return probabilities(logits, score)
    is_single = logits.shape[1] == 1
    log_p = functional.logsigmoid(logits) if is_single else torch.log_softmax(logits, dim=1)
    rest = (-torch.expm1(log_p)).clamp(min=LOWEST_REST)
    return log_p.clamp(min=LOWEST_LOG) - torch.log(rest)
