from __future__ import annotations

import importlib.util
import json
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from transformers import BertConfig, BertModel, BertTokenizer

from backend.contract.problems import ProblemCode, ProblemError
from models import embedders
from models.embedders import SentenceEmbedder, builtin_folder, load_embedder, use_embedder

SENTENCES = [
    "a red bird with a long beak on a branch",
    "a red bird",
    "two people are walking across a busy street in the rain while a dog looks on",
    "nothing to see",
    "a scarlet bird with a big bill sits on a twig",
]
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "red", "blue", "bird", "on", "branch"]


@pytest.fixture(autouse=True)
def _own_choice() -> Iterator[None]:
    yield
    use_embedder(None)


@pytest.fixture(scope="module")
def builtin() -> SentenceEmbedder:
    return load_embedder()


def directory(folder: Path, *, modules: list[tuple[str, str]], **pooling: Any) -> Path:
    """A sentence-transformers directory with a tiny random network."""
    torch.manual_seed(0)
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    BertModel(BertConfig(vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
                         intermediate_size=16, max_position_embeddings=32)).save_pretrained(folder)  # fmt: skip
    listing = [
        {"idx": place, "name": str(place), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for place, (kind, path) in enumerate(modules)
    ]
    (folder / "modules.json").write_text(json.dumps(listing))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"word_embedding_dimension": 16, **pooling}))
    return folder


def test_the_builtin_embedder_answers_like_sentence_transformers_itself(builtin: SentenceEmbedder) -> None:
    library = pytest.importorskip("sentence_transformers")
    model = library.SentenceTransformer(str(builtin_folder()), device="cpu", local_files_only=True)
    theirs = model.encode(SENTENCES, show_progress_bar=False, normalize_embeddings=True)
    np.testing.assert_allclose(builtin.encode(SENTENCES), theirs, atol=1e-6)


def test_vectors_have_unit_length_and_do_not_depend_on_their_company(builtin: SentenceEmbedder) -> None:
    together = SentenceEmbedder(builtin._encoder, dimension=384, name="", digest="").encode(SENTENCES)
    assert together.shape == (5, 384)
    assert together.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1.0, atol=1e-6)
    for row, text in enumerate(SENTENCES):
        alone = SentenceEmbedder(builtin._encoder, dimension=384, name="", digest="").encode([text])
        np.testing.assert_allclose(alone[0], together[row], atol=1e-6)


def test_a_paraphrase_is_closer_than_another_sentence_and_nothing_is_close_to_nothing(
    builtin: SentenceEmbedder,
) -> None:
    bird, _, street, _, paraphrase = builtin.encode(SENTENCES)
    assert bird @ paraphrase > bird @ street + 0.2
    assert not builtin.encode(["", "   "]).any()
    assert builtin.encode([]).shape == (0, 384)
    same = builtin.encode([SENTENCES[0], f"  {SENTENCES[0]} "])
    assert np.array_equal(same[0], same[1])


def test_the_builtin_embedder_needs_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    embedders._load.cache_clear()
    assert load_embedder().encode(["a red bird"]).shape == (1, 384)


def test_each_distinct_text_is_computed_once_in_batches_of_at_most_64() -> None:
    asked: list[list[str]] = []

    def encoder(texts: list[str]) -> NDArray[np.float32]:
        asked.append(texts)
        return np.array([[len(text), 1.0] for text in texts], np.float32)

    embedder = SentenceEmbedder(encoder, dimension=2, name="counted", digest="")
    first = embedder.encode(["one", "three", "one", "", " one "])
    assert sorted(text for some in asked for text in some) == ["one", "three"]
    assert np.array_equal(first[0], first[2])
    assert np.array_equal(first[0], first[4])
    embedder.encode(["three", "one"])
    assert len(asked) == 1
    embedder.encode([f"text {number}" for number in range(150)])
    assert [len(some) for some in asked[1:]] == [64, 64, 22]


def test_one_embedder_per_directory_and_process(builtin: SentenceEmbedder) -> None:
    assert load_embedder() is load_embedder()
    assert load_embedder(builtin_folder()) is load_embedder()
    assert builtin.name == "all-MiniLM-L6-v2"
    assert len(builtin.digest) == 64


@pytest.mark.parametrize(
    "pooling",
    [{"pooling_mode": "cls"}, {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False},
     {"pooling_mode_max_tokens": True}],
)  # fmt: skip
def test_any_directory_pools_as_its_own_settings_say(tmp_path: Path, pooling: dict[str, Any]) -> None:
    library = pytest.importorskip("sentence_transformers")
    plain = [("Transformer", ""), ("Pooling", "1_Pooling"), ("Normalize", "2_Normalize")]
    folder = directory(tmp_path / "tiny", modules=plain, **pooling)
    texts = ["a red bird", "blue", "a bird on a branch"]
    theirs = library.SentenceTransformer(str(folder), device="cpu").encode(texts, show_progress_bar=False)
    np.testing.assert_allclose(load_embedder(folder).encode(texts), theirs, atol=1e-6)


def test_the_setting_chooses_the_directory(tmp_path: Path) -> None:
    folder = directory(tmp_path / "mine", modules=[("Transformer", ""), ("Pooling", "1_Pooling")], pooling_mode="mean")
    use_embedder(folder)
    assert load_embedder().name == "mine"
    assert load_embedder().dimension == 16
    use_embedder(None)
    assert load_embedder().dimension == 384


def test_what_cannot_be_used_is_refused_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refusal(folder: Path) -> str:
        embedders._load.cache_clear()
        with pytest.raises(ProblemError) as caught:
            load_embedder(folder)
        assert caught.value.code is ProblemCode.MODEL_BROKEN
        return str(caught.value)

    plain = [("Transformer", ""), ("Pooling", "1_Pooling")]
    assert "modules.json" in refusal(tmp_path)
    assert "lasttoken" in refusal(directory(tmp_path / "last", modules=plain, pooling_mode="lasttoken"))
    outside = directory(tmp_path / "out", modules=[("Transformer", "../..")], pooling_mode="mean")
    assert "outside" in refusal(outside)
    unsafe = directory(tmp_path / "unsafe", modules=plain, pooling_mode="mean")
    shutil.move(unsafe / "model.safetensors", unsafe / "pytorch_model.bin")
    assert "unsafe" in refusal(unsafe)
    dense = directory(tmp_path / "dense", modules=[*plain, ("Dense", "2_Dense")], pooling_mode="mean")
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == "sentence_transformers" else find(name, *more)
    )
    assert "Dense" in refusal(dense)
