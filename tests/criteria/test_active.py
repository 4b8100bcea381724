import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from coppice.core.errors import CoppiceError
from coppice.criteria import registry, summaries
from coppice.criteria.evidence import Evidence
from coppice.criteria.ranking import Ranking
from coppice.criteria.registry import criterion, criterion_names, criterion_needs, needs_clips, rank

ACTIVE = ["apoz", "feature_map_rank", "feature_map_similarity", "mean_activation", "nuclear_norm", "taylor"]
SHAPES = [(3, 8, 6, 10), (2, 5, 10, 6), (4, 7, 12), (6, 9), (2, 4, 2, 3, 5)]


def maps_of(shape, seed=0):
    """Maps as a ReLU leaves them, in float32; some of low rank, one filter silent."""
    maps = np.random.default_rng(seed).standard_normal(shape).clip(0).astype(np.float32)
    maps[:, 1] = 0
    if len(shape) == 4:
        rows, columns = np.random.default_rng(seed + 1).random((2, *shape[2:3], 2)), shape[3]
        maps[:, 2] = (rows[0] @ np.random.default_rng(seed + 2).random((2, columns))).astype(np.float32)
        maps[:, 3] = np.float32(0.7)
    return maps


def matrices(maps):
    return maps.reshape(*maps.shape[:2], maps.shape[2] if maps.ndim > 3 else 1, -1).astype(np.float64)


def expected_scores(name, maps, gradients):
    """Every criterion clip by clip and filter by filter, from its paper's description, in float64."""
    scores = np.zeros(maps.shape[:2])
    for clip, filter_ in np.ndindex(scores.shape):
        one, matrix = maps[clip, filter_].astype(np.float64), matrices(maps)[clip, filter_]
        values = np.linalg.svd(matrix, compute_uv=False)
        scores[clip, filter_] = {
            "apoz": 1 - np.mean(one == 0),
            "feature_map_rank": np.sum(values > values.max() * max(matrix.shape) * np.finfo(np.float32).eps),
            "mean_activation": np.mean(np.abs(one)),
            "nuclear_norm": values.sum(),
            "taylor": abs(np.mean(one * gradients[clip, filter_])),
        }[name]
    return scores.mean(axis=0)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", [name for name in ACTIVE if name != "feature_map_similarity"])
def test_scores_equal_the_papers_description_clip_by_clip(name, shape):
    maps = maps_of(shape)
    gradients = np.random.default_rng(9).standard_normal(shape)
    evidence = Evidence(maps=torch.from_numpy(maps), gradients=torch.from_numpy(gradients))
    found = rank(torch.zeros(shape[1], 1), name, evidence=evidence)
    np.testing.assert_allclose(found.scores, expected_scores(name, maps, gradients), rtol=1e-6, atol=1e-12)
    assert found.order == tuple(np.argsort(found.scores, kind="stable"))
    assert found.keep is None


def test_the_rank_is_the_one_that_torch_counts_on_float32_maps():
    maps = torch.from_numpy(maps_of((4, 8, 40, 50)))
    counted = torch.linalg.matrix_rank(maps).double().mean(dim=0)
    assert rank(torch.zeros(8, 1), "feature_map_rank", evidence=Evidence(maps=maps)).scores == tuple(counted.tolist())
    assert counted[:4].tolist() == [40.0, 0.0, 2.0, 1.0]


def published_similarity(maps):
    """The greedy pass of Interspeech 2022 over one long vector per filter."""
    rows = maps.swapaxes(0, 1).reshape(maps.shape[1], -1).astype(np.float64)
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    distances = (1 - rows @ rows.T).round(12)
    np.fill_diagonal(distances, np.inf)
    important, redundant = [], []
    for index in np.argsort(distances.min(axis=1), kind="stable"):
        if index not in redundant:
            important.append(index)
            redundant.append(distances[index].argmin())
    return tuple(sorted(map(int, important))), distances.min(axis=1)


@pytest.mark.parametrize("shape", [(3, 12, 6, 10), (4, 30, 12), (16, 9)])
def test_similar_maps_are_found_as_the_published_pass_finds_them(shape):
    maps = np.random.default_rng(3).standard_normal(shape).clip(0).astype(np.float32) + 0.01
    found = rank(torch.zeros(shape[1], 1), "feature_map_similarity", evidence=Evidence(maps=torch.from_numpy(maps)))
    keep, nearest = published_similarity(maps)
    assert found.keep == keep
    assert found.keep_count(len(keep)) == keep
    np.testing.assert_allclose(found.scores, nearest, atol=1e-9)


def test_filters_that_hand_on_nothing_go_before_all_others():
    maps = torch.from_numpy(maps_of((3, 8, 6, 10)))
    maps[:, 5] = 0
    for name in ("apoz", "feature_map_rank", "feature_map_similarity", "mean_activation", "nuclear_norm"):
        found = rank(torch.zeros(8, 1), name, evidence=Evidence(maps=maps))
        assert found.order[:2] == (1, 5), name
        assert found.keep is None or not {1, 5} & set(found.keep)


