"""The command that stores numbers in fewer bits, and what reads its files."""

import json

import pytest

import coppice as cp


def scores(answer):
    assert answer.code == 0, answer.err
    return json.loads(answer.out)


@pytest.fixture(scope="module")
def data(sounds):
    return ["--data", sounds]


@pytest.mark.parametrize("to", ["float16", "bfloat16", "dynamic_int8"])
def test_a_checkpoint_is_stored_in_fewer_bytes_and_scored_as_it_is_stored(coppice, trained, data, tmp_path, to):
    out = tmp_path / "small.safetensors"
    said = scores(coppice("quantize", trained, "--to", to, "--out", out, "--json"))
    assert said["size_bytes"] == out.stat().st_size < said["size_bytes_before"] == trained.stat().st_size
    assert cp.load(out).stored_as == to
    before, after = (scores(coppice("evaluate", model, *data, "--json")) for model in (trained, out))
    assert after["log_loss"] == pytest.approx(before["log_loss"], rel=0.05)


@pytest.mark.parametrize("front_end", [[], pytest.param(["--with-front-end"], marks=pytest.mark.proof)])
def test_an_int8_file_is_written_scored_and_listened_to(coppice, trained, data, sounds, tmp_path, front_end):
    out = tmp_path / "net.onnx"
    argv = ["quantize", trained, "--to", "int8", *data, "--clips", "20", "--out", out, *front_end]
    answer = coppice(*argv, "--float", "conv1", "--max-drop", "1")
    assert answer.code == 0, answer.err
    assert "in int8: conv2, conv3, dense1, dense2; in float: conv1" in answer.out
    assert "validation clips: largest difference of a posterior" in answer.out
    before, after = (scores(coppice("evaluate", model, *data, "--json")) for model in (trained, out))
    assert after["log_loss"] == pytest.approx(before["log_loss"], rel=0.1)
    assert after["clips"] == before["clips"]
    file = next(sounds.rglob("*.wav"))
    (heard,) = scores(coppice("classify", file, "--model", out, "--json"))
    (expected,) = scores(coppice("classify", file, "--model", trained, "--json"))
    assert heard["posteriors"] == pytest.approx(expected["posteriors"], abs=0.1)


def test_sounds_without_labels_calibrate_as_well(coppice, trained, sounds, tmp_path):
    out = tmp_path / "net.onnx"
    argv = ["quantize", trained, "--to", "int8", "--sounds", sounds, "--clips", "12", "--out", out, "--json"]
    said = scores(coppice(*argv))
    assert (said["calibration_clips"], said["agreement"]["clips"]) == (12, 12)
    assert said["agreement"]["material"] == "calibration clips" and said["drop_of"] == "agreement with float32"
    assert said["size_bytes"] == out.stat().st_size


def test_what_cannot_be_quantized_is_said_in_one_sentence(coppice, trained, data, sounds, tmp_path):
    out, half = tmp_path / "net.onnx", tmp_path / "half.safetensors"
    half.write_bytes(trained.read_bytes()[: trained.stat().st_size // 2])
    sentences = {
        "give --data, or --sounds": ["quantize", trained, "--to", "int8", "--out", out],
        "these options go with --to int8": ["quantize", trained, "--max-drop", "0.1", "--out", out],
        "call it": ["quantize", trained, "--to", "int8", *data, "--out", tmp_path / "net.safetensors"],
        "Did you mean 'bfloat16'?": ["quantize", trained, "--to", "bfloat", "--out", out],
        "are too few": ["quantize", trained, "--to", "int8", *data, "--clips", "3", "--out", out],
        "clips is 0": ["quantize", trained, "--to", "int8", *data, "--clips", "0", "--out", out],
        "no layer 'conv9'": ["quantize", trained, "--to", "int8", *data, "--float", "conv9", "--out", out],
        "not a whole checkpoint": ["quantize", half, "--to", "int8", *data, "--out", out],
    }
    for sentence, argv in sentences.items():
        assert sentence in coppice(*argv).sentence
    assert not out.exists()
