"""A network of the user's own on the command line: a function that builds it, and a file of weights."""

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from coppice.core.errors import CoppiceError, did_you_mean

if TYPE_CHECKING:
    from torch import nn

    from coppice.networks.classifier import Classifier

OptionalModel = Annotated[
    Path | None,
    typer.Argument(
        help="A checkpoint (.safetensors), or a published .h5, .tflite, .pth or .ckpt; left out with --factory.",
        show_default=False,
    ),
]
Factory = Annotated[
    str | None,
    typer.Option(help="Instead of MODEL, a network of your own: package.module:function, called without arguments."),
]
Weights = Annotated[
    Path | None,
    typer.Option(help="With --factory: its state dict (.safetensors), or a checkpoint that coppice wrote of it."),
]
InputShape = Annotated[
    str | None,
    typer.Option("--input", help="With --factory and a state dict: the shape of one input, such as 1,40,500."),
]


def open_model(model: Path | None, factory: str | None, weights: Path | None, input_shape: str | None) -> "Classifier":
    """Read a model file, or build the user's own network and fill it.

    Parameters
    ----------
    model : Path or None
        A file that :func:`coppice.load` reads; None with a factory.
    factory : str or None
        ``package.module:function``. The module is looked for in the current folder and in the environment.
    weights : Path or None
        A safetensors file: a state dict, or a checkpoint of the factory's network at any widths.
    input_shape : str or None
        Shape of one input without the batch, for weights that do not say.

    Returns
    -------
    Classifier
        That of a bare network has no front end, and ``class_0``, ``class_1``, ... for labels where it gives one
        number for each class.

    Raises
    ------
    CoppiceError
        If the options do not go together, the function cannot be found or fails, or the weights do not fit.
    """
    from coppice.networks.loading import load

    if factory is None:
        if weights is not None or input_shape is not None:
            raise CoppiceError("--weights and --input go with --factory; a model file needs neither.")
        if model is None:
            raise CoppiceError("give a model file, or --factory package.module:function with --weights.")
        return load(model)
    if model is not None:
        raise CoppiceError(f"give either the model file {model} or --factory {factory}, not both.")
    if weights is None:
        raise CoppiceError(f"--factory {factory} needs --weights: a .safetensors file for the network that it builds.")
    with _current_folder_first():
        build = _find(factory)
        if _is_checkpoint(weights):
            from coppice.networks.checkpoint import load as load_checkpoint

            classifier = load_checkpoint(weights, network=lambda: _built(build, factory))
        else:
            classifier = _bare(_filled(_built(build, factory), weights, factory))
        if classifier.front_end is None:
            _set_input_shape(classifier, input_shape)
        return classifier if classifier.labels else replace(classifier, labels=_labels(classifier))


@contextmanager
def _current_folder_first() -> Iterator[None]:
    folder = str(Path.cwd())
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)


def _find(factory: str) -> Callable[[], Any]:
    """Return the function that ``package.module:function`` names."""
    module_name, colon, function_name = factory.partition(":")
    if not (module_name and colon and function_name):
        raise CoppiceError(
            f"--factory {factory!r} is not package.module:function; write for example --factory mynets.small:build."
        )
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and module_name.startswith(str(error.name)):
            raise CoppiceError(
                f"there is no module {module_name!r} in the current folder or in the environment of coppice."
            ) from error
        raise CoppiceError(f"importing {module_name!r} fails: {type(error).__name__}: {error}.") from error
    function = getattr(module, function_name, None)
    if not callable(function):
        callables = [name for name, value in vars(module).items() if callable(value) and not name.startswith("_")]
        raise CoppiceError(
            f"there is no function {function_name!r} in {module_name}. {did_you_mean(function_name, callables)}"
        )
    return function


def _built(build: Callable[[], Any], factory: str) -> "nn.Module":
    import torch

    try:
        network = build()
    except Exception as error:
        raise CoppiceError(
            f"{factory}() fails: {type(error).__name__}: {error}; it has to build the network without arguments."
        ) from error
    if not isinstance(network, torch.nn.Module):
        raise CoppiceError(f"{factory}() returns a {type(network).__name__}; it has to return a torch.nn.Module.")
    return network


def _is_checkpoint(weights: Path) -> bool:
    from safetensors import SafetensorError, safe_open

    from coppice.core.files import plain_os_errors

    with plain_os_errors("read the weights", weights), weights.open("rb"):
        pass
    try:
        with safe_open(weights, "pt") as file:
            return "coppice" in (file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise CoppiceError(f"{weights} is not a safetensors file ({error}); save it with safetensors.torch.") from error


def _filled(network: "nn.Module", weights: Path, factory: str) -> "nn.Module":
    from safetensors.torch import load_file

    state, own = load_file(weights), network.state_dict()
    for name in sorted(own.keys() ^ state.keys()):
        where = str(weights) if name in own else f"the network of {factory}"
        raise CoppiceError(f"{weights} does not fit {factory}: there is no tensor {name!r} in {where}.")
    for name, tensor in sorted(state.items()):
        if tensor.shape != own[name].shape:
            raise CoppiceError(
                f"{weights} does not fit {factory}: {name!r} has shape {tuple(tensor.shape)} in the file and "
                f"{tuple(own[name].shape)} in the network."
            )
    network.load_state_dict(state)
    return network.eval()


def _bare(network: "nn.Module") -> "Classifier":
    from coppice.networks.classifier import Classifier

    return Classifier(network=network, front_end=None, labels=(), band_mean=None, band_std=None)


def _set_input_shape(classifier: "Classifier", input_shape: str | None) -> None:
    """Write the shape where a classifier without a front end looks for it."""
    network: Any = classifier.network
    if input_shape is None:
        if getattr(network, "input_shape", None) is None:
            raise CoppiceError("the shape of the network's input is not known; give it, such as --input 1,40,500.")
        return
    try:
        shape = tuple(int(size) for size in input_shape.split(","))
    except ValueError:
        shape = ()
    if not shape or min(shape) < 1:
        raise CoppiceError(
            f"--input {input_shape!r} is not a shape; write whole numbers from 1 upwards, such as --input 1,40,500."
        )
    network.input_shape = shape


def _labels(classifier: "Classifier") -> tuple[str, ...]:
    import torch

    from coppice.networks.classifier import as_network

    network, example = as_network(classifier)
    try:
        with torch.no_grad():
            out = network.eval()(example)
    except Exception as error:
        raise CoppiceError(
            f"the network does not run on an input of shape {tuple(example.shape)}: {error}; give another --input."
        ) from error
    return tuple(f"class_{i}" for i in range(out.shape[1])) if isinstance(out, torch.Tensor) and out.ndim == 2 else ()
