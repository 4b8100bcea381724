"""The int8 file against NumPy, PyTorch, ONNX Runtime and OpenVINO."""

import json
import os
import platform
import subprocess
import sys
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx.numpy_helper import to_array
from torch import nn

import coppice
from coppice.audio.log_mel import log_mel
from coppice.core.errors import CoppiceError
from coppice.ensembles.average import average_posteriors
from coppice.export.onnx import onnx_model
from coppice.export.onnx_classifier import load_onnx
from coppice.export.onnx_graph import onnx_graph
from coppice.export.sound_clips import sound_clips
from coppice.networks.classifier import Classifier
from coppice.networks.cp_mobile import CPMobile
from coppice.pruning.planning.decide import plan
from coppice.pruning.surgery.prune import prune
from coppice.quantization import ear
from coppice.quantization.calibration import network_inputs
from coppice.quantization.int8 import quantize_int8
from coppice.quantization.layers import in_int8, layer_nodes

LAYERS = ("conv1", "conv2", "conv3", "dense1", "dense2")


@pytest.fixture(scope="module")
def done(worn, clips, tmp_path_factory):
    return quantize_int8(worn, tmp_path_factory.mktemp("int8") / "net.onnx", clips=clips)


@pytest.fixture(scope="module")
def waveforms(worn):
    return 0.1 * torch.randn(10, worn.front_end.samples, generator=torch.Generator().manual_seed(2))


def test_it_says_much_the_same_as_the_network_in_float(done, worn, clips):
    expected = worn.posteriors(clips)
    found = load_onnx(done.path).posteriors(clips)
    assert (found - expected).abs().max() < 0.15
    assert done.agreement.max_delta == pytest.approx((found - expected).abs().max().item(), abs=1e-6)
    assert done.agreement.top1 == (found.argmax(1) == expected.argmax(1)).double().mean() >= 0.95
    assert done.drop == pytest.approx(1 - done.agreement.top1)
    assert (done.int8_layers, done.float_layers) == (LAYERS, ())
    assert done.size_bytes == done.path.stat().st_size


def test_depthwise_layers_read_values_of_one_scale_as_runtimes_want_them(tmp_path):
    torch.manual_seed(0)
    network = CPMobile(base_channels=8, channels_multiplier=1.5, bands=64, frames=30).eval()
    one = Classifier(network, None, tuple("abcdefghij"), None, None)
    noise = torch.randn(12, 1, 64, 30)
    done = quantize_int8(one, tmp_path / "net.onnx", clips=noise)
    graph = onnx.load(done.path).graph
    constants = {tensor.name: to_array(tensor) for tensor in graph.initializer}
    scales = [constants[node.input[1]] for node in graph.node if node.op_type == "QuantizeLinear"]
    assert len(scales) > 10 and {scale.size for scale in scales} == {1}
    assert done.float_layers == ()
    assert done.agreement.max_delta < 0.05


def test_both_runtimes_compute_the_same_file(done, clips):
    pytest.importorskip("openvino")
    found = [load_onnx(done.path, runtime=runtime).posteriors(clips) for runtime in ("onnxruntime", "openvino")]
    assert (found[0] - found[1]).abs().max() < 0.05


@pytest.mark.proof
@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="kernels of other processors have no limit")
def test_a_processor_without_vnni_computes_the_same(shared_data, tmp_path):
    pytest.importorskip("openvino")
    whole = coppice.load(shared_data / "surrey2022" / "C2" / "float32.tflite", front_end="surrey2022")
    waveforms = sound_clips([shared_data / "tau2022_sample"], whole.front_end)
    done = quantize_int8(whole, tmp_path / "net.onnx", clips=waveforms[:60], validation=waveforms[60:])
    assert done.agreement.top1 >= 0.9
    np.save(tmp_path / "waveforms.npy", waveforms[60:].numpy())
    program = (
        "import sys, numpy as np, torch; from coppice.export.onnx_classifier import load_onnx; "
        "net = load_onnx(sys.argv[1], runtime='openvino'); "
        "np.save(sys.argv[3], net.posteriors_of_waveforms(torch.from_numpy(np.load(sys.argv[2]))).numpy())"
    )
    files = [done.path, tmp_path / "waveforms.npy", tmp_path / "found.npy"]
    env = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"}
    subprocess.run([sys.executable, "-c", program, *map(str, files)], check=True, env=env)
    here = load_onnx(done.path, runtime="openvino").posteriors_of_waveforms(waveforms[60:]).numpy()
    assert np.abs(np.load(tmp_path / "found.npy") - here).max() < 0.02


