import time
from contextlib import suppress

import numpy as np
import pytest

from coppice.listening.file_source import FileSource
from coppice.listening.listen import listen, summary
from coppice.listening.listener import Listener
from coppice.listening.source import Block

RATE = 8000


def test_a_file_in_real_time_takes_its_time_and_is_heard_as_one_that_is_not(classifier, wav):
    file, _ = wav(0.8)
    heard = {}
    for fast in (True, False):
        source = FileSource(file, fast=fast)
        listener, shown = Listener(classifier, sample_rate=RATE, hop_s=0.1), []
        begun = time.perf_counter()
        assert listen(listener, source, shown.extend)
        took = time.perf_counter() - begun
        heard[fast] = [(one.end_s, one.posteriors) for one in shown]
        assert (took >= 0.8) == (not fast) or took > 0.8  # a busy machine may be slow, but never ahead of the sound
        assert source.dropped == 0
    assert heard[True] == heard[False]
    assert len(heard[True]) == 4


def test_the_blocks_of_a_file_are_all_of_it(wav):
    file, sound = wav(0.77, rate=11025, channels=2)
    blocks = [block.samples for block in FileSource(file, fast=True).blocks()]
    assert {len(block) for block in blocks[:-1]} == {round(1102.5)}
    assert np.array_equal(np.concatenate(blocks), sound)


class Interrupted:
    """A source that is stopped by Ctrl-C."""

    name, sample_rate, dropped = "nothing", RATE, 0
    closed = False

    def __init__(self, blocks):
        self.count = blocks

    def blocks(self):
        try:
            for _ in range(self.count):
                yield Block(np.full((800, 1), 0.1, np.float32), time.perf_counter())
            raise KeyboardInterrupt
        finally:
            self.closed = True


@pytest.mark.parametrize(("blocks", "windows"), [(0, 0), (3, 0), (10, 2)])
def test_ctrl_c_ends_in_a_summary_of_what_was_heard(classifier, blocks, windows):
    source = Interrupted(blocks)
    listener = Listener(classifier, sample_rate=RATE)
    assert not listen(listener, source, lambda heard: None)
    assert source.closed
    found = summary(listener, source)
    assert (found.windows, found.heard_s) == (windows, pytest.approx(blocks / 10))
    assert found.sentences()[0] == (
        f"heard {blocks / 10:.1f} s in {windows} windows of 0.5 s, one every 0.5 s; 0 blocks dropped"
    )
    assert (found.real_time_factor is None) == (not blocks)
    assert (found.latency_ms_p50 is None) == (not windows)


def test_ctrl_c_while_a_window_is_heard_closes_the_source(classifier):
    source = Interrupted(99)

    def stop(heard):
        if heard:
            raise KeyboardInterrupt

    listener = Listener(classifier, sample_rate=RATE)
    assert not listen(listener, source, stop)
    assert source.closed
    assert summary(listener, source).windows == 1


def test_the_summary_says_what_was_measured(classifier, wav):
    file, _ = wav(3, rate=2 * RATE)
    source = FileSource(file, fast=True)
    listener = Listener(classifier, sample_rate=source.sample_rate)
    listen(listener, source, lambda heard: None)
    found = summary(listener, source)
    assert found.real_time_factor == listener.computing_s / 3
    assert found.latency_ms_p50 == np.median(listener.latencies_ms)
    assert found.latency_ms_p95 == np.percentile(listener.latencies_ms, 95)
    assert found.remarks == ("resampled from 16000 Hz to 8000 Hz",)
    first, second, third, *rest = found.sentences()
    assert first == "heard 3.0 s in 6 windows of 0.5 s, one every 0.5 s; 0 blocks dropped"
    assert second.startswith(f"real-time factor {found.real_time_factor:.3f}")
    assert third.startswith(f"latency {found.latency_ms_p50:.1f} ms median, ")
    assert rest[-1] == "resampled from 16000 Hz to 8000 Hz"


@pytest.mark.parametrize(("computing_s", "dropped"), [(10.0, 0), (0.01, 3)])
def test_a_network_that_does_not_keep_up_gets_advice(classifier, computing_s, dropped):
    source = Interrupted(10)
    listener = Listener(classifier, sample_rate=RATE)
    with suppress(KeyboardInterrupt):
        listen(listener, source, lambda heard: None)
    source.dropped, listener.computing_s = dropped, computing_s
    assert any("give a larger --hop, or a smaller network" in line for line in summary(listener, source).sentences())
