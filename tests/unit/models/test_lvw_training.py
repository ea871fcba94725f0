"""Facts about training a word book: what moves when, what a word is afterwards, what an interruption changes."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from backend.contract.problems import ProblemCode, ProblemError
from models.grad_cam import to_pixels
from models.heads.lvw import VisualWordNetwork, alignment_loss, attention_view, similarity
from models.training import _lvw_stages as stages
from models.training._lvw_attention import Attention, base_attention
from models.training._lvw_parts import Part, Store, mirror, read_part, shuffled
from models.training.data import DataSource, set_of_arrays
from models.training.job import TrainingJob
from models.training.lvw import KIND, TrainingFault, TrainingStopped, load_network, open_book, read_recipe, train
from tests.fakes_lvw import CLASSES, blob_job, blob_model, blob_picture, blob_source

THOROUGH = {
    "words_per_class": 6,
    "batch_size": 8,
    "warm_epochs": 8,
    "joint_epochs": 12,
    "projections": (),
    "lr_step": 30,
    "lr_trunk": 1e-3,
    "lr_words": 1e-2,
    "last_passes": 60,
}
"""Enough steps for 38 pictures."""


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def _bench(tmp_path: Path, **changes: Any) -> stages.Bench:
    job = blob_job(tmp_path, **changes)
    data = job.data.split(job.recipe.validation, 0)
    store = Store(tmp_path / "caches", job.recipe.cache_budget)
    train_part, held = (
        read_part(
            pictures.load,
            range(len(pictures)),
            pictures.labels.tolist(),
            preprocessing=job.base.preprocessing,
            store=store,
            check_stopped=lambda: None,
        )
        for pictures in (data.train, data.validation)
    )
    torch.manual_seed(0)
    network = VisualWordNetwork.for_base(
        job.base,
        class_count=2,
        word_count=6,
        depth=8,
        classifier_init=job.recipe.classifier_init,
        train_trunk=job.recipe.train_trunk,
    )
    return stages.Bench(
        recipe=job.recipe,
        network=network,
        train=train_part,
        validation=held,
        attention=base_attention(job.base, train_part.batches(16), None),
        store=store,
        check_stopped=lambda: None,
        on_pictures=lambda _count, _kind: None,
        optimisers=stages.make_optimisers(job.recipe, network),
    )


def _state(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def _changed(before: dict[str, torch.Tensor], network: torch.nn.Module) -> set[str]:
    return {name for name, tensor in network.state_dict().items() if not torch.equal(before[name], tensor)}


# the recipe ---------------------------------------------------------------------------------------------------------


def test_rates_and_projections_of_the_standard_preset_are_those_of_the_specification() -> None:
    recipe = read_recipe("standard")
    assert [recipe.lr_trunk * recipe.rate_factor(epoch) for epoch in (10, 15, 20, 30)] == pytest.approx(
        [1e-4, 1e-5, 1e-6, 1e-8]
    )
    assert recipe.projection_epochs == (10, 20, 30)
    assert read_recipe("published_length").projection_epochs == tuple(range(10, 201, 10))
    assert read_recipe("frozen").projection_epochs == (30, 39)
    assert read_recipe("demo").projection_epochs == (18, 22)
    assert read_recipe("standard", joint_epochs=0).projection_epochs == (9,)
    assert read_recipe("standard", joint_epochs=15).projection_epochs == (10, 20, 24)
    assert recipe.word_count(37) == 185


def test_a_kind_names_its_presets_and_every_setting_describes_itself() -> None:
    assert KIND.name == "lvw"
    assert [preset.name for preset in KIND.presets] == ["standard", "published_length", "frozen", "demo"]
    for preset in KIND.presets:
        KIND.recipe.model_validate(preset.params)
    for field in KIND.recipe.model_fields.values():
        assert field.title
        assert field.description
    with pytest.raises(ValueError, match="demo"):
        read_recipe("unknown")


# stages -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", ["zero", "nominal"])
def test_the_warm_stage_leaves_the_trunk_and_its_statistics_alone(tmp_path: Path, start: str) -> None:
    bench = _bench(tmp_path, classifier_init=start)
    before = _state(bench.network)
    stages.warm_epoch(bench, 0)
    changed = _changed(before, bench.network)
    assert not [name for name in changed if name.startswith("trunk.")]
    assert "words" in changed
    assert ("classifier.weight" in changed) == (start == "zero")


def test_with_nominal_weights_nothing_moves_them_before_the_last_layer_stage(tmp_path: Path) -> None:
    bench = _bench(tmp_path, classifier_init="nominal")
    stages.warm_epoch(bench, 0)
    stages.joint_epoch(bench, 3)
    stages.project(bench)
    weight = bench.network.classifier.weight
    assert set(weight.detach().unique().tolist()) == {-0.5, 1.0}
    stages.train_last_layer(bench, stages.cached_scores(bench), 3)
    assert set(weight.detach().unique().tolist()) != {-0.5, 1.0}


def test_the_last_layer_stage_moves_class_weights_alone_and_words_stay_their_cells(tmp_path: Path) -> None:
    bench = _bench(tmp_path)
    stages.warm_epoch(bench, 0)
    stages.joint_epoch(bench, 3)
    projection = stages.project(bench)
    before = _state(bench.network)
    stages.train_last_layer(bench, stages.cached_scores(bench), 3)
    assert _changed(before, bench.network) == {"classifier.weight"}
    assert bench.cells is not None
    for word, (source, (row, column)) in enumerate(zip(projection.source_index, projection.cell, strict=True)):
        assert torch.equal(bench.network.words[word].detach(), bench.cells[source, 0, :, row, column])


def test_cached_scores_are_what_the_network_says(tmp_path: Path) -> None:
    bench = _bench(tmp_path)
    stages.joint_epoch(bench, 3)
    stages.project(bench)
    scores = stages.cached_scores(bench)
    with torch.no_grad():
        for view in (False, True):
            direct = bench.network.eval()(bench.train.pictures(slice(0, 9), view)).scores
            assert torch.allclose(scores[:9, int(view)], direct, atol=1e-4)


def test_the_joint_stage_moves_the_trunk_unless_it_is_frozen(tmp_path: Path) -> None:
    moving, frozen = _bench(tmp_path / "a"), _bench(tmp_path / "b", train_trunk=False)
    for bench, expected in ((moving, True), (frozen, False)):
        before = _state(bench.network)
        stages.joint_epoch(bench, 3)
        changed = {name for name in _changed(before, bench.network) if name.startswith("trunk.")}
        assert bool(changed) == expected
    assert any("running_mean" in name for name in _state(moving.network))
    assert not frozen.network.trunk.training


def test_small_batches_leave_the_statistics_alone(tmp_path: Path) -> None:
    bench = _bench(tmp_path, batch_size=8)
    before = _state(bench.network)
    stages.joint_epoch(bench, 3)
    assert not [name for name in _changed(before, bench.network) if "running" in name or "num_batches" in name]


def test_a_loss_that_is_no_number_stops_the_training(tmp_path: Path) -> None:
    bench = _bench(tmp_path)
    bench.network.words.data[0, 0] = float("nan")
    with pytest.raises(TrainingFault, match="finite"):
        stages.warm_epoch(bench, 0)


# pictures -----------------------------------------------------------------------------------------------------------


def test_picture_and_attention_are_mirrored_in_the_same_samples() -> None:
    model = blob_model()
    pixels = torch.zeros(8, 3, 32, 32, dtype=torch.uint8)
    pixels[:, :, 4:8, 0:4] = 255  # a marker at the left
    part = Part(pixels, torch.zeros(8, dtype=torch.long), tuple(range(8)), model.preprocessing)
    grid = torch.zeros(8, 8, 8)
    grid[:, 1, 0] = 1
    attention = Attention(grid, torch.zeros(8, dtype=torch.long), torch.ones(8))
    order, mirrored = shuffled(8, 0, 5)
    assert 0 < int(mirrored.sum()) < 8
    pictures, seen = part.pictures(order, mirrored), mirror(attention.at(order, 32), mirrored)
    for picture, looked, turned in zip(pictures, seen, mirrored.tolist(), strict=True):
        marker, peak = int(picture[0].argmax()) % 32, int(looked.argmax()) % 32
        assert (marker >= 16) == turned
        assert (peak >= 16) == turned
    assert not torch.equal(order, shuffled(8, 0, 6)[0])
    assert torch.equal(order, shuffled(8, 0, 5)[0])


def test_caches_beyond_the_budget_lie_in_files_and_hold_the_same(tmp_path: Path) -> None:
    small, large = Store(tmp_path / "small", 0), Store(tmp_path / "large", 10**9)
    for store in (small, large):
        room = store.room((3, 5))
        room.copy_(torch.arange(15.0).reshape(3, 5))
        assert room.sum() == 105
    assert list((tmp_path / "small").iterdir())
    assert not (tmp_path / "large").exists()


def test_attention_goes_on_where_it_was_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.training._lvw_attention.CHUNK_BATCHES", 2)
    model = blob_model()
    pictures = torch.rand(14, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    batches = list(torch.split(pictures, 2))
    whole = base_attention(model, [(batch,) for batch in batches], None)
    seen: list[int] = []

    def interrupt(_count: int) -> None:
        seen.append(1)
        if len(seen) == 5:
            raise TrainingStopped

    with pytest.raises(TrainingStopped):
        base_attention(model, [(batch,) for batch in batches], tmp_path / "a", on_batch=interrupt)
    again: list[int] = []
    found = base_attention(model, [(batch,) for batch in batches], tmp_path / "a", on_batch=again.append)
    assert len(again) == len(batches) - 4  # two chunks of two batches were there
    assert torch.equal(found.grid, whole.grid)
    assert torch.equal(found.predicted, whole.predicted)
    assert torch.equal(found.probability, whole.probability)
    assert base_attention(model, iter([(batch,) for batch in batches]), tmp_path / "a").grid.equal(whole.grid)


# from pictures to book ----------------------------------------------------------------------------------------------


def _files(folder: Path) -> dict[str, bytes]:
    kept = ("network.safetensors", "book.safetensors", "curves.jsonl")
    return {name: (folder / name).read_bytes() for name in kept}


def _interrupted_then_done(job: TrainingJob, after: int) -> Path:
    """Trains with an interruption after so many questions whether to go on, and then to the end."""
    asked = 0

    def cancelled() -> str | None:
        nonlocal asked
        asked += 1
        return "stop" if asked == after else None

    with pytest.raises(TrainingStopped):
        train(job, cancelled=cancelled)
    assert job.shelf.list() == []
    return train(job)


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{}, {"train_trunk": False}, {"select": "validation"}])
def test_an_interrupted_training_ends_like_an_uninterrupted_one_bit_for_bit(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    whole = _files(train(blob_job(tmp_path / "whole", **changes)))
    for number, after in enumerate((6, 20, 29, 41)):
        job = blob_job(tmp_path / str(number), **changes)
        assert _files(_interrupted_then_done(job, after)) == whole, after


@pytest.mark.slow
def test_alignment_brings_the_words_to_where_the_base_looks_and_keeps_the_answers(tmp_path: Path) -> None:
    distance, accuracy = {}, {}
    for weight in (0.0, 10.0):
        bench = _bench(
            tmp_path / str(weight),
            w_align=weight,
            warm_epochs=4,
            joint_epochs=20,
            lr_step=7,
            lr_words=1e-2,
            last_passes=60,
        )
        for epoch in range(4):
            stages.warm_epoch(bench, epoch)
        for epoch in range(4, 24):
            stages.joint_epoch(bench, epoch)
        stages.sweep(bench)
        stages.train_last_layer(bench, stages.cached_scores(bench), 24)
        held = bench.validation
        attention = base_attention(blob_model(), held.batches(16), None)
        with torch.no_grad():
            output = bench.network.eval()(held.pictures(slice(None)))
            maps = similarity(output.distances)
            distance[weight] = float(alignment_loss(maps, output.scores, attention.at(slice(None), 32), 2))
        accuracy[weight] = float((output.logits.argmax(1) == held.labels).double().mean())
    assert distance[10.0] < 0.75 * distance[0.0]
    assert accuracy[10.0] >= accuracy[0.0] - 0.1


def test_a_book_holds_real_patches_gives_the_answers_and_looks_at_the_blob(tmp_path: Path) -> None:
    job = blob_job(tmp_path, **THOROUGH)
    told: list[dict[str, Any]] = []
    folder = train(job, emit=told.append)
    record = job.shelf.list(KIND.name, job.base.weights_digest)[0]
    opened = open_book(record)
    network = load_network(opened, job.base)
    train_set = job.data.split(job.recipe.validation, 0).train
    book = opened.book
    for word in range(len(book.source_index)):
        source = int(book.source_index[word])
        batch = job.base.preprocessing.normalise(job.base.preprocessing.prepare(train_set.load(source)).pixels[None])
        row, column = book.source_cell[word].tolist()
        with torch.no_grad():
            cell = network.cells(batch)[0, :, row, column]
        assert float((cell - network.words[word]).abs().max()) <= 1e-5
        assert int(train_set.labels[source]) == int(book.source_label[word])
    metrics = record.manifest.metrics
    assert metrics["accuracy"] >= 0.9
    assert metrics["agreement"] >= 0.9
    at = metrics["curves"]["percentile"].index(85)  # the blob covers a seventh of the picture
    assert metrics["curves"]["book"][at] > metrics["curves"]["chance"][at] + 0.2
    assert _blob_hits(network, job, opened.k) >= 0.8
    assert {"words/0000-0.webp", "network.safetensors", "book.safetensors", "curves.jsonl"} <= set(
        record.manifest.files
    )
    assert (folder / "manifest.json").is_file()
    assert any("validation_accuracy" in event for event in told)
    assert told[-1]["done"] == told[-1]["total"]
    done = [event["done"] for event in told if "done" in event]
    assert done == sorted(done)


def _blob_hits(network: VisualWordNetwork, job: TrainingJob, k: int) -> float:
    """Returns how often the overlap map of a new picture peaks in its blob."""
    hits = []
    for seed in range(20):
        pixels, (left, top, right, bottom) = blob_picture(seed % 2, 50_000 + seed)
        batch = job.base.preprocessing.normalise(job.base.preprocessing.prepare(pixels).pixels[None])
        with torch.no_grad():
            output = network(batch)
        view = attention_view(similarity(output.distances), output.scores, k, 32)[0]
        row, column = divmod(int(view.argmax()), 32)
        hits.append(top <= row < bottom and left <= column < right)
    return float(np.mean(hits))


def test_other_pictures_than_those_to_learn_from_leave_no_trace_in_the_book(tmp_path: Path) -> None:
    plain = blob_source(48, test=16)
    other = dataclasses.replace(plain, test=blob_source(24, test=0).train)
    first, second = train(blob_job(tmp_path / "a", source=plain)), train(blob_job(tmp_path / "b", source=other))
    assert (first / "network.safetensors").read_bytes() == (second / "network.safetensors").read_bytes()
    assert (first / "book.safetensors").read_bytes() == (second / "book.safetensors").read_bytes()
    job = blob_job(tmp_path / "c")
    count = len(job.data.split(job.recipe.validation, 0).train)
    record = blob_job(tmp_path / "a").shelf.list()[0]
    book = open_book(record).book
    assert int(book.source_index.max()) < count
    assert int(book.neighbours.max()) < count
    assert record.manifest.metrics["part"] == "test"


def test_stopping_leaves_a_checkpoint_and_no_book_and_finishing_early_leaves_a_book(tmp_path: Path) -> None:
    job = blob_job(tmp_path)
    with pytest.raises(TrainingStopped):
        train(job, cancelled=lambda: "stop" if list(job.checkpoints.glob("*.pt")) else None)
    assert list(job.checkpoints.glob("*.pt"))
    assert job.shelf.list() == []
    folder = train(job, cancelled=lambda: "finish")
    entries = [json.loads(line) for line in (folder / "curves.jsonl").read_text().splitlines()]
    assert [entry["stage"] for entry in entries][-1] == "project"
    assert len(entries) < 8


def test_without_a_test_part_the_validation_part_is_measured_and_said_so(tmp_path: Path) -> None:
    job = blob_job(tmp_path, source=blob_source(32, test=0), joint_epochs=1)
    train(job)
    assert job.shelf.list()[0].manifest.metrics["part"] == "validation"


def test_a_constant_label_and_fewer_pictures_than_neighbours_are_no_accident(tmp_path: Path) -> None:
    job = blob_job(tmp_path, source=blob_source(8, test=0), k=50, words=3, words_per_class=1, batch_size=4)
    train(job)
    book = open_book(job.shelf.list()[0]).book
    assert book.neighbours.shape == (3, 6)
    assert torch.equal(book.prevalence, torch.ones(3))


def test_learning_from_the_base_needs_no_labels(tmp_path: Path) -> None:
    source = blob_source(48, test=0)
    scrambled = dataclasses.replace(source.train, labels=1 - source.train.labels)
    job = blob_job(tmp_path, source=dataclasses.replace(source, train=scrambled), target="teacher", warm_epochs=8)
    train(job)
    record = job.shelf.list()[0]
    assert record.manifest.classes == CLASSES
    assert record.manifest.metrics["agreement"] == record.manifest.metrics["accuracy"]


def test_a_damaged_or_foreign_book_is_refused_in_words(tmp_path: Path) -> None:
    job = blob_job(tmp_path, joint_epochs=0)
    train(job)
    record = job.shelf.list()[0]
    (record.folder / "book.safetensors").write_bytes(b"nothing")
    with pytest.raises(ProblemError, match="cannot be used"):
        open_book(record)
    with pytest.raises(ProblemError, match="changed"):
        job.shelf.find(KIND.name, job.base.weights_digest, record.id)


def test_what_a_person_must_read_leaves_a_training_as_a_problem(tmp_path: Path) -> None:
    few = blob_job(tmp_path / "few", words=2, classifier_init="nominal", source=_three_classes())
    with pytest.raises(ProblemError, match="zero") as caught:
        KIND.run(few)
    assert caught.value.code is ProblemCode.PARAMS_INVALID
    wild = blob_job(tmp_path / "wild", lr_words=1.0)
    wild.base.network.body[0].weight.data.fill_(float("nan"))  # type: ignore[union-attr,index,operator]
    with pytest.raises(ProblemError) as caught:
        KIND.run(wild)
    assert caught.value.code in (ProblemCode.NOT_FINITE, ProblemCode.PARAMS_INVALID)


def _three_classes() -> DataSource:
    pictures = [blob_picture(0, seed)[0] for seed in range(12)]
    labels = [place % 3 for place in range(12)]
    return DataSource("three", "Three.", train=set_of_arrays(pictures, labels, ("a", "b", "c")))


def test_published_weights_that_are_not_here_are_a_problem_in_words(tmp_path: Path) -> None:
    with pytest.raises(ProblemError):
        train(blob_job(tmp_path, trunk_start="pretrained"))


def test_the_view_of_the_attention_is_where_the_base_looks(tmp_path: Path) -> None:
    bench = _bench(tmp_path)
    assert torch.allclose(bench.attention.at(slice(0, 3), 32), to_pixels(bench.attention.grid[:3], 32))
    assert not bench.attention.empty.any()
