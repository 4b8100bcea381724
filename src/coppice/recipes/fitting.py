"""How a recipe says what a fit is: its settings, augmentation and teacher, as validated plain data."""

from typing import Annotated, Any, Literal, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)

from coppice.core.errors import CoppiceError
from coppice.training.augment.settings import AUGMENTATIONS, Augment
from coppice.training.settings import TrainingSettings
from coppice.training.stop import Stop

UNPRUNED = "unpruned"


class Part(BaseModel):
    """Base of everything in a recipe: frozen, and unknown keys are mistakes."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False)

    @field_validator("*", mode="before")
    @classmethod
    def _yes_is_no_number(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse what YAML reads as true where a number is meant: it would count as 1."""
        kinds = _kinds(cls.model_fields[str(info.field_name)].annotation)
        inside = value if isinstance(value, list) else value.values() if isinstance(value, dict) else [value]
        if kinds & {int, float} and bool not in kinds and any(isinstance(one, bool) for one in inside):
            raise ValueError("give a number: YAML reads yes, no, on, off, true and false as truth values")
        return value


def _kinds(annotation: Any) -> set[Any]:
    """Return what a type is made of.

    Examples
    --------
    >>> _kinds(dict[str, float] | list[int]) == {str, float, int}
    True
    """
    inner = get_args(annotation)
    return set().union(*map(_kinds, inner)) if inner else {annotation}


class _Augmentation(Part):
    """One augmentation; ranges are checked by the settings of the same name."""

    @model_validator(mode="after")
    def _can_be(self) -> "_Augmentation":
        try:
            AUGMENTATIONS[_NAMES[type(self)]](**self.model_dump())
        except CoppiceError as error:
            raise ValueError(str(error)) from error
        return self


class TimeRollChoice(_Augmentation):
    """See :class:`coppice.training.augment.settings.TimeRoll`."""

    seconds: float = 0.1


class SpecAugmentChoice(_Augmentation):
    """See :class:`coppice.training.augment.settings.SpecAugment`."""

    freq_masks: int = 1
    freq_bands: int = 8
    time_masks: int = 0
    time_frames: int = 0


class FreqMixStyleChoice(_Augmentation):
    """See :class:`coppice.training.augment.settings.FreqMixStyle`."""

    probability: float = 0.4
    alpha: float = 0.3


class GainChoice(_Augmentation):
    """See :class:`coppice.training.augment.settings.Gain`."""

    decibels: float = 6.0


class DeviceIRChoice(_Augmentation):
    """See :class:`coppice.training.augment.settings.DeviceIR`."""

    folder: str
    probability: float = 0.5
    copies: int = 2
    devices: Annotated[tuple[str, ...], Field(min_length=1)] | None = None


_NAMES: dict[type, str] = {
    TimeRollChoice: "time_roll",
    SpecAugmentChoice: "spec_augment",
    FreqMixStyleChoice: "freq_mixstyle",
    GainChoice: "gain",
    DeviceIRChoice: "device_ir",
}


class AugmentChoice(Part):
    """What is done to the training clips; ``{}`` behind a name takes its defaults."""

    device_ir: DeviceIRChoice | None = None
    gain: GainChoice | None = None
    time_roll: TimeRollChoice | None = None
    spec_augment: SpecAugmentChoice | None = None
    freq_mixstyle: FreqMixStyleChoice | None = None

    def settings(self) -> Augment:
        """Return it as settings of a fit."""
        given = self.model_dump()
        return Augment(**{name: AUGMENTATIONS[name](**part) for name, part in given.items() if part is not None})


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


class Distil(Part):
    """Who is learnt from, beside the labels."""

    teacher: Annotated[list[str], Field(min_length=1), BeforeValidator(_as_list)] = [UNPRUNED]
    weight: Annotated[float, Field(gt=0, le=1)] = 0.5
    temperature: Annotated[float, Field(gt=0, le=100)] = 2.0


