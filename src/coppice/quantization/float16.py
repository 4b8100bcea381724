"""16-bit storage: every parameter rounded to float16, arithmetic still in float32."""

import copy

import torch

from coppice.core.errors import CoppiceError, did_you_mean
from coppice.networks.classifier import Classifier

FORMATS = ("float16",)


def quantize(classifier: Classifier, *, to: str = "float16") -> Classifier:
    """Round every parameter and running statistic to a smaller number format.

    float16 halves the file (Singh et al., DCASE 2021 technical report). It is a storage format here: on loading, the
    numbers become float32 again, because most CPUs compute in float16 many times slower. The returned network already
    holds the rounded numbers, so what is measured on it is what the file gives.

    Parameters
    ----------
    classifier : Classifier
        Left as it is.
    to : {"float16"}
        The number format.

    Returns
    -------
    Classifier
        New, with ``stored_as`` set, so that :func:`coppice.networks.checkpoint.save` writes that format.

    Raises
    ------
    CoppiceError
        If the format is unknown, or a parameter is too large for it (float16 ends at 65,504).
    """
    if to not in FORMATS:
        raise CoppiceError(f"parameters cannot be stored as {to!r}. {did_you_mean(to, FORMATS)}")
    network = copy.deepcopy(classifier.network)
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if not tensor.is_floating_point():
                continue
            rounded = tensor.to(torch.float16)
            if not torch.isfinite(rounded).all():
                raise CoppiceError(
                    f"{name!r} holds {tensor.abs().max():.4g}, more than float16 can (65504); store as float32."
                )
            tensor.copy_(rounded.float())
    return classifier.after(network, stored_as=to, verb="quantize", to=to)
