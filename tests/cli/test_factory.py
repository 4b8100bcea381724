"""The user's own network: a function that builds it and a file of weights."""

import json

import pytest
import torch
from safetensors.torch import save_file

from coppice.networks.checkpoint import load

SOURCE = """
import torch
from torch import nn

class Mine(nn.Module):
    def __init__(self, width=6):
        super().__init__()
        self.one, self.two = nn.Conv2d(1, width, 3), nn.Conv2d(width, width, 3, groups=width)
        self.head = nn.Linear(width, 4)

    def forward(self, x):
        return self.head(torch.relu(self.two(torch.relu(self.one(x)))).mean((2, 3)))

def build():
    torch.manual_seed(0)
    return Mine()

def broken():
    raise RuntimeError("on purpose")

def nothing():
    return {"a": 1}

answer = 42
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A module in the current folder, and a state dict of its network."""
    (tmp_path / "mynets.py").write_text(SOURCE)
    (tmp_path / "faulty.py").write_text("import there_is_no_such_module\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "mynets", raising=False)
    scope = {}
    exec(SOURCE, scope)
    save_file(scope["build"]().state_dict(), "weights.safetensors")
    return ["--factory", "mynets:build", "--weights", "weights.safetensors", "--input", "1,8,10"]


def test_rank_plan_and_prune_work_on_a_factory_and_again_on_what_they_wrote(coppice, mine, tmp_path):
    ranked = json.loads(coppice("rank", *mine, "-c", "l1", "--json").out)
    assert {name: len(found["order"]) for name, found in ranked.items()} == {"one": 6, "two": 6}
    assert coppice("plan", *mine, "-c", "l1", "--keep", "one=4", "-o", "plan.json").code == 0
    (layer,) = json.loads((tmp_path / "plan.json").read_text())["layers"]
    assert layer["keep"] == sorted(ranked["one"]["order"][-4:]) and layer["coupled"] == ["two"]
    answer = coppice("prune", "plan.json", *mine, "-o", "small.safetensors")
    assert answer.code == 0 and "params_total: " in answer.out

    again = ["--factory", "mynets:build", "--weights", "small.safetensors", "--input", "1,8,10"]
    assert coppice("plan", *again, "-c", "l1", "--keep", "one=3", "-o", "plan2.json").code == 0
    assert coppice("prune", "plan2.json", *again, "-o", "smaller.safetensors").code == 0
    mynets = __import__("importlib").import_module("mynets")
    whole, smaller = mynets.build(), load("smaller.safetensors", network=mynets.build)
    assert smaller.network.two.groups == smaller.network.one.out_channels == 3
    assert smaller.labels == ("class_0", "class_1", "class_2", "class_3")
    kept = [layer["keep"][index] for index in json.loads((tmp_path / "plan2.json").read_text())["layers"][0]["keep"]]
    with torch.no_grad():
        whole.head.weight[:, [index for index in range(6) if index not in kept]] = 0
        clips = torch.randn(2, 1, 8, 10)
        torch.testing.assert_close(smaller.network(clips), whole(clips))


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"--factory": "mynets"}, "--factory 'mynets' is not package.module:function; write for example"),
        ({"--factory": "mynet:build"}, "there is no module 'mynet' in the current folder or in the environment"),
        ({"--factory": "faulty:build"}, "importing 'faulty' fails: ModuleNotFoundError: No module named 'there_is_no"),
        ({"--factory": "mynets:biuld"}, "there is no function 'biuld' in mynets. Did you mean 'build'?"),
        ({"--factory": "mynets:answer"}, "there is no function 'answer' in mynets."),
        ({"--factory": "mynets:broken"}, "mynets:broken() fails: RuntimeError: on purpose"),
        ({"--factory": "mynets:nothing"}, "mynets:nothing() returns a dict; it has to return a torch.nn.Module."),
        ({"--weights": "none.safetensors"}, "cannot read the weights none.safetensors: no such file or folder."),
        ({"--weights": "mynets.py"}, "mynets.py is not a safetensors file"),
        ({"--weights": "other.safetensors"}, "there is no tensor 'head.bias' in other.safetensors."),
        ({"--weights": "wide.safetensors"}, "'head.weight' has shape (4, 7) in the file and (4, 6) in the network."),
        ({"--weights": None}, "--factory mynets:build needs --weights"),
        ({"--input": None}, "the shape of the network's input is not known; give it, such as --input 1,40,500."),
        ({"--input": "1,x"}, "--input '1,x' is not a shape"),
        ({"--input": "1,0,4"}, "--input '1,0,4' is not a shape"),
        ({"--input": "3,8,10"}, "the network does not run on an input of shape (1, 3, 8, 10)"),
        ({"--factory": None}, "--weights and --input go with --factory; a model file needs neither."),
    ],
)
def test_what_does_not_go_together_is_refused_in_one_sentence(coppice, mine, changed, sentence):
    scope = {}
    exec(SOURCE, scope)
    save_file({"one.weight": torch.zeros(6, 1, 3, 3)}, "other.safetensors")
    save_file(scope["Mine"](7).state_dict(), "wide.safetensors")
    options = dict(zip(mine[::2], mine[1::2], strict=True)) | changed
    given = [part for name, value in options.items() if value is not None for part in (name, value)]
    assert sentence in coppice("rank", *given).sentence


def test_a_model_and_a_factory_together_or_neither_are_refused(coppice, mine, trained):
    assert "give either the model file" in coppice("rank", trained, *mine).sentence
    assert "give a model file, or --factory" in coppice("rank").sentence
    assert "give the plan as well" in coppice("prune", trained, "-o", "small.safetensors").sentence


def test_sensitivity_takes_a_factory_whose_weights_know_their_front_end(coppice, mine, trained, sounds, tmp_path):
    (tmp_path / "zoo.py").write_text(
        "from coppice.networks.dcase2021 import DCASE2021\n\n\ndef build():\n    return DCASE2021(frames=25)\n"
    )
    given = ["--factory", "zoo:build", "--weights", trained, "--data", sounds]
    answer = coppice("sensitivity", *given, "-c", "l1", "--ratios", "0.5", "--layer", "conv2", "-o", "study", "--json")
    assert answer.code == 0, answer.err
    assert "no front end" in coppice("sensitivity", *mine, "--data", sounds, "-o", "study2").sentence
