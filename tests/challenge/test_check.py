import json
import warnings
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

import coppice as cp
from coppice.audio.front_end import front_end
from coppice.challenge.check import check
from coppice.challenge.packed import packed_layers
from coppice.challenge.rules import rules_of
from coppice.challenge.storage import storage_of
from coppice.core.errors import CoppiceError
from coppice.networks.checkpoint import save

EXAMPLE_2022 = torch.zeros(1, 1, 40, 51)
EXAMPLE_2024 = torch.zeros(1, 1, 256, 65)


def figures(verdict, name="model"):
    return {one.limit.name: one.figure for one in verdict.findings if one.model == name}


def test_the_2024_baseline_is_legal_in_float16_and_not_in_float32():
    net = cp.build_network("cp_mobile")
    found = check(net, rules="dcase2024", example=EXAMPLE_2024)
    assert not found.legal
    assert figures(found) == {"size_bytes": 244_592, "macs": 29_419_156}
    found = check(net.half(), rules="dcase2024", example=EXAMPLE_2024)
    assert found.legal
    assert figures(found) == {"size_bytes": 122_296, "macs": 29_419_156}
    assert next(net.parameters()).dtype == torch.float16  # the caller's network is as it was


@pytest.mark.parametrize(("params", "legal"), [(64_000, True), (64_001, False)])
@pytest.mark.parametrize("year", [2021, 2023, 2024, 2025])
def test_one_parameter_too_many_is_illegal(params, legal, year):
    net = cp.build_network("cp_mobile").half()
    net.extra = nn.Parameter(torch.ones(params - 61_148).half())
    for buffer in net.buffers():
        buffer.zero_()  # in 2021 running statistics count where they are not zero
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.fill_(1)
    found = check(net, rules=f"dcase{year}", example=EXAMPLE_2024)
    assert found.legal is legal
    assert next(iter(figures(found).values())) == 2 * params


def test_the_2022_baseline_counts_as_published_and_is_not_int8():
    net = cp.build_network("dcase2021", frames=51)
    found = check(net, rules="dcase2022", example=EXAMPLE_2022)
    assert figures(found) == {"params": 46_512, "macs": 29_234_920, "number_format": "float32"}
    judged = {one.limit.name: (one.judged, one.legal) for one in found.findings}
    assert judged["params"] == (46_512, True)
    assert judged["macs"] == (29_271_638, True)  # torchinfo's, the largest of three
    assert judged["number_format"] == ("float32", False)


def test_the_2021_baseline_has_its_published_size():
    # Keras' mixed precision keeps batch normalisation in float32: 90.82 KB of 1,024 bytes in the README.
    net = cp.build_network("dcase2021", frames=500).half()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.float()
    for tensor in [*net.parameters(), *net.buffers()]:
        tensor.data.fill_(1)
    found = check(net, rules="dcase2021", example=torch.zeros(1, 1, 40, 500))
    assert figures(found) == {"nonzero_bytes": 93_004}
    assert round(93_004 / 1024, 2) == 90.82


def test_zeros_are_free_in_2021_and_count_from_2022_on():
    net = nn.Sequential(nn.Flatten(), nn.Linear(200, 300))
    nn.init.ones_(net[1].weight)
    nn.init.ones_(net[1].bias)
    with torch.no_grad():
        net[1].weight[:, 100:] = 0
    example = torch.zeros(1, 1, 10, 20)
    assert figures(check(net, rules="dcase2021", example=example))["nonzero_bytes"] == 4 * 30_300
    assert figures(check(net, rules="dcase2023", example=example))["size_bytes"] == 4 * 60_300
    assert figures(check(net, rules="dcase2022", example=example))["params"] == 60_000 + 4 * 300


def test_weights_behind_a_pruning_mask_are_zeros_and_the_mask_counts_nothing():
    net = nn.Sequential(nn.Linear(10, 10, bias=False))
    nn.init.ones_(net[0].weight)
    prune.l1_unstructured(net[0], "weight", amount=30)
    stored = storage_of(net)
    assert (stored.params, stored.nonzero, stored.statistics) == (100, 70, 0)


