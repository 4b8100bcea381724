from dataclasses import replace

import pandas as pd
import pytest
import torch
from torch import nn

from coppice.audio.front_end import front_end
from coppice.complexity.macs import count_macs
from coppice.core.errors import CoppiceError
from coppice.evaluation.evaluate import evaluate
from coppice.networks.audioset import audioset_labels
from coppice.networks.classifier import Classifier
from coppice.networks.cnn14 import CNN14
from coppice.training.mixup import mixup_loss
from coppice.training.settings import TrainingSettings
from coppice.training.teacher import Teacher, taught_loss
from coppice.training.train import finetune, train

TINY = {"widths": [3, 3, 4], "dense": 6}


@pytest.fixture(scope="module")
def teacher(prepared):
    settings = TrainingSettings(epochs=3, batch_size=8, learning_rate=5e-3, precision="float32", seed=4)
    return train(prepared, config=TINY, settings=settings)


def test_the_loss_is_that_of_the_paper():
    logits, soft = torch.randn(6, 4), torch.randn(6, 4).softmax(1)
    q = (logits / 3).softmax(1)
    expected = 0.25 * 1.5 + 0.75 * 9 * (soft * (soft.log() - q.log())).sum(1).mean()
    torch.testing.assert_close(taught_loss(torch.tensor(1.5), logits, soft, weight=0.75, temperature=3), expected)


def test_a_student_that_says_what_the_teacher_says_has_no_loss(teacher, prepared):
    soft = Teacher(teacher, temperature=3).soft_targets(teacher, prepared)
    loss = taught_loss(torch.tensor(0.0), teacher.logits(prepared.log_mel("train")), soft, weight=1, temperature=3)
    assert float(loss) == pytest.approx(0, abs=1e-6)


def test_blended_clips_have_blended_teachers():
    network = nn.Sequential(nn.Flatten(), nn.Linear(6, 3))
    inputs, targets = torch.ones(4, 1, 2, 3), torch.tensor([0, 1, 2, 0])
    soft = torch.eye(3)[targets]
    teacher = Teacher.__new__(Teacher)
    object.__setattr__(teacher, "weight", 1.0)
    object.__setattr__(teacher, "temperature", 1.0)
    torch.manual_seed(0)
    hard = mixup_loss(network, inputs, targets, alpha=0.3)
    torch.manual_seed(0)
    taught = mixup_loss(network, inputs, targets, alpha=0.3, soft=soft, lesson=teacher.lesson)
    entropy = hard - taught  # of the blended targets: cross-entropy is divergence and entropy
    assert 0 < float(entropy.detach()) < 0.7


def test_a_student_learns_from_its_teacher_and_says_so(teacher, prepared, settings):
    settings = replace(settings, epochs=15, learning_rate=1e-2)
    taught = train(prepared, config=TINY, settings=settings, teacher=Teacher(teacher, weight=1.0))
    alone = train(prepared, config=TINY, settings=settings)
    log_mel = prepared.log_mel("train")

    def apart(student):
        p, q = teacher.posteriors(log_mel), student.posteriors(log_mel)
        return float((p * (p.log() - q.log())).sum(1).mean())

    assert apart(taught) < apart(alone)
    assert taught.lineage[-1]["teacher"] == {"weight": 1.0, "temperature": 2.0, "verbs": ["train"]}
    assert taught.lineage[-1]["teacher_macs"] == count_macs(teacher.network, torch.zeros(1, 1, 40, 25)).total
    assert "teacher" not in alone.lineage[-1]
    assert evaluate(taught, prepared.log_mel("test"), prepared.clips("test"))[0]["clips"] == 6


def test_a_teacher_may_know_the_classes_in_another_order(teacher, prepared, settings):
    order = [2, 0, 1]
    network = nn.Sequential(teacher.network, _Turned(order))
    turned = replace(teacher, network=network, labels=tuple(teacher.labels[index] for index in order))
    first, second = (
        finetune(teacher, prepared, settings=settings, teacher=Teacher(one)).network.state_dict()
        for one in (teacher, turned)
    )
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())


class _Turned(nn.Module):
    def __init__(self, order):
        super().__init__()
        self.order = order

    def forward(self, logits):
        return logits[:, self.order]


def test_a_teacher_of_something_else_is_refused(teacher, prepared, settings):
    for other, sentence in (
        (replace(teacher, labels=("bus", "park", "car")), "'car' is known to one of them only"),
        (replace(teacher, front_end=None), "has no front end"),
        (replace(teacher, band_mean=None, band_std=None), "normalisation is not known"),
        (replace(teacher, score="sigmoid"), r"3 classes tags clips \(sigmoid scores\) but the student chooses one"),
    ):
        with pytest.raises(CoppiceError, match=sentence):
            finetune(teacher, prepared, settings=settings, teacher=Teacher(other))
    for options in ({"weight": 0}, {"weight": 1.1}, {"temperature": 0}, {"temperature": -1}):
        with pytest.raises(CoppiceError, match="the teacher's"):
            Teacher(teacher, **options)


