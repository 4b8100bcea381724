import dataclasses

import numpy as np
import pytest
import torch

import coppice as cp
from coppice.audio.front_end import front_end
from coppice.core.errors import CoppiceError
from coppice.networks.checkpoint import save
from coppice.networks.classifier import Classifier
from coppice.networks.cnn6 import CNN6
from coppice.networks.cp_mobile import CPMobile
from coppice.networks.loading import load
from coppice.networks.surrey2022 import Surrey2022


@pytest.fixture(scope="module")
def keras_file(shared_data):
    return shared_data / "surrey2021" / "nets" / "C2.h5"


@pytest.fixture(scope="module")
def tflite_files(shared_data):
    return shared_data / "surrey2022" / "C12"


def test_an_imported_network_is_cut_saved_and_read_again_without_a_front_end(keras_file, tmp_path):
    classifier = load(keras_file)
    assert classifier.front_end is None and classifier.input_shape == (1, 1, 40, 500)
    small = cp.prune(classifier, cp.plan(classifier, "l1", keep={"conv1": 8}))
    again = load(save(small, tmp_path / "small.safetensors"))
    x = torch.randn(2, 1, 40, 500)
    with torch.inference_mode():
        assert torch.equal(again.network(x), small.network(x))
    assert [entry["verb"] for entry in again.lineage] == ["import", "prune"]
    assert again.lineage[0]["format"] == "keras-h5" and again.lineage[0]["file"] == "C2.h5"
    assert again.front_end is None and again.band_mean is None


def test_what_the_file_does_not_say_is_asked_for_when_it_is_needed(keras_file, tmp_path):
    import soundfile

    soundfile.write(tmp_path / "noise.wav", np.random.default_rng(0).normal(0, 0.1, 44100), 44100)
    with pytest.raises(CoppiceError, match="no front end"):
        cp.classify(load(keras_file), tmp_path / "noise.wav")
    with pytest.raises(CoppiceError, match="normalisation is not known"):
        cp.classify(load(keras_file, front_end="dcase2021"), tmp_path / "noise.wav")


def test_a_network_whose_preset_needs_no_statistics_listens_at_once(tflite_files, tmp_path):
    import soundfile

    soundfile.write(tmp_path / "noise.wav", np.random.default_rng(0).normal(0, 0.1, 44100), 44100)
    classifier = load(tflite_files / "float32.tflite", front_end="surrey2022", labels=[f"scene {i}" for i in range(10)])
    heard = cp.classify(classifier, tmp_path / "noise.wav")
    assert heard.label.startswith("scene ") and sum(heard.posteriors.values()) == pytest.approx(1)


@pytest.mark.parametrize(
    ("name", "stored_as", "formats"),
    [
        ("float32", "float32", {"float32"}),
        ("float16", "float16", {"float16"}),
        ("int8_dynamic", "float32", {"float32", "int8"}),
    ],
)
def test_the_number_formats_of_a_file_are_remembered(tflite_files, name, stored_as, formats):
    classifier = load(tflite_files / f"{name}.tflite")
    assert classifier.stored_as == stored_as
    assert set(classifier.lineage[0]["stored_bytes"]) == formats


def test_an_import_in_16_bit_saves_in_16_bit_without_a_change(shared_data, tmp_path):
    classifier = load(shared_data / "iitmandi2021" / "entry1.float16.h5")
    again = load(save(classifier, tmp_path / "entry1.safetensors"))
    for name, tensor in classifier.network.state_dict().items():
        assert torch.equal(again.network.state_dict()[name], tensor)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"front_end": "dcase2022"}, "40 × 500 but front end 'dcase2022' gives 1 × 40 × 51"),
        ({"front_end": "dcase2012"}, "dcase2012"),
        ({"labels": ["a", "b"]}, "10 different labels"),
        ({"labels": ["a"] * 10}, "10 different labels"),
        ({"device": "a"}, "leave device out"),
        ({"network": Surrey2022}, "leave network out"),
    ],
)
def test_front_end_and_labels_that_do_not_fit_are_refused(keras_file, given, sentence):
    with pytest.raises(CoppiceError, match=sentence):
        load(keras_file, **given)


