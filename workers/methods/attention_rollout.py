"""Attention rollout: how far each patch of a transformer can have reached its answer through all layers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from backend.contract.problems import ProblemCode, ProblemError
from backend.contract.results import ResultKind, Texts
from backend.contract.schemas import ModelCard
from models import taps
from models.layout import TOKENS, Block
from workers.method import Context, Method, Params, Result
from workers.methods._reference_map import CHECK_PASSES, Asked, Drawn, ask, map_result, no_classes


class AttentionRolloutParams(Params):
    """How the heads of a layer are joined."""

    heads: Literal["mean", "max", "min"] = Field(
        default="mean", title="Heads", description="How the attention of a layer's heads becomes one."
    )
    residual: float = Field(
        default=0.5, ge=0.0, le=0.9, title="Residual", description="Share of each layer that passes by its attention."
    )


class AttentionRollout(Method):
    """Multiplies the attention of all layers, so that it says from which patches the answer can have got anything.

    Half of each layer is counted as passing by its attention (the residual path). The row of the class token, or the
    mean of all patches where the network averages, is the map.

    Attention says where information *can* flow, not what is done with it: the map is the same for every class, values
    and later layers are ignored, and tokens with much attention may carry nothing.
    """

    name = "attention_rollout"
    title = "Attention rollout"
    question = "From which patches can the answer have come?"
    summary = "Reference: the attention of all layers, multiplied."
    version = 1
    place = 68
    result_kind = ResultKind.SCALAR_MAP
    source = "Abnar, Zuidema: Quantifying Attention Flow in Transformers. ACL 2020, arXiv 2005.00928"
    Params = AttentionRolloutParams

    def supports(self, model: ModelCard) -> str | None:
        if reason := no_classes(model):
            return reason
        if model.described and not (model.blocks and model.blocks[-1].layout == TOKENS):
            return "This network has no attention over patches."
        return None

    def cost(self, model: ModelCard, params: Any) -> int:  # noqa: ARG002 - part of the contract
        return 2 + CHECK_PASSES

    def explain(self, context: Context) -> Result:
        """Returns a map ``[h, w]``, >= 0: share of the answer's attention that leads to each patch.

        Cost: two passes, five for the reading.

        Raises:
            ProblemError: ``not_supported`` where a layer keeps no attention of every patch to every patch.
        """
        params: AttentionRolloutParams = context.params
        asked = ask(context)
        block = context.model.layout.blocks[-1]
        layers = _attentions(context, asked, block)
        flow = roll_out(layers, params.heads, params.residual)
        row, source = _answer_row(context.model.network, flow, block.prefix_tokens)
        heat = row[block.prefix_tokens :].reshape(block.grid)
        note = f"{len(layers)} layers, heads joined by their {params.heads}; {source}."
        drawn = Drawn("share of attention", ("none", "much"))
        lost = float(row[: block.prefix_tokens].sum())
        return map_result(
            context, asked, heat[None], drawn, texts=Texts(notes=(note,)), scalars={"on_other_tokens": lost}
        )


def roll_out(layers: list[Tensor], heads: str, residual: float) -> Tensor:
    """Returns ``[N, N]``: which tokens of the input each token of the output can have drawn on; rows sum to 1.

    Args:
        layers: ``[heads, N, N]`` each, rows sum to 1, from the first layer on.
        heads: ``mean``, ``max`` or ``min`` over the heads.
        residual: Share of each layer that passes by, 0-1.
    """
    flow = torch.eye(layers[0].shape[-1], dtype=torch.float64)
    for layer in layers:
        each = layer.double().cpu()
        joined = each.mean(0) if heads == "mean" else each.amax(0) if heads == "max" else each.amin(0)
        joined = joined / joined.sum(-1, keepdim=True).clamp_min(1e-12)
        mixed = residual * torch.eye(len(joined), dtype=torch.float64) + (1 - residual) * joined
        flow = mixed @ flow
    return flow


def _answer_row(network: nn.Module, flow: Tensor, prefix: int) -> tuple[Tensor, str]:
    """Returns the row of the token (or the mean of the rows) from which the network answers."""
    pooled = getattr(network, "global_pool", "token")
    if prefix and pooled in ("token", ""):
        return flow[0], "row of the class token"
    return flow[prefix:].mean(0), "mean of the rows of all patches"


def _attentions(context: Context, asked: Asked, block: Block) -> list[Tensor]:
    """Returns ``[heads, N, N]`` of every layer, from one pass."""
    network = context.model.network
    tokens = block.prefix_tokens + block.grid[0] * block.grid[1]
    with taps.evaluation_mode(network), _visible_attention(network) as seen, torch.inference_mode():
        context.check_cancelled()
        network(asked.pictures)
        context.engine.passes += 1
    found = [layer[0] for layer in seen if layer.ndim == 4 and tuple(layer.shape[-2:]) == (tokens, tokens)]
    if not found or len(found) < len(seen):
        raise ProblemError(
            ProblemCode.NOT_SUPPORTED,
            f"{context.model.card.title} has layers that do not attend from every patch to every patch; "
            "their attention cannot be multiplied.",
        )
    return found


@contextmanager
def _visible_attention(network: nn.Module) -> Iterator[list[Tensor]]:
    """Yields a list that a pass fills with each layer's attention; fused kernels, which hide it, are off meanwhile."""
    seen: list[Tensor] = []
    layers = [module for module in network.modules() if isinstance(getattr(module, "attn_drop", None), nn.Module)]
    with ExitStack() as stack:
        for layer in layers:
            own = vars(layer)
            if "fused_attn" in own:
                stack.callback(own.__setitem__, "fused_attn", own["fused_attn"])
                own["fused_attn"] = False

            def keep(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
                seen.append(output.detach())

            hook = layer.attn_drop
            if isinstance(hook, nn.Module):
                stack.callback(hook.register_forward_hook(keep).remove)
        yield seen
