"""The published catalogue as the API reads it."""

from __future__ import annotations

import json

import fakeredis
import pytest

from backend.catalogue import CatalogueReader
from backend.contract import names
from backend.contract.problems import ProblemCode, ProblemError, make_problem
from backend.contract.schemas import Capability
from tests.backend_fakes import make_catalogue, make_model


@pytest.fixture
def reader(redis_client: fakeredis.FakeRedis, published: None) -> CatalogueReader:
    return CatalogueReader(redis_client)


def _code(error: pytest.ExceptionInfo[ProblemError]) -> ProblemCode:
    return error.value.code


def test_without_workers_lists_are_empty_and_questions_say_why(redis_client: fakeredis.FakeRedis) -> None:
    reader = CatalogueReader(redis_client)
    assert reader.methods() == ()
    assert reader.models().total == 0
    with pytest.raises(ProblemError, match="vitrine worker") as caught:
        reader.method("plain")
    assert _code(caught) is ProblemCode.NO_WORKER


def test_described_models_come_before_bare_names(reader: CatalogueReader) -> None:
    page = reader.models()
    assert page.total == 5
    assert [card.described for card in page.items] == [True, True, False, False, False]


def test_a_search_needs_every_word_and_ignores_case(reader: CatalogueReader) -> None:
    assert [card.name for card in reader.models(search="RESNET a1").items] == ["resnet18.a1_in1k", "resnet50.a1_in1k"]
    assert reader.models(search="resnet vit").total == 0


def test_names_that_begin_with_the_search_come_first(redis_client: fakeredis.FakeRedis) -> None:
    catalogue = make_catalogue().model_copy(update={"timm_names": ("eva.vit", "vit_b", "beit_vit")})
    redis_client.set(names.CATALOGUE, catalogue.model_dump_json())
    assert [card.name for card in CatalogueReader(redis_client).models(search="vit").items] == [
        "vit_b",
        "beit_vit",
        "eva.vit",
    ]


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 10])
def test_pages_joined_are_the_whole_list(reader: CatalogueReader, limit: int) -> None:
    whole = [card.name for card in reader.models(limit=100).items]
    pages = [reader.models(limit=limit, offset=start).items for start in range(0, 5, limit)]
    assert [card.name for page in pages for card in page] == whole


def test_a_model_described_on_demand_replaces_its_bare_name(
    redis_client: fakeredis.FakeRedis, reader: CatalogueReader
) -> None:
    assert not reader.model("resnet50.a1_in1k").described
    card = make_model("resnet50.a1_in1k", source="timm")
    redis_client.hset(names.CARDS, card.name, card.model_dump_json())
    assert reader.model("resnet50.a1_in1k").described
    assert reader.models(search="resnet50").total == 1


def test_an_unknown_model_is_a_problem_but_a_hub_name_may_be_added(reader: CatalogueReader) -> None:
    with pytest.raises(ProblemError) as caught:
        reader.model("hf-hub:someone/something")
    assert _code(caught) is ProblemCode.MODEL_UNKNOWN
    assert reader.nameable("hf-hub:someone/something").source == "hub"
    with pytest.raises(ProblemError) as caught:
        reader.nameable("nonsense")
    assert _code(caught) is ProblemCode.MODEL_UNKNOWN
    with pytest.raises(ProblemError):
        reader.nameable("hf-hub: ")


def test_directories_may_be_forbidden(redis_client: fakeredis.FakeRedis, published: None) -> None:
    assert CatalogueReader(redis_client).nameable("local-dir:birds").source == "own"
    with pytest.raises(ProblemError) as caught:
        CatalogueReader(redis_client, local_dirs=False).nameable("local-dir:birds")
    assert _code(caught) is ProblemCode.FORBIDDEN


def test_seconds_come_from_the_measured_rate(redis_client: fakeredis.FakeRedis, reader: CatalogueReader) -> None:
    redis_client.hset(names.RATES, "tiny-cnn", "20.0")
    found = {item.method: item for item in reader.capabilities(["tiny-cnn"])}
    assert (found["plain"].seconds, found["aimed"].seconds) == (2.0, 20.0)
    assert "answer" not in found


def test_without_a_rate_there_are_no_seconds(reader: CatalogueReader) -> None:
    assert all(item.seconds is None for item in reader.capabilities(["tiny-cnn"]))


def test_a_reason_and_a_remedy_are_kept(reader: CatalogueReader) -> None:
    plain = next(item for item in reader.capabilities(["no-grid"]) if item.method == "plain")
    assert (plain.possible, plain.reason, plain.remedy) == (False, "It has no grid.", "Use a CNN.")


def test_a_model_nobody_looked_at_says_so_and_one_described_on_demand_has_its_own_answer(
    redis_client: fakeredis.FakeRedis, reader: CatalogueReader
) -> None:
    before = reader.capabilities(["resnet18.a1_in1k"])
    assert {item.possible for item in before} == {False}
    assert "not been looked at" in before[0].reason
    answers = [Capability(model="resnet18.a1_in1k", method="plain", possible=True, passes=7)]
    redis_client.hset(names.CAPABILITIES, "resnet18.a1_in1k", json.dumps([a.model_dump() for a in answers]))
    after = {item.method: item for item in reader.capabilities(["resnet18.a1_in1k"])}
    assert after["plain"].possible
    assert not after["aimed"].possible


def test_a_card_with_a_problem_can_be_tried_again(redis_client: fakeredis.FakeRedis, reader: CatalogueReader) -> None:
    problem = make_problem(ProblemCode.WEIGHTS_MISSING, "The hub cannot be reached.")
    card = make_model("resnet18.a1_in1k", described=False, problem=problem)
    redis_client.hset(names.CARDS, card.name, card.model_dump_json())
    assert reader.capabilities(["resnet18.a1_in1k"])[0].reason == "The hub cannot be reached."
    assert reader.nameable("resnet18.a1_in1k").problem is None
    reader.forget_problem("resnet18.a1_in1k")
    assert reader.model("resnet18.a1_in1k").problem is None


def test_a_new_catalogue_is_seen_when_the_old_reading_is_no_longer_fresh(
    redis_client: fakeredis.FakeRedis, reader: CatalogueReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(reader.methods()) == 3
    redis_client.set(names.CATALOGUE, make_catalogue().model_copy(update={"methods": ()}).model_dump_json())
    monkeypatch.setattr("backend.catalogue.FRESH_S", -1.0)
    assert reader.methods() == ()


def test_the_answering_method_is_found_by_its_kind(reader: CatalogueReader) -> None:
    assert reader.prediction_method(make_model()).name == "answer"


def test_what_another_version_published_counts_as_not_there(redis_client: fakeredis.FakeRedis) -> None:
    redis_client.set(names.CATALOGUE, b'{"methods": [], "models": [], "shape": "of tomorrow"}')
    assert CatalogueReader(redis_client).methods() == ()


def test_a_card_of_another_version_can_be_made_again(
    redis_client: fakeredis.FakeRedis, reader: CatalogueReader
) -> None:
    name = "resnet50.a1_in1k"
    redis_client.hset(names.CARDS, name, b'{"name": "resnet50.a1_in1k", "shape": "of yesterday"}')
    redis_client.hset(names.CAPABILITIES, name, b'[{"shape": "of yesterday"}]')
    assert not reader.model(name).described
    assert reader.capability(name, "plain") is None
    reader.forget_problem(name)
    assert not redis_client.hexists(names.CARDS, name)
