import json

import numpy as np
import pytest
import torch

from coppice.networks.checkpoint import load
from coppice.networks.cnn6 import CNN6

C2 = "surrey2021/nets/C2.h5"


def test_a_keras_network_becomes_a_checkpoint_and_is_cut_by_a_published_index_file(coppice, shared_data, tmp_path):
    c1, out, plan = tmp_path / "c1.safetensors", tmp_path / "small.safetensors", tmp_path / "plan.json"
    said = coppice("import", shared_data / "surrey2021/nets/C1.h5", "--front-end", "dcase2021", "--out", c1)
    assert said.code == 0
    assert "keras-h5" in said.out and "float32 168.2 kB" in said.out
    assert load(c1).front_end is not None
    index = f"conv2={shared_data / 'surrey2021/keep/C2.npy'}"
    assert coppice("plan", c1, "--index", index, "--out", plan).out.splitlines() == ["conv2: 11 of 16 filters stay"]
    assert coppice("prune", c1, plan, "--out", out).code == 0
    assert [module.out_channels for module in load(out).network.modules() if isinstance(module, torch.nn.Conv2d)] == [
        11,
        11,
        32,
    ]


def test_other_commands_read_a_published_file_as_it_is(coppice, shared_data):
    cost = json.loads(coppice("profile", shared_data / C2, "--json").out)
    assert cost["params_total"] == 34_461
    assert cost["size_bytes_stored"] == 4 * 34_461
    assert "conv2" in coppice("rank", shared_data / C2).out


def test_what_a_file_leaves_open_is_said(coppice, shared_data, tmp_path):
    said = coppice("import", shared_data / C2, "--out", tmp_path / "c2.safetensors")
    assert "does not name a front end" in said.out
    torch.save(CNN6(widths=(2, 2, 2, 2), dense=4, classes=3).state_dict(), tmp_path / "cnn6.pth")
    assert "32 kHz is assumed" in coppice("import", tmp_path / "cnn6.pth", "--out", tmp_path / "a.safetensors").out


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (["--labels", "a,b"], "10 different labels"),
        (["--front-end", "dcase2020"], "front end 'dcase2020' is unknown"),
        (["--front-end", "surrey2022"], "40 × 500"),
        (["--device", "a"], "leave device out"),
    ],
)
def test_options_that_do_not_fit_the_file_are_refused(coppice, shared_data, tmp_path, argv, sentence):
    out = tmp_path / "out.safetensors"
    assert sentence in coppice("import", shared_data / C2, *argv, "--out", out).sentence
    assert not out.exists()


@pytest.mark.parametrize(
    "content", [b"", b"no network", b"\x89HDF\r\n\x1a\n", b"\0\0\0\0TFL3", b"PK\x03\x04", b"\x80\x02"]
)
def test_a_file_that_holds_no_network_is_refused(coppice, tmp_path, content):
    (tmp_path / "net").write_bytes(content)
    assert str(tmp_path / "net") in coppice("import", tmp_path / "net", "--out", tmp_path / "out").sentence
    assert not (tmp_path / "out").exists()


def test_a_plan_comes_from_an_index_file_or_from_a_criterion_but_not_from_both(coppice, shared_data, tmp_path):
    np.save(tmp_path / "keep.npy", np.arange(5))
    argv = ["plan", shared_data / C2, "--index", f"conv1={tmp_path / 'keep.npy'}", "--out", tmp_path / "plan.json"]
    assert "leave out --keep" in coppice(*argv, "--keep", "conv2=3").sentence
    assert "is not NAME=VALUE" in coppice(*argv[:2], "--index", "keep.npy", "--out", tmp_path / "plan.json").sentence
    assert not (tmp_path / "plan.json").exists()


def test_published_numbers_are_printed_beside_ours_and_counted(coppice, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = coppice("reproduce", "--only", "co2", "--only", "soundnet", "--data", tmp_path)
    assert said.code == 0
    assert said.out.splitlines()[-1] == "7 rows, 7 agree"
    rows = json.loads(coppice("reproduce", "--only", "co2.co2", "--json").out)
    assert [(row["key"], row["published"], row["ours"], row["status"]) for row in rows] == [
        ("co2.co2", 5.18, 5.18, "agrees")
    ]
    assert list(tmp_path.iterdir()) == []


def test_a_number_that_differs_is_marked_and_ends_with_1(coppice, tmp_path):
    (tmp_path / "surrey2021/nets").mkdir(parents=True)
    (tmp_path / C2).write_bytes(b"not what it was")
    said = coppice("reproduce", "--only", "interspeech2022.C2.params", "--data", tmp_path, "--out", tmp_path / "docs")
    assert said.code == 1
    assert "1 row, 0 agree, 1 differ" in said.out
    assert "DIFFERS" in (tmp_path / "docs/reproduced.md").read_text()
    assert "C2.h5" in (tmp_path / "docs/reproduced.html").read_text()


def test_numbers_whose_files_are_absent_say_so_and_a_wrong_name_is_refused(coppice, tmp_path):
    said = coppice("reproduce", "--only", "interspeech2022.C2", "--data", tmp_path)
    assert said.code == 0
    assert "5 rows, 0 agree, 5 need files that are not there" in said.out
    assert "Did you mean 'interspeech2022" in coppice("reproduce", "--only", "interspech2022").sentence
