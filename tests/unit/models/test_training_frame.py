"""What every training shares: checkpoints, seeds that follow from names, what is told, and how kinds are found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from backend.contract.problems import ProblemCode, ProblemError
from backend.contract.schemas import Preset
from models.training.checkpoints import Checkpoints, generator, random_state, restore_random_state, seeded
from models.training.job import Announcer, TrainingKind, seed_of
from models.training.kinds import choose_preset, find_kind, make_recipe
from tests.fakes_training import TinyRecipe


def checkpoints(folder: Path, **changes: Any) -> Checkpoints:
    return Checkpoints(folder, **{"recipe": {"epochs": 3}, "data": "d" * 64, "base": "b" * 64, **changes})


def test_a_checkpoint_comes_back_as_it_was(tmp_path: Path) -> None:
    network = torch.nn.Linear(3, 2)
    optimiser = torch.optim.Adam(network.parameters())
    network(torch.ones(1, 3)).sum().backward()
    optimiser.step()
    saved = {"epoch": 2, "network": network.state_dict(), "optimiser": optimiser.state_dict(), "history": [{"x": 1.5}]}
    checkpoints(tmp_path).save(saved)
    found = checkpoints(tmp_path).load()
    assert found is not None
    assert (found["epoch"], found["history"]) == (2, [{"x": 1.5}])
    assert torch.equal(found["network"]["weight"], network.weight)
    torch.optim.Adam(network.parameters()).load_state_dict(found["optimiser"])


def test_only_the_last_two_are_kept_and_no_half_written_file_stays(tmp_path: Path) -> None:
    kept = checkpoints(tmp_path)
    for epoch in range(5):
        kept.save({"epoch": epoch})
    assert len(list(tmp_path.iterdir())) == 2
    found = kept.load()
    assert found is not None
    assert found["epoch"] == 4
    kept.clear()
    assert kept.load() is None


def test_a_torn_checkpoint_gives_way_to_the_one_before(tmp_path: Path) -> None:
    kept = checkpoints(tmp_path)
    kept.save({"epoch": 1})
    newest = kept.save({"epoch": 2})
    newest.write_bytes(newest.read_bytes()[:200])
    found = kept.load()
    assert found is not None
    assert found["epoch"] == 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"recipe": {"epochs": 4}}, "another recipe"), ({"data": "e" * 64}, "other pictures"), ({"base": ""}, "model")],
)
def test_a_checkpoint_of_another_training_is_refused(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    checkpoints(tmp_path).save({"epoch": 1})
    with pytest.raises(ProblemError, match=words) as caught:
        checkpoints(tmp_path, **changes).load()
    assert caught.value.code is ProblemCode.CHECKPOINT_FOREIGN


def test_a_checkpoint_that_would_run_code_is_not_read(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    path = checkpoints(tmp_path).save({"epoch": 1})
    torch.save({"identity": {}, "state": _Trap(marker)}, path)
    assert checkpoints(tmp_path).load() is None
    assert not marker.exists()


class _Trap:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return (Path.touch, (self.marker,))


def test_random_numbers_go_on_where_a_checkpoint_was_made() -> None:
    state = random_state()
    first = torch.rand(4)
    restore_random_state(state)
    assert torch.equal(torch.rand(4), first)


def test_seeds_follow_from_their_parts_alone() -> None:
    assert seed_of(1, "a", 2) == seed_of(1, "a", 2)
    assert len({seed_of(1, "a", 2), seed_of(1, "a", 3), seed_of(11, "a"), seed_of(1, "1a")}) == 4
    assert torch.equal(torch.rand(3, generator=generator(0, "x")), torch.rand(3, generator=generator(0, "x")))
    before = torch.get_rng_state()
    with seeded(3, "dropout"):
        one = torch.rand(2)
    with seeded(3, "dropout"):
        assert torch.equal(torch.rand(2), one)
    assert torch.equal(torch.get_rng_state(), before)


def test_progress_is_told_seldom_and_points_always() -> None:
    events: list[dict[str, Any]] = []
    announcer = Announcer(events.append, total=100, done=10)
    announcer.enter("warm", epoch=1, epochs=2)
    for _ in range(50):
        announcer.step(loss=1.0)
    assert len(events) == 1
    announcer.point(1.0, loss=0.5, accuracy=0.75)
    announcer.point(2.0, loss=0.25)
    assert [event["point"] for event in events[1:]] == [1.0, 2.0]
    assert events[1]["stage"] == "warm"
    assert (events[1]["done"], events[1]["total"]) == (60, 100)
    announcer.step(40)
    assert events[-1]["seconds_left"] == 0.0


def test_time_left_counts_only_what_this_process_did() -> None:
    announcer = Announcer(lambda _event: None, total=100, done=90)
    assert announcer.left_s() is None
    announcer.step(5)
    left = announcer.left_s()
    assert left is not None
    assert left == pytest.approx(0.0, abs=60)


def kind(**changes: Any) -> TrainingKind:
    known: dict[str, Any] = {
        "name": "tiny_words",
        "title": "Tiny",
        "summary": "",
        "recipe": TinyRecipe,
        "run": lambda job: job.folder,
        "supports": lambda card: None,
        "presets": (Preset(name="long", title="", params={"epochs": 9}), Preset(name="short", title="", params={})),
        "preset_for": {False: "short"},
    }
    return TrainingKind(**(known | changes))


def test_a_hyphen_in_the_name_of_a_training_is_an_underscore() -> None:
    assert find_kind("tiny-words", {"tiny_words": kind()}).name == "tiny_words"
    with pytest.raises(ProblemError, match="There are: tiny_words"):
        find_kind("huge", {"tiny_words": kind()})


def test_a_preset_lies_over_the_defaults_and_what_was_given_over_both() -> None:
    assert make_recipe(kind(), "long", {}).epochs == 9
    assert make_recipe(kind(), "long", {"epochs": 2}).epochs == 2
    assert make_recipe(kind(), "", {}).epochs == TinyRecipe().epochs
    with pytest.raises(ProblemError, match="epochs"):
        make_recipe(kind(), "long", {"epochs": -1})
    with pytest.raises(ProblemError, match="Unknown setting"):
        make_recipe(kind(), "long", {"speed": 1})


def test_the_preset_for_the_machine_is_chosen_when_none_is_given() -> None:
    assert choose_preset(kind(), None, has_gpu=False) == "short"
    assert choose_preset(kind(), None, has_gpu=True) == "long"
    assert choose_preset(kind(), "long", has_gpu=False) == "long"
    with pytest.raises(ProblemError, match="There are: long, short"):
        choose_preset(kind(), "medium", has_gpu=False)