def test_a_layer_that_hands_on_nothing_at_all_keeps_one_filter():
    found = rank(torch.zeros(3, 1), "feature_map_similarity", evidence=Evidence(maps=torch.zeros(2, 3, 4)))
    assert (found.order, found.keep) == ((0, 1, 2), (2,))


def test_a_doubled_map_is_redundant_whatever_its_scale():
    maps = torch.rand(2, 4, 5, 6)
    maps[:, 3] = 3 * maps[:, 1]
    found = rank(torch.zeros(4, 1), "feature_map_similarity", evidence=Evidence(maps=maps))
    assert found.order[0] == 3 and 1 in found.keep
    assert found.scores[1] == found.scores[3] == 0.0


@given(seed=st.integers(0, 10_000), filters=st.integers(2, 9))
@settings(max_examples=25, deadline=None, derandomize=True)
def test_a_permutation_of_the_filters_permutes_the_scores(seed, filters):
    generator = torch.Generator().manual_seed(seed)
    maps = torch.rand(3, filters, 4, 5, generator=generator) - 0.2
    maps = maps.clamp(min=0)
    gradients = torch.randn(maps.shape, generator=generator)
    new = torch.randperm(filters, generator=generator)
    for name in ACTIVE:
        before, after = (
            rank(torch.zeros(filters, 1), name, evidence=Evidence(maps=maps[:, at], gradients=gradients[:, at]))
            for at in (torch.arange(filters), new)
        )
        np.testing.assert_allclose(np.array(before.scores)[new], after.scores, rtol=1e-9, atol=1e-12)


def test_active_criteria_say_what_they_look_at():
    assert {name for name in criterion_names() if needs_clips(name)} >= set(ACTIVE)
    assert not needs_clips("l1")
    for name in ACTIVE:
        with pytest.raises(CoppiceError, match=f"criterion '{name}' needs clips .*: give clips"):
            rank(torch.zeros(3, 1), name)
    with pytest.raises(CoppiceError, match="'taylor' needs clips with labels that the network knows"):
        rank(torch.zeros(3, 1), "taylor", evidence=Evidence(maps=torch.rand(2, 3, 4)))


@pytest.mark.parametrize(
    ("evidence", "said"),
    [
        (Evidence(maps=torch.rand(2, 4, 5)), "maps of shape .2, 4, 5. do not fit 3 filters"),
        (Evidence(maps=torch.rand(3)), "do not fit 3 filters; give .clips, filters"),
        (Evidence(maps=torch.rand(0, 3, 5)), "do not fit"),
        (Evidence(maps=torch.full((2, 3, 5), float("nan"))), "maps hold values that are not finite"),
        (Evidence(maps=torch.rand(2, 3, 5), gradients=torch.rand(2, 3, 4)), "do not go with maps"),
        (Evidence(maps=torch.rand(2, 3, 5), gradients=torch.full((2, 3, 5), float("inf"))), "gradients hold"),
        (Evidence(summaries={"saliency": torch.rand(4)}), "saliency of shape .4,. do not fit 3 filters"),
        (Evidence(summaries={"saliency": torch.tensor([1.0, float("nan"), 2.0])}), "saliency hold"),
    ],
)
def test_evidence_that_does_not_fit_the_layer_is_refused(evidence, said):
    with pytest.raises(CoppiceError, match=said):
        rank(torch.zeros(3, 1), "taylor", evidence=evidence)


def test_counting_zeros_where_there_are_none_is_refused():
    with pytest.raises(CoppiceError, match="hands on none: there is no ReLU behind it"):
        rank(torch.zeros(3, 1), "apoz", evidence=Evidence(maps=torch.rand(2, 3, 4) + 1))


def test_a_users_criterion_reads_maps_or_a_summary_of_its_own(monkeypatch):
    monkeypatch.setattr(summaries, "_SUMMARIES", dict(summaries._SUMMARIES))
    monkeypatch.setattr(registry, "_CRITERIA", dict(registry._CRITERIA))

    @criterion("whole")
    def whole(weight, *, maps):
        return Ranking.from_scores("whole", maps.amax(dim=(0, 2)))

    @summaries.summary
    def largest(maps):
        return maps.flatten(2).amax(dim=2).mean(dim=0)

    @criterion("summed")
    def summed(weight, *, largest):
        return Ranking.from_scores("summed", largest)

    evidence = Evidence(maps=torch.tensor([[[1.0, 5.0], [3.0, 3.0]]]))
    assert criterion_needs("summed") == {"largest"}
    assert [rank(torch.zeros(2, 1), name, evidence=evidence).order for name in ("whole", "summed")] == [(1, 0)] * 2
    with pytest.raises(CoppiceError, match="already something called 'largest'"):
        summaries.summary(largest)


def test_what_a_criterion_or_summary_cannot_ask_for_is_refused():
    with pytest.raises(CoppiceError, match=r"criterion 'mine' asks for 'map'\. Did you mean 'maps'"):

        @criterion("mine")
        def mine(weight, *, map): ...

    assert "mine" not in criterion_names()
    with pytest.raises(CoppiceError, match="summary 'odd' takes weights; let it take maps"):

        @summaries.summary
        def odd(weights): ...
