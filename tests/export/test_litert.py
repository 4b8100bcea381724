"""LiteRT files against the networks in PyTorch, run by LiteRT's own interpreter alone."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from coppice.audio.log_mel import log_mel
from coppice.core.errors import CoppiceError
from coppice.export import runtimes
from coppice.export.litert import export as exporting
from coppice.export.litert.export import export_litert, litert_graph, litert_model
from coppice.export.litert.model_file import read_litert
from coppice.export.verify import noise_clips
from coppice.networks.foreign.tflite_graph import parse_graph, read_graph
from coppice.networks.loading import load
from coppice.networks.registry import build_network, network_names
from coppice.pruning.planning.decide import plan
from coppice.pruning.surgery.prune import prune
from quick import quick

litert = pytest.importorskip("ai_edge_litert.interpreter", reason="the extra litert is not installed")

MOBILE = {"base_channels": 8, "bands": 64, "frames": 33}
MEMBER = {"network": {"name": "cp_mobile", "config": MOBILE}, "weight": 0.5}
NARROW = {
    "chain": (
        (1, 20, 17),
        {
            "layers": [
                {"kind": "conv", "filters": 4, "kernel": 4, "padding": "same"},
                {"kind": "batch_norm"},
                {"kind": "activation", "function": "hard_sigmoid_keras2"},
                {"kind": "avg_pool", "kernel": 3, "padding": "same"},
                {"kind": "max_pool", "kernel": 2, "padding": "same"},
                {"kind": "activation", "function": "swish"},
                {"kind": "flatten"},
                {"kind": "dense", "units": 3},
            ],
            "input_shape": (1, 20, 17),
        },
    ),
    "cnn6": ((1, 64, 40), {"widths": (3, 4, 5, 6), "dense": 5, "classes": 7}),
    "cnn10": ((1, 64, 40), {"widths": (3, 4, 5, 6) * 2, "dense": 5, "classes": 7}),
    "cnn14": ((1, 64, 40), {"widths": (3, 4, 5, 6) * 3, "dense": 5, "classes": 7}),
    "cp_mobile": ((1, 64, 33), MOBILE),
    "dcase2021": ((1, 40, 25), {"widths": (4, 3, 5), "dense": 6, "frames": 25}),
    "dcase2022": ((1, 40, 51), {"widths": (4, 6, 5), "dense": 7}),
    "ensemble": ((1, 64, 33), {"members": [MEMBER, MEMBER], "shared": {"1.in_c.0.0": "0.in_c.0.0"}}),
    "soundnet": ((1, 60_000), {"widths": (4, 5, 6, 7, 8, 6, 5), "classes": 10, "samples": 60_000}),
    "surrey2022": ((1, 40, 51), {"widths": (4, 6, 5), "dense": 7, "kernel": 5}),
    "vggish_net": ((1, 32, 48), {"widths": (3, 4, 5, 6, 7, 8), "dense": (9, 7), "bands": 32, "frames": 48}),
}


class Both(nn.Module):
    """Somebody's network, and the scores that stand behind it in a file."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x):
        logits = self.network(x).flatten(1)
        return logits, logits.sigmoid()


