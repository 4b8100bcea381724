"""ONNX files of ours, read back as classifiers that a runtime runs."""

import copy
import json
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch

from coppice.audio.log_mel import log_mel
from coppice.core.errors import CoppiceError
from coppice.export.onnx import export_onnx
from coppice.export.onnx_classifier import load_onnx


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("onnx")


@pytest.fixture(scope="module")
def plain(classifier, folder):
    return export_onnx(classifier, folder / "plain.onnx").path


@pytest.fixture(scope="module")
def whole(classifier, folder):
    return export_onnx(classifier, folder / "whole.onnx", with_front_end=True).path


@pytest.fixture(scope="module")
def waveforms(classifier):
    return 0.1 * torch.randn(5, classifier.front_end.samples, generator=torch.Generator().manual_seed(4))


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("front_end", ["outside", "inside"])
def test_waveforms_get_the_posteriors_of_the_classifier(classifier, plain, whole, waveforms, runtime, front_end):
    pytest.importorskip(runtime)
    read = load_onnx(whole if front_end == "inside" else plain, runtime=runtime)
    found = read.posteriors_of_waveforms(waveforms, batch_size=2)
    assert found.dtype == torch.float64
    assert (found - classifier.posteriors_of_waveforms(waveforms)).abs().max() < 1e-5
    assert read.posteriors_of_waveforms(waveforms[:0]).shape == (0, 3)


def test_log_mel_gets_the_posteriors_of_the_classifier(classifier, plain, waveforms):
    heard = torch.stack([log_mel(waveform, classifier.front_end) for waveform in waveforms])
    read = load_onnx(plain)
    assert (read.posteriors(heard) - classifier.posteriors(heard)).abs().max() < 1e-6
    assert read.posteriors(heard[:0]).shape == (0, 3)


def test_it_knows_what_the_classifier_knew(classifier, plain, whole):
    for path, takes in ((plain, "normalised_log_mel"), (whole, "waveform")):
        read = load_onnx(path)
        assert (read.labels, read.score, read.takes) == (classifier.labels, "softmax", takes)
        assert read.known_front_end() == classifier.front_end
        assert torch.equal(read.band_mean, classifier.band_mean)


def test_what_does_not_fit_is_refused(plain, whole, waveforms):
    with pytest.raises(CoppiceError, match="takes waveforms, not log-mel"):
        load_onnx(whole).posteriors(torch.zeros(1, 40, 25))
    with pytest.raises(CoppiceError, match=r"log-mel of shape \(1, 40, 24\) does not fit"):
        load_onnx(plain).posteriors(torch.zeros(1, 40, 24))
    for path in (plain, whole):
        with pytest.raises(CoppiceError, match=r"0\.5 s at 44100 Hz"):
            load_onnx(path).posteriors_of_waveforms(waveforms[:, :-1])
    with pytest.raises(CoppiceError, match="Did you mean 'onnxruntime'"):
        load_onnx(plain, runtime="onnxruntimes")
    with pytest.raises(CoppiceError, match="threads is 0"):
        load_onnx(plain, threads=0)


def test_a_network_whose_front_end_is_not_known_says_so(classifier, folder):
    bare = replace(classifier, band_mean=None, band_std=None)
    read = load_onnx(export_onnx(bare, folder / "bare.onnx").path)
    with pytest.raises(CoppiceError, match="does not say its normalisation"):
        read.posteriors(torch.zeros(1, 40, 25))
    network = copy.deepcopy(classifier.network)
    network.input_shape = (1, 40, 25)
    nothing = replace(bare, front_end=None, network=network)
    with pytest.raises(CoppiceError, match="does not say its front end"):
        load_onnx(export_onnx(nothing, folder / "nothing.onnx").path).known_front_end()


def damaged(path, **changes):
    model = onnx.load(path)
    entries = {entry.key: entry.value for entry in model.metadata_props} | changes
    del model.metadata_props[:]
    for key, value in entries.items():
        if value is not None:
            model.metadata_props.add(key=key, value=value)
    model.doc_string = "changed"
    out = path.with_name("damaged.onnx")
    onnx.save(model, out)
    return out


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"labels": None}, "does not say its labels"),
        ({"coppice_version": None}, "does not say its coppice_version"),
        ({"labels": "[bus"}, "its labels is not JSON"),
        ({"labels": "[1, 2, 3]"}, "not a list of names"),
        ({"labels": '["bus", "bus", "tram"]'}, "has one label twice"),
        ({"labels": '["bus", "park"]'}, "has 2 classes but gives posteriors of shape"),
        ({"score": "argmax"}, "become scores by 'argmax'"),
        ({"input": "melody"}, "takes 'melody'"),
        ({"input": "waveform"}, "takes clips of shape"),
        ({"front_end": None}, "its front end gives None"),
        ({"front_end": "{}"}, "front end"),
        ({"front_end": "[" * 100_000}, "its front_end is not JSON"),
        ({"band_mean": "[1.0]"}, "its band_mean is not one number for each band"),
        ({"band_std": json.dumps([0.0] * 40)}, "its band_std is not one number for each band"),
        ({"band_std": json.dumps(["a"] * 40)}, "its band_std is not one number for each band"),
    ],
)
def test_metadata_that_cannot_be_is_refused(plain, changes, sentence):
    with pytest.raises(CoppiceError) as refusal:
        load_onnx(damaged(plain, **changes))
    assert sentence in str(refusal.value)


def test_a_file_cut_in_half_or_without_posteriors_is_refused(plain, folder):
    half = folder / "half.onnx"
    half.write_bytes(plain.read_bytes()[: plain.stat().st_size // 2])
    with pytest.raises(CoppiceError, match="not a whole ONNX model"):
        load_onnx(half)
    model = onnx.load(plain)
    del model.graph.output[1]
    onnx.save(model, folder / "less.onnx")
    with pytest.raises(CoppiceError, match="onnxruntime cannot run"):
        load_onnx(folder / "less.onnx")


def test_posteriors_are_those_that_the_file_gives(plain, run):
    inputs = torch.randn(3, 40, 25)
    read = load_onnx(plain)
    normalised = ((inputs - read.band_mean[:, None]) / read.band_std[:, None])[:, None]
    expected = run(plain.read_bytes(), normalised.numpy())["posteriors"]
    assert np.array_equal(read.posteriors(inputs).numpy(), expected.astype(np.float64))