@pytest.mark.proof
def test_weights_are_whole_numbers_of_seven_bits_with_a_scale_per_filter(done, worn):
    stored = {tensor.name: to_array(tensor) for tensor in onnx.load(done.path).graph.initializer}
    float_weights = {t.name: to_array(t) for t in onnx.load_from_string(onnx_model(worn).content).graph.initializer}
    for layer in LAYERS:
        ((name, whole),) = [(n, v) for n, v in stored.items() if n.startswith(f"q_output_network.{layer}.weight")]
        assert whole.dtype == np.int8
        suffix = name.removeprefix("q_output_")
        scale, zero = stored[f"scale_{suffix}"], stored[f"zero_point_{suffix}"]
        weight = float_weights[f"network.{layer}.weight"]
        assert not zero.any() and abs(whole).max() <= 64
        axis = weight.shape.index(scale.size)
        shape = [-1 if i == axis else 1 for i in range(weight.ndim)]
        assert scale.size == len(worn.network.get_submodule(layer).weight)
        assert (np.abs(whole * scale.reshape(shape) - weight) <= 0.5001 * scale.reshape(shape)).all()


@pytest.mark.proof
def test_the_same_clips_give_the_same_file(done, worn, clips, tmp_path):
    again = quantize_int8(worn, tmp_path / "again.onnx", clips=clips)
    assert again.path.read_bytes() == done.path.read_bytes()


def test_the_file_says_what_was_done(done, worn):
    file = load_onnx(done.path)
    said = json.loads(file.file.metadata["quantized"])
    assert said["to"] == "int8" and said["calibration_clips"] == 48 and said["by"].startswith("NNCF ")
    assert (said["int8_layers"], said["float_layers"]) == (list(LAYERS), [])
    assert (file.labels, file.score, file.front_end) == (worn.labels, "softmax", worn.front_end)
    assert torch.equal(file.band_mean, worn.band_mean)


@pytest.mark.proof
@pytest.mark.proof
def test_with_the_front_end_inside_a_waveform_gives_the_same(done, worn, clips, waveforms, tmp_path):
    whole = quantize_int8(worn, tmp_path / "whole.onnx", clips=clips, with_front_end=True)
    assert (whole.input_name, whole.clip_shape) == ("waveform", (worn.front_end.samples,))
    assert whole.agreement == done.agreement
    expected = load_onnx(done.path).posteriors_of_waveforms(waveforms)
    assert (load_onnx(whole.path).posteriors_of_waveforms(waveforms) - expected).abs().max() < 0.02
    model = onnx.load(whole.path)
    assert [node.op_type for node in model.graph.node].index("QuantizeLinear") > len(model.graph.node) / 3
    assert model.graph.output[1].type.tensor_type.shape.dim[0].dim_param == "clips"


@pytest.mark.proof
def test_waveforms_calibrate_as_their_log_mel_does(worn, waveforms, tmp_path):
    one = quantize_int8(worn, tmp_path / "one.onnx", clips=waveforms)
    heard = torch.stack([log_mel(waveform, worn.front_end) for waveform in waveforms])
    other = quantize_int8(worn, tmp_path / "other.onnx", clips=heard)
    assert one.path.read_bytes() == other.path.read_bytes()


def test_a_layer_that_is_named_stays_in_float(worn, clips, tmp_path):
    done = quantize_int8(worn, tmp_path / "net.onnx", clips=clips, in_float=["conv1", "dense2"])
    assert (done.int8_layers, done.float_layers) == (("conv2", "conv3", "dense1"), ("conv1", "dense2"))
    stored = {t.name: t for t in onnx.load(done.path).graph.initializer}
    assert np.array_equal(to_array(stored["network.dense2.weight"]), worn.network.dense2.weight.detach().numpy())


def test_a_pruned_network_keeps_its_widths(worn, clips, tmp_path):
    small = prune(worn, plan(worn, "l1", ratios=0.5))
    done = quantize_int8(small, tmp_path / "net.onnx", clips=clips)
    assert (load_onnx(done.path).posteriors(clips) - small.posteriors(clips)).abs().max() < 0.05


@pytest.mark.proof
def test_members_of_an_ensemble_are_averaged_as_others_are(done, worn, clips):
    members = [model.posteriors(clips) for model in (load_onnx(done.path), worn)]
    mean = average_posteriors([member.numpy() for member in members])
    np.testing.assert_allclose(mean, (members[0] + members[1]).numpy() / 2)


def test_a_network_without_a_front_end_takes_its_own_inputs(worn, tmp_path):
    class Own(nn.Module):
        input_shape = (2, 9, 7)

        def __init__(self):
            super().__init__()
            self.inside = nn.Conv2d(2, 3, 3)
            self.outside = nn.Linear(3, 4)

        def forward(self, x):
            return self.outside(self.inside(x).tanh().mean(dim=(2, 3)))

    own = Classifier(Own().eval(), None, tuple("abcd"), None, None, score="sigmoid")
    inputs = torch.randn(12, 2, 9, 7)
    done = quantize_int8(own, tmp_path / "own.onnx", clips=inputs)
    assert done.input_name == "features" and done.int8_layers == ("inside", "outside")
    session = onnxruntime.InferenceSession(done.path.read_bytes())
    found = session.run(["posteriors"], {"features": inputs.numpy()})[0]
    assert np.abs(found - own.network(inputs).sigmoid().detach().numpy()).max() < 0.05


