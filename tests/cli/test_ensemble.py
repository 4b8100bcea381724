"""``coppice ensemble``: what it says, writes and refuses."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

import coppice as cp
from coppice.networks.checkpoint import load, save
from coppice.pruning.planning.index_files import plan_from_indices
from coppice.pruning.surgery.prune import prune


@pytest.fixture(scope="module")
def kin(trained, tmp_path_factory):
    """Three checkpoints that were pruned from one parent."""
    folder, parent = tmp_path_factory.mktemp("kin"), load(trained)
    sets = {"a": [0, 1, 2, 3], "b": [4, 5, 6, 7], "c": [0, 2, 4, 6]}
    return [save(prune(parent, plan_from_indices(parent, {"conv3": s})), folder / f"{n}.safetensors") for n, s in sets.items()]  # fmt: skip  # noqa: E501


@pytest.fixture(scope="module")
def many(make_folder, tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("sounds") / "many", dog=12, rain=12, saw=12)


@pytest.fixture
def stored(tmp_path):
    """Posteriors of three members, as tables and as arrays, and a table of labels."""
    random = np.random.default_rng(0)
    truth = np.arange(60) % 3
    paths = []
    for name, skill in (("good", 2.0), ("fair", 1.7), ("guess", 0.0)):
        logits = random.standard_normal((60, 3))
        logits[np.arange(60), truth] += skill
        values = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        np.save(tmp_path / f"{name}.npy", values)
        table = pd.DataFrame(values, columns=["p_dog", "p_rain", "p_saw"])
        table.insert(0, "clip_id", [f"{number}.wav" for number in range(60)])
        table.to_csv(tmp_path / f"{name}.csv", index=False)
        paths.append(tmp_path / f"{name}.csv")
    labels = pd.DataFrame(
        {"filename": [f"{number}.wav" for number in range(60)], "label": np.array(["dog", "rain", "saw"])[truth]}
    )
    labels.iloc[::-1].to_csv(tmp_path / "labels.csv", index=False)
    pd.DataFrame({"member": ["good", "fair", "guess"], "macs": [3e6, 2e6, 1e6]}).to_csv(
        tmp_path / "costs.csv", index=False
    )
    return paths


def test_networks_listen_are_chosen_weighed_and_written_as_one(coppice, kin, many, tmp_path):
    out = tmp_path / "e.safetensors"
    argv = ["ensemble", *kin, "--data", many, "--select", "--budget", "macs=100%", "--weights", "fit", "--calibrate"]
    answer = coppice(*argv, "--blocks", "2", "--out", out)
    assert answer.code == 0, answer
    for words in ("members alone", "decide alike", "correlation of their errors", "2 blocks of whole recordings"):
        assert words in answer.out
    assert "searched: all 7 subsets, by log_loss" in answer.out
    made = cp.load(out)
    assert made.labels == ("dog", "rain", "saw") and made.posteriors(torch.zeros(1, 40, 25)).shape == (1, 3)
    assert coppice("evaluate", out, "--data", many).code == 0
    assert coppice("classify", many / "dog" / "0.wav", "--model", out).code == 0
    assert coppice("profile", out, "--json").code == 0


def test_without_clips_the_plain_mean_is_written(coppice, kin, tmp_path):
    out = tmp_path / "e.safetensors"
    answer = coppice("ensemble", f"first={kin[0]}", *kin[1:], "--how", "geometric", "--out", out)
    assert answer.out == f"{out}: the geometric mean of first, b, c\n"
    assert len(cp.load(out).network.members) == 3
    said = json.loads(coppice("ensemble", *kin, "--out", out, "--json").out)
    assert said == {"chosen": ["a", "b", "c"], "file": str(out)}
    assert len(cp.load(out).network.shared) == 8


def test_stored_posteriors_are_combined_and_written(coppice, stored, tmp_path):
    argv = ["ensemble", *stored, "--labels", tmp_path / "labels.csv", "--costs", tmp_path / "costs.csv", "--select"]
    answer = coppice(*argv, "--budget", "macs=5M", "--out", tmp_path / "out.csv")
    assert answer.code == 0, answer
    assert "guess adds 1.0 MMACs and nothing" in answer.out
    assert "chosen: good, fair (5.0 MMACs)" in answer.out
    table = pd.read_csv(tmp_path / "out.csv")
    expected = sum(pd.read_csv(path)["p_dog"] for path in stored[:2]) / 2
    np.testing.assert_allclose(table["p_dog"], expected, rtol=1e-15)
    assert table["label"].tolist()[:3] == ["dog", "rain", "saw"]
    said = json.loads(coppice(*argv, "--json").out)
    assert (
        said["steps"][0]["held"]["macro_accuracy"] > 0.5
        and said["blocks"] == "5 blocks of neighbouring rows of a class"
    )


def test_arrays_need_the_names_of_their_columns(coppice, stored, tmp_path):
    arrays = [path.with_suffix(".npy") for path in stored]
    table = pd.read_csv(tmp_path / "labels.csv").iloc[::-1][["label"]]
    table.to_csv(tmp_path / "in-order.csv", index=False)
    argv = ["ensemble", *arrays, "--labels", tmp_path / "in-order.csv"]
    assert "there is no class 'dog'" in coppice(*argv).sentence
    answer = coppice(*argv, "--classes", "dog,rain,saw", "--out", tmp_path / "out.npy")
    assert answer.code == 0, answer
    assert np.load(tmp_path / "out.npy").shape == (60, 3)


def test_models_may_come_with_posteriors_in_place_of_clips(coppice, kin, stored, tmp_path):
    given = [argument for path in stored for argument in ("--posteriors", path)]
    argv = ["ensemble", *kin, *given, "--labels", tmp_path / "labels.csv", "--weights", "fit"]
    answer = coppice(*argv, "--out", tmp_path / "e.safetensors")
    assert answer.code == 0, answer
    assert "MACs" in answer.out
    assert sum(cp.load(tmp_path / "e.safetensors").network.weights) == pytest.approx(1)


def test_an_exported_network_is_heard_but_not_taken_apart(coppice, kin, many, tmp_path):
    cp.export_onnx(load(kin[0]), tmp_path / "x.onnx")
    argv = ["ensemble", tmp_path / "x.onnx", *kin[1:], "--data", many, "--blocks", "2"]
    answer = coppice(*argv, "--out", tmp_path / "p.csv")
    assert answer.code == 0, answer
    assert "x is an exported network" in coppice(*argv, "--out", tmp_path / "e.safetensors").sentence


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (["{a}", "--out", "e.safetensors"], "two members or more, and this one has 1"),
        (["{a}", "{a}", "--out", "e.safetensors"], "two members are called"),
        (["{a}", "{b}"], "give --out FILE.safetensors, or --data"),
        (["{a}", "{b}", "--select", "--out", "e.safetensors"], "choosing, weighing and calibrating need clips"),
        (["{a}", "{b}", "--out", "e.txt"], "ends in .safetensors"),
        (["{a}", "{b}", "--out", "e.csv"], "without clips there is only the ensemble to write"),
        (["{a}", "{good}"], "some members are networks and some are posteriors"),
        (["{a}", "{b}", "--posteriors", "{good}"], "2 members and 1 --posteriors"),
        (["{good}", "{fair}", "--posteriors", "{good}"], "these members are posteriors already"),
        (["{good}", "{fair}", "--out", "e.safetensors"], "posteriors alone make no network"),
        (["{good}", "{fair}"], "right labels of the clips are not known"),
        (["{good}"], "two members or more, and this one has 1"),
        (["{good}", "{fair}", "--labels", "{labels}", "--budget", "macs=3"], "ask for that, too"),
        (["{good}", "{fair}", "--labels", "{labels}", "--select", "--budget", "macs=3"], "not known of every member"),
        (["{good}", "{fair}", "--labels", "{labels}", "--select", "--budget", "flops=3"], "has no bound 'flops'"),
        (["{good}", "{fair}", "--labels", "{labels}", "--weights", "fitted"], "Did you mean 'fit'"),
        (["{good}", "{fair}", "--labels", "{labels}", "--how", "harmonic"], "cannot be combined by 'harmonic'"),
        (["{good}", "{fair}", "--labels", "{labels}", "--select", "--by", "f1"], "cannot be chosen by 'f1'"),
        (["{good}", "{fair}", "--labels", "{labels}", "--blocks", "1"], "number of blocks is 1"),
        (
            ["{good}", "{fair}", "--labels", "{labels}", "--blocks", "50"],
            "50 blocks need 50 clips of each class, and one has 20",
        ),
        (["{good}", "{fair}", "--labels", "{labels}", "--costs", "{labels}"], "no column 'member'"),
        (["{good}", "{fair}", "--labels", "{costs}"], "has no column of labels"),
        (["{good}", "nothing.csv"], "nothing.csv: no such file"),
        (["{a}", "nothing.safetensors", "--out", "e.safetensors"], "nothing.safetensors: no such file"),
    ],
)
def test_mistakes_are_told_in_a_sentence(argv, sentence, coppice, kin, stored, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files = {path.stem: path for path in (*kin, *stored)}
    files |= {name: tmp_path / f"{name}.csv" for name in ("labels", "costs")}
    assert sentence in coppice("ensemble", *(text.format(**files) for text in argv)).sentence
