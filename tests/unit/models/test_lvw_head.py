"""Facts about visual words: distances, similarity, losses against numpy, alignment and projection."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.ndimage
import torch
from torch import Tensor, nn

from models.heads.lvw import (
    LossWeights,
    VisualWordNetwork,
    WordOutput,
    alignment_loss,
    integrated_map,
    lvw_loss,
    project_words,
    similarity,
)


def _noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _network(words: int = 7, classes: int = 3, depth: int = 5, *, init: str = "nominal") -> VisualWordNetwork:
    torch.manual_seed(0)
    trunk = nn.Conv2d(3, 6, 4, stride=4)
    return VisualWordNetwork(
        trunk, trunk_channels=6, class_count=classes, word_count=words, depth=depth, classifier_init=init
    ).double()


def _identity_network(words: Tensor, classes: int = 2) -> VisualWordNetwork:
    """A network whose cells are the pixels of its pictures."""
    network = VisualWordNetwork(
        nn.Identity(),
        trunk_channels=words.shape[1],
        class_count=classes,
        word_count=len(words),
        depth=words.shape[1],
        classifier_init="zero",
    )
    network.add_on = nn.Identity()
    network.words.data = words.clone()
    return network.eval()


def test_similarity_has_its_known_values_and_falls_strictly() -> None:
    known = similarity(torch.tensor([0.0, 1.0, 128.0], dtype=torch.float64))
    assert known.tolist() == pytest.approx([9.210340, 0.693047, 0.007781], abs=1e-6)
    values = similarity(torch.linspace(0, 200, 5000, dtype=torch.float64))
    assert (values.diff() < 0).all()
    assert (values > 0).all()
    zero = torch.zeros(1, requires_grad=True)
    similarity(zero).backward()
    assert zero.grad is not None
    assert zero.grad.isfinite().all()


def test_expanded_distances_equal_differences() -> None:
    network = _network().float()
    pictures = _noise(2, 3, 16, 16).float()
    with torch.no_grad():
        fast, exact = network.train()(pictures).distances, network.eval()(pictures).distances
    assert (fast >= 0).all()
    assert torch.allclose(fast, exact, atol=5e-5)


def test_scores_are_the_best_similarity_and_logits_their_weighted_sum() -> None:
    network = _network().eval()
    output = network(_noise(2, 3, 16, 12))
    logits, distances, scores = output
    assert torch.allclose(scores, similarity(distances).amax((2, 3)))
    assert torch.allclose(logits, scores @ network.classifier.weight.T)
    contributions = network.classifier.weight[None] * scores[:, None]
    assert torch.allclose(contributions.sum(2), logits)


def test_cells_lie_between_zero_and_one_on_the_grid_of_the_trunk() -> None:
    cells = _network().cells(_noise(2, 3, 16, 12) * 100 - 50)
    assert cells.shape == (2, 5, 4, 3)
    assert (cells >= 0).all()
    assert (cells <= 1).all()


def test_long_word_lists_are_chunked_without_a_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    network = _network(words=11).eval()
    pictures = _noise(2, 3, 16, 16)
    whole = network(pictures).distances
    monkeypatch.setattr("models.heads.lvw.CHUNK_BYTES", 1)
    assert torch.equal(network(pictures).distances, whole)


@pytest.mark.parametrize(("words", "classes"), [(7, 3), (185, 37), (5, 5)])
def test_nominal_weights_give_each_word_one_class(words: int, classes: int) -> None:
    weights = _network(words, classes).classifier.weight.detach()
    assert ((weights == 1).sum(0) == 1).all()
    assert ((weights == 1) | (weights == -0.5)).all()
    if (words, classes) == (185, 37):
        assert float(weights.abs().sum()) == 3515


def test_fewer_words_than_classes_need_the_start_at_zero() -> None:
    with pytest.raises(ValueError, match="zero"):
        _network(2, 3)
    assert (_network(2, 3, init="zero").classifier.weight == 0).all()


def _numpy_loss(
    output: WordOutput, labels: np.ndarray, attention: np.ndarray | None, weights: LossWeights
) -> dict[str, float]:
    logits, distances, scores = (x.detach().numpy() for x in output)
    shifted = logits - logits.max(1, keepdims=True)
    entropy = float(np.mean(np.log(np.exp(shifted).sum(1)) - shifted[np.arange(len(labels)), labels]))
    cluster = float(distances.reshape(len(labels), -1).min(1).mean())
    l1 = float(np.abs(output.classifier.detach().numpy()).sum())  # type: ignore[union-attr]
    aligned = 0.0
    if attention is not None:
        size = attention.shape[-1]
        sims = np.log((distances + 1) / (distances + 1e-4))
        maps = []
        for row in range(len(labels)):
            best = np.argsort(-scores[row], kind="stable")[: weights.k]
            height, width = sims.shape[2:]
            grid = np.stack(
                np.meshgrid(np.linspace(0, height - 1, size), np.linspace(0, width - 1, size), indexing="ij")
            )
            top = np.max([scipy.ndimage.map_coordinates(sims[row, p], grid, order=1) for p in best], axis=0)
            maps.append(top / (top.max() + 1e-5))
        aligned = float(np.mean((np.stack(maps) - attention) ** 2))
    total = entropy + weights.cluster * cluster + weights.l1 * l1 + weights.alignment * aligned
    return {"total": total, "cross_entropy": entropy, "cluster": cluster, "l1": l1, "alignment": aligned}


@pytest.mark.parametrize("aligned", [False, True])
def test_the_loss_equals_an_independent_computation(aligned: bool) -> None:
    output = _network()(_noise(4, 3, 16, 16))
    labels = torch.tensor([0, 2, 1, 2])
    attention = _noise(4, 13, 13, seed=5) if aligned else None
    weights = LossWeights(k=3)
    terms = lvw_loss(output, labels, attention, weights)
    expected = _numpy_loss(output, labels.numpy(), None if attention is None else attention.numpy(), weights)
    for name, value in expected.items():
        assert float(getattr(terms, name).detach()) == pytest.approx(value, rel=1e-9), name


def test_the_order_of_words_and_nominal_classes_does_not_matter() -> None:
    network = _network().eval()
    pictures, attention = _noise(3, 3, 16, 16), _noise(3, 9, 9, seed=1)
    labels = torch.tensor([0, 1, 2])
    before = lvw_loss(network(pictures), labels, attention, LossWeights(k=2))
    order = torch.randperm(7, generator=torch.Generator().manual_seed(4))
    network.words.data = network.words.data[order]
    network.classifier.weight.data = network.classifier.weight.data[:, order]
    after = lvw_loss(network(pictures), labels, attention, LossWeights(k=2))
    assert torch.allclose(before.total, after.total)
    relabelled = lvw_loss(network(pictures), labels.roll(1), attention, LossWeights(k=2))
    assert torch.equal(after.cluster, relabelled.cluster)
    assert torch.equal(after.alignment, relabelled.alignment)


def test_alignment_reaches_the_chosen_words_and_never_the_classifier() -> None:
    network = _network(words=6).train()
    pictures, attention = _noise(2, 3, 16, 16), _noise(2, 8, 8, seed=2)
    output = network(pictures)
    alignment_loss(similarity(output.distances), output.scores, attention, k=2).backward()
    chosen = torch.argsort(output.scores, dim=1, descending=True, stable=True)[:, :2].unique().tolist()
    assert network.classifier.weight.grad is None
    moved = [p for p in range(6) if network.words.grad[p].abs().sum() > 0]  # type: ignore[index]
    assert moved
    assert set(moved) <= set(chosen)
    assert network.trunk.weight.grad.abs().sum() > 0  # type: ignore[union-attr]
    assert network.add_on[0].weight.grad.abs().sum() > 0  # type: ignore[union-attr]


def test_alignment_is_zero_for_the_map_itself_and_follows_mirroring_only_together() -> None:
    maps, scores = _noise(2, 5, 6, 6), _noise(2, 5, seed=1)
    own = integrated_map(maps, scores, 3, 20)
    assert float(alignment_loss(maps, scores, own, 3)) == 0
    target = _noise(2, 20, 20, seed=3)
    plain = alignment_loss(maps, scores, target, 3)
    assert torch.allclose(plain, alignment_loss(maps.flip(-1), scores, target.flip(-1), 3))
    assert not torch.allclose(plain, alignment_loss(maps.flip(-1), scores, target, 3))


def test_more_words_asked_than_there_are_and_ties_take_the_lowest() -> None:
    maps = _noise(1, 3, 4, 4)
    assert torch.equal(integrated_map(maps, torch.ones(1, 3), 10, 8), integrated_map(maps, torch.ones(1, 3), 3, 8))
    assert torch.equal(
        integrated_map(maps, torch.ones(1, 3), 1, 8), integrated_map(maps[:, :1], torch.ones(1, 1), 1, 8)
    )


@pytest.mark.parametrize("labels", [torch.tensor([0, 3]), torch.tensor([-1, 0]), torch.tensor([0])])
def test_labels_outside_their_range_are_refused(labels: Tensor) -> None:
    with pytest.raises(ValueError, match="labels"):
        lvw_loss(_network()(_noise(2, 3, 8, 8)), labels, None, LossWeights())


@pytest.mark.parametrize("shape", [(2, 8, 9), (3, 8, 8), (2, 1, 8, 8)])
def test_attention_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="attention"):
        lvw_loss(_network()(_noise(2, 3, 8, 8)), torch.tensor([0, 1]), torch.zeros(shape), LossWeights())


def _batches(pictures: Tensor, labels: Tensor, size: int) -> list[tuple[Tensor, Tensor, str]]:
    return [(p, y, "extra") for p, y in zip(pictures.split(size), labels.split(size), strict=True)]


@pytest.mark.parametrize("size", [1, 3, 10])
def test_projection_makes_every_word_a_real_cell_whatever_the_batch(size: int) -> None:
    pictures, labels = _noise(10, 4, 3, 5), torch.arange(10) % 2
    network = _identity_network(_noise(6, 4, seed=9))
    before = network.words.detach().clone()
    found = project_words(network, _batches(pictures, labels, size))  # type: ignore[arg-type]
    for word in range(6):
        picture, (row, column) = int(found.source_index[word]), found.cell[word].tolist()
        assert torch.equal(network.words[word], pictures[picture, :, row, column])
        assert found.source_label[word] == labels[picture]
        every = (pictures - before[word][None, :, None, None]).square().sum(1)
        assert float(found.distance[word]) == pytest.approx(float(every.min()))
        assert float(every[picture, row, column]) == float(every.min())


def test_projecting_twice_is_projecting_once_and_a_word_is_its_own_best_match() -> None:
    pictures, labels = _noise(6, 4, 3, 3), torch.zeros(6, dtype=torch.long)
    network = _identity_network(_noise(5, 4, seed=2))
    first = project_words(network, _batches(pictures, labels, 2))  # type: ignore[arg-type]
    words = network.words.detach().clone()
    second = project_words(network, _batches(pictures, labels, 2))  # type: ignore[arg-type]
    assert torch.equal(words, network.words)
    assert (second.distance == 0).all()
    best = torch.stack([network(pictures[i : i + 1]).scores[0, p] for p, i in enumerate(first.source_index.tolist())])
    assert best.tolist() == pytest.approx([9.2103] * 5, abs=1e-4)


def test_ties_go_to_the_first_picture_and_cell_and_duplicates_are_counted() -> None:
    cell = torch.tensor([0.25, 0.75], dtype=torch.float64)
    pictures = torch.zeros(3, 2, 2, 2, dtype=torch.float64)
    pictures[1, :, 1, 0] = pictures[1, :, 1, 1] = pictures[2, :, 0, 0] = cell
    network = _identity_network(torch.stack([cell + 0.01, cell - 0.01]))
    found = project_words(network, [(pictures, torch.tensor([5, 6, 7]))])
    assert found.source_index.tolist() == [1, 1]
    assert found.cell.tolist() == [[1, 0], [1, 0]]
    assert found.source_label.tolist() == [6, 6]
    assert found.distinct == 1


def test_projection_restores_the_mode_also_after_an_error() -> None:
    network = _network().train()
    network.add_on.eval()

    def broken() -> object:
        yield _noise(1, 3, 8, 8), torch.zeros(1, dtype=torch.long)
        raise RuntimeError("disk")

    with pytest.raises(RuntimeError, match="disk"):
        project_words(network, broken())  # type: ignore[arg-type]
    assert network.training
    assert network.trunk.training
    assert not network.add_on.training
    with pytest.raises(ValueError, match="picture"):
        project_words(network, [])


def test_without_attention_there_is_no_alignment() -> None:
    terms = lvw_loss(_network()(_noise(2, 3, 8, 8)), torch.tensor([0, 1]), None, LossWeights())
    assert float(terms.alignment) == 0
