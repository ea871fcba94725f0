from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from models import taps


class Pair(nn.Module):
    """Answers with two tensors."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x * 2, x * 3


class Forked(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.pair = Pair()

    def forward(self, x: Tensor) -> Tensor:
        first, second = self.pair(x)
        return first * second


def overwriting() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(4 * 36, 2)).double()


def hooks(network: nn.Module) -> int:
    return sum(len(module._forward_hooks) for module in network.modules())


def test_an_activation_survives_an_operation_in_place_behind_it() -> None:
    network, x = overwriting(), torch.randn(2, 3, 8, 8, dtype=torch.float64)
    with torch.inference_mode(), taps.capture(network, ["0", "1"]) as seen:
        network(x)
    before = nn.functional.conv2d(x, network[0].weight, network[0].bias)
    assert (before < 0).any()
    assert torch.equal(seen["0"], before)
    assert torch.equal(seen["1"], before.relu())


def test_activations_are_detached_float32_copies_and_float64_stays() -> None:
    half, x = overwriting().bfloat16(), torch.randn(1, 3, 8, 8)
    with taps.capture(half, ["0"]) as seen:
        half(x.bfloat16())
    assert seen["0"].dtype == torch.float32
    assert not seen["0"].requires_grad
    full = overwriting()
    with taps.capture(full, ["0"]) as seen:
        full(x.double())
    assert seen["0"].dtype == torch.float64


def test_hooks_are_gone_afterwards_also_after_an_error() -> None:
    network = overwriting()
    with taps.capture(network, ["0", "3"]):
        assert hooks(network) == 2
    assert hooks(network) == 0
    with pytest.raises(RuntimeError), taps.capture(network, ["0", "3"]):
        network(torch.zeros(1))
    assert hooks(network) == 0
    with pytest.raises(ValueError, match="no module 'missing'"), taps.capture(network, ["0", "missing"]):
        pass
    assert hooks(network) == 0


def test_gradients_at_a_tap_equal_those_of_plain_differentiation() -> None:
    network, x = overwriting().requires_grad_(False), torch.randn(2, 3, 8, 8, dtype=torch.float64)
    with taps.capture(network, ["0", "1"], grad=True) as seen:
        network(x)[:, 1].sum().backward()

    activation = nn.functional.conv2d(x, network[0].weight, network[0].bias).requires_grad_(True)
    rectified = activation.relu()
    rectified.retain_grad()
    network[3](rectified.flatten(1))[:, 1].sum().backward()
    assert torch.equal(seen["0"].detach(), activation.detach())
    assert torch.allclose(seen["0"].grad, activation.grad)
    assert torch.allclose(seen["1"].grad, rectified.grad)
    assert all(parameter.grad is None for parameter in network.parameters())


def test_gradients_work_under_no_grad_outside_and_are_refused_in_inference_mode() -> None:
    network, x = overwriting().requires_grad_(False), torch.randn(1, 3, 8, 8, dtype=torch.float64)
    with torch.no_grad():
        with taps.capture(network, ["0"], grad=True) as seen:
            network(x).sum().backward()
        assert not torch.is_grad_enabled()
    assert seen["0"].grad is not None
    with (
        torch.inference_mode(),
        pytest.raises(RuntimeError, match="inference mode"),
        taps.capture(network, ["0"], grad=True),
    ):
        pass


def test_one_of_several_answers_is_chosen_by_its_position() -> None:
    network, x = Forked(), torch.ones(1, 3)
    with taps.capture(network, ["pair#1", "pair#0"]) as seen:
        network(x)
    assert torch.equal(seen["pair#0"], x * 2)
    assert torch.equal(seen["pair#1"], x * 3)
    with taps.capture(network, ["pair#0", "pair#1"], grad=True) as seen:
        network(x).sum().backward()
    assert torch.equal(seen["pair#0"].grad, x * 3)
    assert torch.equal(seen["pair#1"].grad, x * 2)


@pytest.mark.parametrize("name", ["pair", "pair#2", ""])
def test_a_tap_without_a_tensor_says_so_and_leaves_no_hook(name: str) -> None:
    network = Forked()
    with pytest.raises((TypeError, ValueError)), taps.capture(network, [name]):
        network(torch.ones(1, 3))
    assert hooks(network) == 0


def test_the_position_after_the_mark_must_be_a_number() -> None:
    with pytest.raises(ValueError, match="position"), taps.capture(Forked(), ["pair#x"]):
        pass


def test_evaluation_mode_gives_each_module_its_own_mode_back() -> None:
    network = nn.Sequential(nn.Dropout(), nn.Sequential(nn.BatchNorm2d(3), nn.ReLU()))
    network.train()
    network[1][0].eval()
    modes = [module.training for module in network.modules()]
    with taps.evaluation_mode(network):
        assert not any(module.training for module in network.modules())
    assert [module.training for module in network.modules()] == modes
    with pytest.raises(ValueError), taps.evaluation_mode(network):
        network(torch.zeros(1))
    assert [module.training for module in network.modules()] == modes