class Does(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def interpreted(content, clip):
    """Run a file, without our own code; name of the output -> its values."""
    interpreter = litert.Interpreter(model_content=content)
    signature = interpreter.get_signature_runner()
    (name,) = signature.get_input_details()
    return signature(**{name: clip})


def kinds(content):
    return [operator.kind for operator in parse_graph(content, "the file").operators]


def assert_same(module, shape, *, atol=1e-5):
    module = Both(module).eval()
    clip = torch.randn(1, *shape, generator=torch.Generator().manual_seed(3))
    content = litert_graph(module, torch.zeros(1, *shape))
    with torch.inference_mode():
        logits, scores = module(clip)
    found = interpreted(content, clip.numpy())
    np.testing.assert_allclose(found["logits"], logits.numpy(), rtol=1e-4, atol=atol)
    np.testing.assert_allclose(found["posteriors"], scores.numpy(), rtol=1e-4, atol=atol)
    return content


def test_every_architecture_is_exported_below():
    assert set(NARROW) == set(network_names())


@pytest.mark.parametrize("name", quick(NARROW, "chain", "cp_mobile"))
def test_each_architecture_gives_the_same_logits(name, bare):
    shape, config = NARROW[name]
    net = bare(name, shape, **config)
    model = litert_model(net)
    assert model.clip_shape == shape
    clip = torch.randn(1, *shape, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = net.network(clip)
    found = interpreted(model.content, clip.numpy())
    np.testing.assert_allclose(found["logits"], expected.numpy(), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found["posteriors"], expected.softmax(1).numpy(), rtol=0, atol=1e-6)


def convolution(**settings):
    return nn.Conv2d(4, settings.pop("filters", 8), settings.pop("kernel", 3), **settings)


@pytest.mark.parametrize(
    "layer",
    [
        convolution(),
        convolution(padding="same", kernel=(4, 5)),
        convolution(padding=1, stride=2),
        convolution(padding=(2, 0), stride=(1, 3), bias=False),
        convolution(padding=2, dilation=2),
        convolution(padding=1, groups=4),
        convolution(padding=1, groups=2),
        convolution(padding=3, kernel=5),
        nn.Sequential(convolution(padding=1), nn.ReLU6(), nn.BatchNorm2d(8), nn.ReLU()),
        nn.Sequential(nn.BatchNorm2d(4), convolution(), nn.BatchNorm2d(8, affine=False), nn.ReLU()),
        nn.MaxPool2d(3, stride=2, padding=1),
        nn.MaxPool2d(2, ceil_mode=True),
        nn.AvgPool2d(3, stride=1, padding=1),
        nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False),
        nn.AdaptiveAvgPool2d(1),
        nn.AdaptiveAvgPool2d((3, 1)),
        nn.Sequential(nn.Flatten(2), nn.Conv1d(4, 5, 5, stride=2, padding=3), nn.MaxPool1d(2), nn.ReLU()),
        nn.Sequential(nn.Flatten(2), nn.Conv1d(4, 4, 4, padding="same", groups=4), nn.AvgPool1d(3, padding=1)),
        nn.Sequential(nn.Flatten(), nn.Linear(4 * 9 * 11, 5), nn.BatchNorm1d(5), nn.LeakyReLU(0.2)),
        nn.Sequential(nn.Linear(11, 6), nn.LayerNorm(6)),
        nn.PReLU(4),
        nn.GroupNorm(2, 4),
        nn.Softmax(dim=1),
        nn.LogSoftmax(dim=-1),
    ],
    ids=str,
)
def test_layers_compute_what_pytorch_computes(layer, used):
    torch.manual_seed(0)
    assert_same(used(layer), (4, 9, 11))


ACTIVATIONS = [
    nn.Tanh(), nn.Sigmoid(), nn.ELU(), nn.ELU(0.5), nn.SELU(), nn.SiLU(), nn.Mish(), nn.Hardswish(), nn.Hardsigmoid(),
    nn.Hardtanh(), nn.Hardtanh(-0.3, 2.0), nn.Softplus(), nn.Softplus(2.0), nn.Softsign(), nn.GELU("tanh"), nn.GELU(),
    nn.Softshrink(), nn.Threshold(0.1, 0.2), nn.LogSigmoid(), nn.CELU(0.7), nn.Tanhshrink(),
]  # fmt: skip


@pytest.mark.parametrize("layer", quick(ACTIVATIONS, *(ACTIVATIONS[i] for i in (0, 1, 5, 7, 8, 14))), ids=str)
def test_activations_compute_what_pytorch_computes(layer):
    assert_same(nn.Sequential(nn.Conv2d(1, 3, 3), layer), (1, 8, 9), atol=2e-4 if isinstance(layer, nn.GELU) else 1e-5)


FUNCTIONS = {
    "residual": lambda x: x + x.relu() * 2 - x / 3,
    "scaled sum": lambda x: torch.add(x, x.exp(), alpha=0.5),
    "squeeze and excite": lambda x: x * x.mean((2, 3), keepdim=True).sigmoid(),
    "mean and maximum": lambda x: x.mean(2).amax(-1) + x.mean(3).amax(2) + x.sum((2, 3)) + x.amin((2, 3)),
    "concatenated": lambda x: torch.cat([x, 2 * x, x.flip(3)], dim=1),
    "cut": lambda x: x[:, 1:, ::2, -4:] * x[:, :-1, 1::2, 2:6][:, :, :4].mean(),
    "permuted": lambda x: x.permute(0, 3, 1, 2).reshape(1, 16, -1).transpose(1, 2),
    "split": lambda x: (
        torch.cat(x.split([1, 3], dim=1)[::-1], dim=1) * torch.stack(x.chunk(2, 1)[0].unbind(3), 3).mean()
    ),
    "product": lambda x: x @ x.transpose(2, 3),
    "logarithms": lambda x: (x.abs() + 1).log() + (x.abs() + 1).log10() + x.abs().log1p() + x.expm1() + (x * x).sqrt(),
    "powers": lambda x: x.square() + x.pow(3) + (x.abs() + 1).pow(-0.5) + (x.abs() + 2).reciprocal(),
    "rounded": lambda x: (3 * x).trunc() + (3 * x).floor() + (3 * x).ceil() + x.sign(),
    "chosen": lambda x: torch.where((x > 0.1) & (x <= 2), x, torch.maximum(-x, x.clamp(max=0.2))),
    "padded": lambda x: F.pad(F.pad(F.pad(x, (1, 2)), (1, 1, 2, 0), value=-1.0), (3, 1, 0, 2), mode="reflect"),
    "cropped": lambda x: F.pad(x, (-1, 2, -2, 0)),
    "repeated": lambda x: x.mean(1, keepdim=True).expand(-1, 3, -1, -1) + x[:, :1].repeat(1, 3, 1, 1),
    "spread": lambda x: x.var((2, 3)) + x.std(3, unbiased=False).sum(2) + x.var(1, keepdim=True).mean((2, 3)),
    "extremes": lambda x: x.max(3).values + x.min(3)[0],
    "squeezed": lambda x: (
        x.mean(3, keepdim=True).squeeze(3).unsqueeze(1).select(2, 1) * x[:, :, 0, 0].unsqueeze(2).mean()
    ),
    "with constants": lambda x: x * torch.arange(10.0) + torch.ones(4, 1, 1) * torch.linspace(0, 1, 8)[:, None],
}


@pytest.mark.parametrize(
    "name",
    quick(
        FUNCTIONS,
        "residual",
        "squeeze and excite",
        "mean and maximum",
        "concatenated",
        "cut",
        "permuted",
        "padded",
        "spread",
    ),
)
@pytest.mark.parametrize("layout", quick(["plain", "channels last"], "channels last"))
def test_functions_compute_what_pytorch_computes(name, layout):
    before = nn.Identity() if layout == "plain" else nn.Conv2d(4, 4, 3, padding=1)
    assert_same(nn.Sequential(before, Does(FUNCTIONS[name])), (4, 8, 10), atol=1e-4)


def test_batch_normalisation_is_folded_and_activations_are_fused(used):
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()]
    content = assert_same(used(nn.Sequential(*layers, nn.Linear(64, 3), nn.ReLU6())), (1, 8, 8))
    assert [kind for kind in kinds(content) if kind not in ("RESHAPE", "TRANSPOSE")] == [
        "CONV_2D", "MAX_POOL_2D", "FULLY_CONNECTED", "LOGISTIC",
    ]  # fmt: skip


