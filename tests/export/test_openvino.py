"""OpenVINO's own files against the networks in PyTorch, run by OpenVINO alone."""

import json
import shutil

import numpy as np
import pytest
import torch

from coppice.audio.log_mel import log_mel
from coppice.core.errors import CoppiceError
from coppice.export import openvino as exporting
from coppice.export import runtimes
from coppice.export.openvino import export_openvino
from coppice.export.openvino_file import read_openvino
from coppice.export.verify import noise_clips
from quick import quick

openvino = pytest.importorskip("openvino", reason="the extra openvino is not installed")


def compiled(path):
    core = openvino.Core()
    return core.compile_model(core.read_model(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})


@pytest.fixture(scope="module")
def pair(classifier, tmp_path_factory):
    """Both files of one export."""
    return export_openvino(classifier, tmp_path_factory.mktemp("pair") / "a.xml").path


@pytest.fixture
def own(pair, tmp_path):
    """A copy of them, to be spoilt."""
    shutil.copytree(pair.parent, tmp_path / "own")
    return tmp_path / "own" / pair.name


@pytest.mark.parametrize("with_front_end", [False, True])
@pytest.mark.parametrize(
    "precision, tolerance", [("float32", 1e-5), pytest.param("float16", 1e-2, marks=pytest.mark.proof)]
)
def test_both_files_give_the_posteriors_of_the_classifier(classifier, tmp_path, with_front_end, precision, tolerance):
    done = export_openvino(classifier, tmp_path / "a.xml", precision=precision, with_front_end=with_front_end)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.bin", "a.xml"]
    assert done.size_bytes == sum(file.stat().st_size for file in tmp_path.iterdir())
    sounds = noise_clips(classifier.front_end)
    heard = torch.stack([log_mel(sound, classifier.front_end) for sound in sounds])
    inputs = sounds if with_front_end else classifier.normalise(heard)
    found = compiled(done.path)(inputs.numpy())["posteriors"]
    np.testing.assert_allclose(found, classifier.posteriors(heard).numpy(), rtol=0, atol=tolerance)


def test_float16_halves_the_weights(classifier, pair, tmp_path):
    half = export_openvino(classifier, tmp_path / "half.xml", precision="float16").path
    assert half.with_suffix(".bin").stat().st_size < 0.6 * pair.with_suffix(".bin").stat().st_size


def test_the_file_says_what_a_device_must_know(classifier, tmp_path):
    done = export_openvino(classifier, tmp_path / "a.xml", with_front_end=True)
    model = read_openvino(done.path)
    assert (model.clip_shape, done.format, done.checked_in) == ((22050,), "OpenVINO IR", "OpenVINO")
    assert json.loads(model.metadata["labels"]) == list(classifier.labels)
    assert int(model.metadata["macs"]) > 0
    assert str(tmp_path) not in done.path.read_text()


@pytest.mark.parametrize("there_before", quick([True, False], True))
def test_files_that_disagree_are_not_written(classifier, tmp_path, monkeypatch, there_before):
    if there_before:
        for name in ("a.xml", "a.bin"):
            (tmp_path / name).write_text("older")
    right = exporting.openvino_posteriors
    monkeypatch.setattr(
        exporting, "openvino_posteriors", lambda *a, **k: lambda clips: right(*a, **k)(clips)[:, [1, 0, 2]]
    )
    with pytest.raises(CoppiceError, match="nothing was written"):
        export_openvino(classifier, tmp_path / "a.xml")
    assert {file.read_text() for file in tmp_path.iterdir()} == ({"older"} if there_before else set())


@pytest.mark.parametrize("broken", quick(["a.bin", "a.xml"], "a.xml"))
def test_a_disk_that_refuses_one_file_gets_none(classifier, tmp_path, monkeypatch, broken):
    right = exporting.whole_file

    def refuse(path):
        if path.name == broken:
            raise CoppiceError("the disk is full")
        return right(path)

    monkeypatch.setattr(exporting, "whole_file", refuse)
    with pytest.raises(CoppiceError, match="the disk is full"):
        export_openvino(classifier, tmp_path / "a.xml")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("part", ["a.xml", "a.bin"])
@pytest.mark.parametrize("kept", [0.0, 0.4, 0.9])
def test_files_that_are_cut_off_are_refused_in_one_sentence(own, part, kept):
    content = own.with_name(part).read_bytes()
    own.with_name(part).write_bytes(content[: int(kept * len(content))])
    with pytest.raises(CoppiceError, match=r"a\.xml (and|or) the \.bin file beside it") as caught:
        read_openvino(own)
    assert "\n" not in str(caught.value)
    assert "src/" not in str(caught.value)


def test_a_missing_half_is_named(own):
    own.with_suffix(".bin").unlink()
    with pytest.raises(CoppiceError, match=r"cannot read the weights of the model .*a\.bin: no such file"):
        read_openvino(own)


def test_what_cannot_be_written_is_said_before_any_work(classifier, tmp_path, monkeypatch):
    monkeypatch.setattr(exporting, "onnx_model", lambda *a, **k: pytest.fail("work was done"))
    with pytest.raises(CoppiceError, match=r"a \.xml and a \.bin file; write --out .*a\.xml"):
        export_openvino(classifier, tmp_path / "a.onnx")
    with pytest.raises(CoppiceError, match="not written as 'int8'"):
        export_openvino(classifier, tmp_path / "a.xml", precision="int8")
    monkeypatch.setitem(runtimes.RUNTIMES, "openvino", ("a_module_that_nobody_has", "openvino"))
    with pytest.raises(CoppiceError, match=r"'openvino' is not installed.*pip install 'coppice\[openvino\]'"):
        export_openvino(classifier, tmp_path / "a.xml")
