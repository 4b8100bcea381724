import copy
import json
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

import coppice as cp
from coppice.core.errors import CoppiceError
from coppice.ensembles.build import ensemble
from coppice.ensembles.combination import Combination
from coppice.ensembles.costs import costs_of
from coppice.ensembles.sharing import shared_layers
from coppice.networks.classifier import Classifier
from coppice.networks.ensemble import Ensemble

TRUNK = {f"{member}.{layer}": f"0.{layer}" for member in (1, 2) for layer in ("conv1", "bn1", "conv2", "bn2")}


def mean_of(members, log_mel, rule=None):
    stacked = np.stack([member.posteriors(log_mel).numpy() for member in members.values()])
    return (rule or Combination.equal(len(stacked)))(stacked)


@pytest.mark.parametrize(
    "rule",
    [
        Combination.equal(3),
        Combination((0.2, 0.5, 0.3), temperature=1.3),
        Combination((0.2, 0.5, 0.3), how="geometric"),
        Combination((0.25, 0.0, 0.75), how="geometric", temperature=0.7),
    ],
)
def test_an_ensemble_says_what_its_members_say_together(rule, strangers, kin, log_mel):
    for members in (strangers, kin):
        made = ensemble(members, combination=rule)
        np.testing.assert_allclose(made.posteriors(log_mel).numpy(), mean_of(members, log_mel, rule), atol=1e-6)
        assert len(made.network.members) == len(rule.chosen)


def test_members_of_one_parent_share_what_was_not_cut(kin, log_mel):
    made = ensemble(kin)
    assert made.network.shared == TRUNK
    alone = [cp.profile(member, latency=False) for member in kin.values()]
    together = cp.profile(made, latency=False)
    layers = {layer.name: layer for layer in alone[0].layers}
    assert together.macs == sum(one.macs for one in alone) - 2 * (layers["conv1"].macs + layers["conv2"].macs)
    trunk = sum(
        t.numel() for name, t in kin["first"].network.state_dict().items()
        if name.split(".")[0] in ("conv1", "bn1", "conv2", "bn2") and t.is_floating_point()
    )  # fmt: skip
    assert together.params_total == sum(one.params_total for one in alone) - 2 * trunk
    assert together.size_bytes_float32 == 4 * together.params_total
    costs = costs_of(kin)
    assert costs.of(0b111, "macs") == together.macs and costs.of(0b111, "params") == together.params_total
    assert [costs.of(1 << index, "macs") for index in range(3)] == [one.macs for one in alone]
    assert (
        costs.of(0b101, "bytes")
        == cp.profile(ensemble({"first": kin["first"], "odd": kin["odd"]}), latency=False).size_bytes_float32
    )


def tweaked(classifier, layer):
    """Return the same classifier with one weight of a layer moved by one step of float32."""
    network = copy.deepcopy(classifier.network)
    with torch.no_grad():
        first = network.get_submodule(layer).weight.view(-1)
        first[0] = torch.nextafter(first[0], torch.tensor(torch.inf))
    return replace(classifier, network=network)


def test_one_step_of_float32_in_a_weight_ends_the_common_trunk(kin):
    one = kin["first"]
    for layer, expected in (
        ("conv1", {}),
        ("bn1", {"1.conv1": "0.conv1"}),
        ("conv2", {"1.conv1": "0.conv1", "1.bn1": "0.bn1"}),
    ):
        assert ensemble({"one": one, "other": tweaked(one, layer)}).network.shared == expected


def test_twins_cost_as_much_as_one(classifier, log_mel):
    one = classifier()
    both = ensemble({"one": one, "twin": copy.deepcopy(one)})
    assert cp.profile(both, latency=False).macs == cp.profile(one, latency=False).macs
    np.testing.assert_allclose(both.posteriors(log_mel), one.posteriors(log_mel), atol=1e-6)


class Residual(nn.Module):
    """A trunk in another style: in-place activation, a weight used twice, functions, slices."""

    def __init__(self, head):
        super().__init__()
        self.inside = nn.Conv2d(1, 4, 3, padding=1)
        self.again = nn.Conv2d(4, 4, 1)
        self.act = nn.ReLU(inplace=True)
        self.head = nn.Linear(8, head)

    def forward(self, x):
        x = self.act(self.inside(x))
        x = x + self.again(torch.nn.functional.relu_(self.again(x)))
        x = torch.cat([x[:, :2].amax((2, 3)), x[:, 1:].mean((2, 3)), x[:, ::4].mean((2, 3)), x[:, 3:].amax((2, 3))], 1)
        return self.head(nn.functional.pad(x, (0, 1)))