def test_what_several_layers_read_is_not_changed_by_one_of_them(used):
    class Fork(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3)

        def forward(self, x):
            x = self.conv(x)
            return torch.cat([x, x.relu(), self.norm(x), x.flatten(1).relu().reshape(x.shape)], dim=1)

    torch.manual_seed(0)
    assert_same(used(Fork()), (1, 6, 7))


def test_a_waveform_gives_the_posteriors_of_the_classifier(classifier):
    model = litert_model(classifier, with_front_end=True)
    for sound in noise_clips(classifier.front_end):
        expected = classifier.posteriors(log_mel(sound, classifier.front_end)[None])
        found = interpreted(model.content, sound[None].numpy())["posteriors"]
        np.testing.assert_allclose(found, expected.numpy(), rtol=0, atol=1e-5)


def test_a_pruned_network_is_exported_with_its_own_widths(classifier, tmp_path):
    small = prune(classifier, plan(classifier, "l1", ratios=0.5))
    done = export_litert(small, tmp_path / "a.tflite")
    shapes = {tensor.name: tensor.shape for tensor in read_graph(done.path).tensors}
    assert shapes["network.conv1/conv2d/weight"] == (2, 7, 7, 1)


def test_the_file_says_what_a_device_must_know(classifier, tmp_path):
    done = export_litert(classifier, tmp_path / "ear.tflite", with_front_end=True)
    assert (done.agreement.clips, done.agreement.material) == (8, "clips of seeded noise")
    assert (done.format, done.precision, done.checked_in) == ("LiteRT", "float32", "LiteRT")
    assert done.size_bytes == (tmp_path / "ear.tflite").stat().st_size
    said = read_litert(done.path).metadata
    assert (said["labels"], said["input"], said["sample_rate_hz"]) == (list(classifier.labels), "waveform", 44100)
    assert b"/" + str(tmp_path).split("/")[1].encode() not in done.path.read_bytes()


