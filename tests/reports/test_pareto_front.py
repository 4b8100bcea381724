import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from coppice.reports.pareto_front import pareto_front

FEW = st.sampled_from([0.0, 1.0, 2.0, 3.0, float("nan")])


def beats(one, other, higher):
    """Whether one is at least as good in both and better in one."""
    gain, other_gain = (one[1], other[1]) if higher else (-one[1], -other[1])
    return one[0] <= other[0] and gain >= other_gain and (one[0] < other[0] or gain > other_gain)


@given(st.lists(st.tuples(FEW, FEW), max_size=12), st.booleans())
def test_a_point_is_on_the_front_if_no_other_one_beats_it(points, higher):
    known = [not np.isnan(point).any() for point in points]
    expected = [
        here and not any(there and beats(other, point, higher) for other, there in zip(points, known, strict=True))
        for point, here in zip(points, known, strict=True)
    ]
    costs, scores = (np.array([point[i] for point in points]) for i in (0, 1))
    assert pareto_front(costs, scores, higher=higher).tolist() == expected
