import copy
import json
import signal
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from coppice.audio.front_end import front_end
from coppice.core.errors import CoppiceError
from coppice.datasets.prepare import Prepared, prepare
from coppice.networks.classifier import Classifier
from coppice.networks.registry import build_network
from coppice.pruning.planning.decide import plan
from coppice.pruning.surgery.masking import mask
from coppice.reports.sensitivity_records import read_sensitivity
from coppice.studies import sensitivity as module
from coppice.studies.sensitivity import sensitivity
from stopped_study import stopped_study

RATIOS = (0.25, 0.5)


class Residual(nn.Module):
    """A stem, a branch that is added to it, a layer of one filter that splits the mels, and a head."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3, padding=1)
        self.branch = nn.Conv2d(8, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.wide = nn.Conv2d(8, 6, 3, stride=4)
        self.few = nn.Conv2d(6, 2, 1)
        self.head = nn.Linear(2, 10)
        self.spare = nn.Linear(3, 4)

    def forward(self, x):
        x = torch.tanh(self.stem(x))
        x = torch.relu(self.few(torch.relu(self.wide(x + self.norm(self.branch(x))))))
        return self.head(x.mean(dim=(2, 3)))


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COPPICE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def data() -> Prepared:
    return prepare("synthetic", clips_per_class=6, duration_s=0.5, front_end=front_end("dcase2021", duration_s=0.5))


def classifier_of(network, data) -> Classifier:
    return Classifier(network, data.front_end, data.dataset.labels, torch.zeros(40) - 8, torch.ones(40) * 4)


@pytest.fixture(scope="module")
def small(data) -> Classifier:
    torch.manual_seed(1)
    return classifier_of(
        build_network("dcase2021", bands=40, frames=data.front_end.frames, widths=[4, 6, 8], dense=12), data
    )


@pytest.fixture(scope="module")
def residual(data) -> Classifier:
    torch.manual_seed(2)
    return classifier_of(Residual().eval(), data)


@pytest.fixture(scope="module")
def whole(small, data, tmp_path_factory):
    """A study that nothing interrupted, and its folder."""
    out = tmp_path_factory.mktemp("whole") / "study"
    return sensitivity(small, data, criterion="l1", ratios=RATIOS, out=out), out


def nan_network(classifier):
    network = copy.deepcopy(classifier.network)
    nn.init.constant_(network.dense2.bias, float("nan"))
    return network


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_scores_are_those_of_the_masked_network_on_validation_clips(small, data, whole):
    log_mel, clips = data.log_mel("validation"), data.clips("validation")
    targets = np.array([small.labels.index(label) for label in clips["label"]])
    before = small.posteriors(log_mel).numpy()
    for group in whole[0].groups:
        for point in group.points:
            masked = mask(small, plan(small, "l1", ratios={group.name: point.ratio}))
            after = masked.posteriors(log_mel).numpy()
            right = after.argmax(axis=1) == targets
            assert point.scores.accuracy == pytest.approx(right.mean(), abs=1e-12)
            assert point.scores.agreement == pytest.approx((after.argmax(1) == before.argmax(1)).mean(), abs=1e-12)
            losses = [-np.log(np.array([row[target] for row, target in zip(table, targets, strict=True)]))
                      for table in (before, after)]  # fmt: skip
            assert point.scores.log_loss == pytest.approx(losses[1].mean(), abs=1e-5)
            assert point.scores.log_loss_change == pytest.approx((losses[1] - losses[0]).mean(), abs=1e-5)
            assert point.scores.accuracy_change == pytest.approx(
                right.mean() - (before.argmax(axis=1) == targets).mean(), abs=1e-12
            )
            per_class = [right[targets == class_].mean() for class_ in sorted(set(targets))]
            assert point.scores.macro_accuracy == pytest.approx(np.mean(per_class), abs=1e-12)
            for name in ("accuracy", "agreement", "log_loss_change"):
                low, high = getattr(point.scores, f"{name}_interval")
                assert low <= getattr(point.scores, name) <= high


def test_neither_the_test_clips_nor_the_network_are_touched(small, data, monkeypatch):
    looked = set()
    original = Prepared.log_mel

    def watched(self, part, rows=None):
        looked.update(self._rows(part) if rows is None else rows)
        return original(self, part, rows)

    monkeypatch.setattr(Prepared, "log_mel", watched)
    before = {name: tensor.clone() for name, tensor in small.network.state_dict().items()}
    sensitivity(small, data, criterion="mean_activation", ratios=[0.5], clips=10)
    assert not looked & set(data.split.test)
    assert all(torch.equal(tensor, before[name]) for name, tensor in small.network.state_dict().items())


def test_every_group_is_cut_alone_and_what_cannot_be_cut_has_a_reason_and_no_score(residual, data):
    study = sensitivity(residual, data, criterion="l1", ratios=[0.25, 0.5])
    assert [(group.name, group.coupled, group.filters) for group in study.groups] == [
        ("stem", ("branch",), 8),
        ("wide", (), 6),
        ("few", (), 2),
        ("head", (), 10),
        ("spare", (), 4),
    ]
    points = {group.name: [(point.removed, point.scores is None) for point in group.points] for group in study.groups}
    assert points == {
        "stem": [(2, False), (4, False)],
        "wide": [(1, False), (3, False)],
        "few": [(0, True), (1, False)],  # 25 % of 2 filters
        "head": [],
        "spare": [],
    }
    assert study.left_out == (
        ("few at 25 %", "25 % of 2 filters is less than one filter"),
        ("head", "its filters reach the network's output"),
        ("spare", "the example does not run it, or its weights are computed, not stored"),
    )
    table = study.table()
    assert len(table) == 8
    unscored = table[table["reason"].notna()]
    assert unscored["accuracy"].isna().all() and unscored["agreement"].isna().all()
    assert table[table["reason"].isna()][["accuracy", "agreement", "log_loss", "macs"]].notna().all(axis=None)


def test_layers_choose_the_groups_they_belong_to(residual, data):
    study = sensitivity(residual, data, criterion="l1", ratios=[0.5], layers=["branch", "head"])
    assert [(group.name, len(group.points)) for group in study.groups] == [("stem", 1), ("head", 0)]


def test_a_criterion_that_cannot_rank_a_layer_leaves_it_unmeasured_with_the_reason(residual, data, monkeypatch):
    original = module.plan

    def picky(model, criterion, *, ratios, **options):
        if "wide" in ratios:
            raise CoppiceError("layer 'wide': criterion 'l1' needs something.")
        return original(model, criterion, ratios=ratios, **options)

    monkeypatch.setattr(module, "plan", picky)
    study = sensitivity(residual, data, criterion="l1", ratios=[0.5])
    assert ("wide at 50 %", "layer 'wide': criterion 'l1' needs something") in study.left_out
    assert [group.name for group in study.cut] == ["stem", "few"]


def test_the_folder_holds_data_page_and_figures_that_say_the_same(whole):
    study, out = whole
    assert sorted(path.name for path in out.iterdir()) == [
        "figures",
        "points",
        "sensitivity.csv",
        "sensitivity.html",
        "sensitivity.json",
        "study.json",
    ]
    assert read_sensitivity(out / "sensitivity.json") == study
    table = pd.read_csv(out / "sensitivity.csv")
    np.testing.assert_allclose(table["log_loss"], study.table()["log_loss"].astype(float), rtol=1e-15)
    said = json.loads((out / "sensitivity.json").read_text())
    assert said["version"] == 1
    assert set(said["conventions"]) >= {"agreement", "log_loss", "macs", "interval", "ratio"}
    assert "torch" in said["environment"]


def test_a_study_is_the_same_when_done_again_and_measures_nothing(small, data, whole, tmp_path, monkeypatch):
    study, out = whole
    before = contents(out)

    def refuse(*_arguments, **_options):
        raise AssertionError("measured again")

    for name in ("_cut", "_unpruned"):
        monkeypatch.setattr(module._Study, name, refuse)
    assert sensitivity(small, data, criterion="l1", ratios=RATIOS, out=out) == study
    assert contents(out) == before
    monkeypatch.undo()
    assert sensitivity(small, data, criterion="l1", ratios=RATIOS) == study


@pytest.mark.proof
def test_more_ratios_measure_only_those(small, data, tmp_path, monkeypatch):
    out = tmp_path / "study"
    sensitivity(small, data, criterion="l1", ratios=[0.5], layers=["conv1", "conv2"], out=out)
    measured = []
    original = module._Study._cut

    def watched(self, group, ratio):
        measured.append((group.name, ratio))
        return original(self, group, ratio)

    monkeypatch.setattr(module._Study, "_cut", watched)
    sensitivity(small, data, criterion="l1", ratios=[0.75, 0.5], layers=["conv1"], out=out)
    assert measured == [("conv1", 0.75)]
    assert len(list((out / "points").iterdir())) == 3  # unpruned and two ratios: what is not asked for goes
    measured.clear()
    sensitivity(small, data, criterion="random", seed=0, ratios=[0.5], layers=["conv1"], out=out)
    sensitivity(small, data, criterion="random", seed=1, ratios=[0.5], layers=["conv1"], out=out)
    frames = data.front_end.frames
    changed = replace(small, network=build_network("dcase2021", bands=40, frames=frames, widths=[4, 6, 8], dense=12))
    sensitivity(changed, data, criterion="random", seed=1, ratios=[0.5], layers=["conv1"], out=out)
    assert measured == [("conv1", 0.5)] * 3


def test_a_damaged_measurement_is_made_again(small, data, whole, tmp_path):
    study, out = whole
    before = contents(out)
    first, second, third = sorted((out / "points").iterdir())[:3]
    first.write_text(first.read_text()[:100])
    second.write_text("[]")
    third.write_text(third.read_text().replace("0.", "0.9", 1))
    assert sensitivity(small, data, criterion="l1", ratios=RATIOS, out=out) == study
    assert contents(out) == before


QUICK = [(signal.SIGINT, "_unpruned", 1), (signal.SIGKILL, "_cut", 4)]
STOPS = [
    pytest.param(stop, (name, calls), marks=[] if (stop, name, calls) in QUICK else pytest.mark.proof)
    for name, calls in (("_unpruned", 1), ("_cut", 1), ("_cut", 4))
    for stop in (signal.SIGINT, signal.SIGKILL)
]


@pytest.mark.parametrize("stop, at", STOPS)
def test_a_study_that_was_stopped_goes_on_and_ends_the_same(small, data, whole, tmp_path, stop, at):
    study, out = whole
    name, calls = at
    options = {"criterion": "l1", "ratios": RATIOS, "out": tmp_path / "study"}
    code = stopped_study(stop, name, calls, (small, data), options)
    assert code == (130 if stop == signal.SIGINT else -9)
    assert not (tmp_path / "study" / "sensitivity.json").exists()
    stood = len(list((tmp_path / "study").glob("points/*.json")))
    assert stood == (0 if name == "_unpruned" else calls)
    assert sensitivity(small, data, criterion="l1", ratios=RATIOS, out=tmp_path / "study") == study
    assert contents(tmp_path / "study") == contents(out)


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ({"ratios": [0]}, "ratio for 'every group' is 0, which removes nothing"),
        ({"ratios": [0.5, 1]}, "is 1, which leaves no filter"),
        ({"ratios": [-0.1]}, "a fraction cannot be negative"),
        ({"ratios": [1.5]}, "is 1.5; give a number between 0 and 1"),
        ({"ratios": [float("nan")]}, "is not a number (NaN)"),
        ({"ratios": []}, "ratios is []; give one or more numbers"),
        ({"ratios": 0.5}, "ratios is 0.5; give one or more numbers"),
        ({"ratios": ["half"]}, "is 'half'; give a number"),
        ({"criterion": "l11"}, "there is no criterion 'l11'."),
        ({"layers": ["con1"]}, "there is no convolution or linear layer 'con1'. Did you mean 'conv1'?"),
        ({"layers": ["dense2"]}, "there is nothing to cut. 'dense2' cannot be cut: its filters reach the network's"),
        ({"layers": []}, "there is nothing to cut. Give at least one layer."),
        ({"clips": 0, "criterion": "taylor"}, "clips is 0; give a whole number from 1"),
        ({"seed": -1}, "seed is -1; give a whole number from 0"),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_nothing(small, data, tmp_path, said, sentence):
    with pytest.raises(CoppiceError) as error:
        sensitivity(small, data, **{"criterion": "random", "ratios": [0.5], "out": tmp_path / "study", **said})
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda c: replace(c, labels=("a", *c.labels[1:])), "which this classifier does not know; its labels are a, "),
        (lambda c: replace(c, score="sigmoid"), "this classifier tags"),
        (lambda c: replace(c, band_mean=None, band_std=None), "normalisation is not known"),
        (lambda c: replace(c, front_end=front_end("dcase2022", duration_s=0.5)), "prepared with another front end"),
        (lambda c: replace(c, front_end=None), "this classifier has no front end"),
        (lambda c: replace(c, network=nan_network(c)), "is not a number; train again"),
        (lambda c: c.network, "a DCASE2021 is not a classifier; give what coppice.load returns."),
    ],
)
def test_a_classifier_that_does_not_go_with_the_data_is_refused_before_anything(
    small, data, tmp_path, change, sentence
):
    with pytest.raises(CoppiceError) as error:
        sensitivity(change(small), data, criterion="l1", out=tmp_path / "study")
    assert sentence in str(error.value)
    assert not list(tmp_path.iterdir())


def test_a_criterion_that_can_rank_nothing_is_refused_before_anything(small, data, tmp_path, monkeypatch):
    def refuse(*_arguments, layers, **_options):
        raise CoppiceError(f"layer {layers[0]!r}: not this one.")

    monkeypatch.setattr(module, "rankings", refuse)
    with pytest.raises(CoppiceError, match=r"^layer 'conv1': not this one\.$"):
        sensitivity(small, data, criterion="l1", out=tmp_path / "study")
    assert not list(tmp_path.iterdir())


def test_a_folder_with_something_else_is_left_alone(small, data, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(CoppiceError, match="holds something else than a sensitivity study; choose another folder"):
        sensitivity(small, data, criterion="l1", out=tmp_path)
    with pytest.raises(CoppiceError, match=r"notes\.txt"):
        sensitivity(small, data, criterion="l1", out=tmp_path / "notes.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
