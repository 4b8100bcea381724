"""How a network is fitted, as plain data."""

from dataclasses import dataclass

from coppice.core.errors import CoppiceError
from coppice.training.precision import CHOICES


@dataclass(frozen=True)
class TrainingSettings:
    """How a network is fitted: Adam, early stopping on validation log-loss, the best epoch's weights.

    Attributes
    ----------
    epochs : int >= 1
        At most so many.
    batch_size : int >= 1
        Clips per step.
    learning_rate : float > 0
        Of Adam (Kingma & Ba 2015), with its usual moments 0.9 and 0.999.
    patience : int >= 1
        Stop after so many epochs without a better validation log-loss.
    precision : {"auto", "float32", "bfloat16"}
        See :func:`coppice.training.precision.choose_precision`.
    mixup : float >= 0
        Strength of :func:`coppice.training.mixup.mixup_loss`; 0 for none. The training log-loss is then that of the
        blended clips, and higher than the validation log-loss.
    seed : int >= 0
        Of the order of the clips and of dropout.

    Examples
    --------
    >>> TrainingSettings(epochs=0)
    Traceback (most recent call last):
    coppice.core.errors.CoppiceError: epochs is 0; give a whole number from 1 upwards.
    """

    epochs: int = 200
    batch_size: int = 32
    learning_rate: float = 1e-3
    patience: int = 30
    precision: str = "auto"
    mixup: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "patience"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise CoppiceError(f"{name} is {value!r}; give a whole number from 1 upwards.")
        if not 0 < self.learning_rate < 10:
            raise CoppiceError(f"learning_rate is {self.learning_rate!r}; give a small positive number, such as 0.001.")
        if not 0 <= self.mixup <= 10:
            raise CoppiceError(f"mixup is {self.mixup!r}; give 0 for none, or a small number, such as 0.3.")
        if not isinstance(self.seed, int) or self.seed < 0:
            raise CoppiceError(f"seed is {self.seed!r}; give a whole number from 0 upwards.")
        if self.precision not in CHOICES:
            raise CoppiceError(f"precision is {self.precision!r}; give one of {', '.join(CHOICES)}.")
