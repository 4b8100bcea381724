import json

import pandas as pd
import pytest

from coppice.audio.front_end import front_end
from coppice.networks.registry import build_network
from coppice.recipes.material import recipe_front_end
from coppice.recipes.recipe import load_recipe

QUICK = "[{prune: {criterion: cosine_similarity}}, {finetune: {epochs: 1, batch_size: 64}}]"


def test_its_constants_are_those_of_the_baseline():
    recipe = load_recipe("tau2022")
    assert recipe_front_end(recipe) == front_end("dcase2022") and recipe_front_end(recipe).shape == (40, 51)
    training = recipe.training
    assert (training.epochs, training.batch_size, training.learning_rate, training.patience) == (200, 64, 1e-3, 200)
    network = recipe.network.model_dump(exclude={"name"})
    built = build_network(recipe.network.name, **network, bands=40, frames=51, classes=10)
    assert sum(weights.numel() for weights in built.parameters()) == 46_118
    assert recipe.quantize == "int8" and recipe.split.strategy == "official"


def test_a_subset_is_a_key_of_the_recipe():
    assert load_recipe("tau2022").data.subset is None
    assert load_recipe("tau2022", changes=["data.subset=25"]).data.subset == 25


@pytest.mark.proof
@pytest.mark.parametrize(
    "more",
    [(), ("front_end={preset: dcase2024, duration_s: 1.0}", "network={name: cp_mobile}", "quantize=float16")],
    ids=["baseline of 2022", "baseline of 2024"],
)
def test_one_epoch_on_real_clips_runs_the_whole_path(shared_data, forked, tmp_path, more):
    data = shared_data / "tau2022_sample"
    system = "[{finetune: {epochs: 1, batch_size: 64}}]" if more else QUICK
    changes = (f"data.root={data}", "split.strategy=drawn", "training.epochs=1", f"systems.cosine={system}", *more)
    argv = ["run", "tau2022", "--out", "run", *(part for change in changes for part in ("--set", change))]
    answer = forked(*argv, cwd=tmp_path, env={"COPPICE_CACHE": str(tmp_path / "cache")})
    assert answer["code"] == 0, answer
    run = tmp_path / "run"
    assert (run / "report.html").is_file()
    clips = pd.read_csv(run / "data" / "clips.csv")
    assert len(clips) == 188 and set(clips["device"]) == {"a", "b", "c", *(f"s{n}" for n in range(1, 7))}
    sides = clips.groupby("recording")["split" if "side" not in clips else "side"].nunique()
    assert (sides == 1).all()
    metrics = [json.loads(file.read_text()) for file in run.rglob("metrics.json")]
    assert len(metrics) >= 3
