import json

import pytest


@pytest.mark.parametrize("name", ["taylor", "feature_map_rank"])
def test_rank_and_plan_look_at_clips_of_a_folder(coppice, trained, sounds, tmp_path, name):
    ranked = coppice("rank", trained, "-c", name, "--data", sounds, "--clips", "4", "--json")
    assert ranked.code == 0
    assert "looking at 4 training clips" in ranked.err
    found = json.loads(ranked.out)
    assert sorted(found["conv2"]["order"]) == list(range(6))
    out = tmp_path / "plan.json"
    argv = ["plan", trained, "-c", name, "--keep", "conv2=4", "--data", sounds, "--clips", "4", "--out", out]
    assert coppice(*argv).code == 0
    (layer,) = json.loads(out.read_text())["layers"]
    assert layer["keep"] == sorted(found["conv2"]["order"][-4:])
    assert coppice("prune", trained, out, "--out", tmp_path / "small.safetensors").code == 0


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (["-c", "apoz"], "criterion 'apoz' needs clips to look at: give clips"),
        (["-c", "taylor"], "criterion 'taylor' needs clips with labels that the network knows"),
        (["-c", "apoz", "--data", "SOUNDS", "--clips", "0"], "clips is 0; give a whole number from 1, such as 64."),
        (["-c", "apoz", "--data", "nowhere"], "nowhere"),
    ],
)
def test_what_a_criterion_cannot_look_at_is_refused(coppice, trained, sounds, tmp_path, argv, sentence):
    argv = [sounds if one == "SOUNDS" else one for one in argv]
    assert sentence in coppice("rank", trained, *argv).sentence
    out = tmp_path / "plan.json"
    assert sentence in coppice("plan", trained, *argv, "--keep", "conv2=4", "--out", out).sentence
    assert not out.exists()