@pytest.fixture
def int8_network():
    """A network that torch.ao converted to int8, and the float one that it was."""
    torch.backends.quantized.engine = "x86"
    quantization = torch.ao.quantization

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.into, self.out = quantization.QuantStub(), quantization.DeQuantStub()
            self.conv = nn.Conv2d(1, 6, 3, padding=1)
            self.relu = nn.ReLU()
            self.dense = nn.Linear(6, 10)

        def forward(self, x):
            x = self.relu(self.conv(self.into(x))).mean((2, 3))
            return self.out(self.dense(x))

    net = Net().eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        net.qconfig = quantization.get_default_qconfig("x86")
        prepared = quantization.prepare(net)
        prepared(torch.randn(1, 1, 8, 9))
        return quantization.convert(prepared), net


def test_an_int8_network_of_torch_ao_is_counted_where_its_parameters_are_none(int8_network):
    small, net = int8_network
    assert sum(parameter.numel() for parameter in small.parameters()) == 0  # what the official counter sees
    example = torch.zeros(1, 1, 8, 9)
    found = check(small, rules="dcase2025", example=example)
    weights, biases = 6 * 9 + 6 * 10, 6 + 10
    assert figures(found) == {
        "size_bytes": weights + 4 * biases,
        "macs": cp.count(net, "torchinfo", example=example).macs,
    }
    assert found.legal
    found = check(small, rules="dcase2022", example=example)
    assert figures(found) == {"params": weights + 4 * biases, "macs": 60 * 72 + 70, "number_format": "int8"}
    assert found.legal
    assert storage_of(small).params == weights + biases


def test_an_illegal_int8_network_is_found():
    layer = torch.ao.nn.quantized.Linear(400, 321)
    found = check(
        nn.Sequential(layer),
        rules="dcase2024",
        example=torch.quantize_per_tensor(torch.zeros(1, 400), 1, 0, torch.quint8),
    )
    assert figures(found)["size_bytes"] == 400 * 321 + 4 * 321
    assert not found.legal


def test_weights_that_cannot_be_looked_into_are_refused_by_name():
    lstm = nn.Sequential(torch.ao.nn.quantized.dynamic.LSTM(4, 4))
    with pytest.raises(CoppiceError, match="module '0' \\(LSTM\\) packs its weights"):
        packed_layers(lstm)
    with pytest.raises(CoppiceError, match="TorchScript"):
        packed_layers(torch.jit.script(nn.Sequential(nn.ReLU())))


def test_a_checkpoint_counts_at_the_number_format_of_its_file(classifier, tmp_path):
    path = save(classifier(2024), tmp_path / "small.safetensors")
    found = check(path, rules="dcase2024")
    assert found.legal
    assert figures(found)["size_bytes"] == 2 * sum(p.numel() for p in classifier(2024).network.parameters())
    assert any("bytes on disk" in note for note in found.notes)
    json.dumps(found.to_dict())


def test_every_device_model_of_a_2025_checkpoint_is_judged(tmp_path):
    base, other = cp.build_network("cp_mobile").half(), cp.build_network("cp_mobile", base_channels=40).half()
    state = {f"multi_device_model.base_model.{name}": tensor for name, tensor in base.state_dict().items()}
    for device, net in (("a", base), ("s3", other)):
        state |= {f"multi_device_model.device_models.{device}.{name}": t for name, t in net.state_dict().items()}
    path = tmp_path / "devices.ckpt"
    torch.save({"state_dict": state}, path)
    found = check(path, rules="dcase2025")
    assert figures(found)["size_bytes"] == figures(found, "a")["size_bytes"] == 122_296
    assert figures(found, "s3")["size_bytes"] > 128_000
    assert {one.model for one in found.findings if not one.legal} == {"s3"}


def test_models_of_devices_in_files_of_their_own_are_judged(classifier, tmp_path):
    path = save(classifier(2024), tmp_path / "small.safetensors")
    found = check(path, rules="dcase2025", devices={"b": cp.build_network("cp_mobile")}, example=EXAMPLE_2024)
    assert {one.model: one.legal for one in found.findings if one.limit.name == "size_bytes"} == {
        "model": True,
        "b": False,
    }


def test_a_network_that_hears_half_a_second_is_called_twice(classifier):
    half = replace(classifier(2023), front_end=front_end("dcase2022", duration_s=0.5))
    half = replace(half, network=cp.build_network("dcase2021", frames=half.front_end.frames))
    macs = next(one for one in check(half, rules="dcase2024").findings if one.limit.name == "macs")
    assert macs.judged == 2 * macs.figure
    assert "called 2 times" in macs.why


