import json

import pytest

from coppice.complexity.profile import profile
from coppice.networks.checkpoint import load
from coppice.pruning.plan import PruningPlan


def counts(checkpoint):
    cost = profile(load(checkpoint), latency=False)
    return cost.params_total, cost.macs, cost.size_bytes_float32


def test_a_network_is_cut_to_a_budget(coppice, trained, tmp_path):
    plan, small = tmp_path / "plan.json", tmp_path / "small.safetensors"
    argv = ["--budget", "macs=50%", "--budget", "bytes=9 kB", "--round-to", 2, "--minimum", 2, "--protect", "conv1"]
    answer = coppice("plan", trained, "-c", "l1", *argv, "--out", plan)
    assert answer.code == 0 and "macs: " in answer.out and max(map(len, answer.out.splitlines())) <= 80
    made = PruningPlan.load(plan)
    assert made.keep("conv1") is None and "bytes 9 kB" in made.decided_by and "'conv1' protected" in made.decided_by
    assert all(len(layer.keep) % 2 == 0 for layer in made.layers)
    assert coppice("prune", trained, plan, "--out", small).code == 0
    (_, macs, _), (_, fewer, size) = counts(trained), counts(small)
    assert fewer <= macs // 2 and size <= 9000


@pytest.mark.proof
def test_one_ratio_can_be_of_all_filters(coppice, trained, tmp_path):
    plan = tmp_path / "plan.json"
    assert coppice("plan", trained, "-c", "l1", "--global-ratio", 0.5, "--out", plan).code == 0
    layers = json.loads(plan.read_text())["layers"]
    assert sum(len(layer["keep"]) for layer in layers) == sum(layer["filters"] for layer in layers) / 2


@pytest.mark.proof
def test_a_latency_is_measured_in_the_runtime_that_is_named(coppice, trained, tmp_path):
    plan = tmp_path / "plan.json"
    argv = ["--budget", "latency_ms=10s", "--runtime", "onnxruntime"]
    answer = coppice("plan", trained, "-c", "l1", *argv, "--out", plan)
    assert answer.code == 0 and "both measured" in " ".join(answer.out.split())
    made = PruningPlan.load(plan)
    assert made.decided_by.startswith("budget latency_ms 10s in onnxruntime; ")
    assert any(", onnxruntime " in remark for remark in made.remarks)


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--budget", "macs=1%"], "macs cannot go below"),
        (["--budget", "flops=50%"], "a budget has no bound 'flops'"),
        (["--budget", "macs"], "not NAME=VALUE"),
        (["--budget", "bytes=128KB"], "write kB or KiB"),
        (["--budget", "macs=50%", "--ratio", "conv2=0.5"], "not both"),
        (["--global-ratio", 1.5], "0.25 for 25 %"),
        (["--global-ratio", 0.5, "--ratio", "conv2=0.5"], "leave out --ratio"),
        (["--budget", "macs=50%", "--index", "conv2=x.npy"], "leave out --keep"),
        (["--ratio", "conv2=0.5", "--round-to", 0], "round_to is 0"),
        (["--budget", "latency_ms=60%", "--runtime", "onnx"], "no runtime 'onnx'. Known: 'torch', 'onnxruntime'"),
        pytest.param(
            ["--budget", "latency_ms=0.001 ms", "--runtime", "onnxruntime"],
            "latency_ms cannot go below 0.",
            marks=pytest.mark.proof,  # measures
        ),
        (["--budget", "macs=60%", "--runtime", "openvino"], "no latency is bounded"),
        (["--ratio", "conv2=0.5", "--runtime", "openvino"], "give --budget latency_ms=60% as well"),
    ],
)
def test_a_budget_that_makes_no_sense_is_one_sentence(coppice, trained, tmp_path, argv, said):
    assert said in coppice("plan", trained, "-c", "l1", *argv, "--out", tmp_path / "plan.json").sentence
    assert not (tmp_path / "plan.json").exists()
