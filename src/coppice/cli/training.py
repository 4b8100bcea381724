"""Fits as commands of their own: ``train``, ``finetune``."""

from collections.abc import Callable, Sequence
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from coppice.cli.clips import clips_key, open_clips
from coppice.cli.options import BadClips, Devices, Epochs, NumNodes, Patience, Root, Seed, Source, TestFold
from coppice.cli.output import ModelArgument, OutFile, print_line
from coppice.core.errors import CoppiceError

if TYPE_CHECKING:
    from coppice.audio.front_end import FrontEnd
    from coppice.recipes.fitting import Fit
    from coppice.training.teacher import Teacher

AnyFit = TypeVar("AnyFit", bound="Fit")
_NETWORK = "network."
_Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="Any other key of a fit in a recipe: mixup=0.3, schedule=cosine, augment.gain.decibels=6, "
        "stop.gain_per_tmac=0.1; with train also what else an architecture takes: network.kernel=5. Repeatable.",
    ),
]
_Teachers = Annotated[
    list[Path] | None, typer.Option("--teacher", help="Also learn from this network, such as a larger one. Repeatable.")
]
_TeacherWeight = Annotated[float, typer.Option(help="Share of the loss that is the teacher's.")]
_Temperature = Annotated[float, typer.Option(help="What teacher's and student's logits are divided by.")]


def add_commands(app: typer.Typer) -> None:
    """Add the commands of this file."""
    for command in (train, finetune):
        app.command()(command)


def train(
    data: Source,
    out: OutFile,
    root: Root = None,
    duration: Annotated[float, typer.Option(help="Seconds of a clip; longer ones are cut, shorter ones padded.")] = 5.0,
    preset: Annotated[
        str,
        typer.Option(
            help="Front end: dcase2021, dcase2022, dcase2024, panns32k, panns16k, efficientat, surrey2022 or logmel."
        ),
    ] = "dcase2021",
    network: Annotated[
        str, typer.Option(help="Architecture: dcase2021, dcase2022, surrey2022, cp_mobile, cnn6, cnn14, ...")
    ] = "dcase2021",
    widths: Annotated[
        str | None, typer.Option(help="Filters of the convolutions, such as 16,16,32; the architecture's if not given.")
    ] = None,
    dense: Annotated[
        int | None, typer.Option(help="Units of the dense layer; the architecture's if not given.")
    ] = None,
    test_fold: TestFold = None,
    bad_clips: BadClips = "refuse",
    epochs: Epochs = 200,
    patience: Patience = 30,
    set_: _Settings = None,
    teacher: _Teachers = None,
    teacher_weight: _TeacherWeight = 0.5,
    temperature: _Temperature = 2.0,
    seed: Seed = 0,
    devices: Devices = 1,
    num_nodes: NumNodes = 1,
) -> None:
    """Train a network; OUT becomes a folder with checkpoint, history, metrics and predictions.

    Example: `coppice train --data recordings/ --out runs/mine/train`,
    `coppice train --data recordings/ --set mixup=0.3 --set schedule=cosine --out runs/mine/train`,
    `coppice train --data recordings/ --network surrey2022 --set network.kernel=5 --out runs/mine/train`
    """
    from coppice.audio.front_end import front_end
    from coppice.recipes.fitting import Train
    from coppice.recipes.record import record
    from coppice.recipes.stages import do_single_stage
    from coppice.training.devices.helping import helped
    from coppice.training.devices.machines import Machines
    from coppice.training.train import train as train_network

    machines = Machines(devices, num_nodes)
    if helped(machines):
        return
    of_network = [change for change in set_ or () if change.startswith(_NETWORK)]
    of_fit = [change for change in set_ or () if not change.startswith(_NETWORK)]
    ear = front_end(preset, duration_s=duration)
    config = _architecture(widths, dense, of_network)
    _can_be_built(network, config, ear)
    fit = _checked(train, Train, of_fit, epochs=epochs, patience=patience, seed=seed)
    settings = fit.settings(seed=seed)
    said = _opened(teacher, teacher_weight, temperature)
    prepared = open_clips(data, root, ear, test_fold, bad_clips)

    def work(folder: Path) -> None:
        trained = train_network(
            prepared,
            network=network,
            config=config,
            settings=settings,
            folder=folder,
            teacher=said,
            normalisation=fit.normalisation,
            machines=machines,
        )
        record(trained, prepared, folder)

    architecture = {"network": network, "config": config}
    inputs: dict[str, Any] = {"settings": str(settings), **architecture, "data": clips_key(prepared)}
    if fit.normalisation != "bands":
        inputs["normalisation"] = fit.normalisation
    inputs |= _identity(fit, teacher, teacher_weight, temperature)
    do_single_stage(out, inputs, work)
    print_line(f"trained: {out}")


