"""Methods are found by where they live, and the catalogue says what goes with what."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fakeredis
import pytest
from pydantic import TypeAdapter

from backend.contract import names
from backend.contract.explainers import ExplainerShelf
from backend.contract.problems import ProblemCode, make_problem
from backend.contract.schemas import Capability, Catalogue, ModelCard, ModelKind
from tests.queue_fakes import Counting
from workers.catalogue import (
    CARDS_KEPT,
    build_catalogue,
    find_capabilities,
    find_methods,
    publish,
    publish_card,
    refresh_cards,
)

METHOD = '''
from pydantic import Field
from backend.contract.results import ResultKind
from workers.method import Method, Params, Result

class OwnParams(Params):
    strength: float = Field(default=1.0, title="Strength", description="How strong.")

class Own(Method):
    """Found from outside."""
    name = "{name}"
    title = "Own"
    question = "?"
    summary = "."
    result_kind = ResultKind.SCALAR_MAP
    Params = OwnParams
    def supports(self, model): return None
    def cost(self, model, params): return 1
    def explain(self, context): return Result()
'''


def card(**changes: Any) -> ModelCard:
    known: dict[str, Any] = {"name": "net", "title": "Net", "kind": ModelKind.CLASSIFIER, "source": "own"}
    return ModelCard(**(known | {"weights": "0" * 64} | changes))


class Models:
    """Stands in for the models on offer."""

    def cards(self) -> tuple[ModelCard, ...]:
        return (card(), card(name="uncountable"))

    def timm_names(self) -> tuple[str, ...]:
        return ("resnet18.a1_in1k",)


def write(folder: Path, name: str, text: str | None = None) -> None:
    (folder / f"{name}.py").write_text(METHOD.format(name=name) if text is None else text)


def test_the_methods_of_the_house_are_found_and_describe_themselves() -> None:
    methods = find_methods()
    assert methods["top_classes"].role == "prediction"
    assert all(method.card().name == name for name, method in methods.items())
    assert not [name for name in methods if name.startswith("_")]


def test_one_file_in_a_folder_is_one_more_method(tmp_path: Path) -> None:
    write(tmp_path, "further")
    write(tmp_path, "_shared", "VALUE = 1")
    methods = find_methods(tmp_path)
    assert set(methods) - set(find_methods()) == {"further"}
    assert methods["further"].card().params_schema["properties"]["strength"]["default"] == 1.0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x = 1", "holds 0 methods"),
        (METHOD.format(name="other"), "calls itself 'other'"),
        (METHOD.format(name="broken") + METHOD.format(name="broken").replace("class Own(", "class Two("), "holds 2"),
        ("def broken(:", "invalid syntax"),
    ],
)
def test_a_file_that_is_no_method_is_told_and_left_out(tmp_path: Path, text: str, words: str) -> None:
    write(tmp_path, "broken", text)
    told: list[tuple[str, str]] = []
    methods = find_methods(tmp_path, on_error=lambda name, error: told.append((name, str(error))))
    assert "broken" not in methods
    assert "top_classes" in methods
    ((name, message),) = told
    assert name == "broken"
    assert words in message


def test_a_file_that_is_no_method_is_an_error_where_nobody_listens(tmp_path: Path) -> None:
    write(tmp_path, "broken", "x = 1")
    with pytest.raises(ValueError, match="holds 0 methods"):
        find_methods(tmp_path)


def test_a_method_from_outside_cannot_replace_one_of_the_house(tmp_path: Path) -> None:
    write(tmp_path, "top_classes")
    with pytest.raises(ValueError, match="two methods"):
        find_methods(tmp_path)


def test_a_capability_says_how_many_passes_or_why_not_and_what_helps() -> None:
    methods = {"counting": Counting()}
    (possible,) = find_capabilities(methods, card())
    (impossible,) = find_capabilities(methods, card(name="uncountable"))
    assert (possible.possible, possible.passes) == (True, 4)
    assert (impossible.possible, impossible.reason) == (False, "It cannot be counted.")
    assert impossible.remedy == "Choose a countable one."


def test_nothing_can_be_done_with_a_broken_model() -> None:
    broken = card(problem=make_problem(ProblemCode.MODEL_BROKEN, "Its file is damaged."))
    (capability,) = find_capabilities({"counting": Counting()}, broken)
    assert (capability.possible, capability.reason) == (False, "Its file is damaged.")


def test_a_catalogue_is_published_whole() -> None:
    queue = fakeredis.FakeRedis()
    catalogue = build_catalogue({"counting": Counting()}, Models())  # type: ignore[arg-type]
    publish(queue, catalogue)
    read = Catalogue.model_validate_json(queue.get(names.CATALOGUE))
    assert read == catalogue
    assert {(item.model, item.method) for item in read.capabilities} == {
        ("net", "counting"),
        ("uncountable", "counting"),
    }


def test_a_described_model_is_published_with_what_can_be_done_with_it() -> None:
    queue = fakeredis.FakeRedis()
    publish_card(queue, card(), find_capabilities({"counting": Counting()}, card()))
    assert ModelCard.model_validate_json(queue.hget(names.CARDS, "net")) == card()
    known = TypeAdapter(tuple[Capability, ...]).validate_json(queue.hget(names.CAPABILITIES, "net"))
    assert known[0].possible


def test_names_that_nobody_knows_never_fill_the_queues_server() -> None:
    queue = fakeredis.FakeRedis()
    publish_card(queue, card(), ())
    unknown = make_problem(ProblemCode.MODEL_UNKNOWN, "There is no such model.")
    for number in range(CARDS_KEPT + 3):
        publish_card(queue, card(name=f"hf-hub:nobody/{number}", problem=unknown), ())
    assert queue.hlen(names.CARDS) <= CARDS_KEPT
    assert queue.hlen(names.CAPABILITIES) <= CARDS_KEPT
    assert queue.hexists(names.CARDS, "net"), "what could be described stays"
    assert queue.hexists(names.CARDS, f"hf-hub:nobody/{CARDS_KEPT + 2}")


class Booked(Counting):
    """Needs an explainer."""

    name = "booked"

    def supports(self, model: ModelCard) -> str | None:
        return None if any(one.method == self.name for one in model.explainers) else "Nobody has trained one yet."


def publish_book(shelf: ExplainerShelf, digest: str, id: str) -> None:
    folder = shelf.temporary()
    (folder / "words.bin").write_bytes(b"words")
    base = {"name": "net", "weights_digest": digest, "preprocessing": ""}
    content = {"method": "booked", "id": id, "created": 1.0, "base": base, "classes": ["a"], "data": {"name": "set"}}
    shelf.publish(folder, content)


def test_a_trained_explainer_changes_what_can_be_done_with_a_model(tmp_path: Path) -> None:
    shelf, methods = ExplainerShelf(tmp_path, builtin=None), {"booked": Booked()}
    before = build_catalogue(methods, Models(), shelf)  # type: ignore[arg-type]
    publish_book(shelf, "0" * 64, "first")
    after = build_catalogue(methods, Models(), shelf)  # type: ignore[arg-type]
    assert not any(item.possible for item in before.capabilities)
    assert all(item.possible for item in after.capabilities)
    assert [one.id for one in after.models[0].explainers] == ["first"]


def test_a_model_described_by_name_gets_its_explainers_and_loses_them_when_its_weights_turn_out_to_be_others(
    tmp_path: Path,
) -> None:
    queue = fakeredis.FakeRedis()
    shelf, methods = ExplainerShelf(tmp_path, builtin=None), {"booked": Booked()}
    hub = card(weights="hub:net")
    publish_card(queue, hub, find_capabilities(methods, hub))

    def look() -> tuple[list[str], bool]:
        known = TypeAdapter(tuple[Capability, ...]).validate_json(queue.hget(names.CAPABILITIES, "net"))
        explainers = ModelCard.model_validate_json(queue.hget(names.CARDS, "net")).explainers
        return [one.id for one in explainers], known[0].possible

    assert look() == ([], False)
    publish_book(shelf, "a" * 64, "first")
    refresh_cards(queue, methods, shelf, {})
    assert look() == (["first"], True)
    refresh_cards(queue, methods, shelf, {"net": "b" * 64})
    assert look() == ([], False)
