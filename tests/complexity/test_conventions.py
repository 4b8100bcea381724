import json

import pytest
import torch
from torch import nn

from coppice.audio.front_end import front_end
from coppice.complexity.conventions import convention_names, count, count_all
from coppice.complexity.front_end_macs import front_end_macs
from coppice.complexity.macs import count_macs
from coppice.complexity.profile import profile
from coppice.complexity.stored import stored_bytes
from coppice.core.errors import CoppiceError
from coppice.networks.classifier import Classifier
from coppice.networks.dcase2021 import DCASE2021
from coppice.networks.registry import build_network

BASELINE = {  # DCASE 2021 Task 1A, 40×500
    "keras_total": (46_246, None, None),
    "keras_trainable": (46_118, None, None),
    "bn_folded": (45_990, None, None),
    "macs": (None, 286_637_800, None),
    "macs_with_biases": (None, 287_303_510, None),
    "torchinfo": (46_118, 287_303_638, None),
    "nessi_tflite": (None, 286_980_200, 46_512),
    "nessi_tflite_reshape": (None, 286_983_400, 46_512),
}
CNN14 = (64, 64, 128, 128, 256, 256, 512, 512, 1024, 1024, 2048, 2048)


@pytest.mark.parametrize("name", BASELINE)
def test_the_baseline_has_the_number_of_each_convention(name):
    found = count(DCASE2021(frames=500), name, example=torch.zeros(1, 1, 40, 500))
    assert (found.params, found.macs, found.size_bytes) == BASELINE[name]
    assert found.convention.name == name and found.convention.counts and found.convention.source
    assert found.macs is None or sum(found.macs_by_layer.values()) == found.macs


def test_every_convention_is_compared_with_a_reference():
    assert list(BASELINE) == convention_names()


def test_counts_are_plain_data_and_name_their_convention():
    network, example = DCASE2021(frames=25), torch.zeros(1, 1, 40, 25)
    rows = json.loads(json.dumps([found.to_dict() for found in count_all(network, example=example)]))
    assert [row["convention"] for row in rows] == convention_names()


def test_a_convention_without_a_rule_is_left_out_of_all_and_said(capsys):
    found = count_all(nn.Sequential(nn.GRU(5, 3)), example=torch.zeros(1, 4, 5))
    assert [one.convention.name for one in found] == [name for name in convention_names() if "nessi" not in name]
    assert "NeSsi has no rule for the recurrent layer '0'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("torchinfos", "there is no counting convention 'torchinfos'. Did you mean 'torchinfo'"),
        ("layer_only", "compares a pruned network with the unpruned one; use coppice.mac_reduction"),
    ],
)
def test_what_is_no_convention_for_one_network_is_refused(name, sentence):
    with pytest.raises(CoppiceError, match=sentence):
        count(nn.Linear(3, 3), name, example=torch.zeros(1, 3))


def test_biases_count_where_they_are():
    network = nn.Sequential(nn.Conv1d(1, 4, 3, bias=False), nn.Conv1d(4, 2, 3), nn.Flatten(), nn.Linear(10, 3))
    macs = count_macs(network, torch.zeros(1, 1, 9))
    assert macs.biases_by_layer == {"1": 10, "3": 3}
    assert macs.total_with_biases == macs.total + 13


@pytest.mark.parametrize("shape", [(1, 5), (1, 7, 5), (1, 5, 7)])
def test_the_bias_of_a_dense_layer_counts_on_any_input(shape):
    example = torch.zeros(shape)
    if shape[-1] != 5:
        example = example.transpose(1, 2)  # not contiguous
    found = count_macs(nn.Linear(5, 3), example)
    positions = example.numel() // 5
    assert (found.total, found.total_with_biases) == (positions * 15, positions * 18)


@pytest.mark.parametrize(("kind", "gates"), [(nn.LSTM, 4), (nn.GRU, 3), (nn.RNN, 1)])
def test_both_biases_of_recurrent_layers_count(kind, gates):
    macs = count_macs(kind(5, 3, batch_first=True), torch.zeros(1, 11, 5))
    assert macs.total_with_biases - macs.total == 11 * gates * 3 * 2


@pytest.mark.parametrize("weights", [True, False])
def test_attention_counts_its_products(weights):
    class Attend(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

        def forward(self, x):
            return self.attention(x, x, x, need_weights=weights)[0]

    # Four projections of 5 vectors, then queries × keys and weights × values.
    assert count_macs(Attend(), torch.zeros(1, 5, 8)).total == 4 * 5 * 8 * 8 + 2 * 5 * 5 * 8


def test_cnn14_and_epanns_have_the_published_computations_with_their_front_end():
    # "21 G" and "36 % fewer" (Singh et al., Inter-Noise 2023, arXiv 2305.18665); without the front end it is 38.1 %.
    listening = front_end_macs(front_end("panns32k"))
    assert listening == 1001 * 513 * (2 * 1024 + 64)
    with torch.device("meta"):
        example = torch.zeros(1, 1, 64, 1001)
        before, after = (
            count_macs(build_network("cnn14", widths=widths), example).total
            for widths in (CNN14, (*CNN14[:6], *(width // 2 for width in CNN14[6:])))
        )
    assert before == 20_036_653_056 + 5_273_600
    assert round((before + listening) / 1e9, 2) == 21.13 and round((after + listening) / 1e9, 2) == 13.50
    assert round(100 * (1 - (after + listening) / (before + listening)), 1) == 36.1
    assert round(100 * (1 - after / before), 1) == 38.1


def imported(*lineage) -> Classifier:
    network = DCASE2021(widths=(2, 2, 2), classes=2, frames=25)
    return Classifier(network, front_end("dcase2021", duration_s=0.5), ("bus", "park"), None, None, lineage=lineage)


def test_bytes_of_the_imported_file_are_reported_until_the_network_changes():
    entry = {"verb": "import", "stored_bytes": {"float32": 1144, "int8": 4608}}
    cost = profile(imported(entry), latency=False)
    assert cost.size_bytes_stored == 5752 and cost.stored_formats == entry["stored_bytes"]
    for lineage in ((), (entry, {"verb": "prune"}), ({"verb": "import"},), ({"verb": "train"},)):
        cost = profile(imported(*lineage), latency=False)
        assert cost.size_bytes_stored is None and cost.stored_formats is None


@pytest.mark.parametrize("sizes", [[1], {"int8": -1}, {"int8": "many"}, {"int8": True}])
def test_a_lineage_that_holds_no_bytes_is_refused(sizes):
    with pytest.raises(CoppiceError, match="the lineage's stored_bytes are"):
        stored_bytes(imported({"verb": "import", "stored_bytes": sizes}))
