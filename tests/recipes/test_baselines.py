"""The published baselines as shipped recipes: constant for constant, and their networks' counts."""

import pytest
import torch

from coppice.audio.presets import PRESETS
from coppice.complexity.conventions import count
from coppice.core.files import read_json
from coppice.networks.checkpoint import load
from coppice.networks.registry import build_network
from coppice.recipes.material import recipe_front_end
from coppice.recipes.recipe import load_recipe
from coppice.recipes.run import run_single

EPS = 2.220446049250313e-16
KERAS = {
    "sample_rate": 44100, "n_fft": 2048, "win_length": 1764, "hop_length": 882, "window": "hamming", "power": 1.0,
    "window_periodic": True, "mel_scale": "slaney", "mel_norm": "slaney", "n_mels": 40, "fmin_hz": 0.0,
    "fmax_hz": 22050.0, "log": "natural", "log_offset": EPS, "waveform_offset": EPS, "pad_mode": "reflect",
}  # fmt: skip
CPJKU = {
    "sample_rate": 32000, "resampler": "sinc_hann", "n_fft": 4096, "win_length": 3072, "hop_length": 500,
    "window": "hann", "window_periodic": True, "power": 2.0, "mel_scale": "htk", "mel_norm": None, "n_mels": 256,
    "fmin_hz": 0.0, "fmax_hz": 16000.0, "log": "natural", "log_offset": 1e-5, "clip_scaling": None,
}  # fmt: skip
ADAM = {"optimizer": "adam", "learning_rate": 1e-3, "weight_decay": 0.0, "schedule": "constant", "epochs": 200}
ADAMW = {
    "optimizer": "adamw", "learning_rate": 5e-3, "weight_decay": 1e-4, "schedule": "cosine", "warmup_steps": 2000,
    "batch_size": 256, "epochs": 150, "choose": "last", "normalisation": "none",
}  # fmt: skip
BEST = {"choose": "accuracy", "choose_from": 50, "patience": 200, "augment": None, "mixup": 0.0}
PUBLISHED = {
    "dcase2021-baseline": (KERAS, (40, 500), ADAM | BEST | {"batch_size": 16, "normalisation": "bands"}),
    "dcase2022-baseline": (
        KERAS | {"clip_scaling": "peak_int16"},
        (40, 51),
        ADAM | BEST | {"batch_size": 64, "normalisation": "none"},
    ),
    "dcase2024-baseline": (CPJKU, (256, 65), ADAMW),
    "dcase2025-baseline": (CPJKU, (256, 65), ADAMW),
}
AUGMENT = {
    "time_roll": {"seconds": 0.1},
    "spec_augment": {"freq_masks": 1, "freq_bands": 48, "time_masks": 0, "time_frames": 0},
    "freq_mixstyle": {"probability": 0.4, "alpha": 0.3},
}


def network_of(recipe):
    bands, frames = recipe_front_end(recipe).shape
    config = recipe.network.model_dump(exclude={"name"})
    return build_network(recipe.network.name, **config, classes=10, bands=bands, frames=frames)


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_constant_is_the_published_one(name):
    recipe = load_recipe(name)
    ears, shape, training = PUBLISHED[name]
    front_end = recipe_front_end(recipe)
    assert {key: getattr(front_end, key) for key in ears} == ears
    assert front_end.shape == shape
    assert {key: getattr(recipe.training, key) for key in training} == training
    assert recipe.training.patience >= recipe.training.epochs  # nothing stops early
    assert recipe.training.precision == "float32"
    assert (recipe.training.ema, recipe.training.soup, recipe.training.accumulate) == (0.0, 1, 1)
    assert set(PRESETS) >= {recipe.front_end.preset}


@pytest.mark.parametrize("name", ["dcase2024-baseline", "dcase2025-baseline"])
def test_the_augmentation_of_2024_is_the_published_one(name):
    recipe = load_recipe(name)
    assert recipe.training.settings(seed=0).augment.to_dict() == AUGMENT
    assert recipe.quantize == "float16"


def test_each_device_of_2025_is_finetuned_with_the_published_constants():
    recipe = load_recipe("dcase2025-baseline")
    assert [steps[0].finetune.device for steps in recipe.systems.values()] == ["a", "b", "c", "s1", "s2", "s3"]
    for (step,) in recipe.systems.values():
        said = step.finetune
        assert (said.learning_rate, said.epochs, said.warmup_steps, said.batch_size) == (5e-4, 50, 200, 256)
        assert (said.optimizer, said.weight_decay, said.schedule, said.choose) == ("adamw", 1e-4, "cosine", "last")
        augment = said.settings(seed=0).augment.to_dict()
        assert augment == {name: value for name, value in AUGMENT.items() if name != "freq_mixstyle"}


@pytest.mark.parametrize(
    ("name", "convention", "counted"),
    [
        ("dcase2021-baseline", "keras_total", 46_246),
        ("dcase2022-baseline", "keras_total", 46_246),
        ("dcase2022-baseline", "bn_folded", 45_990),
    ],
)
def test_the_keras_networks_have_the_published_counts(name, convention, counted):
    recipe = load_recipe(name)
    shape = (1, 1, *recipe_front_end(recipe).shape)
    assert count(network_of(recipe), convention, example=torch.zeros(shape)).params == counted


@pytest.mark.parametrize("name", ["dcase2024-baseline", "dcase2025-baseline"])
def test_the_network_of_2024_has_the_published_parameters_and_macs(name):
    network = network_of(load_recipe(name))
    assert sum(parameter.numel() for parameter in network.parameters()) == 61_148
    assert count(network, "torchinfo", example=torch.zeros(1, 1, 256, 65)).macs == 29_419_156


def test_the_validation_shares_are_those_of_the_keras_baselines():
    assert [load_recipe(f"dcase{year}-baseline").split.validation_fraction for year in (2021, 2022)] == [0.3, 0.3]
    assert [load_recipe(f"dcase{year}-baseline").data.source for year in (2021, 2022, 2024, 2025)] == [
        "tau2020-mobile", "tau2022-mobile", "tau2022-mobile", "tau2022-mobile",
    ]  # fmt: skip


@pytest.mark.proof
@pytest.mark.parametrize("year", [2021, 2022, 2024])
def test_one_epoch_on_real_clips_goes_the_whole_way(shared_data, tmp_path, monkeypatch, year):
    monkeypatch.setenv("COPPICE_CACHE", str(tmp_path / "cache"))
    sample = shared_data / "tau2022_sample"
    changes = [
        f"data.source={sample / 'meta.csv'}",
        f"data.root={sample}",
        "data.columns={file: filename, label: scene_label, recording: identifier, device: source_label}",
        "front_end.duration_s=1.0",
        "training.epochs=1",
        "training.choose_from=0",
    ]
    recipe = load_recipe(f"dcase{year}-baseline", changes=changes)
    assert run_single(recipe, tmp_path / "run").exists()
    stored = {2021: "float16", 2022: "int8", 2024: "float16"}[year]
    for folder in ("train", f"unpruned/{stored}"):
        metrics = read_json(tmp_path / "run" / folder / "metrics.json")
        assert metrics["evaluation"]["test"]["clips"] == 36
    assert load(tmp_path / "run/train/checkpoint.safetensors").lineage[0]["epochs"] == 1
