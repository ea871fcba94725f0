"""What the fine classifier learns from: the coarse one's softened answers, and the labels."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as functional
from torch import Tensor


class Terms(NamedTuple):
    """Scalars float32: the weighted sum, the cross-entropy with the labels, the distillation term (times T squared)."""

    total: Tensor
    cross_entropy: Tensor
    distillation: Tensor


def distillation_loss(student: Tensor, teacher: Tensor, labels: Tensor, *, alpha: float, temperature: float) -> Tensor:
    """Returns ``alpha T^2 KL(teacher / T || student / T) + (1 - alpha) CE(student, labels)``, averaged over pictures.

    Args:
        student: Logits ``[B, K]``, any floating dtype; read in float32.
        teacher: Logits ``[B, K]``; no gradient flows into them.
        labels: ``[B]`` whole numbers, 0 to K - 1.
        alpha: Share of the teacher, 0-1.
        temperature: T > 0; softens both answers.

    Returns:
        A scalar float32.

    Raises:
        ValueError: If shapes differ, labels are not ``[B]`` whole numbers of 0 to K - 1, ``alpha`` is outside 0-1 or
            ``temperature`` is not above 0.
    """
    if student.ndim != 2 or student.shape != teacher.shape or 0 in student.shape:
        raise ValueError(f"both logits are [B, K] of one shape, not {list(student.shape)} and {list(teacher.shape)}")
    if labels.shape != student.shape[:1] or labels.is_floating_point() or labels.dtype == torch.bool:
        raise ValueError(f"labels are [B] whole numbers, not {list(labels.shape)} {labels.dtype}")
    if int(labels.min()) < 0 or int(labels.max()) >= student.shape[1]:
        raise ValueError(f"labels are 0 to {student.shape[1] - 1}, not {int(labels.min())} to {int(labels.max())}")
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha is 0 to 1, not {alpha}")
    if not temperature > 0:
        raise ValueError(f"temperature is above 0, not {temperature}")
    return loss_terms(student, teacher, labels, alpha=alpha, temperature=temperature).total


def loss_terms(student: Tensor, teacher: Tensor | None, labels: Tensor, *, alpha: float, temperature: float) -> Terms:
    """Returns the loss and its terms without checking anything, so that a GPU need not be waited for.

    Without a teacher the loss is the cross-entropy alone.
    """
    logits = student.float()
    cross_entropy = functional.cross_entropy(logits, labels.long())
    if teacher is None:
        return Terms(cross_entropy, cross_entropy.detach(), torch.zeros_like(cross_entropy))
    soft = functional.log_softmax(logits / temperature, dim=1)
    wanted = functional.log_softmax(teacher.detach().float() / temperature, dim=1)
    distillation = temperature**2 * functional.kl_div(soft, wanted, reduction="batchmean", log_target=True)
    total = alpha * distillation + (1 - alpha) * cross_entropy
    return Terms(total, cross_entropy.detach(), distillation.detach())
