import json

import pytest


@pytest.fixture
def plan(coppice, trained, tmp_path):
    out = tmp_path / "plan.json"
    assert coppice("plan", trained, "-c", "l1", "--keep", "conv2=4", "--out", out).code == 0
    return out


def test_a_cut_is_repaired_by_weights_or_by_clips_of_a_folder(coppice, trained, sounds, plan, tmp_path):
    import coppice as cp

    places = [tmp_path / f"{name}.safetensors" for name in ("cut", "merged", "refitted")]
    argv = [[], ["--compensate", "merge"], ["--compensate", "least_squares", "--data", sounds, "--clips", "6"]]
    for place, options in zip(places, argv, strict=True):
        done = coppice("prune", trained, plan, "--out", place, *options)
        assert done.code == 0 and ("looking at 6 training clips" in done.err) == ("--data" in options)
    cut, merged, refitted = (cp.load(place) for place in places)
    assert [one.lineage[-1].get("how") for one in (cut, merged, refitted)] == [None, "merge", "least_squares"]
    shapes = [
        json.dumps({k: tuple(v.shape) for k, v in one.network.state_dict().items()}) for one in (merged, refitted)
    ]
    assert set(shapes) == {json.dumps({k: tuple(v.shape) for k, v in cut.network.state_dict().items()})}


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (
            ["--compensate", "least_squares"],
            "least_squares needs clips to look at: give clips (on the command line, --data)",
        ),
        (["--compensate", "merg"], "there is no compensation 'merg'. Did you mean 'merge'?"),
        (["--compensate", "merge", "--data", "SOUNDS"], "only --compensate least_squares looks at clips"),
        (["--data", "SOUNDS"], "only --compensate least_squares looks at clips"),
        (["--compensate", "least_squares", "--data", "SOUNDS", "--clips", "1"], "needs a tensor of 2 or more clips"),
    ],
)
def test_what_cannot_be_repaired_is_refused(coppice, trained, sounds, plan, tmp_path, argv, sentence):
    argv = [sounds if one == "SOUNDS" else one for one in argv]
    out = tmp_path / "small.safetensors"
    assert sentence in coppice("prune", trained, plan, "--out", out, *argv).sentence
    assert not out.exists()
