import hashlib
import random

import numpy as np
import pytest
import torch

from coppice.core import global_seed
from coppice.core.errors import CoppiceError
from coppice.core.global_seed import seed_global
from coppice.core.modes import eval_mode
from coppice.core.seeds import derive_seed, numpy_stream
from coppice.core.units import bytes_text, change_text, count_text, percent_text


def test_a_derived_seed_is_the_same_on_every_machine():
    digest = hashlib.sha256(b"7/shuffle/3").digest()
    assert derive_seed(7, "shuffle", 3) == int.from_bytes(digest[:8], "big") // 2 < 2**63


def test_purposes_do_not_share_a_stream():
    seeds = {derive_seed(seed, key, n) for seed in range(5) for key in ("order", "step") for n in range(50)}
    assert len(seeds) == 500


def test_a_negative_seed_is_refused():
    with pytest.raises(CoppiceError, match="seed is -1"):
        derive_seed(-1)


def test_streams_and_the_global_generators_start_the_same_again():
    assert np.array_equal(numpy_stream(3, "a").random(4), numpy_stream(3, "a").random(4))

    def draw():
        seed_global(3, "weights")
        return random.random(), np.random.random(), torch.rand(1).item()  # noqa: NPY002

    assert draw() == draw()
    seed_global(3, "other")
    assert torch.rand(1).item() != draw()[2]


@pytest.mark.parametrize("accelerator", [False, True])
def test_torch_draws_the_same_with_and_without_an_accelerator(accelerator, monkeypatch):
    monkeypatch.setattr(global_seed, "_has_accelerator", lambda: accelerator)
    seed_global(3, "step", 2)
    drawn = torch.rand(4)
    torch.manual_seed(derive_seed(3, "step", 2))
    assert torch.equal(drawn, torch.rand(4))


def test_each_modules_mode_comes_back_after_an_error():
    network = torch.nn.Sequential(torch.nn.Dropout(), torch.nn.BatchNorm1d(2).eval())
    with pytest.raises(KeyError), eval_mode(network):
        assert not network[0].training
        raise KeyError
    assert network[0].training and network.training and not network[1].training


def test_sizes_and_counts_are_written_with_their_unit():
    assert [bytes_text(n) for n in (0, 999, 1000, 128_000, 10**6)] == ["0 B", "999 B", "1.0 kB", "128.0 kB", "1.00 MB"]
    assert [count_text(n) for n in (999, 1000, 2.5e9)] == ["999", "1.0 k", "2.5 G"]
    assert percent_text(0.12345, 2) == "12.35 %" or percent_text(0.12345, 2) == "12.34 %"
    assert (change_text(100, 75), change_text(100, 110), change_text(0, 1)) == ("−25.0 %", "+10.0 %", "n/a")
