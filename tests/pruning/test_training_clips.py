import pytest
import torch

from coppice.audio.front_end import front_end
from coppice.core.errors import CoppiceError
from coppice.datasets.prepare import prepare
from coppice.networks.classifier import Classifier
from coppice.networks.registry import build_network
from coppice.pruning.evidence.training_clips import training_clips
from coppice.pruning.planning.decide import plan


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COPPICE_CACHE", str(tmp_path_factory.mktemp("cache")))
        short = front_end("dcase2021", duration_s=0.5)
        yield prepare("synthetic", clips_per_class=5, duration_s=0.5, front_end=short)


@pytest.fixture(scope="module")
def classifier(data):
    bands, frames = data.front_end.shape
    torch.manual_seed(0)
    network = build_network("dcase2021", classes=10, bands=bands, frames=frames, widths=[4, 6, 8], dense=12)
    return Classifier(network, data.front_end, data.dataset.labels, torch.zeros(bands) - 8, torch.ones(bands) * 4)


def rows_of(log_mel, data):
    """Rows of the clip table whose features these are."""
    every = data.log_mel("train", range(len(data.dataset)))
    return [int((every == one).flatten(1).all(dim=1).nonzero()[0]) for one in log_mel]


def test_only_training_clips_are_drawn_and_all_classes_in_turn(classifier, data):
    log_mel, targets = training_clips(classifier, data, count=20, seed=1)
    rows = rows_of(log_mel, data)
    assert rows == sorted(set(rows)) and set(rows) <= set(data.split.train)
    assert targets.tolist() == data.dataset.targets[rows].tolist()
    assert targets.bincount().tolist() == [2] * 10


def test_fewer_clips_are_some_of_more_and_the_seed_decides(classifier, data):
    few, more, other = (
        set(rows_of(training_clips(classifier, data, count=count, seed=seed)[0], data))
        for count, seed in ((7, 1), (15, 1), (15, 2))
    )
    assert few < more != other
    assert len(training_clips(classifier, data, count=1000)[0]) == len(data.split.train)


def test_targets_are_in_the_order_of_the_classifiers_labels_or_unknown(classifier, data):
    turned = Classifier(**{**classifier.__dict__, "labels": classifier.labels[::-1]})
    assert torch.equal(training_clips(turned, data)[1], 9 - training_clips(classifier, data)[1])
    foreign = Classifier(**{**classifier.__dict__, "labels": ("x", *classifier.labels[1:])})
    clips, targets = training_clips(foreign, data)
    assert targets is None
    assert plan(foreign, "nuclear_norm", ratios=0.5, clips=clips, targets=targets).layers
    with pytest.raises(CoppiceError, match="'taylor' needs clips with labels that the network knows"):
        plan(foreign, "taylor", ratios=0.5, clips=clips, targets=targets)


@pytest.mark.parametrize("count", [0, -3, 2.5, True])
def test_a_number_of_clips_that_cannot_be_is_refused(classifier, data, count):
    with pytest.raises(CoppiceError, match=f"clips is {count}; give a whole number from 1, such as 64."):
        training_clips(classifier, data, count=count)