def test_several_teachers_are_averaged_as_posteriors(teacher, prepared, settings):
    other = train(prepared, config=TINY, settings=replace(settings, seed=9))
    turned = replace(other, network=nn.Sequential(other.network, _Turned([2, 0, 1])), labels=("tram", "bus", "park"))
    log_mel = prepared.log_mel("train")
    both = Teacher([teacher, turned], temperature=3).soft_targets(teacher, prepared)
    expected = sum((one.logits(log_mel).double() / 3).softmax(1) for one in (teacher, other)) / 2
    torch.testing.assert_close(both.double(), expected, rtol=0, atol=1e-6)
    student = finetune(teacher, prepared, settings=replace(settings, epochs=1), teacher=Teacher([teacher, other]))
    assert student.lineage[-1]["teacher"]["teachers"] == 2
    assert student.lineage[-1]["teacher_macs"] == 2 * Teacher(teacher).macs
    with pytest.raises(CoppiceError, match="there is no teacher"):
        Teacher([])


def test_a_teacher_hears_with_its_own_front_end(teacher, prepared, settings, monkeypatch):
    ears = replace(prepared.front_end, pad="repeat")
    features = prepared._features + 1
    asked = []

    class Found:
        array, cut, padded = features, 0, 0

    def load(dataset, front_end, *, folder):
        asked.append(front_end)
        return Found

    monkeypatch.setattr("coppice.datasets.prepare.load_features", load)
    abroad = replace(teacher, front_end=ears)
    soft = Teacher(abroad, temperature=1).soft_targets(teacher, prepared)
    expected = abroad.posteriors(torch.from_numpy(features[prepared.split.train]))
    torch.testing.assert_close(soft.double(), expected, rtol=0, atol=1e-6)
    assert asked == [ears]


def test_a_teacher_is_asked_once_for_a_stage_however_often_it_is_interrupted(
    teacher, prepared, settings, tmp_path, monkeypatch
):
    whole = finetune(teacher, prepared, settings=settings, teacher=Teacher(teacher))
    calls, real = [], Teacher.soft_targets

    def counted(self, *given):
        calls.append(1)
        return real(self, *given)

    monkeypatch.setattr(Teacher, "soft_targets", counted)
    with monkeypatch.context() as interrupted:
        interrupted.setattr("coppice.training.train.fit", lambda *a, **k: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            finetune(teacher, prepared, settings=settings, teacher=Teacher(teacher), folder=tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["teacher.npy"]
    again = finetune(teacher, prepared, settings=settings, teacher=Teacher(teacher), folder=tmp_path)
    assert len(calls) == 1 and [file.name for file in tmp_path.iterdir()] == ["history.csv"]
    for name, tensor in whole.network.state_dict().items():
        assert torch.equal(tensor, again.network.state_dict()[name]), name


def test_cnn14_of_audioset_cannot_teach_scenes_but_one_that_learnt_the_scenes_can(teacher, prepared, monkeypatch):
    ears = front_end("panns32k", duration_s=1.0)

    def cnn14(labels, score):
        network = CNN14(widths=[2] * 12, dense=4, classes=len(labels)).eval()
        return Classifier(network, ears, labels, torch.zeros(64), torch.ones(64), score=score)

    with pytest.raises(CoppiceError, match=r"527 classes tags clips .* the student chooses one class of 3"):
        Teacher(cnn14(audioset_labels(), "sigmoid")).check(teacher)
    features = torch.randn(30, *ears.shape).numpy()
    found = type("Found", (), {"array": features, "cut": 0, "padded": 0})
    monkeypatch.setattr("coppice.datasets.prepare.load_features", lambda dataset, front_end, *, folder: found)
    soft = Teacher(cnn14(("bus", "park", "tram"), "softmax")).soft_targets(teacher, prepared)
    assert soft.shape == (18, 3) and torch.allclose(soft.sum(1), torch.ones(18))


def test_device_specific_finetuning_hears_one_device_alone(teacher, prepared, settings, monkeypatch):
    devices = pd.Series(["a", "b", "b"] * 10, dtype="string")
    data = replace(prepared, dataset=replace(prepared.dataset, clips=prepared.dataset.clips.assign(device=devices)))
    seen = []

    def watch(network, train, validation, **rest):
        seen.append((len(train[0]), len(validation[0])))
        raise KeyboardInterrupt

    with monkeypatch.context() as watched:
        watched.setattr("coppice.training.train.fit", watch)
        with pytest.raises(KeyboardInterrupt):
            finetune(teacher, data, settings=settings, device="b")
    assert seen == [(12, 4)]
    assert finetune(teacher, data, settings=replace(settings, epochs=1), device="a").lineage[-1]["device"] == "a"
    with pytest.raises(CoppiceError, match=r"no train clip was recorded with device 'c'. Known: 'a', 'b'."):
        finetune(teacher, data, settings=settings, device="c")
    with pytest.raises(CoppiceError, match="The clips do not say which device they are from"):
        finetune(teacher, prepared, settings=settings, device="a")
