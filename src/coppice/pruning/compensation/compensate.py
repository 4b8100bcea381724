"""Compensation: what cut filters did is folded into the layers behind them, in closed form."""

import json
from collections.abc import Collection
from typing import Any, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from coppice.core.errors import CoppiceError, did_you_mean
from coppice.networks.classifier import Classifier, as_network
from coppice.pruning.compensation.merge import merge_
from coppice.pruning.compensation.refitting import refit_
from coppice.pruning.doomed import doomed_units
from coppice.pruning.plan import PruningPlan
from coppice.pruning.surgery.masking import copied_network
from coppice.pruning.surgery.prune import cut_
from coppice.pruning.tracing.channels import Channels, trace

AnyModel = TypeVar("AnyModel", Classifier, nn.Module)

METHODS = ("merge", "least_squares")


def compensate(
    pruned: AnyModel,
    original: AnyModel,
    plan: PruningPlan,
    how: str,
    *,
    clips: Float[Tensor, "clips *shape"] | None = None,
    example: Float[Tensor, "1 *shape"] | None = None,
    following: bool = True,
    ridge: float | None = None,
) -> AnyModel:
    """Repair the layers behind a cut without a gradient step; return a new model of the pruned one's size.

    ``merge`` needs nothing but weights: the weights that read a cut filter are added to those that read the survivor
    whose weights, with bias and batch normalisation, point most nearly the same way, times ⟨u, v⟩ / ⟨v, v⟩ (after
    Srinivas and Babu, BMVC 2015, and Kim et al., NeurIPS 2020, arXiv 2010.13160). A multiple of a survivor is replaced
    exactly behind ReLU and whatever else is positively homogeneous. Behind tanh, sigmoid and the like only a filter
    that equals a survivor is; for others the factor holds where they are nearly linear.

    ``least_squares`` needs a few clips, without labels: in the order in which they run, each layer that reads cut
    channels, and each layer behind it, is refitted by ridge regression so that from what it reads in the pruned network
    it makes what it makes in the original one (as He et al., ICCV 2017, arXiv 1707.06168, do for one layer). The sums
    are float64, and grow neither with the number of clips nor with their length.

    Parameters
    ----------
    pruned : Classifier or nn.Module
        What :func:`~coppice.pruning.surgery.prune.prune` made of ``original``; not touched.
    original : Classifier or nn.Module
        Not touched.
    plan : PruningPlan
        What was cut.
    how : {"merge", "least_squares"}
    clips : Tensor, optional
        For ``least_squares``, 2 or more, better 100: log-mel of shape (clips, mels, frames), not normalised, for a
        classifier; inputs of shape (clips, ...) for a bare module.
    example : Tensor, optional
        One input for a bare module, batch of 1, when no clips are given.
    following : bool
        With ``least_squares``: also refit the layers behind those that read cut channels.
    ridge : float > 0, optional
        With ``least_squares``: how strongly weights are held where they are, as a share of the mean of the Gram matrix'
        diagonal. By default it is chosen for each layer by leaving out a fifth of the clips at a time.

    Returns
    -------
    Classifier or nn.Module
        As given.

    Raises
    ------
    CoppiceError
        If the pruned model is not what the plan makes of the original, the clips are missing or do not fit, a number
        is out of range, or a layer that reads cut channels cannot be refitted.

    Examples
    --------
    >>> from coppice.pruning.plan import LayerPlan
    >>> from coppice.pruning.surgery.prune import prune
    >>> net = nn.Sequential(nn.Conv1d(1, 4, 3), nn.ReLU(), nn.Conv1d(4, 2, 3)).double()
    >>> plan, clips = PruningPlan(None, (LayerPlan("0", 4, (0, 2)),)), torch.randn(50, 1, 16).double()
    >>> small = prune(net, plan, example=clips[:1])
    >>> repaired = compensate(small, net, plan, "least_squares", clips=clips)
    >>> bool((repaired(clips) - net(clips)).square().mean() < (small(clips) - net(clips)).square().mean())
    True
    """
    if how not in METHODS:
        raise CoppiceError(f"there is no compensation {how!r}. {did_you_mean(str(how), METHODS)}")
    if isinstance(pruned, Classifier) != isinstance(original, Classifier):
        raise CoppiceError("of the pruned and the original model one is a classifier and one is not; give two alike.")
    if how == "least_squares":
        _check_numbers(clips, ridge)
    inputs = None if clips is None else _inputs(original, clips)
    network, example = as_network(original, example if inputs is None else inputs[:1])
    small = copied_network(as_network(pruned, example)[0])
    channels = trace(network, example)
    doomed = doomed_units(channels, plan)
    _check_fits(small, network, channels, doomed)
    done: dict[str, Any] = {"verb": "compensate", "how": how}
    if how == "merge":
        merge_(small, network, channels, doomed, example)
    else:
        assert inputs is not None
        done["clips"] = len(inputs)
        done["ridge"] = refit_(small, network, channels, doomed, inputs, following=following, ridge=ridge)
    if isinstance(pruned, Classifier):
        return pruned.after(small, **json.loads(json.dumps(done)))
    return small


def _check_numbers(clips: object, ridge: object) -> None:
    if clips is None:
        raise CoppiceError("least_squares needs clips to look at: give clips (on the command line, --data), or merge.")
    if not isinstance(clips, Tensor) or clips.ndim < 2 or len(clips) < 2:
        shape = tuple(clips.shape) if isinstance(clips, Tensor) else type(clips).__name__
        raise CoppiceError(f"clips is {shape}; least_squares needs a tensor of 2 or more clips, better 100.")
    if not bool(torch.isfinite(clips).all()):
        raise CoppiceError("clips hold values that are not finite (NaN or infinite); nothing can be fitted to them.")
    if ridge is not None and (isinstance(ridge, bool) or not isinstance(ridge, int | float) or not 0 < ridge < 1e12):
        raise CoppiceError(f"ridge is {ridge!r}; give a number above 0, such as 0.01, or leave it out.")


def _inputs(model: Classifier | nn.Module, clips: Float[Tensor, "clips *shape"]) -> Float[Tensor, "clips *input"]:
    """Return clips as the network takes them."""
    if isinstance(model, Classifier):
        expected = model.input_shape[2:]
        if clips.ndim != 3 or tuple(clips.shape[1:]) != expected:
            raise CoppiceError(
                f"clips of shape {tuple(clips.shape)} do not fit: this classifier takes log-mel of shape (clips, "
                f"{expected[0]} mels, {expected[1]} frames)."
            )
        clips, network = model.normalise(clips), model.network
    else:
        network = model
    parameter = next(network.parameters(), torch.empty(0))
    return clips.to(parameter.device, parameter.dtype if clips.is_floating_point() else None)


def _check_fits(pruned: nn.Module, original: nn.Module, channels: Channels, doomed: Collection[int]) -> None:
    cut = copied_network(original)
    cut_(cut, channels, doomed)
    expected = {name: tuple(tensor.shape) for name, tensor in cut.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in pruned.state_dict().items()}
    for name, shape in expected.items():
        if found.get(name) != shape:
            raise CoppiceError(
                f"the pruned model is not what this plan makes of the original: {name!r} has shape "
                f"{found.get(name, 'none')}, not {shape}; give the plan it was cut by."
            )
