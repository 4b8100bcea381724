import json

import pytest

from coppice.cli.compile import size_in_bytes
from coppice.core.errors import CoppiceError
from coppice.native.toolchain import compiler


@pytest.fixture(autouse=True)
def has_a_compiler():
    try:
        compiler()
    except CoppiceError as error:
        pytest.skip(str(error))


@pytest.mark.proof
def test_a_network_is_compiled_and_explained(coppice, trained):
    said = coppice("compile", trained, "--explain").out
    assert "conv2" in said and "of work memory, compiled by" in said
    timed = json.loads(coppice("compile", trained, "--explain", "--json").out)
    assert list(timed["step_ms"]) == ["input", "conv1", "conv2", "conv3", "dense1", "dense2", "node_softmax"]
    assert timed["steps"][0].endswith("ms  billion a second")
    found = json.loads(coppice("compile", trained, "--json").out)
    assert found["precision"] == "float32" and found["latency_ms_p50"] > 0 and found["macs"] > 0


def test_the_folder_of_c_is_written_and_described(coppice, trained, tmp_path):
    said = coppice("export", trained, "--to", "c", "--target", "portable", "--with-front-end", "--out", tmp_path / "c")
    assert said.code == 0
    assert "C99, portable, float32" in said.out and "against PyTorch on 8 clips of seeded noise" in said.out
    assert {"model.c", "front_end.c", "Makefile"} <= {file.name for file in (tmp_path / "c").iterdir()}
    again = coppice("export", trained, "--to", "c", "--out", tmp_path / "c").sentence
    assert again.endswith("is there already and not an empty folder; give another one.")
    found = json.loads(coppice("export", trained, "--to", "c", "--json", "--out", tmp_path / "d").out)
    assert found["target"] == "simd" and found["work_bytes"] > 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--ram", "1k"), "and 1.0 kB are allowed; cut filters there and before"),
        (("--ram", "little"), "'little' is no size in bytes; write for example 256k, 256KiB or 1M."),
        (("--target", "simdd"), "there is no target 'simdd' for C. Did you mean 'simd'?"),
        (
            ("--precision", "int8"),
            "--to c writes float32, or int8 of the ONNX file that coppice quantize",
        ),
        (("--title", "a"), "--title goes with --to web; leave it out, or add that."),
    ],
)
def test_what_cannot_be_written_is_refused(coppice, trained, tmp_path, options, said):
    assert said in coppice("export", trained, "--to", "c", *options, "--out", tmp_path / "c").sentence
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize("option", [("--target", "simd"), ("--ram", "1M"), ("--explain",)])
def test_options_of_c_are_refused_elsewhere(coppice, trained, tmp_path, option):
    sentence = coppice("export", trained, "--to", "onnx", *option, "--out", tmp_path / "a.onnx").sentence
    assert sentence == f"{option[0]} goes with --to c; leave it out, or add that."


def test_c_hears_as_pytorch_does(coppice, trained, sounds):
    file = sorted(sounds.rglob("*.wav"))[0]
    (slow,) = json.loads(coppice("classify", file, "--model", trained, "--json").out)
    (fast,) = json.loads(coppice("classify", file, "--model", trained, "--runtime", "c", "--json").out)
    assert slow["label"] == fast["label"]
    for label, posterior in slow["posteriors"].items():
        assert fast["posteriors"][label] == pytest.approx(posterior, abs=1e-5)


@pytest.mark.proof
def test_clips_are_scored_by_what_c_computes(coppice, trained, sounds):
    arguments = ("evaluate", trained, "--data", sounds, "--json")
    expected, found = (json.loads(coppice(*arguments, *more).out) for more in ((), ("--runtime", "c")))
    assert found["accuracy"] == expected["accuracy"]
    assert found["log_loss"] == pytest.approx(expected["log_loss"], abs=1e-4)


@pytest.mark.proof
def test_latency_is_measured_as_c(coppice, trained):
    found = json.loads(coppice("profile", trained, "--runtime", "onnxruntime,c", "--json").out)
    assert [row["runtime"] for row in found["latency"]] == ["onnxruntime", "c"]
    said = coppice("profile", trained, "--runtime", "c", "--threads", "2").sentence
    assert said == "threads is 2, and C runs on one; give 1, or another runtime."


@pytest.mark.proof
def test_a_budget_of_latency_is_planned_by_what_layers_take_as_c(coppice, trained, tmp_path):
    arguments = (
        "plan",
        trained,
        "-c",
        "l1",
        "--budget",
        "latency_ms=70%",
        "--runtime",
        "c",
        "-o",
        tmp_path / "plan.json",
    )
    assert coppice(*arguments).code == 0
    assert json.loads((tmp_path / "plan.json").read_text())["layers"]


def test_sizes_are_read_in_both_kinds_of_kilobytes():
    assert [size_in_bytes(text) for text in ("256k", "256 KiB", "1.5M", "800")] == [256_000, 262_144, 1_500_000, 800]