def test_products_that_torchinfo_does_not_see_are_judged():
    class Functional(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(10, 100))
            self.inner = nn.Identity()

        def forward(self, x):
            return nn.functional.linear(self.inner(x), self.weight)

    macs = next(
        one
        for one in check(Functional(), rules="dcase2024", example=torch.zeros(1, 100)).findings
        if one.limit.name == "macs"
    )
    assert (macs.figure, macs.judged) == (0, 1000)


def test_published_networks_are_judged_by_what_their_files_hold(shared_data):
    for entry, values in ((1, 14_914), (2, 27_390), (3, 38_334), (4, 36_818)):
        found = check(shared_data / f"iitmandi2021/entry{entry}.float16.h5", rules="dcase2021")
        assert found.legal
        stored = storage_of(cp.load(shared_data / f"iitmandi2021/entry{entry}.float16.h5"))
        assert stored.params + stored.statistics == values
    found = check(shared_data / "surrey2022/C2/int8_dynamic.tflite", rules="dcase2022", front_end="surrey2022")
    assert figures(found)["params"] == 13_408
    assert [one.limit.name for one in found.findings if not one.legal] == ["number_format"]
    assert storage_of(cp.load(shared_data / "surrey2022/C2/int8_dynamic.tflite")).params_bytes == 5_256 + 11_584


def test_a_checkpoint_of_an_imported_int8_file_is_float32_again(shared_data, tmp_path):
    imported = cp.load(shared_data / "surrey2022/C2/int8_dynamic.tflite", front_end="surrey2022")
    path = save(imported, tmp_path / "again.safetensors")
    assert figures(check(path, rules="dcase2023"))["size_bytes"] == 4 * 12_898


def test_a_bare_network_without_an_example_is_refused():
    with pytest.raises(CoppiceError, match="give one example input"):
        check(nn.Linear(3, 2), rules=rules_of("dcase2024").name)


def limits(verdict):
    return {one.limit.name: (one.figure, one.judged) for one in verdict.findings}


@pytest.fixture
def kin():
    """Three networks that were pruned from one parent in conv3."""
    torch.manual_seed(0)
    network = cp.build_network("surrey2022").eval()
    with torch.no_grad():
        for name, parameter in network.named_parameters():  # biases of 0 are left out of ONNX files
            if name.endswith("bias"):
                parameter.normal_()
    parent = cp.Classifier(network, front_end("surrey2022"), tuple("abcdefghij"), None, None)
    sets = [range(0, 16), range(8, 24), range(16, 32)]
    return [cp.prune(parent, cp.plan_from_indices(parent, {"conv3": list(kept)})) for kept in sets]


def test_an_ensemble_counts_what_its_members_share_once(kin, tmp_path):
    made = cp.ensemble(kin)
    alone, once = [cp.count(one, "macs").macs for one in kin], cp.count(made, "macs").macs
    trunk = 16 * 9 * 2040 + 16 * 16 * 9 * 2040
    assert once == sum(alone) - 2 * trunk
    path = save(made, tmp_path / "e.safetensors")
    found = check(path, rules="dcase2023")
    assert limits(found)["size_bytes"][0] == 4 * sum(p.numel() for p in made.network.parameters())
    assert limits(found)["macs"][0] < 1.02 * once  # with pools
    assert any(f"{once:,} are computed" in one.why for one in found.findings)


@pytest.mark.proof
def test_an_onnx_file_is_counted_by_its_graph(kin, tmp_path):
    cp.export_onnx(kin[0], tmp_path / "net.onnx")
    found = check(tmp_path / "net.onnx", rules="dcase2024")
    expected = 4 * cp.count(kin[0], "bn_folded").params
    assert limits(found) == {"size_bytes": (expected, expected), "macs": (cp.count(kin[0], "macs").macs,) * 2}
    found = check(tmp_path / "net.onnx", rules="dcase2022")
    assert limits(found)["number_format"] == ("float32", "float32") and not found.legal
    assert check(tmp_path / "net.onnx", rules="dcase2021").figures["model"].storage.params == expected // 4


