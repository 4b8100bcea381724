from dataclasses import replace

import pytest
import torch
from torch import nn

from coppice.core.errors import CoppiceError
from coppice.evaluation.evaluate import evaluate
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
    log_mel = prepared.log_mel("train")
    soft = Teacher(teacher, temperature=3).soft_targets(teacher, log_mel)
    loss = taught_loss(torch.tensor(0.0), teacher.logits(log_mel), soft, weight=1, temperature=3)
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
    taught = mixup_loss(network, inputs, targets, alpha=0.3, soft=soft, teacher=teacher)
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
        (replace(teacher, front_end=None), "different front ends"),
        (replace(teacher, score="sigmoid"), "different front ends or scores"),
    ):
        with pytest.raises(CoppiceError, match=sentence):
            finetune(teacher, prepared, settings=settings, teacher=Teacher(other))
    for options in ({"weight": 0}, {"weight": 1.1}, {"temperature": 0}, {"temperature": -1}):
        with pytest.raises(CoppiceError, match="the teacher's"):
            Teacher(teacher, **options)
