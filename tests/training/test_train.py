from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from coppice.core.errors import CoppiceError
from coppice.evaluation.evaluate import evaluate
from coppice.pruning.plan import LayerPlan, PruningPlan
from coppice.pruning.surgery.prune import prune
from coppice.quantization.rounding import quantize
from coppice.training.train import finetune, train

TINY = {"widths": [3, 3, 4], "dense": 6}


def weights(classifier):
    return {name: tensor.clone() for name, tensor in classifier.network.state_dict().items()}


def equal(first, second):
    return all(torch.equal(tensor, second[name]) for name, tensor in first.items())


@pytest.fixture(scope="module")
def trained(prepared):
    from coppice.training.settings import TrainingSettings

    how = TrainingSettings(epochs=3, batch_size=8, learning_rate=5e-3, precision="float32", seed=1)
    return train(prepared, config=TINY, settings=how)


def test_the_same_seed_gives_the_same_weights_whatever_was_drawn_before(trained, prepared, settings):
    torch.rand(7)
    assert equal(weights(train(prepared, config=TINY, settings=settings)), weights(trained))


def test_another_seed_gives_other_weights(trained, prepared, settings):
    other = train(prepared, config=TINY, settings=replace(settings, seed=2))
    assert not equal(weights(other), weights(trained))


def test_the_classifier_fits_the_data_and_says_how_it_was_trained(trained, prepared):
    assert trained.labels == ("bus", "park", "tram") and trained.front_end == prepared.front_end
    assert not trained.network.training
    (entry,) = trained.lineage
    assert (entry["verb"], entry["clips"], entry["epochs"], entry["precision"]) == ("train", 18, 3, "float32")
    assert entry["settings"]["learning_rate"] == 5e-3


def test_the_normalisation_is_that_of_the_training_clips_in_float64(trained, prepared):
    features = prepared._features[:18].astype(np.float64)
    np.testing.assert_allclose(trained.band_mean.numpy(), features.mean(axis=(0, 2)), rtol=1e-6)
    np.testing.assert_allclose(trained.band_std.numpy(), features.std(axis=(0, 2)), rtol=1e-6)


def test_training_learns(prepared, with_features, settings, tmp_path):
    features = prepared._features.copy()
    features[np.arange(30), 8 * prepared.dataset.targets + 4] += 3
    data = with_features(features)
    long = replace(settings, epochs=8, batch_size=3, learning_rate=1e-2)
    classifier = train(data, config=TINY | {"dropout": 0.0}, settings=long, folder=tmp_path)
    losses = pd.read_csv(tmp_path / "history.csv")["train_log_loss"].tolist()
    assert losses[-1] < 0.5 * losses[0]
    scores, _ = evaluate(classifier, data.log_mel("test"), data.clips("test"))
    assert scores["log_loss"] < 0.95 * np.log(3)  # of guessing


def test_the_test_clips_are_not_read(trained, with_features, prepared, settings):
    features = prepared._features.copy()
    features[prepared.split.test] = np.nan
    assert equal(weights(train(with_features(features), config=TINY, settings=settings)), weights(trained))
    tuned = finetune(trained, with_features(features), settings=settings)
    assert equal(weights(tuned), weights(finetune(trained, prepared, settings=settings)))


def test_the_validation_clips_change_no_weight_of_the_last_epoch(prepared, with_features, settings):
    """One epoch, so that validation has nothing to choose: other validation clips, the same weights."""
    features = prepared._features.copy()
    features[prepared.split.validation] = 1.0
    once = replace(settings, epochs=1)
    pair = [train(data, config=TINY, settings=once) for data in (prepared, with_features(features))]
    assert equal(weights(pair[0]), weights(pair[1]))


def test_features_that_are_no_numbers_are_refused(prepared, with_features, settings):
    features = prepared._features.copy()
    features[3, 0, 0] = np.nan
    with pytest.raises(CoppiceError, match="clip 3"):
        train(with_features(features), config=TINY, settings=settings)