def test_the_onnx_file_of_an_ensemble_has_the_common_trunk_once(kin, tmp_path):
    made = cp.ensemble(kin)
    cp.export_onnx(made, tmp_path / "net.onnx")
    found = limits(check(tmp_path / "net.onnx", rules="dcase2024"))
    assert found["macs"] == (cp.count(made, "macs").macs,) * 2
    # Equal tensors behind other layers, such as the last bias here, stand in the file once, too.
    assert found["size_bytes"][0] <= 4 * cp.count(made, "bn_folded").params


def test_an_int8_onnx_file_is_counted_at_a_byte_for_each_weight(kin, tmp_path):
    pytest.importorskip("nncf", reason="the extra int8 is not installed")
    from coppice.quantization.int8 import quantize_int8

    quantize_int8(kin[0], tmp_path / "net.onnx", clips=torch.randn(8, 1, 40, 51))
    found = check(tmp_path / "net.onnx", rules="dcase2022")
    assert limits(found)["number_format"] == ("int8", "int8")
    assert limits(found)["macs"][0] == cp.count(kin[0], "macs").macs
    params = cp.count(kin[0], "bn_folded").params
    size, strict = limits(found)["params"]
    assert params < size < params + 4 * 200 and size < strict < params + 8 * 200  # biases of four bytes; scales
    assert found.legal


def test_an_onnx_file_of_half_a_second_is_called_twice(tmp_path):
    half = front_end("surrey2022", duration_s=0.5)
    net = cp.build_network("surrey2022", frames=half.frames).eval()
    one = cp.Classifier(net, half, tuple("abcdefghij"), None, None)
    cp.export_onnx(one, tmp_path / "net.onnx")
    figure, judged = limits(check(tmp_path / "net.onnx", rules="dcase2024"))["macs"]
    assert judged == 2 * figure


def test_an_onnx_file_with_its_front_end_inside_is_refused(kin, tmp_path):
    one = replace(kin[0], band_mean=torch.zeros(40), band_std=torch.ones(40))
    cp.export_onnx(one, tmp_path / "net.onnx", with_front_end=True)
    with pytest.raises(CoppiceError, match="has its front end inside"):
        check(tmp_path / "net.onnx", rules="dcase2024")


def onnx_file(tmp_path, nodes, constants, out):
    import onnx
    from onnx import helper, numpy_helper

    values = [helper.make_tensor_value_info("x", 1, ["clips", 4, 6])]
    outs = [helper.make_tensor_value_info("y", 1, ["clips", *out])]
    stored = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "g", values, outs, stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    onnx.save(model, tmp_path / "own.onnx")
    return tmp_path / "own.onnx"


def test_products_of_onnx_graphs_from_elsewhere_are_counted(tmp_path):
    import numpy as np
    from onnx import helper

    nodes = [
        helper.make_node("Conv", ["x", "w4"], ["c"], group=2),
        helper.make_node("DequantizeLinear", ["m", "s"], ["d"]),
        helper.make_node("Transpose", ["d"], ["dT"], perm=[1, 0]),
        helper.make_node("MatMul", ["c", "dT"], ["e"]),
        helper.make_node("ConvTranspose", ["e", "t4"], ["y"]),
    ]
    constants = {
        "w4": np.ones((6, 2, 3), np.float32),
        "m": np.ones((2, 4), np.int8),
        "s": np.array(0.5, np.float32),
        "t4": np.zeros((6, 3, 2), np.float32),
    }
    found = check(onnx_file(tmp_path, nodes, constants, (3, 3)), rules="dcase2021")
    storage = found.figures["model"].storage
    assert storage.params == 36 + 8 + 36 and storage.params_bytes == 4 * 36 + 8 + 4 * 36
    assert storage.nonzero_bytes == 4 * 36 + 8 and storage.weight_formats == {"float32": 288, "int8": 8}
    macs = check(tmp_path / "own.onnx", rules="dcase2024").figures["model"].limits["macs"].value
    assert macs == 6 * 4 * 2 * 3 + 6 * 2 * 4 + 6 * 2 * 3 * 2


def test_an_onnx_operator_without_a_rule_is_refused_by_name(tmp_path):
    import numpy as np
    from onnx import helper

    nodes = [helper.make_node("Einsum", ["x", "w"], ["y"], equation="bct,ct->b")]
    with pytest.raises(CoppiceError, match="operator Einsum"):
        check(onnx_file(tmp_path, nodes, {"w": np.ones((4, 6), np.float32)}, ()), rules="dcase2024")
