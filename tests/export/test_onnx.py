"""Exported files against the networks in PyTorch, run by ONNX Runtime alone."""

import json

import numpy as np
import onnx
import pytest
import torch
from torch import nn

import coppice
from coppice.audio.front_end import FrontEnd, front_end
from coppice.audio.log_mel import log_mel
from coppice.core.errors import CoppiceError
from coppice.export import onnx as exporting
from coppice.export.onnx import export_onnx, onnx_model
from coppice.export.onnx_file import read_onnx
from coppice.export.posterior_graph import PosteriorGraph
from coppice.networks.classifier import Classifier
from coppice.networks.registry import network_names
from coppice.pruning.planning.decide import plan
from coppice.pruning.surgery.prune import prune
from quick import quick

LAYERS = [
    {"kind": "conv", "filters": 4, "kernel": 4, "padding": "same"},
    {"kind": "batch_norm"},
    {"kind": "activation", "function": "hard_sigmoid_keras2"},
    {"kind": "avg_pool", "kernel": 3, "padding": "same"},
    {"kind": "max_pool", "kernel": 2, "padding": "same"},
    {"kind": "activation", "function": "swish"},
    {"kind": "flatten"},
    {"kind": "dense", "units": 3},
]
MOBILE = {"base_channels": 8, "bands": 64, "frames": 33}
MEMBER = {"network": {"name": "cp_mobile", "config": MOBILE}, "weight": 0.5}
NARROW = {
    "chain": ((1, 20, 17), {"layers": LAYERS, "input_shape": (1, 20, 17)}),
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


def waveforms(samples, count=3):
    return 0.1 * torch.randn(count, samples, generator=torch.Generator().manual_seed(9))


class Mine(nn.Module):
    """Somebody's network on (1, 40, 25), whatever ``inside`` does."""

    def __init__(self, inside):
        super().__init__()
        self.inside = inside
        self.dense = nn.Linear(40 * 25, 3)

    def forward(self, x):
        return self.dense(self.inside(x).flatten(1))


class Does(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


@pytest.fixture
def mine(classifier):
    def build(function):
        return Classifier(
            Mine(Does(function)),
            classifier.front_end,
            classifier.labels,
            classifier.band_mean,
            classifier.band_std,
        )

    return build


def test_every_architecture_is_exported_below():
    assert set(NARROW) == set(network_names())


@pytest.mark.parametrize("name", quick(NARROW, "chain", "dcase2021"))
def test_each_architecture_gives_the_same_logits_for_any_number_of_clips(name, bare, run):
    shape, config = NARROW[name]
    net = bare(name, shape, **config)
    content = onnx_model(net).content
    for count in (1, 3):
        inputs = torch.randn(count, *shape, generator=torch.Generator().manual_seed(count))
        with torch.inference_mode():
            expected = net.network(inputs)
        found = run(content, inputs.numpy())
        np.testing.assert_allclose(found["logits"], expected.numpy(), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(found["posteriors"], expected.softmax(1).numpy(), rtol=0, atol=1e-6)


def test_a_pruned_network_is_exported_with_its_own_widths(classifier, run):
    small = prune(classifier, plan(classifier, "l1", ratios=0.5))
    model = onnx_model(small)
    shapes = {tensor.name: tuple(tensor.dims) for tensor in onnx.load_from_string(model.content).graph.initializer}
    assert shapes["network.conv1.weight"][0] == small.network.conv1.out_channels < 4
    features = torch.randn(2, 40, 25)
    found = run(model.content, small.normalise(features).numpy())["posteriors"]
    np.testing.assert_allclose(found, small.posteriors(features).numpy(), atol=1e-6)


def test_a_waveform_gives_the_posteriors_of_the_classifier(classifier, whole_model, run):
    sounds = waveforms(classifier.front_end.samples)
    expected = classifier.posteriors(torch.stack([log_mel(sound, classifier.front_end) for sound in sounds]))
    for count in (3, 1):
        found = run(whole_model.content, sounds[:count].numpy())["posteriors"]
        np.testing.assert_allclose(found, expected[:count].numpy(), rtol=0, atol=1e-5)


def test_a_tagging_network_gives_each_class_for_itself(classifier):
    one = Classifier(**{**vars(classifier), "score": "sigmoid"})
    sounds = waveforms(one.front_end.samples)
    expected = one.posteriors(torch.stack([log_mel(sound, one.front_end) for sound in sounds]))
    with torch.inference_mode():
        _, found = PosteriorGraph(one, with_front_end=True)(sounds)
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=1e-5)


def test_silence_is_not_lost_on_the_way(classifier, whole_model, run):
    silence = torch.zeros(1, classifier.front_end.samples)
    expected = classifier.posteriors(log_mel(silence[0], classifier.front_end)[None])
    np.testing.assert_allclose(run(whole_model.content, silence.numpy())["posteriors"], expected.numpy(), atol=1e-5)


def test_a_tiny_number_in_a_users_network_survives(mine, run):
    one = mine(lambda x: torch.log(x.relu() + 1e-10))
    found = run(onnx_model(one).content, -np.ones((1, 1, 40, 25), np.float32))["logits"]
    with torch.inference_mode():
        expected = one.network(-torch.ones(1, 1, 40, 25))
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-5)


def test_the_file_says_what_a_device_must_know(classifier, tmp_path):
    done = export_onnx(classifier, tmp_path / "ear.onnx", with_front_end=True)
    assert (done.agreement.clips, done.agreement.material) == (8, "clips of seeded noise")
    written = onnx.load(done.path)
    said = {entry.key: entry.value for entry in written.metadata_props}
    assert json.loads(said["labels"]) == list(classifier.labels)
    assert (said["preset"], said["sample_rate_hz"], said["samples"]) == ("dcase2021", "44100", "22050")
    assert (said["input"], said["score"], said["coppice_version"]) == ("waveform", "softmax", coppice.__version__)
    assert FrontEnd.from_dict(json.loads(said["front_end"])) == classifier.front_end
    np.testing.assert_allclose(json.loads(said["band_mean"]), classifier.band_mean)
    (opset,) = written.opset_import
    assert (opset.version, done.format) == (18, "ONNX opset 18")
    dims = written.graph.input[0].type.tensor_type.shape.dim
    assert (dims[0].dim_param, dims[1].dim_value) == ("clips", 22050)
    assert [output.name for output in written.graph.output] == ["logits", "posteriors"]
    assert done.size_bytes == done.path.stat().st_size
    assert read_onnx(done.path).metadata == said


def test_the_file_tells_nothing_of_the_machine_and_is_the_same_each_time(classifier, model):
    assert onnx_model(classifier).content == model.content
    for trace in (b".py", b"File ", b"site-packages", b"pkg.torch"):
        assert trace not in model.content


def test_the_callers_network_is_left_as_it_is(classifier):
    before = {name: tensor.clone() for name, tensor in classifier.network.state_dict().items()}
    classifier.network.train()
    graph = PosteriorGraph(classifier, with_front_end=False)
    assert classifier.network.training
    assert not graph.network.training
    classifier.network.eval()
    graph.network.conv1.weight.data.zero_()
    assert all(torch.equal(before[name], tensor) for name, tensor in classifier.network.state_dict().items())


@pytest.fixture
def translated(model, monkeypatch):
    """Spare the translation where it is not what is tested: the classifier's own model is taken."""
    monkeypatch.setattr(exporting, "onnx_model", lambda *_, **__: model)


def test_the_file_is_verified_on_the_clips_that_are_given(classifier, translated, tmp_path):
    done = export_onnx(classifier, tmp_path / "a.onnx", clips=waveforms(22050, 11))
    assert (done.agreement.clips, done.agreement.material, done.agreement.top1) == (11, "given clips", 1.0)
    assert 0 <= done.agreement.max_delta < 1e-6


def test_a_network_without_front_end_is_verified_on_noise(bare, tmp_path):
    shape, config = NARROW["surrey2022"]
    done = export_onnx(bare("surrey2022", shape, **config), tmp_path / "a.onnx")
    assert (done.input_name, done.clip_shape) == ("features", shape)
    assert (done.agreement.clips, done.agreement.material) == (8, "clips of seeded noise")


@pytest.mark.parametrize("there_before", [True, False])
def test_a_file_that_disagrees_is_not_written(classifier, translated, tmp_path, monkeypatch, there_before):
    path = tmp_path / "a.onnx"
    if there_before:
        path.write_text("older")
    right = exporting.onnxruntime_posteriors
    monkeypatch.setattr(
        exporting, "onnxruntime_posteriors", lambda *a, **k: lambda clips: right(*a, **k)(clips)[:, [1, 0, 2]]
    )
    with pytest.raises(CoppiceError, match=r"posteriors on 8 clips of seeded noise differ by up to .* nothing was"):
        export_onnx(classifier, path)
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("a.onnx", "older")] * there_before