def test_float16_halves_the_weights_and_keeps_the_front_end(classifier, tmp_path):
    whole = export_litert(classifier, tmp_path / "a.tflite")
    half = export_litert(classifier, tmp_path / "b.tflite", precision="float16")
    assert half.agreement.tolerance == 1e-2
    graph = read_graph(half.path)
    formats = {tensor.name: tensor.format for tensor in graph.tensors if tensor.data is not None}
    assert formats["network.conv2/conv2d_1/weight_float16"] == "float16"
    assert half.size_bytes < whole.size_bytes
    inside = litert_model(classifier, precision="float16", with_front_end=True)
    tables = [tensor for tensor in parse_graph(inside.content, "a").tensors if tensor.name.startswith("front_end")]
    assert {tensor.format for tensor in tables if tensor.data is not None} == {"float32"}


def test_our_own_files_can_be_imported_again(classifier, tmp_path):
    done = export_litert(classifier, tmp_path / "a.tflite")
    with pytest.raises(CoppiceError, match="2 outputs"):
        load(done.path)


@pytest.fixture(scope="module")
def sounds(classifier):
    samples = classifier.front_end.samples
    return 0.1 * torch.randn(12, samples, generator=torch.Generator().manual_seed(4))


@pytest.mark.parametrize("with_front_end", [False, True])
def test_int8_computes_the_network_in_integers(classifier, sounds, tmp_path, with_front_end):
    pytest.importorskip("ai_edge_quantizer", reason="the extra litert is not installed")
    done = export_litert(
        classifier, tmp_path / "a.tflite", precision="int8", calibration=sounds, with_front_end=with_front_end
    )
    assert done.agreement.material == "calibration clips"
    assert done.agreement.max_delta < 0.1
    graph = read_graph(done.path)
    made = {graph.tensors[o.outputs[0]].name: (o.kind, graph.tensors[o.outputs[0]].format) for o in graph.operators}
    inside = {made_as for name, made_as in made.items() if name.startswith("network") and "dequant" not in name}
    assert {"CONV_2D", "FULLY_CONNECTED", "MAX_POOL_2D"} <= {kind for kind, _ in inside}
    assert {number_format for _, number_format in inside} == {"int8"}
    assert {number_format for name, (_, number_format) in made.items() if "front_end/" in name} <= {"float32", "int8"}
    assert [graph.tensors[i].format for i in (*graph.inputs, *graph.outputs)] == ["float32"] * 3
    scales = {tensor.name: len(tensor.scale) for tensor in graph.tensors}
    assert scales["network.conv2/conv2d_1/weight"] == 3


def test_int8_of_branches_and_depthwise_layers_stays_close(bare):
    pytest.importorskip("ai_edge_quantizer", reason="the extra litert is not installed")
    from coppice.export.litert.int8 import int8_model

    shape, config = NARROW["cp_mobile"]
    torch.manual_seed(0)
    net = bare("cp_mobile", shape, **config)
    net = replace(net, network=build_network("cp_mobile", **config).eval())
    clips = torch.randn(16, 1, *shape, generator=torch.Generator().manual_seed(2))
    content = int8_model(litert_model(net).content, (clip.numpy() for clip in clips), input_name="features")
    with torch.inference_mode():
        expected = torch.cat([net.network(clip) for clip in clips]).numpy()
    found = np.concatenate([interpreted(content, clip.numpy())["logits"] for clip in clips])
    assert np.abs(found - expected).max() < 0.1 * np.abs(expected).max()
    assert {"DEPTHWISE_CONV_2D", "ADD"} <= set(kinds(content))