def test_any_style_of_forward_can_share_and_stays_exact():
    torch.manual_seed(0)
    one, other = Residual(3), Residual(3)
    other.inside, other.again = copy.deepcopy(one.inside), copy.deepcopy(one.again)
    x = torch.randn(2, 1, 8, 9)
    found = shared_layers([one, other], x)
    assert found["1.inside"] == "0.inside" and "1.head" not in found
    members = [{"network": copy.deepcopy(net), "weight": 0.5} for net in (one, other)]
    together = Ensemble(members=members, shared=found).eval()
    with torch.no_grad():
        expected = (one(x).softmax(1) + other(x).softmax(1)) / 2
        torch.testing.assert_close(together(x).softmax(1), expected)
        x.mul_(2)  # nothing is remembered from call to call
        expected = (one(x).softmax(1) + other(x).softmax(1)) / 2
        torch.testing.assert_close(together(x).softmax(1), expected)


def test_equal_layers_behind_other_trunks_are_not_shared(classifier):
    one, other = classifier(0), classifier(1)
    other.network.dense2.load_state_dict(one.network.dense2.state_dict())
    assert ensemble({"one": one, "other": other}).network.shared == {}


@pytest.mark.parametrize("stored_as", ["float32", "float16", "bfloat16", "dynamic_int8"])
def test_an_ensemble_is_saved_in_one_file_with_its_trunk_once(stored_as, kin, log_mel, tmp_path):
    made = ensemble(kin)
    if stored_as != "float32":
        made = cp.quantize(made, to=stored_as)
    found = cp.load(cp.save(made, tmp_path / "e.safetensors"))
    assert torch.equal(found.logits(log_mel), made.logits(log_mel))
    assert found.network.shared == TRUNK and found.stored_as == stored_as
    assert found.network.members[2].network.conv1 is found.network.members[0].network.conv1
    assert found.lineage[0]["members"][1]["name"] == "last"
    with safe_open(tmp_path / "e.safetensors", "pt") as file:
        names = list(file.keys())
    assert sum("conv1.weight" in name for name in names if not name.endswith(".scale")) == 1
    assert sum("conv3.weight" in name for name in names if not name.endswith(".scale")) == 3


def test_an_ensemble_is_one_onnx_graph_with_its_trunk_once(kin, log_mel, tmp_path):
    made = ensemble(kin, combination=Combination((0.5, 0.2, 0.3), temperature=1.2))
    done = cp.export_onnx(made, tmp_path / "e.onnx")
    assert done.agreement.max_delta < 1e-5
    kinds = [node.op_type for node in onnx.load(tmp_path / "e.onnx").graph.node]
    weights = [one for one in onnx.load(tmp_path / "e.onnx").graph.initializer if len(one.dims) == 4]
    assert len([one for one in weights if one.dims[2:] == [7, 7]]) == 5  # conv1, conv2, three times conv3
    assert kinds.count("LogSoftmax") == 3
    heard = cp.load_onnx(tmp_path / "e.onnx").posteriors(log_mel)
    torch.testing.assert_close(heard, made.posteriors(log_mel), atol=1e-5, rtol=0)


@pytest.mark.proof
@pytest.mark.parametrize("how", ["arithmetic", "geometric"])
def test_an_ensemble_is_one_file_for_every_target(how, kin, tmp_path):
    made = ensemble(kin, combination=Combination((0.5, 0.2, 0.3), how=how, temperature=1.2))
    from coppice.export.pytorch import export_torch

    assert export_torch(made, tmp_path / "e.pt2").agreement.max_delta < 1e-5
    pytest.importorskip("openvino", reason="the extra openvino is not installed")
    pytest.importorskip("ai_edge_litert", reason="the extra litert is not installed")
    from coppice.export.litert.export import export_litert
    from coppice.export.openvino import export_openvino

    assert export_openvino(made, tmp_path / "e.xml").agreement.max_delta < 1e-5
    assert export_litert(made, tmp_path / "e.tflite").agreement.max_delta < 1e-5
    ones = (tmp_path / "e.tflite").stat().st_size, export_litert(kin["first"], tmp_path / "one.tflite").size_bytes
    assert ones[0] < 2.5 * ones[1]


