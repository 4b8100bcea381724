"""A teacher: what it says of a clip is learnt beside the label (Hinton et al., arXiv 1503.02531)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from coppice.complexity.macs import count_macs
from coppice.core.errors import CoppiceError
from coppice.core.progress import progress_bar
from coppice.datasets.prepare import Prepared
from coppice.networks.classifier import Classifier, as_network

_AT_A_TIME = 256  # clips between two marks of the progress bar; a multiple of the classifiers' own batches


class Lesson(NamedTuple):
    """How much of a fit is about what a teacher says; without the teacher, which has then spoken.

    Attributes
    ----------
    weight, temperature : float
        See :class:`Teacher`.
    """

    weight: float
    temperature: float


@dataclass(frozen=True, eq=False)
class Teacher:
    """A classifier, usually a larger one or an ensemble, or several, from which another one learns.

    Attributes
    ----------
    classifier : Classifier or sequence of Classifier
        With the classes of the student, which may stand in another order. Each hears with its own front end. What
        several say is averaged, as posteriors at the temperature.
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

    classifier: Classifier | Sequence[Classifier]
    weight: float = 0.5
    temperature: float = 2.0

    def __post_init__(self) -> None:
        if not 0 < self.weight <= 1:
            raise CoppiceError(f"the teacher's weight is {self.weight!r}; give a number above 0, up to 1, such as 0.5.")
        if not 0 < self.temperature <= 100:
            raise CoppiceError(f"the teacher's temperature is {self.temperature!r}; give a number above 0, such as 2.")
        if not self.classifiers:
            raise CoppiceError("there is no teacher; give at least one classifier.")

    @property
    def classifiers(self) -> tuple[Classifier, ...]:
        """The teachers, one or several."""
        return (self.classifier,) if isinstance(self.classifier, Classifier) else tuple(self.classifier)

    @property
    def lesson(self) -> Lesson:
        """How much it counts."""
        return Lesson(self.weight, self.temperature)

    @property
    def macs(self) -> int:
        """MACs of all teachers for one clip."""
        return sum(count_macs(*as_network(one)).total for one in self.classifiers)

    def check(self, student: Classifier) -> None:
        """Refuse a teacher of something else.

        Raises
        ------
        CoppiceError
            If a teacher tells other classes apart, tags instead of choosing one class, or does not know how it hears.
        """
        for one in self.classifiers:
            if one.score != student.score:
                raise CoppiceError(
                    f"a teacher with {len(one.labels)} classes tags clips ({one.score} scores) but the student chooses "
                    f"one class of {len(student.labels)} ({student.score}); train a teacher on the student's clips."
                )
            if set(one.labels) != set(student.labels):
                other = sorted(set(one.labels) ^ set(student.labels))[0]
                raise CoppiceError(
                    f"teacher and student tell other classes apart: {other!r} is known to one of them only."
                )
            one.known_front_end()
            if one.band_mean is None:
                raise CoppiceError(
                    "a teacher's normalisation is not known, because the file that it was imported from does not hold "
                    "it; fine-tune it first, which measures the bands of the training clips."
                )

    def soft_targets(
        self, student: Classifier, data: Prepared, rows: Int[Any, " clips"] | None = None
    ) -> Float[Tensor, "clips classes"]:
        """Return what the teacher says of training clips, at its temperature, in the student's order of classes.

        Parameters
        ----------
        student : Classifier
            Who learns.
        data : Prepared
            The student's clips. For a teacher with another front end their features are computed once more, and stored.
        rows : ndarray of int, optional
            Rows of the clip table; all training clips if not given.

        Raises
        ------
        CoppiceError
            If :meth:`check` refuses, or clips cannot be used with a teacher's front end.
        """
        self.check(student)
        said = []
        for one in self.classifiers:
            heard = data.heard_with(one.known_front_end()).log_mel("train", rows)
            columns = [one.labels.index(label) for label in student.labels]
            with progress_bar("teacher", len(heard)) as advance:
                logits = []
                for part in heard.split(_AT_A_TIME):
                    logits.append(one.logits(part)[:, columns])
                    advance(len(part), "")
            said.append((torch.cat(logits) / self.temperature).softmax(dim=1))
        return (said[0] if len(said) == 1 else torch.stack(said).mean(0)).clone()

    def to_dict(self) -> dict[str, Any]:
        """Return what goes into the lineage of a student."""
        verbs = [[str(entry.get("verb")) for entry in one.lineage] for one in self.classifiers]
        several = {"verbs": verbs[0]} if len(verbs) == 1 else {"teachers": len(verbs), "verbs": verbs}
        return {"weight": self.weight, "temperature": self.temperature, **several}


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
