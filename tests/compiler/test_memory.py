from hypothesis import given, settings
from hypothesis import strategies as st

from coppice.compiler.memory import ALIGNMENT, Buffer, most_needed, placed

SIZES = st.tuples(st.integers(1, 5000), st.integers(0, 9), st.integers(0, 9))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(SIZES, min_size=1, max_size=12))
def test_buffers_that_are_needed_at_once_never_overlap(sizes):
    buffers = [Buffer(str(i), size, min(a, b), max(a, b)) for i, (size, a, b) in enumerate(sizes)]
    found = placed(buffers)
    for i, one in enumerate(buffers):
        begin = found.offsets[one.name]
        assert begin % ALIGNMENT == 0 and begin + one.size_bytes <= found.peak_bytes
        for other in buffers[:i]:
            if one.first <= other.last and other.first <= one.last:
                there = found.offsets[other.name]
                assert begin + one.size_bytes <= there or there + other.size_bytes <= begin
    step = most_needed(buffers, 10)
    assert found.peak_bytes >= sum(b.size_bytes for b in buffers if b.first <= step <= b.last)


def test_values_that_live_one_after_the_other_share_memory():
    chain = [Buffer(str(i), 6400, i, i + 1) for i in range(10)]
    assert placed(chain).peak_bytes == 2 * 6400
