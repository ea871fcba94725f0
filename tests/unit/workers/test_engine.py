"""The engine: batches, masks, memory, precision, cancellation."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from backend.contract.problems import ProblemCode, ProblemError
from backend.contract.schemas import ModelKind
from tests.fakes_engine import Additive, Constant, Counted, make_model, make_network
from workers.engine import Engine
from workers.masks import CoalitionMasks, DiscMasks, LabelMasks, PlainMasks, Scene
from workers.precision import choose_precision, ready
from workers.requests import Request, fill_batches, rows_of, take_rows


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def identity(logits: Tensor) -> Tensor:
    return logits


def make_engine(
    network: nn.Module, *, batch_size: int = 8, check: Callable[[], None] = lambda: None, **model: object
) -> Engine:
    return Engine(make_model(network, **model), check_cancelled=check, batch_size=batch_size)


def random_scene(size: tuple[int, int] = (32, 32)) -> Scene:
    generator = torch.Generator().manual_seed(1)
    return Scene(torch.rand(3, *size, generator=generator), torch.rand(3, *size, generator=generator))


def random_labels(count: int, size: tuple[int, int] = (32, 32), seed: int = 0) -> Tensor:
    return torch.randint(0, count, size, generator=torch.Generator().manual_seed(seed)).to(torch.int16)


def direct_scores(network: nn.Module, scene: Scene, labels: Tensor, count: int) -> Tensor:
    """Masked scores the slow way: one mask, one pass at a time."""
    rows = [network(torch.where(labels == label, scene.picture, scene.substrate)[None]) for label in range(count)]
    return torch.cat(rows)


def test_forward_gives_the_networks_own_answer_whatever_the_batch() -> None:
    network = make_network()
    pictures = torch.rand(11, 3, 32, 32)
    for batch_size in (1, 4, 11, 64):
        engine = make_engine(network, batch_size=batch_size, classes=4)
        torch.testing.assert_close(engine.forward(pictures), network(pictures), rtol=0, atol=1e-5)
        assert engine.passes == 11


def test_masked_scores_equal_one_mask_at_a_time() -> None:
    network = make_network()
    scene = random_scene()
    for batch_size in (1, 5, 16):
        engine = make_engine(network, batch_size=batch_size, classes=4)
        requests = [Request(scene, LabelMasks(random_labels(n, seed=n), n), key=n) for n in (3, 7, 1, 12)]
        answers = list(engine.masked_scores(requests, score=identity))
        assert [answer.request.key for answer in answers] == [3, 7, 1, 12]
        for answer in answers:
            count = answer.request.key
            expected = direct_scores(network, scene, random_labels(count, seed=count), count)
            torch.testing.assert_close(answer.scores, expected, rtol=0, atol=1e-5)
        assert engine.passes == 23


def test_batches_have_a_constant_size_and_the_last_one_is_padded() -> None:
    network = Counted(make_network())
    engine = make_engine(network, batch_size=8, classes=4)
    requests = [Request(random_scene(), LabelMasks(random_labels(n), n)) for n in (5, 6, 9)]
    list(engine.masked_scores(requests, score=identity))
    assert [len(batch) for batch in network.batches] == [8, 8, 8]
    assert engine.passes == 20


def test_a_batch_is_channels_last_and_runs_in_inference_mode() -> None:
    seen: list[tuple[bool, bool]] = []

    class Looking(nn.Module):
        def forward(self, pictures: Tensor) -> Tensor:
            is_last = pictures.is_contiguous(memory_format=torch.channels_last)
            seen.append((is_last, torch.is_inference_mode_enabled()))
            return pictures.mean(dim=(2, 3))

    engine = make_engine(Looking())
    engine.forward(torch.rand(2, 3, 32, 32))
    list(engine.masked_scores([Request(random_scene(), LabelMasks(random_labels(3), 3))], score=identity))
    assert seen == [(True, True), (True, True)]
    assert not torch.is_inference_mode_enabled()


def test_requests_are_drawn_only_when_their_rows_are_needed() -> None:
    drawn: list[int] = []

    def requests() -> object:
        for index in range(6):
            drawn.append(index)
            yield Request(random_scene(), LabelMasks(random_labels(4), 4), key=index)

    stream = make_engine(make_network(), batch_size=8, classes=4).masked_scores(requests(), score=identity)
    assert next(stream).request.key == 0
    assert drawn == [0, 1]


def test_none_among_the_requests_answers_what_came_before() -> None:
    drawn: list[object] = []

    def requests() -> object:
        first = Request(random_scene(), LabelMasks(random_labels(3), 3), key="first")
        for item in (first, None, Request(random_scene(), LabelMasks(random_labels(2), 2), key="second")):
            drawn.append(item)
            yield item

    stream = make_engine(make_network(), batch_size=8, classes=4).masked_scores(requests(), score=identity)
    assert next(stream).request.key == "first"
    assert len(drawn) == 2
    assert [answer.request.key for answer in stream] == ["second"]


def test_batches_filled_from_requests_hold_every_row_once_and_in_order() -> None:
    requests = [Request(random_scene(), LabelMasks(random_labels(n), n), key=n) for n in (5, 1, 14, 2)]
    batches = list(fill_batches(requests, lambda: 4))
    assert [rows_of(batch) for batch in batches] == [4, 4, 4, 4, 4, 2]
    rows = [(piece.request.key, row) for batch in batches for piece in batch for row in range(piece.start, piece.stop)]
    assert rows == [(n, row) for n in (5, 1, 14, 2) for row in range(n)]


def test_taking_rows_of_a_batch_splits_pieces_where_needed() -> None:
    request = Request(random_scene(), LabelMasks(random_labels(9), 9))
    batch = next(fill_batches([request], lambda: 9))
    cut = [take_rows(batch, start, start + 4) for start in (0, 4, 8)]
    assert [(pieces[0].start, pieces[-1].stop) for pieces in cut] == [(0, 4), (4, 8), (8, 9)]


class Small(nn.Module):
    """Runs out of memory above a number of pictures."""

    def __init__(self, inner: nn.Module, limit: int, error: Exception) -> None:
        super().__init__()
        self.inner, self.limit, self.error = inner, limit, error
        self.sizes: list[int] = []

    def forward(self, pictures: Tensor) -> Tensor:
        if len(pictures) > self.limit:
            raise self.error
        self.sizes.append(len(pictures))
        output: Tensor = self.inner(pictures)
        return output


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("no room"), RuntimeError("DefaultCPUAllocator: can't allocate memory: 1 GB")]
)
def test_running_out_of_memory_halves_the_batch_and_changes_nothing_else(error: Exception) -> None:
    network = make_network()
    small = Small(network, 3, error)
    engine = make_engine(small, batch_size=16, classes=4)
    scene, labels = random_scene(), random_labels(21)
    answers = list(engine.masked_scores([Request(scene, LabelMasks(labels, 21))], score=identity))
    torch.testing.assert_close(answers[0].scores, direct_scores(network, scene, labels, 21), rtol=0, atol=1e-5)
    assert engine.batch_size == 2
    assert set(small.sizes) == {2}
    assert engine.passes == 21


def test_forward_halves_as_well() -> None:
    network = make_network()
    engine = make_engine(Small(network, 2, torch.OutOfMemoryError("no room")), batch_size=8, classes=4)
    pictures = torch.rand(7, 3, 32, 32)
    torch.testing.assert_close(engine.forward(pictures), network(pictures), rtol=0, atol=1e-5)
    assert engine.passes == 7


def test_when_not_even_one_picture_fits_a_problem_says_so() -> None:
    engine = make_engine(Small(make_network(), 0, torch.OutOfMemoryError("no room")), batch_size=4, classes=4)
    with pytest.raises(ProblemError, match="32 x 32 pixels") as caught:
        engine.forward(torch.rand(4, 3, 32, 32))
    assert caught.value.code is ProblemCode.OUT_OF_MEMORY


def test_other_errors_are_not_taken_for_lack_of_memory() -> None:
    engine = make_engine(Small(make_network(), 0, RuntimeError("shapes cannot be multiplied")), batch_size=4)
    with pytest.raises(RuntimeError, match="shapes cannot"):
        engine.forward(torch.rand(4, 3, 32, 32))
    assert engine.batch_size == 4


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_answers_that_are_not_numbers_are_a_problem(value: float) -> None:
    engine = make_engine(Constant([0.0, value]))
    plain = Request(random_scene(), PlainMasks((32, 32), torch.device("cpu")))
    for call in (
        lambda: engine.forward(torch.rand(1, 3, 32, 32)),
        lambda: list(engine.masked_scores([plain], score=identity)),
    ):
        with pytest.raises(ProblemError) as caught:
            call()
        assert caught.value.code is ProblemCode.NOT_FINITE


def test_a_network_without_one_score_per_class_is_refused_in_words() -> None:
    engine = make_engine(nn.Identity())
    with pytest.raises(ProblemError, match="Tiny does not answer with one score per class") as caught:
        engine.forward(torch.rand(2, 3, 32, 32))
    assert caught.value.code is ProblemCode.NOT_SUPPORTED


def test_cancelling_stops_within_one_batch() -> None:
    class Stop(Exception):
        pass

    asked: list[int] = []

    def check() -> None:
        asked.append(1)
        if len(asked) == 3:
            raise Stop

    network = Counted(make_network())
    engine = make_engine(network, batch_size=4, check=check, classes=4)
    with pytest.raises(Stop):
        list(engine.masked_scores([Request(random_scene(), LabelMasks(random_labels(40), 40))], score=identity))
    assert len(network.batches) == 2
    assert engine.passes == 8


def test_every_pass_is_told_once() -> None:
    told: list[int] = []
    model = make_model(make_network(), classes=4)
    engine = Engine(model, check_cancelled=lambda: None, on_passes=told.append, batch_size=4)
    engine.forward(torch.rand(5, 3, 32, 32))
    list(engine.masked_scores([Request(random_scene(), LabelMasks(random_labels(10), 10))], score=identity))
    assert told == [4, 1, 4, 4, 2]
    assert engine.passes == sum(told) == 15


def test_the_rate_is_known_after_the_first_passes() -> None:
    engine = make_engine(make_network(), classes=4)
    assert engine.rate is None
    engine.forward(torch.rand(20, 3, 32, 32))
    assert engine.rate is not None
    assert engine.rate > 0


def test_training_mode_is_put_back_even_after_an_error() -> None:
    network = make_network()
    network.train()
    network[1].eval()
    before = [module.training for module in network.modules()]
    engine = make_engine(network, classes=4)
    engine.forward(torch.rand(3, 3, 32, 32))
    assert [module.training for module in network.modules()] == before
    with pytest.raises(RuntimeError):
        engine.forward(torch.rand(3, 5, 32, 32))
    assert [module.training for module in network.modules()] == before


def test_the_network_runs_in_evaluation_mode_although_it_was_left_training() -> None:
    network = make_network()
    pictures = torch.rand(6, 3, 32, 32)
    expected = network(pictures)
    network.train()
    torch.testing.assert_close(make_engine(network, classes=4).forward(pictures), expected, rtol=0, atol=1e-5)


class Rough(nn.Module):
    """A body whose half-precision answer is off by a set amount, so that the guard has something to find."""

    def __init__(self, off: float) -> None:
        super().__init__()
        self.off = off
        self.body = nn.Linear(3, 3, bias=False)
        self.head = nn.Linear(3, 2, bias=False)
        self.dtypes: list[tuple[torch.dtype, torch.dtype]] = []
        nn.init.eye_(self.body.weight)
        nn.init.eye_(self.head.weight)
        self.requires_grad_(False)

    def forward(self, pictures: Tensor) -> Tensor:
        body = self.body(pictures.mean(dim=(2, 3)))
        body_dtype = body.dtype
        if body_dtype != torch.float32:
            body = body + self.off
        head: Tensor = self.head(body)
        self.dtypes.append((body_dtype, head.dtype))
        return head


def test_half_precision_runs_the_body_in_half_and_the_output_layer_in_float32() -> None:
    network = Rough(0.0)
    engine = make_engine(network, batch_size=32)
    labels = random_labels(50)
    list(engine.masked_scores([Request(random_scene(), LabelMasks(labels, 50))], score=identity, precision="bf16"))
    assert (torch.bfloat16, torch.float32) in network.dtypes
    assert all(head == torch.float32 for _, head in network.dtypes)
    assert engine.dtype == torch.bfloat16
    assert not engine.fell_back
    assert engine.check_passes == 32
    assert engine.passes == 50


def test_half_precision_that_moves_a_score_is_given_up_for_the_whole_run() -> None:
    network = Rough(0.5)
    engine = make_engine(network, batch_size=32)
    scene, labels = random_scene(), random_labels(50)
    stream = engine.masked_scores([Request(scene, LabelMasks(labels, 50))], score=identity, precision="bf16")
    scores = next(stream).scores
    assert engine.fell_back
    assert engine.dtype == torch.float32
    torch.testing.assert_close(scores, direct_scores(network, scene, labels, 50), rtol=0, atol=1e-5)


def test_automatic_precision_is_full_for_a_tiny_network_and_unknown_names_are_refused() -> None:
    engine = make_engine(make_network(), classes=4)
    list(
        engine.masked_scores(
            [Request(random_scene(), LabelMasks(random_labels(3), 3))], score=identity, precision="auto"
        )
    )
    assert engine.dtype == torch.float32
    with pytest.raises(ValueError, match="precision is one of"):
        list(engine.masked_scores([], score=identity, precision="int4"))


@pytest.mark.parametrize("has_it", [True, False])
def test_automatic_precision_on_a_cpu_is_half_where_the_processor_has_it_and_the_network_gains_from_it(
    has_it: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.precision._processor_has_bfloat16", lambda: has_it)
    cpu = torch.device("cpu")
    assert choose_precision("auto", cpu, size_bytes=2**22) == (torch.bfloat16 if has_it else torch.float32)
    assert choose_precision("auto", cpu, size_bytes=2**10) == torch.float32
    assert choose_precision("fp32", cpu, size_bytes=2**22) == torch.float32


def test_no_hook_is_left_on_the_network_after_half_precision() -> None:
    network = Rough(0.0)
    with pytest.raises(RuntimeError), ready(network, torch.bfloat16, torch.device("cpu")):
        network(torch.rand(2, 5, 8, 8))
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())
    assert not torch.is_autocast_enabled("cpu")


def test_black_reaches_the_network_as_minus_mean_over_std() -> None:
    network = Counted(Constant([0.0, 1.0]))
    model = make_model(network, mean=(0.5, 0.25, 0.1), std=(0.5, 0.5, 0.2))
    engine = Engine(model, check_cancelled=lambda: None, batch_size=2)
    scene = engine.scene(torch.ones(3, 32, 32), torch.zeros(3, 32, 32))
    list(engine.masked_scores([Request(scene, PlainMasks((32, 32), torch.device("cpu")))], score=identity))
    whole, hidden = network.batches[0]
    torch.testing.assert_close(whole.mean(dim=(1, 2)), torch.tensor([1.0, 1.5, 4.5]))
    torch.testing.assert_close(hidden.mean(dim=(1, 2)), torch.tensor([-1.0, -0.5, -0.5]))


def test_coalitions_show_exactly_their_regions() -> None:
    labels = random_labels(5)
    coalitions = torch.tensor([[1, 0, 0, 1, 0], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1]], dtype=torch.bool)
    visible = CoalitionMasks(labels, coalitions).visible(0, 3)
    assert torch.equal(visible[0], (labels == 0) | (labels == 3))
    assert not visible[1].any()
    assert visible[2].all()


def test_a_disc_holds_the_pixels_within_its_radius_rim_included() -> None:
    disc = DiscMasks(torch.tensor([[10.0, 12.0]]), 5.0, (24, 30)).visible(0, 1)[0]
    rows, columns = torch.meshgrid(torch.arange(24), torch.arange(30), indexing="ij")
    assert torch.equal(disc, (rows - 10) ** 2 + (columns - 12) ** 2 <= 25)
    assert disc[10, 17]
    assert disc[13, 16]


def test_soft_masks_mix_picture_and_substrate() -> None:
    class Half:
        count = 2

        def visible(self, start: int, stop: int) -> Tensor:
            return torch.tensor([0.25, 1.0])[start:stop, None, None].expand(-1, 32, 32)

    weights = torch.full((32, 32), 1 / 1024)
    engine = make_engine(Additive(weights))
    scene = Scene(torch.full((3, 32, 32), 0.8), torch.full((3, 32, 32), 0.4))
    scores = next(engine.masked_scores([Request(scene, Half())], score=identity)).scores
    torch.testing.assert_close(scores[:, 0], torch.tensor([0.5, 0.8]))


def test_capture_refuses_a_block_that_the_model_does_not_have() -> None:
    engine = make_engine(make_network(), classes=4, kind=ModelKind.CLASSIFIER)
    with pytest.raises(ValueError, match="no block 'layer9'"):
        engine.capture(torch.rand(1, 3, 32, 32), ["layer9"])


@pytest.mark.parametrize("pictures", [torch.rand(3, 32, 32), torch.rand(0, 3, 32, 32)])
def test_forward_refuses_what_is_no_batch(pictures: Tensor) -> None:
    with pytest.raises(ValueError, match="pictures are"):
        make_engine(make_network()).forward(pictures)


@pytest.mark.parametrize("batch_size", [0, -3])
def test_a_batch_holds_at_least_one_picture(batch_size: int) -> None:
    model = make_model(make_network())
    with pytest.raises(ValueError, match="at least 1"):
        Engine(model, check_cancelled=lambda: None, batch_size=batch_size)
    engine = Engine(model, check_cancelled=lambda: None)
    with pytest.raises(ValueError, match="at least 1"):
        engine.batch_size = batch_size
