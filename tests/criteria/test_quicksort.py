import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coppice.criteria.quicksort import quicksort_order


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(0, 400), st.integers(1, 60), st.integers(0, 2**32 - 1))
def test_ties_come_in_the_order_of_numpys_quicksort(length, different, seed):
    values = np.random.default_rng(seed).integers(0, different, length)
    # Long doubles have no vector instructions: for them NumPy still runs the sort of 2022.
    expected = np.argsort(values.astype(np.longdouble), kind="quicksort").tolist()
    assert quicksort_order(values.astype(float).tolist()) == expected


@pytest.mark.parametrize("values", [range(2048), range(2048, 0, -1)])
def test_sorted_and_reversed_values_of_a_large_layer_are_put_in_order(values):
    assert quicksort_order(list(map(float, values))) == np.argsort(values, kind="stable").tolist()