def test_a_length_of_clip_may_be_chosen_where_the_network_takes_any(tmp_path):
    torch.save(CNN6(widths=(2, 2, 2, 2), dense=4, classes=3).state_dict(), tmp_path / "cnn6.pth")
    one_second = front_end("panns32k", duration_s=1.0)
    assert load(tmp_path / "cnn6.pth").front_end == front_end("panns32k")
    assert load(tmp_path / "cnn6.pth", front_end=one_second).front_end == one_second
    # The file does not hold its front end, so that a user may know better than "usually 32 kHz".
    assert load(tmp_path / "cnn6.pth", front_end="panns16k").front_end == front_end("panns16k")
    with pytest.raises(CoppiceError, match="takes an input of 1 × 64 × any but front end 'dcase2021'"):
        load(tmp_path / "cnn6.pth", front_end="dcase2021")


def test_what_a_file_settles_cannot_be_contradicted(tmp_path):
    state = {f"model.{name}": tensor for name, tensor in CPMobile().state_dict().items()}
    torch.save({"state_dict": state, "hyper_parameters": {}}, tmp_path / "baseline.ckpt")
    assert load(tmp_path / "baseline.ckpt").front_end == front_end("dcase2024")
    with pytest.raises(CoppiceError, match="settles its front end"):
        load(tmp_path / "baseline.ckpt", front_end="panns32k")
    with pytest.raises(CoppiceError, match="1 × 256 × 65"):
        load(tmp_path / "baseline.ckpt", front_end=front_end("dcase2024", duration_s=2.0))


def test_a_checkpoint_takes_neither_front_end_nor_labels(tmp_path):
    ear = front_end("surrey2022")
    labels = tuple("abcdefghij")
    classifier = Classifier(Surrey2022(), ear, labels, torch.zeros(40), torch.ones(40), score="sigmoid")
    path = save(classifier, tmp_path / "net.safetensors")
    with pytest.raises(CoppiceError, match="give neither"):
        load(path, labels=labels)
    again = load(path)
    assert again.score == "sigmoid" and again.front_end == ear
    log_mel = torch.randn(3, 40, 51)
    assert torch.equal(again.posteriors(log_mel), again.logits(log_mel).double().sigmoid())


def test_the_format_is_seen_in_the_bytes_and_not_in_the_name(keras_file, tmp_path):
    (tmp_path / "model.pt").write_bytes(keras_file.read_bytes())
    assert load(tmp_path / "model.pt").lineage[0]["format"] == "keras-h5"


def test_a_checkpoint_is_one_whatever_byte_the_length_of_its_header_begins_with(tmp_path):
    one = Classifier(Surrey2022(), front_end("surrey2022"), tuple("abcdefghij"), None, None)
    for letters in range(0, 256, 8):  # the format pads headers to eight bytes
        path = save(dataclasses.replace(one, metrics={"note": "x" * letters}), tmp_path / "any.file")
        assert load(path).metrics["note"] == "x" * letters


@pytest.mark.parametrize("content", [b"", b"x", b"ID3 this is a song", bytes(64)])
@pytest.mark.parametrize("suffix", [".h5", ".tflite", ".pth", ".safetensors"])
def test_a_file_of_another_kind_is_refused_by_name(tmp_path, content, suffix):
    path = tmp_path / f"model{suffix}"
    path.write_bytes(content)
    with pytest.raises(CoppiceError, match=f"model{suffix}"):
        load(path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    for path in (tmp_path / "nowhere.h5", tmp_path):
        with pytest.raises(CoppiceError, match=path.name):
            load(path)


def test_a_tagging_classifier_is_neither_scored_nor_fine_tuned_as_if_classes_excluded_each_other():
    import pandas as pd

    ear = front_end("surrey2022")
    classifier = Classifier(Surrey2022(), ear, tuple("abcdefghij"), torch.zeros(40), torch.ones(40), score="sigmoid")
    clips = pd.DataFrame({"clip_id": ["1"], "label": ["a"], "recording": ["r"]})
    with pytest.raises(CoppiceError, match="tags"):
        cp.evaluate(classifier, torch.randn(1, 40, 51), clips)
    scored = dataclasses.replace(classifier, score="softmax")
    assert cp.evaluate(scored, torch.randn(1, 40, 51), clips)[0]["clips"] == 1
