import json

import pytest


@pytest.mark.parametrize("card", ["RTX 2080 Ti", "gtx 1080 ti"])
def test_co2_prints_the_published_numbers_and_how_they_are_counted(coppice, card):
    answer = coppice("co2", "--hardware", card, "--hours", 48)
    for text in ("12.0 kWh", "5.18 kg", "20.9 km", "13.0 miles", "ML CO2", "US EPA"):
        assert text in answer.out
    assert max(map(len, answer.out.splitlines())) <= 80
    found = json.loads(coppice("co2", "--hardware", card, "--hours", 48, "--json").out)
    assert (found["energy_kwh"], found["co2_kg"]) == (12.0, 5.18)


def test_co2_takes_power_intensity_pue_and_utilisation(coppice):
    argv = ["--power-w", 100, "--hours", 10, "--intensity", 0.5, "--pue", 1.5, "--utilisation", 0.5, "--json"]
    found = json.loads(coppice("co2", *argv).out)
    assert (found["energy_kwh"], found["co2_kg"], found["hardware"]) == (0.75, 0.375, None)


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (["--hardware", "RTX 2081 Ti", "--hours", "1"], "Did you mean 'RTX 2080 Ti'?"),
        (["--hardware", "T4", "--hours", "-1"], "hours is -1.0; give a number above 0."),
        (["--hardware", "T4", "--hours", "nan"], "hours is nan; give a number above 0."),
        (["--hardware", "T4", "--hours", "two"], "--hours"),
        (["--hardware", "T4"], "--hours"),
        (["--hours", "1"], "give either the hardware"),
    ],
)
def test_co2_refuses_what_cannot_be(coppice, argv, sentence):
    assert sentence in coppice("co2", *argv).sentence


def test_profile_counts_in_a_convention_and_names_it(coppice, trained):
    answer = coppice("profile", trained, "--convention", "torchinfo")
    assert "torchinfo 1.8.0" in answer.out and "latency" not in answer.out
    (row,) = json.loads(coppice("profile", trained, "--convention", "torchinfo", "--json").out)["counts"]
    assert row["convention"] == "torchinfo" and row["params"] > 0 and row["macs"] > 0


def test_profile_counts_in_all_conventions(coppice, trained):
    answer = coppice("profile", trained, "--convention", "all")
    for name in ("keras_total", "keras_trainable", "bn_folded", "macs_with_biases", "torchinfo", "nessi_tflite"):
        assert f"\n{name}: " in answer.out
    table = [line for line in answer.out.splitlines() if line[:1] in "┏┃┡│└"]
    assert max(map(len, table)) <= 80
    rows = json.loads(coppice("profile", trained, "--convention", "all", "--json").out)["counts"]
    cost = json.loads(coppice("profile", trained, "--json").out)
    by_name = {row["convention"]: row for row in rows}
    assert by_name["keras_total"]["params"] == cost["params_total"]
    assert by_name["macs"]["macs"] == cost["macs"]


def test_profile_says_what_pruning_saves_in_both_ways(coppice, trained, tmp_path):
    plan, pruned = tmp_path / "plan.json", tmp_path / "pruned.safetensors"
    assert coppice("plan", trained, "-c", "l1", "--keep", "conv2=3", "--out", plan).code == 0
    assert coppice("prune", trained, plan, "--out", pruned).code == 0
    for argv in ([], ["--convention", "layer_only"], ["--convention", "all"]):
        answer = coppice("profile", pruned, "--before", trained, *argv)
        assert "\nlayer_only: " in f"\n{answer.out}" and "really saved: " in answer.out
    found = json.loads(coppice("profile", pruned, "--before", trained, "--convention", "layer_only", "--json").out)
    saved = found["mac_reduction"]
    assert found["counts"] == [] and list(saved["missing_by_layer"]) == ["conv2"]
    assert 0 < saved["layer_only_fraction"] < saved["fraction"] < 1


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (["--convention", "torchinf"], "there is no counting convention 'torchinf'. Did you mean 'torchinfo'?"),
        (["--convention", "layer_only"], "or --before on the command line."),
        (["--before", "nowhere.safetensors"], "nowhere.safetensors"),
    ],
)
def test_profile_refuses_what_cannot_be(coppice, trained, argv, sentence):
    assert sentence in coppice("profile", trained, *argv).sentence