def test_a_product_of_activations_is_no_layer():
    class Attends(nn.Module):
        def forward(self, x):
            return x @ x.transpose(1, 2)

    model = onnx_graph(Attends(), torch.zeros(2, 3, 3), inputs="x", outputs=["y"])
    assert layer_nodes(model) == {} and in_int8(model, {}) == ((), ())


@pytest.fixture
def spoilt(worn, clips):
    """The same function, but one filter is so loud that the others fit into few steps of the scale that they share."""
    network = type(worn.network)(widths=(4, 3, 5), dense=6, classes=3, frames=25).eval()
    network.load_state_dict(worn.network.state_dict())
    with torch.no_grad():
        network.bn1.weight[0] *= 1000
        network.bn1.bias[0] *= 1000
        network.conv2.weight[:, 0] /= 1000
    same = replace(worn, network=network)
    assert (same.posteriors(clips) - worn.posteriors(clips)).abs().max() < 1e-4
    return same


@pytest.mark.proof
def test_the_layer_that_hurts_most_goes_back_into_float(spoilt, clips, tmp_path):
    targets = spoilt.posteriors(clips).argmax(1)
    given = {"clips": clips[:24], "validation": clips, "targets": targets}
    plain = quantize_int8(spoilt, tmp_path / "plain.onnx", **given)
    assert plain.drop > 0.1 and plain.drop_of == "accuracy"
    careful = quantize_int8(spoilt, tmp_path / "careful.onnx", **given, max_drop=0.2)
    assert careful.drop <= 0.2 and careful.float_layers == ("conv2",)
    assert json.loads(load_onnx(careful.path).file.metadata["quantized"])["float_layers"] == ["conv2"]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (lambda c: {"clips": c[:3]}, "3 calibration clips are too few"),
        (lambda c: {"clips": c[:0]}, "calibration clips of shape (0, 40, 25) do not fit"),
        (lambda c: {"clips": c[:, :39]}, "give log-mel (clips, 40, 25) or waveforms (clips, 22050)"),
        (lambda c: {"clips": c.int()}, "do not fit"),
        (lambda c: {"clips": c[0, 0, 0]}, "do not fit"),
        (lambda c: {"clips": torch.zeros(12, 22050)}, "all 12 calibration clips are the same"),
        (lambda c: {"clips": c.index_fill(0, torch.tensor([5]), torch.nan)}, "number 5 of the calibration clips"),
        (lambda c: {"clips": c, "validation": c[:, :, :9]}, "validation clips of shape (48, 40, 9) do not fit"),
        (lambda c: {"clips": c, "targets": torch.zeros(48)}, "targets go with validation clips"),
        (lambda c: {"clips": c, "validation": c, "targets": torch.zeros(48)}, "do not go with 48 clips"),
        (lambda c: {"clips": c, "validation": c, "targets": torch.full((48,), 3)}, "a target is 3"),
        (lambda c: {"clips": c, "max_drop": 1.5}, "max_drop is 1.5"),
        (lambda c: {"clips": c, "in_float": ["conv4"]}, "Did you mean 'conv"),
        (lambda c: {"clips": c, "in_float": LAYERS}, "no convolution or dense layer is left"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_is_written(worn, clips, tmp_path, given, sentence):
    with pytest.raises(CoppiceError) as refusal:
        quantize_int8(worn, tmp_path / "net.onnx", **given(clips))
    assert sentence in str(refusal.value)
    assert not list(tmp_path.iterdir())


def test_a_front_end_that_is_not_known_cannot_go_inside(worn, clips, tmp_path):
    bare = replace(worn, band_mean=None, band_std=None)
    with pytest.raises(CoppiceError, match="normalisation is not known"):
        quantize_int8(bare, tmp_path / "net.onnx", clips=clips[:, None], with_front_end=True)


def test_without_nncf_one_sentence_says_what_to_install(worn, clips, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "nncf", None)
    with pytest.raises(CoppiceError, match="pip install nncf"):
        quantize_int8(worn, tmp_path / "net.onnx", clips=clips)


@pytest.mark.proof
@pytest.mark.proof
def test_nncf_reports_to_nobody():
    program = "import sys; from coppice.quantization.post_training import nncf; nncf(); "
    program += "print(type(sys.modules['nncf.telemetry.wrapper'].telemetry).__name__)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip().splitlines()[-1] != "NNCFTelemetry"
    assert "NNCF_CI" not in os.environ


def test_a_front_end_that_is_another_is_found_out(worn, clips, tmp_path, monkeypatch):
    heard = ear.noise_clips(worn.front_end)
    monkeypatch.setattr(ear, "noise_clips", lambda front_end: heard)
    monkeypatch.setattr(ear, "network_inputs", lambda classifier, noise: network_inputs(classifier, noise) + 0.02)
    with pytest.raises(CoppiceError, match="exported front end differs"):
        quantize_int8(worn, tmp_path / "net.onnx", clips=clips, with_front_end=True)
    assert not list(tmp_path.iterdir())