def test_values_that_are_not_numbers_are_refused(classifier, translated, tmp_path):
    broken = Classifier(**{**vars(classifier), "band_std": torch.full((40,), torch.nan)})
    with pytest.raises(CoppiceError, match="not a number"):
        export_onnx(broken, tmp_path / "a.onnx")
    assert not list(tmp_path.iterdir())


def test_an_operator_that_onnx_lacks_is_named_with_its_layer(mine, tmp_path):
    with pytest.raises(CoppiceError, match=r"no operator for aten\.special_bessel_j0, which 'network\.inside' uses"):
        export_onnx(mine(torch.special.bessel_j0), tmp_path / "a.onnx")
    assert not list(tmp_path.iterdir())


def test_a_network_that_looks_at_values_is_refused_in_one_sentence(mine, capfd):
    with pytest.raises(CoppiceError, match=r"cannot be traced into a graph \(.*data-dependent.*may depend"):
        onnx_model(mine(lambda x: x if x.sum() > 0 else -x))
    assert capfd.readouterr() == ("", "")


def test_a_front_end_that_is_not_known_cannot_go_into_a_file(bare):
    shape, config = NARROW["dcase2021"]
    with pytest.raises(CoppiceError, match="has no front end"):
        onnx_model(bare("dcase2021", shape, **config), with_front_end=True)