def test_int8_needs_clips_and_only_int8_takes_them(classifier, sounds, tmp_path):
    with pytest.raises(CoppiceError, match="int8 needs the clips that the network was trained on"):
        export_litert(classifier, tmp_path / "a.tflite", precision="int8")
    with pytest.raises(CoppiceError, match="calibration clips are for int8, not float16"):
        export_litert(classifier, tmp_path / "a.tflite", precision="float16", calibration=sounds)
    with pytest.raises(CoppiceError, match=r"not written as 'int4'\. Did you mean 'int8'"):
        export_litert(classifier, tmp_path / "a.tflite", precision="int4")
    assert not list(tmp_path.iterdir())


def test_an_operator_without_a_rule_is_named_before_any_work(monkeypatch):
    network = nn.Sequential(nn.Conv2d(1, 2, 3), Does(torch.special.bessel_j0))
    monkeypatch.setattr(exporting.Builder, "operator", lambda *a, **k: pytest.fail("work was done"))
    with pytest.raises(CoppiceError, match=r"with an operator for aten\.special_bessel_j0, which 'network\.1' uses"):
        litert_graph(Both(network).eval(), torch.zeros(1, 1, 8, 8))


def test_recurrent_layers_are_written_out_step_by_step():
    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.gru = nn.GRU(5, 4, batch_first=True, bidirectional=True)

        def forward(self, x):
            return self.gru(x)[0]

    torch.manual_seed(0)
    assert_same(Recurrent(), (6, 5))


@pytest.mark.parametrize(
    "layer, why",
    [
        (nn.MaxPool2d(2, dilation=2), "the window is dilated"),
        (nn.AvgPool2d(2, ceil_mode=True), "windows stand over the edge"),
        (nn.AdaptiveAvgPool2d((2, 2)), "overlap"),
        (nn.ReplicationPad2d(1), "replication_pad2d|the padding is 'replicate'|index"),
    ],
    ids=str,
)
def test_settings_that_litert_lacks_are_named(layer, why):
    with pytest.raises(CoppiceError, match=why):
        litert_graph(Both(layer).eval(), torch.zeros(1, 2, 7, 9))


@pytest.mark.parametrize("there_before", [True, False])
def test_a_file_that_disagrees_is_not_written(classifier, tmp_path, monkeypatch, there_before):
    path = tmp_path / "a.tflite"
    if there_before:
        path.write_text("older")
    right = exporting.litert_posteriors
    monkeypatch.setattr(
        exporting, "litert_posteriors", lambda *a, **k: lambda clips: right(*a, **k)(clips)[:, [1, 0, 2]]
    )
    with pytest.raises(CoppiceError, match=r"posteriors on 8 clips of seeded noise differ by up to .* nothing was"):
        export_litert(classifier, path)
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("a.tflite", "older")] * there_before


def test_a_runtime_that_is_not_installed_is_named_before_any_work(classifier, tmp_path, monkeypatch):
    monkeypatch.setitem(runtimes.RUNTIMES, "litert", ("a_module_that_nobody_has", "litert"))
    monkeypatch.setattr(exporting, "traced", lambda *a, **k: pytest.fail("work was done"))
    with pytest.raises(CoppiceError, match=r"'litert' is not installed.*pip install 'coppice\[litert\]'"):
        export_litert(classifier, tmp_path / "a.tflite")


@pytest.mark.parametrize("kept", [0, 7, 100, 0.3, 0.6, 0.95])
def test_a_file_that_is_cut_off_is_refused_in_one_sentence(classifier, tmp_path, kept):
    content = litert_model(classifier).content
    path = tmp_path / "half.tflite"
    path.write_bytes(content[: int(kept * len(content)) if isinstance(kept, float) else kept])
    with pytest.raises(CoppiceError, match=r"half\.tflite is not a (whole )?TFLite file") as caught:
        read_litert(path)
    assert "\n" not in str(caught.value)


def test_files_of_others_say_nothing_of_themselves(shared_data):
    model = read_litert(shared_data / "surrey2022" / "C2" / "float32.tflite")
    assert (model.metadata, model.clip_shape) == ({}, (40, 51, 1))


def test_nothing_is_printed(classifier, tmp_path, capfd):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        export_litert(classifier, tmp_path / "a.tflite")
    assert capfd.readouterr() == ("", "")
