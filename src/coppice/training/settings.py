"""How a network is fitted, as plain data."""

from dataclasses import asdict, dataclass, fields
from typing import Any

from coppice.core.errors import CoppiceError
from coppice.training.augment.settings import Augment
from coppice.training.schedule import SCHEDULES
from coppice.training.stop import Stop

PRECISIONS = ("auto", "float32", "bfloat16")
OPTIMIZERS = ("adam", "adamw")
CHOOSING = ("log_loss", "accuracy", "last")


@dataclass(frozen=True, repr=False)
class TrainingSettings:
    """How a network is fitted: Adam, early stopping on validation log-loss, the best epoch's weights.

    Attributes
    ----------
    epochs : int >= 1
        At most so many.
    batch_size : int >= 1
        Clips per step.
    learning_rate : float > 0
        Of Adam (Kingma & Ba 2015), with its usual moments 0.9 and 0.999; the highest of the schedule.
    patience : int >= 1
        Stop after so many epochs without a better validation log-loss; without validation clips, never.
    precision : {"auto", "float32", "bfloat16"}
        See :func:`coppice.training.precision.choose_precision`.
    mixup : float >= 0
        Strength of :func:`coppice.training.mixup.mixup_loss`; 0 for none. The training log-loss is then that of the
        blended clips, and higher than the validation log-loss.
    seed : int >= 0
        Of the order of the clips, of augmentation and of dropout.
    optimizer : {"adam", "adamw"}
        AdamW decouples the weight decay from the gradient (Loshchilov & Hutter, ICLR 2019).
    weight_decay : float >= 0
        Of all parameters. With ``adam`` it is added to the gradient.
    schedule : {"constant", "cosine"}
        See :func:`coppice.training.schedule.rate_factor`.
    warmup_epochs : float >= 0
        Length of the warm-up.
    warmup_steps : int >= 0
        The same in optimizer steps; give one of the two.
    accumulate : int >= 1
        Batches whose gradients are averaged for one optimizer step.
    ema : float in [0, 1)
        Decay of an exponential moving average of weights and running statistics over the steps; validation and the
        result are the average's. 0: none.
    soup : int >= 1
        Epochs whose weights are averaged at the end: the best ones. The running statistics of the average are measured
        anew on the training clips, without augmentation. 1: the best epoch alone.
    choose : {"log_loss", "accuracy", "last"}
        Which epoch is the best: by validation log-loss, by validation accuracy, or the last one.
    choose_from : int >= 0
        Only epochs from this one on (from 0) can be chosen.
    augment : Augment, optional
        What is done to the training clips.
    stop : Stop, optional
        Stop, besides, when further epochs are no longer worth their MACs.

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
    optimizer: str = "adam"
    weight_decay: float = 0.0
    schedule: str = "constant"
    warmup_epochs: float = 0.0
    warmup_steps: int = 0
    accumulate: int = 1
    ema: float = 0.0
    soup: int = 1
    choose: str = "log_loss"
    choose_from: int = 0
    augment: Augment | None = None
    stop: Stop | None = None

    def __post_init__(self) -> None:
        for name, least in _WHOLE.items():
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise CoppiceError(f"{name} is {value!r}; give a whole number from {least} upwards.")
        if not 0 < self.learning_rate < 10:
            raise CoppiceError(f"learning_rate is {self.learning_rate!r}; give a small positive number, such as 0.001.")
        if not 0 <= self.mixup <= 10:
            raise CoppiceError(f"mixup is {self.mixup!r}; give 0 for none, or a small number, such as 0.3.")
        if not 0 <= self.weight_decay < 10:
            raise CoppiceError(f"weight_decay is {self.weight_decay!r}; give 0 for none, or a small one, such as 1e-4.")
        if not 0 <= self.warmup_epochs < float("inf"):
            raise CoppiceError(f"warmup_epochs is {self.warmup_epochs!r}; give a number from 0 upwards.")
        if not 0 <= self.ema < 1:
            raise CoppiceError(f"ema is {self.ema!r}; give 0 for none, or a decay below 1, such as 0.999.")
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise CoppiceError(f"{name} is {getattr(self, name)!r}; give one of {', '.join(choices)}.")
        self._check_together()

    def _check_together(self) -> None:
        if self.warmup_epochs and self.warmup_steps:
            raise CoppiceError("the warm-up is given twice; leave out warmup_epochs or warmup_steps.")
        if self.choose == "last" and self.soup > 1:
            raise CoppiceError(
                f"soup is {self.soup} but choose is 'last'; a soup is of the best epochs: leave one out."
            )
        if self.choose_from >= self.epochs:
            raise CoppiceError(
                f"choose_from is {self.choose_from} but there are {self.epochs} epochs, from 0; give a smaller one."
            )
        if self.choose_from > self.patience:
            raise CoppiceError(
                f"choose_from is {self.choose_from} but patience is {self.patience}, so that the fit may stop before; "
                f"give a patience of at least {self.choose_from}."
            )
        if self.stop is not None and self.choose_from >= self.stop.window:
            raise CoppiceError(
                f"choose_from is {self.choose_from} but stop.window is {self.stop.window}, so that the fit may stop "
                f"before; give a window of at least {self.choose_from + 1}."
            )

    def check_validation(self, clips: int) -> None:
        """Refuse settings that choose by validation clips where there are none.

        Raises
        ------
        CoppiceError
            Saying what to set.

        Examples
        --------
        >>> TrainingSettings(choose="last").check_validation(0)
        """
        if clips:
            return
        for name, given, instead in (
            ("choose", self.choose if self.choose != "last" else None, "'last'"),
            ("stop", self.stop, "null"),
        ):
            if given is not None:
                raise CoppiceError(
                    f"no clips validate, but {name} is {given!r}, which goes by them; set {name} to {instead}, or give "
                    "a validation_fraction above 0."
                )

    def to_dict(self) -> dict[str, Any]:
        """Return them as plain data; what came after the first seven is left out where it has its default.

        Digests of what was done with older versions stay the same, so that it is not done again.

        Examples
        --------
        >>> list(TrainingSettings(soup=3).to_dict())
        ['epochs', 'batch_size', 'learning_rate', 'patience', 'precision', 'mixup', 'seed', 'soup']
        """
        found = asdict(self)
        for one in fields(self)[7:]:
            if getattr(self, one.name) == one.default:
                del found[one.name]
        if self.augment is not None:
            found["augment"] = self.augment.to_dict()
        return found

    def __repr__(self) -> str:
        return f"TrainingSettings({', '.join(f'{name}={value!r}' for name, value in self.to_dict().items())})"


_WHOLE = {
    "epochs": 1,
    "batch_size": 1,
    "patience": 1,
    "accumulate": 1,
    "soup": 1,
    "warmup_steps": 0,
    "choose_from": 0,
    "seed": 0,
}
_CHOICES = {"precision": PRECISIONS, "optimizer": OPTIMIZERS, "schedule": SCHEDULES, "choose": CHOOSING}
