"""The commands that write files for devices and measure runtimes."""

import json

import onnx


def test_a_network_is_exported_verified_and_measured(coppice, trained, sounds, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    answer = coppice("export", trained, "--with-front-end", "--clips", sounds, "--out", "ear.onnx")
    assert answer.code == 0
    assert "ONNX opset 18, waveform clips×22050 at 44100 Hz" in answer.out
    assert "on 15 given clips: largest difference of a posterior" in answer.out
    assert onnx.load("ear.onnx").producer_name == "coppice"

    said = json.loads(coppice("export", trained, "--to", "onnx", "--out", "net.onnx", "--json").out)
    assert said["agreement"]["top1"] == 1.0
    assert said["size_bytes"] == (tmp_path / "net.onnx").stat().st_size

    answer = coppice("profile", trained, "--before", trained, "--runtime", "torch,onnxruntime", "--threads", "1")
    assert "realised" in answer.out
    assert all(len(line) <= 80 for line in answer.out.splitlines() if line[:1] in "│┃┏┡└")
    argv = ["profile", "ear.onnx", "--before", "net.onnx", "--runtime", "onnxruntime"]
    rows = json.loads(coppice(*argv, "--json").out)["latency"]
    assert [(row["runtime"], row["model"]) for row in rows] == [("onnxruntime", "before"), ("onnxruntime", "model")]
    assert rows[1]["speed_up"] < 1


def test_what_cannot_be_exported_or_measured_is_said_in_one_sentence(coppice, trained, tmp_path):
    half = tmp_path / "half.onnx"
    half.write_bytes(b"\x08\x0a\x12\x07")
    out = tmp_path / "out.onnx"
    sentences = {
        "Did you mean 'onnx'?": ["export", trained, "--to", "onx", "--out", out],
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
