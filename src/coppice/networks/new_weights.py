"""The same shapes with new initial weights: what a pruned network is worth without what it has learnt."""

import torch

from coppice.core.errors import CoppiceError
from coppice.core.seeds import derive_seed
from coppice.networks.classifier import Classifier
from coppice.networks.registry import build_network, network_identity


def new_weights(classifier: Classifier, *, seed: int) -> Classifier:
    """Draw the weights of a network anew; its shapes, front end and normalisation stay.

    The control of Singh & Plumbley (Interspeech 2022): a pruned network trained from random initial weights says how
    much of its accuracy comes from the weights that pruning kept.

    Parameters
    ----------
    classifier : Classifier
        Of a registered architecture; not touched.
    seed : int >= 0
        For the new weights; the global random state is left alone.

    Returns
    -------
    Classifier

    Raises
    ------
    CoppiceError
        If the network is of a class that Coppice cannot build.

    Examples
    --------
    >>> network = build_network("dcase2021", bands=40, frames=50, widths=[4, 3, 4], dense=6)
    >>> learnt = Classifier(network, None, tuple("abcdefghij"), None, None)
    >>> new = new_weights(learnt, seed=0)
    >>> new.network.conv2.weight.shape == network.conv2.weight.shape
    True
    >>> torch.equal(new.network.conv2.weight, network.conv2.weight)
    False
    """
    identity = network_identity(classifier.network)
    if "name" not in identity:
        raise CoppiceError(
            f"new weights are drawn for architectures that Coppice can build, and {identity['class']} is none of them."
        )
    with torch.random.fork_rng():
        torch.manual_seed(derive_seed(seed, "new weights"))
        network = build_network(identity["name"], **identity["config"])
    return classifier.after(network, verb="reset", seed=seed)
