import numpy as np
import pytest
import torch

import coppice as cp
from coppice.core.errors import CoppiceError
from coppice.ensembles.build import ensemble
from coppice.ensembles.trunk import share_trunk, trunk_layers
from coppice.training.settings import TrainingSettings

QUICK = TrainingSettings(epochs=2, batch_size=8, learning_rate=5e-3, precision="float32")


@pytest.fixture
def tuned(kin, prepared):
    """Three networks of one parent, each fine-tuned as a whole: nothing is equal any more."""
    found = {name: cp.finetune(one, prepared, settings=QUICK) for name, one in kin.items()}
    assert ensemble(found).network.shared == {}
    return found


def test_a_trunk_is_shared_bit_for_bit_and_only_heads_learn(tuned, prepared, tmp_path):
    found = share_trunk(tuned, prepared, until="conv2", settings=QUICK, folder=tmp_path)
    made = ensemble(found)
    assert set(made.network.shared.values()) == {"0.conv1", "0.bn1", "0.conv2", "0.bn2"}
    assert found["first"] is tuned["first"]
    for name in ("last", "odd"):
        net, before = found[name].network, tuned[name].network
        for layer in ("conv1", "bn1", "conv2", "bn2"):
            for key, tensor in tuned["first"].network.get_submodule(layer).state_dict().items():
                assert torch.equal(net.get_submodule(layer).state_dict()[key], tensor), (layer, key)
        assert not torch.equal(net.conv3.weight, before.conv3.weight)
        assert all(parameter.requires_grad for parameter in net.parameters())
        entry = found[name].lineage[-2]
        assert entry["verb"] == "share trunk" and entry["of"] == "first"
        assert -1 <= entry["correlation"]["conv1"] <= 1
        assert (tmp_path / name / "history.csv").is_file()
    apart, together = (cp.profile(ensemble(one), latency=False).macs for one in (tuned, found))
    assert together < 0.6 * apart


def test_a_trunk_may_end_earlier(tuned, prepared):
    found = share_trunk(tuned, prepared, until="conv1", settings=QUICK)
    assert set(ensemble(found).network.shared.values()) == {"0.conv1", "0.bn1"}


def test_members_are_left_as_they_are(tuned, prepared):
    before = {name: {k: t.clone() for k, t in one.network.state_dict().items()} for name, one in tuned.items()}
    share_trunk(tuned, prepared, until="conv1", settings=QUICK)
    for name, one in tuned.items():
        assert all(torch.equal(tensor, before[name][key]) for key, tensor in one.network.state_dict().items())


def test_what_cannot_be_shared_is_refused(classifier, prepared):
    with pytest.raises(CoppiceError, match="two members or more, and there is 1"):
        share_trunk({"one": classifier()}, prepared)
    same = {"one": classifier(0), "other": classifier(1)}
    with pytest.raises(CoppiceError, match="say until which one they are to share: until='conv2'"):
        trunk_layers(same)
    assert trunk_layers(same, until="conv3")[-1] == "bn3"
    with pytest.raises(CoppiceError, match="Did you mean 'conv1'"):
        trunk_layers({"one": classifier(), "narrow": classifier(widths=(3, 2, 4))}, until="conv3")
    with pytest.raises(CoppiceError, match="no first layer of the same shape"):
        trunk_layers({"one": classifier(), "narrow": classifier(widths=(2, 3, 4))})


def test_a_frozen_layer_keeps_its_weights_and_statistics_in_a_fit(classifier, prepared):
    one = classifier()
    one.network.bn1.requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in one.network.state_dict().items()}
    after = cp.finetune(one, prepared, settings=QUICK).network.state_dict()
    for name, tensor in before.items():
        if name.startswith("bn1"):
            assert torch.equal(tensor, after[name])
        elif name.startswith("bn2.running"):
            assert not np.array_equal(tensor, after[name])
