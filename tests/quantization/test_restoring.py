"""Which layers go back into float, on networks that are only said to lose something."""

from types import SimpleNamespace

import numpy as np
import pytest

from coppice.core.errors import CoppiceError
from coppice.quantization import restoring
from coppice.quantization.judge import Judge
from coppice.quantization.restoring import rounded_within

CLIPS = 100


@pytest.fixture
def lost(monkeypatch):
    """Let a network of layers a, b, c lose some of 100 clips for each layer that is in int8; return what was tried."""
    tried = []

    def let(**clips):
        def rounded_graph(model, inputs, *, in_float):
            tried.append(tuple(in_float))
            wrong = sum(lost for layer, lost in clips.items() if f"node {layer}" not in in_float)
            found = np.tile([0.9, 0.1], (CLIPS, 1))
            found[:wrong] = [0.4, 0.6]
            return SimpleNamespace(SerializeToString=lambda: found, in_float=tuple(in_float))

        monkeypatch.setattr(restoring, "layer_nodes", lambda model: {layer: f"node {layer}" for layer in clips})
        monkeypatch.setattr(restoring.onnx, "load_model_from_string", lambda content: content)
        monkeypatch.setattr(restoring, "rounded_graph", rounded_graph)
        monkeypatch.setattr(restoring, "parse_onnx", lambda content, name: content)
        monkeypatch.setattr(restoring, "onnxruntime_posteriors", lambda found, threads: lambda judged: found)
        return tried

    return let


def within(max_drop, **options):
    judge = Judge(np.tile([0.9, 0.1], (CLIPS, 1)), np.zeros(CLIPS, dtype=int))
    graph, drop = rounded_within(
        SimpleNamespace(content=b"", name="net"),
        np.zeros((8, 1)),
        judge=judge,
        judged=np.zeros((CLIPS, 1)),
        max_drop=max_drop,
        **options,
    )
    return graph.in_float, drop


def test_nothing_goes_back_where_little_enough_is_lost(lost):
    tried = lost(a=1, b=2)
    assert within(0.03) == ((), pytest.approx(0.03))
    assert within(None) == ((), pytest.approx(0.03))
    assert tried == [(), ()]


def test_what_hurts_most_goes_back_first_and_no_more_than_needed(lost):
    lost(a=3, b=20, c=5)
    assert within(0.08) == (("node b",), pytest.approx(0.08))
    assert within(0.03) == (("node b", "node c"), pytest.approx(0.03))


def test_a_layer_that_is_to_stay_in_float_does_in_every_trial(lost):
    tried = lost(a=3, b=20, c=5)
    assert within(0.04, in_float=["c"]) == (("node c", "node b"), pytest.approx(0.03))
    assert all(names[0] == "node c" for names in tried)


def test_a_drop_that_cannot_be_met_is_said_with_what_it_is(lost):
    lost(a=3, b=20, c=5)
    with pytest.raises(CoppiceError) as refusal:
        within(0.01)
    assert str(refusal.value) == (
        "int8 loses 28.0 % of the accuracy on 100 clips, and 3.0 % with all layers in float but a, where 1.0 % are "
        "allowed. Allow more, or store 16-bit numbers."
    )


def test_of_one_layer_nothing_can_go_back(lost):
    lost(a=9)
    with pytest.raises(CoppiceError, match=r"9\.0 % with all layers in float but a"):
        within(0.0)


def test_the_judge_weighs_taggers_by_each_class_for_itself():
    posteriors = np.array([[0.9, 0.8], [0.1, 0.3]])
    judge = Judge(posteriors, score="sigmoid")
    expected = -(posteriors * np.log(0.5) + (1 - posteriors) * np.log(0.5)).sum(axis=1).mean()
    assert judge.loss(np.full((2, 2), 0.5)) == pytest.approx(expected)
    assert judge.loss(posteriors) < judge.loss(posteriors[::-1])
    with pytest.raises(CoppiceError, match="leave the targets out"):
        Judge(posteriors, np.zeros(2, dtype=int), score="sigmoid")
