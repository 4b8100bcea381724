"""The filters of every layer of a network in the order in which they would leave."""

from collections.abc import Iterable, Mapping

from jaxtyping import Float, Int
from torch import Tensor, nn

from coppice.core.errors import CoppiceError, did_you_mean
from coppice.core.seeds import derive_seed
from coppice.criteria.evidence import Evidence
from coppice.criteria.ranking import Ranking
from coppice.criteria.registry import criterion_needs, rank
from coppice.networks.classifier import Classifier, as_network
from coppice.pruning.evidence.gather import collect_evidence
from coppice.pruning.tracing.channels import traceable_layers
from coppice.pruning.tracing.filters import filters_first


def rankings(
    model: Classifier | nn.Module,
    criterion: str,
    *,
    layers: Iterable[str] | None = None,
    seed: int = 0,
    example: Float[Tensor, "1 *shape"] | None = None,
    clips: Float[Tensor, "clips *shape"] | None = None,
    targets: Int[Tensor, " clips"] | None = None,
) -> dict[str, Ranking]:
    """Rank the filters of layers, each on its own; nothing is cut.

    Parameters
    ----------
    model : Classifier or nn.Module
    criterion : str
        Name of a criterion.
    layers : iterable of str, optional
        Convolution or linear layers by name; all convolutions by default.
    seed : int >= 0
        For criteria that draw random numbers; every layer has its own stream.
    example : Tensor, optional
        One input for a bare module, batch of 1, for criteria that look at what follows the layer.
    clips : Tensor, optional
        For criteria that look at activations: log-mel of shape (clips, mels, frames), not normalised, for a
        classifier; inputs of shape (clips, *shape) for a bare module.
    targets : Tensor, optional
        Class index of each clip, for criteria that look at gradients.

    Returns
    -------
    dict of str to Ranking
        In the order of the network's definition, or of ``layers``.

    Raises
    ------
    CoppiceError
        If a layer or the criterion does not exist, what it needs is missing, or a weight cannot be ranked.

    Examples
    --------
    >>> net = nn.Sequential(nn.Conv1d(1, 2, 1), nn.Conv1d(2, 3, 1), nn.Linear(4, 5))
    >>> {name: len(ranking.order) for name, ranking in rankings(net, "l1").items()}
    {'0': 2, '1': 3}
    """
    network = model if isinstance(model, nn.Module) else as_network(model)[0]
    names = list(layers) if layers is not None else convolutions(network)
    known = traceable_layers(network)
    for name in names:
        if name not in known:
            raise CoppiceError(f"there is no convolution or linear layer {name!r}. {did_you_mean(name, known)}")
    evidence: Mapping[str, Evidence] = {}
    if needed := criterion_needs(criterion):
        evidence = collect_evidence(model, names, needed, example=example, clips=clips, targets=targets)
    found = {}
    for name in names:
        layer = network.get_submodule(name)
        try:
            drawn = derive_seed(seed, "rank", name)
            found[name] = rank(filters_first(layer), criterion, seed=drawn, evidence=evidence.get(name))
        except CoppiceError as error:
            raise CoppiceError(f"layer {name!r}: {error}") from error
    return found


def convolutions(network: nn.Module) -> list[str]:
    """Return the names of all convolutions, in the order of the network's definition.

    Examples
    --------
    >>> convolutions(nn.Sequential(nn.Conv1d(1, 2, 1), nn.Linear(4, 5)))
    ['0']
    """
    return [
        name for name in traceable_layers(network) if isinstance(network.get_submodule(name), nn.modules.conv._ConvNd)
    ]