def test_a_normalisation_that_is_not_known_cannot_go_into_a_file(classifier):
    with pytest.raises(CoppiceError, match="normalisation is not known"):
        onnx_model(Classifier(**{**vars(classifier), "band_mean": None}), with_front_end=True)


@pytest.mark.parametrize(
    "clips, sentence",
    [
        (torch.zeros(2, 100), r"shape \(2, 100\) do not fit: give \(clips, 22050 samples\)"),
        (torch.zeros(0, 22050), r"shape \(0, 22050\) do not fit"),
        (torch.full((1, 22050), torch.nan), "not numbers"),
    ],
)
def test_clips_that_do_not_fit_are_refused(classifier, translated, tmp_path, clips, sentence):
    with pytest.raises(CoppiceError, match=sentence):
        export_onnx(classifier, tmp_path / "a.onnx", clips=clips)


def test_real_recordings_get_the_same_posteriors_from_a_published_network(shared_data, tmp_path):
    from coppice.export.sound_clips import sound_clips
    from coppice.networks.loading import load

    net = load(shared_data / "surrey2022" / "C2" / "float32.tflite", front_end="surrey2022")
    sounds = sorted((shared_data / "esc10" / "audio").glob("*.ogg"))[:12]
    done = export_onnx(
        net, tmp_path / "a.onnx", with_front_end=True, clips=sound_clips(sounds, front_end("surrey2022"))
    )
    assert done.agreement.clips == 12
    assert done.agreement.max_delta < 1e-4
