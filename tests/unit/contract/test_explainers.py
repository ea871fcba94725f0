"""The shelf of explainers: complete or not there, checked before use; and a question names the one it means."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from backend.contract.explainers import MANIFEST, ExplainerRecord, ExplainerShelf, is_safe_name
from backend.contract.keys import run_key
from backend.contract.params import fill_params, resolve_explainer
from backend.contract.problems import ProblemCode, ProblemError
from backend.contract.schemas import ExplainerCard, MethodCard, ModelCard, ModelKind, PictureRecord, RunRequest

BASE = "ab" * 32
OTHER = "cd" * 32


def content(id: str = "book-1", *, created: float = 10.0, base: str = BASE, **changes: Any) -> dict[str, Any]:
    return {
        "method": "words",
        "id": id,
        "created": created,
        "base": {"name": "net", "weights_digest": base, "preprocessing": "128 squash"},
        "classes": ["a", "b"],
        "data": {"name": "finches", "digest": "0" * 64},
        "metrics": {"accuracy": 0.75, "curve": [1, 2]},
        **changes,
    }


@pytest.fixture
def shelf(tmp_path: Path) -> ExplainerShelf:
    return ExplainerShelf(tmp_path / "shelf", builtin=None)


def published(shelf: ExplainerShelf, **changes: Any) -> ExplainerRecord:
    folder = shelf.temporary()
    (folder / "network.bin").write_bytes(b"weights")
    (folder / "words").mkdir()
    (folder / "words" / "0001-0.webp").write_bytes(b"crop")
    return shelf.publish(folder, content(**changes))


def card_of(weights: str) -> ModelCard:
    return ModelCard(name="net", title="Net", kind=ModelKind.CLASSIFIER, source="own", weights=weights)


def test_what_was_published_is_found_with_its_files(shelf: ExplainerShelf) -> None:
    published(shelf)
    found = shelf.find("words", BASE)
    assert found is not None
    assert found.path("network.bin").read_bytes() == b"weights"
    assert found.manifest.files["words/0001-0.webp"] == hashlib.sha256(b"crop").hexdigest()
    assert found.folder.relative_to(shelf.folder or Path()).as_posix() == f"words/{BASE[:16]}/book-1"


def test_the_newest_is_the_default_and_of_equally_new_ones_the_lowest_id(shelf: ExplainerShelf) -> None:
    for id, created in (("old", 1.0), ("new-b", 5.0), ("new-a", 5.0)):
        published(shelf, id=id, created=created)
    assert [record.id for record in shelf.list("words", BASE)] == ["new-a", "new-b", "old"]
    found = shelf.find("words", BASE, "auto")
    assert found is not None
    assert found.id == "new-a"
    older = shelf.find("words", BASE, "old")
    assert older is not None
    assert older.id == "old"


def test_an_explainer_of_other_weights_or_another_method_is_not_found(shelf: ExplainerShelf) -> None:
    published(shelf)
    assert shelf.find("words", OTHER) is None
    assert shelf.find("groups", BASE) is None
    with pytest.raises(ProblemError) as caught:
        shelf.find("words", OTHER, "book-1")
    assert caught.value.code is ProblemCode.NOT_FOUND


def test_without_its_manifest_a_folder_does_not_exist(shelf: ExplainerShelf) -> None:
    (published(shelf).folder / MANIFEST).unlink()
    assert shelf.list() == []
    assert shelf.find("words", BASE) is None


@pytest.mark.parametrize("harm", ["change", "remove"])
def test_a_damaged_one_is_skipped_unless_it_is_asked_for_by_name(shelf: ExplainerShelf, harm: str) -> None:
    published(shelf, id="good", created=1.0)
    weights = published(shelf, id="bad", created=2.0).folder / "network.bin"
    weights.write_bytes(b"other weights") if harm == "change" else weights.unlink()
    found = shelf.find("words", BASE)
    assert found is not None
    assert found.id == "good"
    with pytest.raises(ProblemError, match=r"network\.bin") as caught:
        shelf.find("words", BASE, "bad")
    assert caught.value.code is ProblemCode.MODEL_BROKEN
    assert [card.id for card in shelf.on_card(card_of(BASE)).explainers] == ["good"]


@pytest.mark.parametrize(
    "spoil",
    [
        {"schema_version": 99},
        {"id": "someone-else"},
        {"base": {"name": "net", "weights_digest": OTHER, "preprocessing": ""}},
        {"files": {"../secret": "0" * 64}},
        {"files": {"network.bin": "no digest"}},
    ],
)
def test_a_manifest_that_is_no_good_hides_its_folder(shelf: ExplainerShelf, spoil: dict[str, Any]) -> None:
    path = published(shelf).folder / MANIFEST
    path.write_text(json.dumps({**json.loads(path.read_text()), **spoil}))
    assert shelf.list() == []


def test_text_that_is_no_json_hides_its_folder(shelf: ExplainerShelf) -> None:
    (published(shelf).folder / MANIFEST).write_text("{")
    assert shelf.list() == []


@pytest.mark.parametrize("name", ["../x", "/x", "a/../b", "a//b", ".hidden", "a\\b", "", "a/b/c/d", "C:x", "a\n"])
def test_names_that_lead_elsewhere_are_refused(shelf: ExplainerShelf, name: str) -> None:
    assert not is_safe_name(name)
    with pytest.raises(ProblemError):
        published(shelf).path(name)


@pytest.mark.parametrize("id", ["..", "a/b", "", "A", ".part-1"])
def test_an_id_that_is_no_folder_name_is_not_published(shelf: ExplainerShelf, id: str) -> None:
    with pytest.raises(ValueError, match="id"):
        published(shelf, id=id)
    assert shelf.list() == []


def test_a_named_file_that_is_missing_stops_the_publishing(shelf: ExplainerShelf) -> None:
    folder = shelf.temporary()
    with pytest.raises(ValueError, match="missing"):
        shelf.publish(folder, content(files={"network.bin": "0" * 64}))
    assert shelf.list() == []


def test_what_is_deleted_is_gone_with_all_its_files(shelf: ExplainerShelf) -> None:
    folder = published(shelf).folder
    shelf.delete("words", BASE, "book-1")
    assert not folder.exists()
    with pytest.raises(ProblemError) as caught:
        shelf.delete("words", BASE, "book-1")
    assert caught.value.code is ProblemCode.NOT_FOUND


@pytest.mark.parametrize("id", ["..", "../../words", "."])
def test_deleting_reaches_nothing_outside_the_shelf(shelf: ExplainerShelf, id: str) -> None:
    folder = published(shelf).folder
    with pytest.raises(ProblemError):
        shelf.delete("words", BASE, id)
    assert (folder / MANIFEST).is_file()


def test_what_came_with_vitrine_is_found_but_never_deleted(tmp_path: Path) -> None:
    maker = ExplainerShelf(tmp_path / "builtin", builtin=None)
    published(maker)
    shelf = ExplainerShelf(tmp_path / "own", builtin=tmp_path / "builtin")
    found = shelf.find("words", BASE)
    assert found is not None
    assert found.card().is_builtin
    with pytest.raises(ProblemError) as caught:
        shelf.delete("words", BASE, "book-1")
    assert caught.value.code is ProblemCode.FORBIDDEN
    assert shelf.find("words", BASE) is not None


def test_publishing_the_same_again_keeps_the_first(shelf: ExplainerShelf) -> None:
    first = published(shelf, created=1.0)
    published(shelf, created=2.0)
    assert [record.manifest.created for record in shelf.list()] == [1.0]
    assert [path.name for path in first.folder.parent.iterdir()] == ["book-1"]
    assert not [path for path in (shelf.folder or Path()).iterdir() if path.name.startswith(".part-")]


def test_a_model_of_unknown_digest_has_the_explainers_of_its_name_until_it_is_loaded(shelf: ExplainerShelf) -> None:
    published(shelf)
    assert [one.id for one in shelf.on_card(card_of("hub:net")).explainers] == ["book-1"]
    assert shelf.on_card(card_of("hub:net"), OTHER).explainers == ()
    assert shelf.on_card(card_of(OTHER)).explainers == ()
    card = shelf.on_card(card_of(BASE)).explainers[0]
    assert (card.method, card.data, card.class_count) == ("words", "finches", 2)
    assert card.metrics == {"accuracy": 0.75}


SCHEMA: dict[str, Any] = {
    "properties": {
        "mode": {"default": "auto", "type": "string", "when_explainer": "trained", "otherwise": "post_hoc"},
        "book": {"default": "auto", "type": "string", "explainer": True},
        "top": {"default": 3, "type": "integer"},
    }
}
ONLY_ID: dict[str, Any] = {"properties": {"book": {"default": None, "explainer": True}}}


def cards(*ids: str, method: str = "words") -> tuple[ExplainerCard, ...]:
    return tuple(
        ExplainerCard(
            method=method, id=id, title=id, created=0.0, base="net", base_digest=BASE, preprocessing="128 squash"
        )
        for id in ids
    )


@pytest.mark.parametrize(
    ("given", "known", "wanted"),
    [
        ({}, (), {"mode": "post_hoc", "book": "auto"}),
        ({}, ("new", "old"), {"mode": "trained", "book": "new"}),
        ({"book": "old"}, ("new", "old"), {"mode": "trained", "book": "old"}),
        ({"book": "gone"}, (), {"mode": "trained", "book": "gone"}),
        ({"mode": "post_hoc"}, ("new",), {"mode": "post_hoc", "book": "auto"}),
        ({"mode": "post_hoc", "book": "new"}, ("new",), {"mode": "post_hoc", "book": "auto"}),
        ({"mode": "trained"}, ("new",), {"mode": "trained", "book": "new"}),
        ({"mode": "trained"}, (), {"mode": "trained", "book": "auto"}),
    ],
)
def test_an_open_explainer_is_named_in_the_question(
    given: dict[str, Any], known: tuple[str, ...], wanted: dict[str, Any]
) -> None:
    resolved = resolve_explainer(SCHEMA, fill_params(SCHEMA, given), "words", cards(*known))
    assert resolved == {**wanted, "top": 3}


def test_a_parameter_without_a_mode_is_named_as_well() -> None:
    assert resolve_explainer(ONLY_ID, {"book": None}, "words", cards("new")) == {"book": "new"}
    assert resolve_explainer(ONLY_ID, {"book": None}, "words", ()) == {"book": None}


def test_the_explainers_of_other_methods_do_not_count() -> None:
    assert resolve_explainer(ONLY_ID, {"book": None}, "words", cards("x", method="groups")) == {"book": None}


def test_a_method_without_explainers_keeps_its_parameters() -> None:
    schema = {"properties": {"mode": {"default": "auto"}}}
    assert resolve_explainer(schema, {"mode": "auto"}, "words", cards("new")) == {"mode": "auto"}


def test_a_newly_trained_explainer_makes_a_new_question_of_the_same_words() -> None:
    from backend.requests import make_spec as ask_backend
    from tests.backend_fakes import IMAGE_ID, make_method, make_model

    method = make_method("words", params_schema=SCHEMA)
    request = RunRequest(image_id=IMAGE_ID, model="tiny-cnn", method="words")
    before, after = (
        ask_backend(request, (IMAGE_ID,), make_model(explainers=known), method) for known in ((), cards("new"))
    )
    assert (before.params["mode"], after.params["mode"]) == ("post_hoc", "trained")
    assert after.params["book"] == "new"
    assert run_key(before) != run_key(after)


def test_the_command_line_asks_the_same_question_as_the_page() -> None:
    from backend.requests import make_spec as ask_backend
    from tests.backend_fakes import IMAGE_ID, make_method, make_model
    from tests.queue_fakes import Counting
    from workers.local import make_spec as ask_locally

    class Words(Counting):
        name = "words"

        def card(self) -> MethodCard:
            return make_method("words", version=self.version, params_schema=SCHEMA)

    model = make_model(explainers=cards("new"))
    picture = PictureRecord(id=IMAGE_ID, width=8, height=8)
    request = RunRequest(image_id=IMAGE_ID, model="tiny-cnn", method="words")
    here = ask_locally(model, Words(), [picture], params={})
    assert here == ask_backend(request, (IMAGE_ID,), model, Words().card())