def test_an_ensemble_can_be_fine_tuned_and_its_trunk_stays_one(prepared, kin):
    settings = cp.TrainingSettings(epochs=2, batch_size=8, precision="float32")
    made = cp.finetune(ensemble(kin), prepared, settings=settings)
    nets = [part.network for part in made.network.parts]
    assert nets[0].conv1 is nets[1].conv1 and not torch.equal(nets[0].conv3.weight, nets[1].conv3.weight)
    assert not torch.equal(nets[0].conv1.weight, kin["first"].network.conv1.weight)


def test_classes_in_another_order_are_matched_by_name(classifier, log_mel, tmp_path):
    one, other = classifier(0), classifier(1, labels=("tram", "bus", "park"))
    made = ensemble({"one": one, "other": other})
    expected = (one.posteriors(log_mel) + other.posteriors(log_mel)[:, [1, 2, 0]]) / 2
    torch.testing.assert_close(made.posteriors(log_mel), expected, atol=1e-6, rtol=0)
    found = cp.load(cp.save(made, tmp_path / "e.safetensors"))
    assert torch.equal(found.posteriors(log_mel), made.posteriors(log_mel))


def test_members_keep_their_own_normalisation(classifier, kin, log_mel, tmp_path):
    random = torch.Generator().manual_seed(0)
    bands = {"band_mean": torch.randn(40, generator=random), "band_std": torch.rand(40, generator=random) + 0.5}
    one, other = classifier(0), classifier(1, **bands)
    for members in ({"one": one, "other": other}, {"other": other, "one": one}):
        made = ensemble(members)
        np.testing.assert_allclose(made.posteriors(log_mel).numpy(), mean_of(members, log_mel), atol=1e-5)
        found = cp.load(cp.save(made, tmp_path / "e.safetensors"))
        assert torch.equal(found.posteriors(log_mel), made.posteriors(log_mel))
    same_net = {"one": kin["first"], "other": replace(kin["first"], **bands)}
    made = ensemble(same_net)
    assert made.network.shared == {}  # equal weights hear other values
    np.testing.assert_allclose(made.posteriors(log_mel).numpy(), mean_of(same_net, log_mel), atol=1e-5)


def test_members_are_left_as_they_are(kin, log_mel):
    before = {name: member.logits(log_mel) for name, member in kin.items()}
    made = ensemble(kin)
    with torch.no_grad():
        for parameter in made.network.parameters():
            parameter.zero_()
    assert all(torch.equal(member.logits(log_mel), before[name]) for name, member in kin.items())


def test_an_ensemble_of_ensembles_is_one(strangers, classifier, log_mel, tmp_path):
    inner = ensemble(strangers)
    members = {"inner": inner, "one": classifier(7)}
    made = cp.load(cp.save(ensemble(members), tmp_path / "e.safetensors"))
    np.testing.assert_allclose(made.posteriors(log_mel).numpy(), mean_of(members, log_mel), atol=1e-6)


def test_a_member_that_is_chosen_alone_is_returned_as_it_is(strangers):
    assert ensemble(strangers, combination=Combination((0.0, 1.0, 0.0))) is strangers["b"]


def test_members_are_stored_as_they_were_if_all_alike(strangers):
    small = {name: cp.quantize(member) for name, member in strangers.items()}
    assert ensemble(small).stored_as == "float16"
    assert ensemble({**small, "b": strangers["b"]}).stored_as == "float32"


class Own(nn.Module):
    def __init__(self):
        super().__init__()
        self.dense = nn.Linear(40 * 25, 3)

    def forward(self, x):
        return self.dense(x.flatten(1))


def test_a_class_of_ones_own_works_in_memory_and_is_named_when_saved(classifier, log_mel, tmp_path):
    own = replace(classifier(), network=Own())
    made = ensemble({"own": own, "one": classifier(1)})
    assert made.posteriors(log_mel).shape == (5, 3)
    with pytest.raises(CoppiceError, match=r"member of the class .*Own'"):
        cp.save(made, tmp_path / "e.safetensors")