def finetune(
    model: ModelArgument,
    data: Source,
    out: OutFile,
    root: Root = None,
    test_fold: TestFold = None,
    bad_clips: BadClips = "refuse",
    fraction: Annotated[float, typer.Option(help="Share of the training clips to use.")] = 1.0,
    teacher: _Teachers = None,
    teacher_weight: _TeacherWeight = 0.5,
    temperature: _Temperature = 2.0,
    epochs: Epochs = 200,
    patience: Patience = 20,
    set_: _Settings = None,
    seed: Seed = 0,
    devices: Devices = 1,
    num_nodes: NumNodes = 1,
) -> None:
    """Train on from a network's weights; OUT becomes a folder as with `train`.

    Example: `coppice finetune pruned.safetensors --data recordings/ --out runs/mine/finetune`,
    `coppice finetune pruned.safetensors --teacher unpruned.safetensors --data recordings/ --out runs/mine/taught`
    """
    from coppice.core.files import file_digest
    from coppice.networks.loading import load
    from coppice.recipes.fitting import Finetune
    from coppice.recipes.record import record
    from coppice.recipes.stages import do_single_stage
    from coppice.training.devices.helping import helped
    from coppice.training.devices.machines import Machines
    from coppice.training.train import finetune as train_on

    machines = Machines(devices, num_nodes)
    if helped(machines):
        return
    fit = _checked(finetune, Finetune, set_ or (), epochs=epochs, patience=patience, seed=seed)
    settings = fit.settings(seed=seed)
    classifier = load(model)
    said = _opened(teacher, teacher_weight, temperature)
    if said is not None:
        said.check(classifier)
    prepared = open_clips(data, root, classifier.known_front_end(), test_fold, bad_clips)

    def work(folder: Path) -> None:
        tuned = train_on(
            classifier,
            prepared,
            settings=settings,
            fraction=fraction,
            device=fit.device,
            folder=folder,
            teacher=said,
            machines=machines,
        )
        record(tuned, prepared, folder)

    inputs: dict[str, Any] = {
        "model": file_digest(model),
        "settings": str(settings),
        "fraction": fraction,
        "data": clips_key(prepared),
    }
    if fit.device is not None:
        inputs["device"] = fit.device
    inputs |= _identity(fit, teacher, teacher_weight, temperature)
    do_single_stage(out, inputs, work)
    print_line(f"fine-tuned: {out}")


def _architecture(widths: str | None, dense: int | None, changes: Sequence[str]) -> dict[str, Any]:
    """Read the arguments of an architecture."""
    from coppice.recipes.yaml_file import apply_change

    found: dict[str, Any] = {}
    for change in changes:
        apply_change(found, change.removeprefix(_NETWORK), example=f"{_NETWORK}kernel=5")
    if widths is not None:
        try:
            found["widths"] = [int(width) for width in widths.split(",")]
        except ValueError:
            sentence = f"--widths {widths!r} is not a list of whole numbers; write --widths 16,16,32."
            raise CoppiceError(sentence) from None
    return found if dense is None else {**found, "dense": dense}


def _can_be_built(network: str, config: dict[str, Any], ear: "FrontEnd") -> None:
    """Refuse an architecture that cannot be, before clips are read: made of shapes alone, for any number of classes."""
    import torch

    from coppice.networks.registry import build_for_clips

    bands, frames = ear.shape
    measured = {"classes": 2, "bands": bands, "frames": frames}
    for name in measured:
        if name in config:
            raise CoppiceError(f"--set {_NETWORK}{name}: the clips and their front end say that; leave it out.")
    with torch.device("meta"):
        build_for_clips(network, **measured, **config)


def _checked(
    command: Callable[..., None],
    kind: type[AnyFit],
    changes: Sequence[str],
    *,
    epochs: int,
    patience: int,
    seed: int,
) -> AnyFit:
    """Read what options and ``--set`` say of a fit; what the command has an option for is not set."""
    from coppice.recipes.recipe import check_fit
    from coppice.training.settings import TrainingSettings

    TrainingSettings(epochs=epochs, patience=patience, seed=seed)  # says of a number what would do
    keys = {*kind.model_fields, "seed", "teacher"}
    options = {name: f"--{name}" for name in signature(command).parameters if name in keys} | {"distil": "--teacher"}
    for change in changes:
        key = change.split("=")[0].split(".")[0].strip()
        if key in options:
            raise CoppiceError(f"--set {change!r}: there is an option for that, {options[key]}.")
    return check_fit(kind, {"epochs": epochs, "patience": patience}, changes)


def _opened(teachers: Sequence[Path] | None, weight: float, temperature: float) -> "Teacher | None":
    from coppice.networks.loading import load
    from coppice.training.teacher import Teacher

    if not teachers:
        return None
    return Teacher([load(one) for one in teachers], weight=weight, temperature=temperature)


def _identity(fit: "Fit", teachers: Sequence[Path] | None, weight: float, temperature: float) -> dict[str, Any]:
    """Return digests of the files that a fit depends on, for its stage."""
    from coppice.core.files import file_digest
    from coppice.recipes.teachers import impulse_responses

    taught = {"teacher": [*(file_digest(one) for one in teachers), weight, temperature]} if teachers else {}
    return taught | impulse_responses(fit)
