import json
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn import metrics as sklearn_metrics
from torch import nn

from coppice.audio.front_end import front_end
from coppice.core.errors import CoppiceError
from coppice.evaluation.evaluate import as_features, evaluate, scores, write_predictions
from coppice.networks.classifier import Classifier


class Told(nn.Module):
    """Answers with the logarithm of the posteriors that stand in the first pixels of its input."""

    def forward(self, x):
        return x[:, 0, :4, 0].log()


@dataclass
class Heard:
    classifier: Classifier
    log_mel: torch.Tensor


@pytest.fixture
def heard(scored):
    posteriors, _, _, labels = scored
    log_mel = torch.zeros(60, 40, 25)
    log_mel[:, :4, 0] = torch.from_numpy(posteriors).float()
    ears = front_end("dcase2021", duration_s=0.5)
    return Heard(Classifier(Told(), ears, labels, torch.zeros(40), torch.ones(40)), log_mel)


def test_an_evaluation_gives_the_scores_of_scikit_learn_and_is_plain_data(scored, heard):
    posteriors, targets, clips, labels = scored
    found, predictions = evaluate(heard.classifier, heard.log_mel, clips)
    assert found["accuracy"] == sklearn_metrics.accuracy_score(targets, posteriors.argmax(1))
    assert found["log_loss"] == pytest.approx(sklearn_metrics.log_loss(targets, posteriors, labels=range(4)), rel=1e-5)
    assert (found["clips"], found["recordings"], found["labels"]) == (60, 20, list(labels))
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert predictions["predicted"].tolist() == [labels[i] for i in posteriors.argmax(1)]
    np.testing.assert_allclose(predictions[[f"p_{label}" for label in labels]].sum(axis=1), 1, rtol=1e-12)


def test_intervals_surround_their_score_and_come_out_the_same_again(scored):
    posteriors, targets, clips, labels = scored
    first, again = (scores(posteriors, targets, clips, labels) for _ in range(2))
    assert first == again
    for name in ("accuracy", "macro_accuracy", "log_loss"):
        low, high = first[f"{name}_interval"]
        assert low < first[name] < high


def test_scores_per_class_and_device_are_those_of_its_clips(scored):
    posteriors, targets, clips, labels = scored
    found = scores(posteriors, targets, clips, labels)
    hit = posteriors.argmax(1) == targets
    assert list(found["per_device"]) == ["a", "b", "s1"]  # clips without a device are in none
    for device, part in found["per_device"].items():
        chosen = (clips["device"] == device).to_numpy()
        assert part["clips"] == chosen.sum() == 15
        assert part["accuracy"] == pytest.approx(hit[chosen].mean())
        loss = sklearn_metrics.log_loss(targets[chosen], posteriors[chosen], labels=range(4))
        assert part["log_loss"] == pytest.approx(loss)
    for index, label in enumerate(labels):
        assert found["per_class"][label]["accuracy"] == pytest.approx(hit[targets == index].mean())
    assert sum(part["clips"] for part in found["per_class"].values()) == 60


@pytest.mark.parametrize("device", ["gone", "unknown"])
def test_without_devices_there_are_no_scores_per_device(scored, device):
    posteriors, targets, clips, labels = scored
    bare = clips.drop(columns="device") if device == "gone" else clips.assign(device=pd.NA)
    assert scores(posteriors, targets, bare, labels)["per_device"] is None


def test_a_class_without_a_clip_has_no_scores(scored):
    posteriors, targets, clips, labels = scored
    rows = targets != 3
    found = scores(posteriors[rows], targets[rows], clips[rows].reset_index(drop=True), labels)
    assert list(found["per_class"]) == list(labels[:3]) and len(found["confusion"]) == 4


def test_an_output_that_is_no_number_is_refused_by_clip(scored, heard):
    heard.log_mel[17, 2, 0] = float("nan")
    with pytest.raises(CoppiceError, match="clip 'clip 17' is not a number"):
        evaluate(heard.classifier, heard.log_mel, scored[2])


def test_an_unknown_label_is_refused_by_name(scored, heard):
    clips = scored[2].copy()
    clips.loc[5, "label"] = "airport"
    with pytest.raises(CoppiceError, match=r"label 'airport', .* its labels are bus, metro, park, tram"):
        evaluate(heard.classifier, heard.log_mel, clips)


def test_no_clips_and_too_few_log_mels_are_refused(scored, heard):
    with pytest.raises(CoppiceError, match="no clips"):
        evaluate(heard.classifier, heard.log_mel[:0], scored[2][:0])
    with pytest.raises(CoppiceError, match="60 clips do not go with 59"):
        evaluate(heard.classifier, heard.log_mel[:59], scored[2])


def test_predictions_as_csv_give_the_same_scores_again(scored, heard, tmp_path):
    _, targets, clips, labels = scored
    found, predictions = evaluate(heard.classifier, heard.log_mel, clips)
    write_predictions(predictions, tmp_path / "predictions.csv")
    table = pd.read_csv(tmp_path / "predictions.csv", dtype=str)
    assert table["clip_id"].tolist() == clips["clip_id"].tolist()
    again = scores(table[[f"p_{label}" for label in labels]].to_numpy(float), targets, clips, labels)
    assert again == found


def test_the_table_of_clips_is_left_as_it_is(scored, heard):
    clips = scored[2]
    before = clips.copy()
    evaluate(heard.classifier, heard.log_mel, clips)
    pd.testing.assert_frame_equal(clips, before)


def test_features_are_copied_out_of_the_store():
    store = np.arange(24, dtype=np.float32).reshape(4, 2, 3)
    taken = as_features(store, np.array([3, 1]))
    taken[0] = 0
    assert taken[1].tolist() == store[1].tolist() and store[3].any()


class Turned(Told):
    """Answers with the classes in turn."""

    def forward(self, x):
        return super().forward(x).roll(1, dims=1)


def test_a_device_with_a_network_of_its_own_is_heard_by_it_and_all_others_by_the_first(scored, heard):
    posteriors, targets, clips, labels = scored
    own = replace(heard.classifier, network=Turned())
    found, predictions = evaluate(heard.classifier, heard.log_mel, clips, devices={"a": own, "s9": own})
    expected = np.where((clips["device"] == "a").to_numpy()[:, None], np.roll(posteriors, 1, axis=1), posteriors)
    assert found["accuracy"] == sklearn_metrics.accuracy_score(targets, expected.argmax(1))
    np.testing.assert_allclose(predictions[[f"p_{label}" for label in labels]], expected, atol=1e-6)
    table = clips.assign(device=clips["device"].astype("string"))
    assert evaluate(heard.classifier, heard.log_mel, table, devices={"a": own})[0]["accuracy"] == found["accuracy"]


def test_a_devices_network_that_hears_otherwise_is_refused_by_device(scored, heard):
    for other in (
        replace(heard.classifier, labels=("tram", "park", "metro", "bus")),
        replace(heard.classifier, front_end=front_end("dcase2021", duration_s=1.0)),
    ):
        with pytest.raises(CoppiceError, match="the model for device 'a' has other labels or another front end"):
            evaluate(heard.classifier, heard.log_mel, scored[2], devices={"a": other})