class StopChoice(Part):
    """See :class:`coppice.training.stop.Stop`."""

    gain_per_tmac: float
    window: int = 20

    @model_validator(mode="after")
    def _can_be(self) -> "StopChoice":
        try:
            self.settings()
        except CoppiceError as error:
            raise ValueError(str(error)) from error
        return self

    def settings(self) -> Stop:
        """Return it as settings of a fit."""
        return Stop(**self.model_dump())


class Fit(Part):
    """How a network is fitted."""

    epochs: Annotated[int, Field(ge=1)] = 200
    batch_size: Annotated[int, Field(ge=1)] = 32
    learning_rate: Annotated[float, Field(gt=0, lt=10)] = 1e-3
    patience: Annotated[int, Field(ge=1)] = 30
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    mixup: Annotated[float, Field(ge=0, le=10)] = 0.0
    optimizer: Literal["adam", "adamw"] = "adam"
    weight_decay: float = 0.0
    schedule: Literal["constant", "cosine"] = "constant"
    warmup_epochs: float = 0.0
    warmup_steps: int = 0
    accumulate: int = 1
    ema: float = 0.0
    soup: int = 1
    choose: Literal["log_loss", "accuracy", "last"] = "log_loss"
    choose_from: int = 0
    augment: AugmentChoice | None = None
    distil: Distil | None = None
    stop: StopChoice | None = None

    @model_validator(mode="before")
    @classmethod
    def _teacher_is_short_for_distil(cls, value: Any) -> Any:
        if isinstance(value, dict) and "teacher" in value:
            if "distil" in value:
                raise ValueError("the teacher is given twice; leave out teacher or distil")
            rest = {name: given for name, given in value.items() if name != "teacher"}
            said = value["teacher"]
            return {**rest, "distil": said if isinstance(said, dict) else {"teacher": said}}
        return value

    @model_validator(mode="after")
    def _can_be(self) -> "Fit":
        try:
            self.settings(seed=0)
        except CoppiceError as error:
            raise ValueError(str(error)) from error
        return self

    @model_serializer(mode="wrap")
    def _without_unset(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out a stop that is not set: runs from before there was one are known by digests of all keys."""
        said: dict[str, Any] = handler(self)
        return {name: value for name, value in said.items() if name != "stop" or value is not None}

    def settings(self, *, seed: int) -> TrainingSettings:
        """Return the settings of the fit."""
        names = set(Fit.model_fields) - {"augment", "distil", "stop"}
        augment = self.augment.settings() if self.augment is not None else None
        stop = self.stop.settings() if self.stop is not None else None
        return TrainingSettings(**self.model_dump(include=names), seed=seed, augment=augment, stop=stop)

    def identity(self) -> dict[str, Any]:
        """Return what a stage's digest is taken of.

        What came after the first six keys is left out where it has its default, so that what was done before there was
        such a key is not done again.

        Examples
        --------
        >>> list(Finetune(ema=0.99).identity())
        ['epochs', 'batch_size', 'learning_rate', 'patience', 'precision', 'mixup', 'fraction', 'ema']
        """
        said = self.model_dump()
        first = {name: said[name] for name in _FIRST if name in said}
        later = {name: value for name, value in said.items() if name not in _FIRST}
        fields = type(self).model_fields
        return first | {name: value for name, value in later.items() if value != fields[name].default}


# What a fit had from the beginning, and what is in digests therefore.
_FIRST = ("epochs", "batch_size", "learning_rate", "patience", "precision", "mixup", "fraction")


class Train(Fit):
    """How the unpruned network is fitted."""

    normalisation: Literal["bands", "none"] = "bands"

    @model_validator(mode="after")
    def _is_not_its_own_teacher(self) -> "Train":
        if self.distil is not None and UNPRUNED in self.distil.teacher:
            raise ValueError("the unpruned network cannot teach itself; name a checkpoint as its teacher")
        return self


class Finetune(Fit):
    """How a pruned network is fitted."""

    patience: Annotated[int, Field(ge=1)] = 20
    fraction: Annotated[float, Field(gt=0, le=1)] = 1.0
    device: str | None = None