def test_finetuning_changes_every_weight_of_a_pruned_network_and_leaves_the_given_one(trained, prepared, settings):
    plan = PruningPlan(None, (LayerPlan("conv1", 3, (0, 2)), LayerPlan("conv3", 4, (0, 1, 3))))
    small = prune(trained, plan)
    before = weights(small)
    tuned = finetune(small, prepared, settings=settings)
    assert tuned.network.config()["widths"] == [2, 3, 3]
    for name, tensor in tuned.network.named_parameters():
        assert tensor.shape == before[name].shape and not torch.equal(tensor, before[name]), name
    assert equal(weights(small), before) and not small.network.training
    assert [entry["verb"] for entry in tuned.lineage] == [*(e["verb"] for e in small.lineage), "finetune"]
    assert tuned.metrics == {} and tuned.stored_as == "float32"


def test_finetuning_starts_from_the_weights_that_are_there(trained, prepared, settings):
    tuned = finetune(trained, prepared, settings=replace(settings, epochs=1, learning_rate=1e-9))
    for name, tensor in tuned.network.named_parameters():
        torch.testing.assert_close(tensor, weights(trained)[name], rtol=0, atol=1e-6)


@pytest.mark.parametrize("fraction, clips", [(1.0, 18), (0.5, 9), (1 / 3, 6), (0.01, 3)])
def test_finetuning_on_a_fraction_uses_that_many_clips(trained, prepared, settings, fraction, clips, monkeypatch):
    seen = []

    def watch(network, train, validation, **rest):
        seen.append((len(train[0]), train[1].bincount().tolist(), len(validation[0])))
        raise KeyboardInterrupt

    monkeypatch.setattr("coppice.training.train.fit", watch)
    with pytest.raises(KeyboardInterrupt):
        finetune(trained, prepared, settings=settings, fraction=fraction)
    assert seen == [(clips, [clips // 3] * 3, 6)]


def test_a_quantized_classifier_trains_on_and_is_float32_again(trained, prepared, settings):
    tuned = finetune(quantize(trained), prepared, settings=replace(settings, epochs=1))
    assert tuned.stored_as == "float32" and [e["verb"] for e in tuned.lineage] == ["train", "quantize", "finetune"]


def test_frozen_parameters_stay(trained, prepared, settings):
    frozen = replace(trained, network=prune(trained, PruningPlan(None, ())).network)
    frozen.network.conv1.requires_grad_(False)
    tuned = finetune(frozen, prepared, settings=replace(settings, epochs=1))
    assert torch.equal(tuned.network.conv1.weight, trained.network.conv1.weight)
    assert not torch.equal(tuned.network.conv2.weight, trained.network.conv2.weight)
    assert not frozen.network.conv1.weight.requires_grad and frozen.network.conv2.weight.requires_grad


def test_data_of_another_front_end_is_refused(trained, prepared, settings):
    from coppice.audio.front_end import front_end

    other = replace(prepared, front_end=front_end("dcase2021", duration_s=1.0))
    with pytest.raises(CoppiceError, match="another front end"):
        finetune(trained, other, settings=settings)


def test_data_of_other_labels_is_refused(trained, prepared, settings):
    other = replace(prepared, dataset=replace(prepared.dataset, labels=("bus", "park", "train")))
    with pytest.raises(CoppiceError, match=r"labels \(bus, park, train\) are not the classifier's \(bus, park, tram\)"):
        finetune(trained, other, settings=settings)


def test_a_folder_keeps_the_history_and_no_resume_point(prepared, settings, tmp_path):
    train(prepared, config=TINY, settings=settings, folder=tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["history.csv"]
    history = pd.read_csv(tmp_path / "history.csv")
    assert history["epoch"].tolist() == [0, 1, 2] and np.isfinite(history.to_numpy()).all()
