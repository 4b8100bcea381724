"""Numbers of the DCASE 2022 systems of Singh and Plumbley, from their published posteriors."""

import numpy as np
import pytest
import torch

import coppice as cp
from coppice.ensembles.blocks import make_blocks
from coppice.ensembles.build import ensemble
from coppice.ensembles.combination import Combination
from coppice.ensembles.costs import Costs, costs_of
from coppice.ensembles.design import design
from coppice.ensembles.members import Members
from coppice.ensembles.scores import scores_of
from coppice.pruning.planning.budget import Budget

NAMES = ("C1", "C2", "C3", "C12", "C23", "C123")
MACS = (4_121_480, 4_102_760, 5_252_760, 3_148_040, 4_014_360, 3_059_640)
COSTS = Costs.plain([{"macs": macs} for macs in MACS])
# Left out -> per cent and nats of float32, and of int8; recomputed from the released arrays.
PUBLISHED = {
    None: (47.61, 1.3895, 47.45, 1.3898),
    "C1": (47.29, 1.3938, 47.15, 1.3945),
    "C2": (47.26, 1.3943, 47.10, 1.3962),
    "C3": (47.47, 1.3915, 47.27, 1.3927),
    "C12": (47.52, 1.3941, 47.45, 1.3949),
    "C23": (47.70, 1.3893, 47.52, 1.3899),
    "C123": (47.59, 1.3916, 47.35, 1.3921),
}


@pytest.fixture
def six(published):
    def read(kind):
        stacked, targets = published(kind)
        return Members(NAMES, stacked, tuple(map(str, range(10))), targets)

    return read


@pytest.mark.parametrize("without", PUBLISHED)
def test_the_published_ensembles_score_as_published(without, published):
    chosen = [index for index, name in enumerate(NAMES) if name != without]
    expected = PUBLISHED[without]
    for kind, percent, nats in (("float32", *expected[:2]), ("int8_dynamic", *expected[2:])):
        stacked, targets = published(kind)
        found = scores_of(Combination.equal(6, chosen)(stacked), targets)
        assert 100 * found.macro_accuracy == pytest.approx(percent, abs=0.01)
        assert found.log_loss == pytest.approx(nats, abs=1e-4)


@pytest.mark.parametrize("count", [2, 5, 20])
def test_two_int8_networks_do_better_than_the_published_five(count, six):
    members = six("int8_dynamic")
    blocks = make_blocks(members.known_targets(), count=count)
    found = design(members, choose=True, by="macro_accuracy", costs=COSTS, budget=Budget(macs="9 M"), blocks=blocks)
    assert found.chosen == ("C1", "C2") and found.cost()["macs"] == 8_224_240
    assert found.steps[-1].held.macro_accuracy >= 0.4735


@pytest.mark.parametrize("count", [2, 5, 20])
def test_three_float32_networks_do_better_than_the_published_five(count, six):
    members = six("float32")
    blocks = make_blocks(members.known_targets(), count=count)
    found = design(members, choose=True, costs=COSTS, budget=Budget(macs="13 M"), blocks=blocks)
    assert all(COSTS.of(sum(1 << i for i in rule.chosen), "macs") <= 13e6 for rule in found.by_block)
    assert found.steps[-1].held.macro_accuracy >= 0.476


@pytest.mark.parametrize(
    ("kind", "how"),
    [("float32", "geometric"), pytest.param("int8_dynamic", "arithmetic", marks=pytest.mark.proof)],
)
def test_weights_and_temperature_lower_the_log_loss_of_held_out_clips(kind, how, six):
    members = six(kind)
    budget = Budget(macs="20 M")
    found = design(members, how=how, choose=True, costs=COSTS, budget=budget, weights="fit", calibrate=True)
    losses = [step.held.log_loss for step in found.steps]
    assert losses[-1] <= 1.387 and losses[-1] < losses[1]
    assert found.steps[-1].seen.log_loss <= losses[-1]


def test_c23_adds_four_million_macs_and_nothing(six):
    found = design(six("int8_dynamic"), costs=COSTS)
    assert found.advice()[0].startswith("C23 adds 4.0 MMACs and nothing (accuracy −0.07 points")
    assert [loss.adds_nothing for loss in found.losses] == [False, False, False, False, True, False]


def test_the_published_rows_do_not_stand_in_the_order_of_recordings_and_that_is_said(six):
    found = design(six("float32"))
    assert abs(found.alike) < 0.02
    assert found.advice()[-1].startswith("Neighbouring rows are not alike")


def test_the_released_networks_share_nothing_and_cost_their_sum(shared_data):
    folder = shared_data / "surrey2022"
    if not folder.is_dir():
        pytest.skip(f"no published networks at {folder}")
    networks = {
        name: cp.load(folder / name / "float32.tflite", front_end="surrey2022") for name in NAMES if name != "C3"
    }
    made = ensemble(networks)
    assert made.network.shared == {}
    cost = cp.profile(made, latency=False)
    assert (cost.params_bn_folded, cost.macs) == (58_482, 18_446_280)
    assert costs_of(networks).of(0b11111, "macs") == 18_446_280
    int8 = {name: cp.load(folder / name / "int8_dynamic.tflite", front_end="surrey2022") for name in ("C1", "C2")}
    stored = [sum(one.lineage[-1]["stored_bytes"].values()) for one in int8.values()]
    assert costs_of(int8).of(0b11, "bytes") == pytest.approx(sum(stored))


def test_an_ensemble_of_the_released_networks_says_their_mean(shared_data):
    folder = shared_data / "surrey2022"
    if not folder.is_dir():
        pytest.skip(f"no published networks at {folder}")
    networks = {name: cp.load(folder / name / "float32.tflite", front_end="surrey2022") for name in ("C1", "C2")}
    clips = np.random.default_rng(0).standard_normal((4, 40, 51)).astype(np.float32)
    log_mel = torch.from_numpy(clips)
    expected = sum(one.posteriors(log_mel) for one in networks.values()) / 2
    torch.testing.assert_close(ensemble(networks).posteriors(log_mel), expected, atol=1e-6, rtol=0)
