import time

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coppice.core.errors import CoppiceError
from coppice.evaluation.classify import classify
from coppice.listening.listener import Listener

RATE = 8000


def heard_of(listener, sound, pieces):
    found = [heard for piece in np.split(sound, pieces) for heard in listener.push(piece)]
    return [*found, *listener.finish()]


@settings(max_examples=20, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seconds=st.floats(0.05, 3),
    rate=st.sampled_from([RATE, 11025]),
    hop_s=st.sampled_from([0.1, 0.25, 0.5]),
    cuts=st.lists(st.integers(0, 30000), max_size=5),
)
def test_a_file_that_is_pushed_through_is_heard_as_classify_hears_it(classifier, wav, seconds, rate, hop_s, cuts):
    file, sound = wav(seconds, rate, channels=2)
    listener = Listener(classifier, sample_rate=rate, hop_s=hop_s)
    heard = heard_of(listener, sound, sorted(min(cut, len(sound)) for cut in cuts))
    expected = classify(classifier, file, hop_s=hop_s, per_window=True)
    assert [(one.start_s, one.end_s) for one in heard] == [(one.start_s, one.end_s) for one in expected.per_window]
    for one, window in zip(heard, expected.per_window, strict=True):
        assert one.posteriors == pytest.approx(window.posteriors, rel=1e-5)
    assert listener.remarks() == expected.remarks
    assert listener.windows == len(listener.latencies_ms) == expected.windows
    assert listener.heard_s == pytest.approx(expected.seconds)


def test_posteriors_are_smoothed_over_the_last_windows(classifier, wav):
    _, sound = wav(2)
    heard = heard_of(Listener(classifier, sample_rate=RATE, hop_s=0.25, smooth=3), sound, [])
    alone = np.array([list(one.posteriors.values()) for one in heard])
    for index, one in enumerate(heard):
        expected = alone[max(0, index - 2) : index + 1].mean(axis=0)
        assert list(one.smoothed.values()) == pytest.approx(expected.tolist(), rel=1e-12)
        assert one.label == classifier.labels[int(expected.argmax())]
    for one in heard_of(Listener(classifier, sample_rate=RATE, smooth=1), sound, []):
        assert one.smoothed == one.posteriors


class Slow:
    """Takes 20 ms for a window, however idle the machine is."""

    labels = ("a", "b")

    def __init__(self, classifier):
        self.known_front_end = classifier.known_front_end
        self.asked = 0

    def posteriors_of_waveforms(self, waveforms, *, batch_size=64):
        self.asked += 1
        time.sleep(0.02)
        return torch.tensor([[0.25, 0.75]], dtype=torch.float64)


def test_latency_and_load_are_measured(classifier, wav):
    _, sound = wav(1.5)
    listener = Listener(Slow(classifier), sample_rate=RATE, hop_s=0.5)
    assert (listener.computing_s, listener.windows) == (0, 0)  # warming up is part of nothing
    first, second, third = heard_of(listener, sound, [4000, 8000])
    assert first.latency_ms >= 20
    assert first.load == pytest.approx(listener.latencies_ms[0] / 500, rel=0.05)
    assert second.load >= 0.04
    assert listener.computing_s >= 0.06
    assert list(listener.latencies_ms) == [one.latency_ms for one in (first, second, third)]


def test_latency_counts_from_the_arrival_and_windows_of_one_piece_wait_for_each_other(classifier, wav):
    _, sound = wav(1.5)
    listener = Listener(Slow(classifier), sample_rate=RATE, hop_s=0.5)
    heard = listener.push(sound, arrived_at=time.perf_counter() - 10)
    assert [one.latency_ms >= 10_000 + 20 * count for count, one in enumerate(heard, 1)] == [True] * 3


def test_a_window_that_the_end_completes_has_no_load(classifier, wav):
    heard = heard_of(Listener(classifier, sample_rate=RATE), wav(0.7)[1], [])
    assert [one.load is None for one in heard] == [False, True]


def test_flaws_are_said_at_the_window_in_which_they_came(classifier):
    sound = np.random.default_rng(0).uniform(-0.5, 0.5, (6 * 4000, 1)).astype(np.float32)
    sound[4000:8000] = 0
    sound[9000] = np.nan
    sound[13000:13009] = 1
    sound[17000] = 1
    heard = heard_of(Listener(classifier, sample_rate=RATE), sound, range(400, 24000, 400))
    assert [one.remark for one in heard] == [None, "silent", "not numbers", "clipped", None, None]


def test_what_cannot_be_is_refused(classifier):
    with pytest.raises(CoppiceError, match="smooth is 0 windows; give at least 1"):
        Listener(classifier, sample_rate=RATE, smooth=0)
    with pytest.raises(CoppiceError, match=r"the hop is 0\.6 s; give more than 0 and at most 0\.5"):
        Listener(classifier, sample_rate=RATE, hop_s=0.6)
    mad = Slow(classifier)
    listener = Listener(mad, sample_rate=RATE)
    mad.posteriors_of_waveforms = lambda waveforms: torch.full((1, 2), float("nan"))
    with pytest.raises(CoppiceError, match=r"the network's output for the sound up to 0\.5 s is not a number"):
        listener.push(np.ones((4000, 1), np.float32))
