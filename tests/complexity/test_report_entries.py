"""The four entries of Singh et al., DCASE 2021 Task 1A technical report, Table 1: built, planned, pruned, measured."""

import pytest
import torch

from coppice.complexity.profile import profile
from coppice.networks.dcase2021 import DCASE2021
from coppice.pruning.planning.decide import plan
from coppice.pruning.surgery.dense import shrink_dense
from coppice.pruning.surgery.prune import prune
from coppice.recipes.recipe import load_recipe

# Parameters with batch normalisation folded (the table prints 36,818 for the fourth, which counts it), KB of 1024
# bytes at 16 bit, and the filters and units that are left.
ENTRIES = {
    "entry1": (14_754, 28.82, [16, 8, 16], 32),
    "entry2": (27_166, 53.06, [16, 8, 32], 100),
    "entry3": (38_110, 74.43, [16, 16, 24], 100),
    "entry4": (36_578, 71.44, [16, 12, 32], 100),
}


@pytest.mark.parametrize("name", ENTRIES)
def test_an_entry_has_the_reports_counts(name):
    params, kilobytes, widths, dense = ENTRIES[name]
    example = torch.zeros(1, 1, 40, 500)
    network = DCASE2021(frames=500)
    for step in load_recipe("dcase2021-report").systems[name]:
        if step.prune is not None:
            how = {"ratios": step.prune.ratios, "example": example}
            network = prune(network, plan(network, step.prune.criterion, **how), example=example)
        elif step.dense is not None:
            network = shrink_dense(network, step.dense.units, seed=0, example=example)
    cost = profile(network, example=example, latency=False)
    assert (network.config()["widths"], network.config()["dense"]) == (widths, dense)
    assert cost.params_bn_folded == params
    assert cost.params_total == params + 4 * sum(widths)
    assert cost.size_bytes_folded_float16 == 2 * params
    assert round(cost.size_bytes_folded_float16 / 1024, 2) == kilobytes


def test_the_unpruned_baseline_has_the_reports_sizes():
    cost = profile(DCASE2021(frames=500), example=torch.zeros(1, 1, 40, 500), latency=False)
    assert round(cost.size_bytes_folded_float16 / 1024, 2) == 89.82
    assert cost.size_bytes_float16 == 2 * 46_246  # 90.32 KB: the text's 90.3
    assert cost.size_bytes_float32 == 4 * 46_246
