"""A teacher: what it says of a clip is learnt beside the label (Hinton et al., arXiv 1503.02531)."""

from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from coppice.core.errors import CoppiceError
from coppice.networks.classifier import Classifier


@dataclass(frozen=True, eq=False)
class Teacher:
    """A classifier, usually a larger one or an ensemble, from which another one learns.

    Attributes
    ----------
    classifier : Classifier
        With the front end and classes of the student; the classes may stand in another order.
    weight : float in (0, 1]
        Share of the loss that is about what the teacher says; the rest is about the labels.
    temperature : float > 0
        Logits of both are divided by it in that share, so that the teacher's small posteriors count.

    Raises
    ------
    CoppiceError
        If a value is impossible.

    Examples
    --------
    >>> one = Classifier(nn.Flatten(), None, ("a", "b"), None, None)
    >>> Teacher(one, weight=2)
    Traceback (most recent call last):
    coppice.core.errors.CoppiceError: the teacher's weight is 2; give a number above 0, up to 1, such as 0.5.
    """

    classifier: Classifier
    weight: float = 0.5
    temperature: float = 2.0

    def __post_init__(self) -> None:
        if not 0 < self.weight <= 1:
            raise CoppiceError(f"the teacher's weight is {self.weight!r}; give a number above 0, up to 1, such as 0.5.")
        if not 0 < self.temperature <= 100:
            raise CoppiceError(f"the teacher's temperature is {self.temperature!r}; give a number above 0, such as 2.")

    def soft_targets(
        self, student: Classifier, log_mel: Float[Tensor, "clips mels frames"]
    ) -> Float[Tensor, "clips classes"]:
        """Return what the teacher says of clips, at its temperature, in the student's order of classes.

        Raises
        ------
        CoppiceError
            If the two do not hear alike, or tell other classes apart.
        """
        if self.classifier.front_end != student.front_end or self.classifier.score != student.score:
            raise CoppiceError(
                "teacher and student have different front ends or scores; a student hears as its teacher."
            )
        if set(self.classifier.labels) != set(student.labels):
            other = sorted(set(self.classifier.labels) ^ set(student.labels))[0]
            raise CoppiceError(f"teacher and student tell other classes apart: {other!r} is known to one of them only.")
        columns = [self.classifier.labels.index(label) for label in student.labels]
        logits = self.classifier.logits(log_mel)[:, columns]
        return (logits / self.temperature).softmax(dim=1).clone()

    def to_dict(self) -> dict[str, Any]:
        """Return what goes into the lineage of a student."""
        lineage = [str(entry.get("verb")) for entry in self.classifier.lineage]
        return {"weight": self.weight, "temperature": self.temperature, "verbs": lineage}


def taught_loss(
    hard: Float[Tensor, ""],
    logits: Float[Tensor, "clips classes"],
    soft: Float[Tensor, "clips classes"],
    *,
    weight: float,
    temperature: float,
) -> Float[Tensor, ""]:
    """Return the loss of a student: that of the labels, and the divergence from what the teacher says.

    Parameters
    ----------
    hard : Tensor
        Cross-entropy of the labels.
    logits : Tensor
        Of the student.
    soft : Tensor
        Posteriors of the teacher, at the temperature.
    weight, temperature : float
        See :class:`Teacher`. The divergence is multiplied by the square of the temperature, which keeps the size of
        its gradients.

    Examples
    --------
    >>> import torch
    >>> logits = torch.tensor([[2.0, 0.0]])
    >>> float(taught_loss(torch.tensor(1.0), logits, (logits / 2).softmax(1), weight=0.75, temperature=2))
    0.25
    """
    student = (logits / temperature).log_softmax(dim=1)
    divergence = nn.functional.kl_div(student, soft, reduction="batchmean")
    return (1 - weight) * hard + weight * temperature**2 * divergence
