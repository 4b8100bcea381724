"""The commands that write files for devices and measure runtimes."""

import json

import onnx
import pytest


def test_a_network_is_exported_verified_and_measured(coppice, trained, sounds, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    answer = coppice("export", trained, "--with-front-end", "--clips", sounds, "--out", "ear.onnx")
    assert answer.code == 0
    assert "ONNX opset 18, float32, waveform clips×22050 at 44100 Hz" in answer.out
    assert "on 15 given clips: largest difference of a posterior" in answer.out
    assert onnx.load("ear.onnx").producer_name == "coppice"

    said = json.loads(coppice("export", trained, "--to", "onnx", "--out", "net.onnx", "--json").out)
    assert said["agreement"]["top1"] == 1.0
    assert said["size_bytes"] == (tmp_path / "net.onnx").stat().st_size

    argv = ["profile", "ear.onnx", "--before", "net.onnx", "--runtime", "onnxruntime"]
    rows = json.loads(coppice(*argv, "--json").out)["latency"]
    assert [(row["runtime"], row["model"]) for row in rows] == [("onnxruntime", "before"), ("onnxruntime", "ear.onnx")]
    assert rows[1]["speed_up"] < 1


@pytest.mark.proof
def test_every_target_is_written_and_timed(coppice, trained, sounds, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "torch.export, float32, waveform clips×22050 at 44100 Hz" in coppice(
        "export", trained, "--to", "torch", "--with-front-end", "--out", "a.pt2"
    ).out  # fmt: skip
    pytest.importorskip("openvino", reason="the extra openvino is not installed")
    pytest.importorskip("ai_edge_litert", reason="the extra litert is not installed")
    argv = ["--to", "openvino", "--precision", "float16", "--out", "a.xml"]
    assert "OpenVINO IR, float16, normalised_log_mel clips×1×40×25\n" in coppice("export", trained, *argv).out
    argv = ["--to", "litert", "--precision", "int8", "--calibration", sounds, "--out", "a.tflite"]
    answer = coppice("export", trained, *argv)
    assert "LiteRT, int8, normalised_log_mel 1×1×40×25\n" in answer.out
    assert "LiteRT against PyTorch on 15 calibration clips" in answer.out
    assert answer.err == ""

    answer = coppice("profile", trained, "--before", trained, "--runtime", "torch,onnxruntime", "--threads", "1")
    assert "realised" in answer.out
    assert all(len(line) <= 80 for line in answer.out.splitlines() if line[:1] in "│┃┏┡└")
    argv = ["profile", trained, "a.xml", "a.tflite", "--before", trained, "--runtime", "openvino,litert"]
    rows = json.loads(coppice(*argv, "--json").out)["latency"]
    assert [(row["runtime"], row["model"]) for row in rows] == [
        ("openvino", "before"), ("openvino", trained.name), ("openvino", "a.xml"),
        ("litert", "before"), ("litert", trained.name), ("litert", "a.tflite"),
    ]  # fmt: skip
    answer = coppice(*argv)
    assert "a.tflite does not run in openvino." in answer.out
    assert all(len(line) <= 80 for line in answer.out.splitlines() if line[:1] in "│┃┏┡└")


def test_what_cannot_be_exported_or_measured_is_said_in_one_sentence(coppice, trained, tmp_path):
    half = tmp_path / "half.onnx"
    half.write_bytes(b"\x08\x0a\x12\x07")
    out = tmp_path / "out.onnx"
    sentences = {
        "Did you mean 'onnx'?": ["export", trained, "--to", "onx", "--out", out],
        "goes with --to litert --precision int8": ["export", trained, "--calibration", tmp_path, "--out", out],
        "coppice quantize --to int8": ["export", trained, "--precision", "int8", "--out", out],
        "--to torch is written in float32": ["export", trained, "--to", "torch", "--precision", "int8", "--out", out],
        "with --runtime; count them one by one": ["profile", trained, trained],
        "is given twice": ["profile", trained, trained, "--runtime", "torch"],
        "loading a .pt2 file can run code": ["profile", "a.pt2", "--runtime", "torch"],
        "no such file or folder": ["export", trained, "--clips", tmp_path / "gone", "--out", out],
        "holds no sound files": ["export", trained, "--clips", tmp_path, "--out", out],
        "half.onnx is not a whole ONNX model": ["profile", half, "--runtime", "onnxruntime"],
        "Did you mean 'onnxruntime'?": ["profile", trained, "--runtime", "onnxrutime"],
        "--threads goes with --runtime": ["profile", trained, "--threads", "2"],
        "threads is 0": ["profile", trained, "--runtime", "torch", "--threads", "0"],
        "give one of them": ["profile", trained, "--runtime", "torch", "--convention", "all"],
    }
    for sentence, argv in sentences.items():
        assert sentence in coppice(*argv).sentence
    assert not out.exists()