class Moody(nn.Module):
    def __init__(self):
        super().__init__()
        self.dense = nn.Linear(40 * 25, 3)

    def forward(self, x):
        return self.dense(x.flatten(1)) + torch.randn(3)


def test_a_member_that_answers_at_random_is_refused(classifier):
    with pytest.raises(CoppiceError, match="compute at random"):
        ensemble({"moody": replace(classifier(), network=Moody()), "one": classifier(1)})


def test_what_makes_no_ensemble_is_refused(classifier):
    one = classifier()
    other_ear = cp.front_end("dcase2022", duration_s=0.5)
    cases = [
        ({"one": one}, "two members or more, and this one has 1"),
        ({}, "two members or more, and this one has 0"),
        ({"one": one, "b": replace(one, score="sigmoid")}, "b tags"),
        ({"one": one, "b": replace(one, front_end=other_ear)}, r"different front ends .dcase2022 and dcase2021."),
        ({"one": one, "b": replace(one, front_end=None)}, "different front ends .none and dcase2021."),
        ({"one": one, "b": replace(one, labels=("bus", "park", "car"))}, "'car' is known to one of them only"),
        ({"one": one, "b": replace(one, band_mean=None, band_std=None)}, "normalisation is not known"),
        ({"one": one, "b": one.network}, "b is a DCASE2021, not a classifier"),
    ]
    for members, sentence in cases:
        with pytest.raises(CoppiceError, match=sentence):
            ensemble(members)
    with pytest.raises(CoppiceError, match="3 members and 2 weights"):
        ensemble([one, one, one], combination=Combination.equal(2))


def damaged(path, change):
    """Write the checkpoint again with a changed header."""
    with safe_open(path, "pt") as file:
        header = json.loads(file.metadata()["coppice"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    change(header["network"]["config"], tensors)
    save_file(tensors, path, metadata={"coppice": json.dumps(header)})


@pytest.mark.parametrize(
    "change",
    [
        lambda config, _: config.update(members=[]),
        lambda config, _: config.update(members=config["members"] * 200),
        lambda config, _: config["members"][0].update(weight=-1),
        lambda config, _: config["members"][0].update(weight=0.9),
        lambda config, _: config["members"][0].update(weight="0.5"),
        lambda config, _: config["members"][0].update(order=[0, 0, 1]),
        lambda config, _: config["members"][0].update(order=[0, 1]),
        lambda config, _: config["members"][0].update(bands=7),
        lambda config, _: config["members"][0].update(other=7),
        lambda config, _: config["members"][0]["network"]["config"].update(classes=7),
        lambda config, _: config["members"][0]["network"]["config"].update(frames=50),
        lambda config, _: config["members"][0]["network"].update(name="none"),
        lambda config, _: config["members"][0].update(network={"class": "os.system"}),
        lambda config, _: config.update(how="harmonic"),
        lambda config, _: config.update(temperature=0),
        lambda config, _: config.update(temperature="hot"),
        lambda config, _: config["shared"].update({"0.conv1": "1.conv1"}),
        lambda config, _: config["shared"].update({"1.conv9": "0.conv1"}),
        lambda config, _: config["shared"].update({"1.conv3": "0.conv9"}),
        lambda config, _: config["shared"].update({"9.conv3": "0.conv3"}),
        lambda config, _: config["shared"].update({"conv3": "0.conv3"}),
        lambda config, _: config["shared"].clear(),
        lambda _, tensors: tensors.pop("network.members.0.network.conv1.weight"),
    ],
)
def test_a_damaged_file_is_refused_in_a_sentence(change, kin, tmp_path):
    path = cp.save(ensemble(kin), tmp_path / "e.safetensors")
    damaged(path, change)
    with pytest.raises(CoppiceError, match="cannot load"):
        cp.load(path)


def test_members_without_a_front_end_are_heard_by_shape():
    one = Classifier(Own(), None, ("a", "b", "c"), None, None)
    one.network.input_shape = (1, 40, 25)
    assert ensemble([one, copy.deepcopy(one)]).input_shape == (1, 1, 40, 25)
