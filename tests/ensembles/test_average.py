import numpy as np
import pytest

from coppice.core.errors import CoppiceError
from coppice.ensembles.average import average_posteriors


def test_the_mean_is_taken_in_float64_and_leaves_the_members_alone():
    members = [np.random.default_rng(seed).dirichlet(np.ones(3), 5).astype(np.float32) for seed in range(4)]
    before = [member.copy() for member in members]
    mean = average_posteriors(members)
    assert mean.dtype == np.float64
    np.testing.assert_allclose(mean, np.mean(np.array(members, dtype=np.float64), axis=0), atol=1e-15)
    assert all(np.array_equal(a, b) for a, b in zip(members, before, strict=True))


@pytest.mark.parametrize("members", [[], [np.ones((2, 3)), np.ones((2, 4))]])
def test_members_that_do_not_go_together_are_refused(members):
    with pytest.raises(CoppiceError):
        average_posteriors(members)
