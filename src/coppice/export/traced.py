"""A module as a graph of torch's own operators, from which every format here is made."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO

import torch
from jaxtyping import Float
from torch import Tensor, nn

from coppice.core.errors import CoppiceError

BATCH = "clips"


def traced(
    module: nn.Module, example: Float[Tensor, "clips *shape"], *, free_clips: bool = True
) -> torch.export.ExportedProgram:
    """Trace a module on an example, by ``torch.export``.

    Parameters
    ----------
    module : nn.Module
        In eval mode; takes one tensor.
    example : Tensor
        One input; at least two clips where their number is to be free.
    free_clips : bool
        Whether the first axis may have any size, or the example's only.

    Raises
    ------
    CoppiceError
        If what the network does depends on the values in its input.

    Examples
    --------
    >>> program = traced(nn.ReLU(), torch.zeros(2, 3))
    >>> [node.name for node in program.graph.nodes]
    ['input', 'relu', 'output']
    """
    shapes = ({0: torch.export.Dim(BATCH)},) if free_clips else None
    try:
        return torch.export.export(module, (example,), dynamic_shapes=shapes)
    except CoppiceError:
        raise
    except Exception as error:  # torch raises many kinds, some of which are private
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise CoppiceError(
            f"{type(module).__name__} cannot be traced into a graph ({reason[:200]}); what it computes may depend on "
            "the size of its input only, not on the values in it or on the number of clips."
        ) from error


def layer_of(node: torch.fx.Node) -> str:
    """Return the name of the layer that runs an operator, empty where the network itself does.

    Examples
    --------
    >>> program = traced(nn.Sequential(nn.ReLU()), torch.zeros(2, 3))
    >>> layer_of(list(program.graph.nodes)[1])
    '0'
    """
    layers = [layer for layer, _ in node.meta.get("nn_module_stack", {}).values() if layer]
    return str(layers[-1]) if layers else ""


@contextmanager
def quiet() -> Iterator[None]:
    """Keep what exporters print to themselves: what matters is in their exceptions."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
