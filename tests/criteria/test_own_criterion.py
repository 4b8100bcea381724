"""A user's own criterion: registered with a decorator, known by its name, or found by the path of its function."""

import json

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from typer.testing import CliRunner

from coppice.cli.main import app
from coppice.core.errors import CoppiceError
from coppice.criteria import registry
from coppice.criteria.registry import criterion, rank

MODULE = """
import coppice as cp
from coppice.criteria.ranking import Ranking


@cp.criterion("{name}")
def heaviest(weight):
    return Ranking.from_scores("{name}", -weight.flatten(1).abs().amax(dim=1))


def plain(weight):
    return None
"""
NETWORK = """
from torch import nn


def build():
    return nn.Sequential(nn.Conv1d(2, 3, 1), nn.ReLU(), nn.Conv1d(3, 2, 1))
"""


@pytest.fixture(autouse=True)
def own_registry(monkeypatch, tmp_path):
    monkeypatch.setattr(registry, "_CRITERIA", dict(registry._CRITERIA))
    monkeypatch.chdir(tmp_path)


def test_a_function_in_the_current_folder_is_found_by_its_path(tmp_path):
    (tmp_path / "criteria_of_path.py").write_text(MODULE.format(name="by_path"))
    weight = torch.tensor([[1.0, -3.0], [2.0, 2.0]])
    assert rank(weight, "criteria_of_path:heaviest").order == (0, 1)
    assert rank(weight, "by_path").order == (0, 1)  # from now on its name is known
    with pytest.raises(CoppiceError, match=r"'criteria_of_path:plain' is not a criterion; write @coppice.criterion"):
        rank(weight, "criteria_of_path:plain")
    with pytest.raises(CoppiceError, match=r"no function 'heavies' in criteria_of_path. Did you mean 'heaviest'"):
        rank(weight, "criteria_of_path:heavies")


@pytest.mark.parametrize(
    ("path", "content", "said"),
    [
        ("no_such_module:mine", None, "there is no module 'no_such_module' in the current folder"),
        (":mine", None, "':mine' is not package.module:function"),
        ("criteria_with_slip:mine", "import coppice\n1 / 0", "importing 'criteria_with_slip' fails: ZeroDivisionError"),
        ("criteria_with_need:mine", "import not_installed_here", "fails: ModuleNotFoundError"),
    ],
)
def test_a_path_that_leads_nowhere_is_refused(tmp_path, path, content, said):
    if content:
        (tmp_path / f"{path.partition(':')[0]}.py").write_text(content)
    with pytest.raises(CoppiceError, match=said):
        rank(torch.ones(2, 2), path)


@pytest.mark.parametrize(
    ("returned", "said"),
    [(None, "returns a NoneType; it has to return a Ranking of all 3 filters"), ("short", "ranks 2 filters")],
)
def test_a_criterion_that_does_not_rank_all_filters_is_refused(returned, said):
    short = registry.Ranking("mine", (0, 1), (0.0, 1.0))
    criterion("mine")(lambda weight: short if returned else None)
    with pytest.raises(CoppiceError, match=f"criterion 'mine' {said}"):
        rank(torch.ones(3, 2), "mine")


def test_the_command_line_takes_the_path_of_a_criterion(tmp_path):
    (tmp_path / "criteria_of_command.py").write_text(MODULE.format(name="by_command"))
    (tmp_path / "network_of_command.py").write_text(NETWORK)
    network = nn.Sequential(nn.Conv1d(2, 3, 1), nn.ReLU(), nn.Conv1d(3, 2, 1))
    save_file(network.state_dict(), tmp_path / "weights.safetensors")
    argv = ["rank", "--factory", "network_of_command:build", "--weights", "weights.safetensors", "--input", "2,9"]
    ranked = CliRunner().invoke(app, [*argv, "--criterion", "criteria_of_command:heaviest", "--json"])
    assert ranked.exit_code == 0, ranked.output
    expected = network[0].weight.detach().flatten(1).abs().amax(dim=1).argsort(descending=True).tolist()
    assert json.loads(ranked.stdout)["0"]["order"] == expected
