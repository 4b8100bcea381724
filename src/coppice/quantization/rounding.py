"""Numbers rounded to what a smaller format can store, arithmetic still in float32."""

import copy

import torch

from coppice.core.errors import CoppiceError, did_you_mean
from coppice.networks.classifier import Classifier
from coppice.networks.number_formats import FORMATS, packed, unpacked

SMALLER = FORMATS[1:]


def quantize(classifier: Classifier, *, to: str = "float16") -> Classifier:
    """Round parameters and running statistics to a smaller number format.

    ``float16`` halves the file (Singh et al., DCASE 2021 technical report) and keeps 11 bits of each number;
    ``bfloat16`` keeps 8 bits and the range of float32. ``dynamic_int8`` stores the weights of 1,024 values or more in
    one byte each, with one scale per tensor, and all else in float32: what TensorFlow Lite's dynamic-range
    quantization made of the published networks of the DCASE 2022 system of Singh and Plumbley.

    All are formats of storage here: on loading, the numbers become float32 again, because most CPUs compute in
    float16 many times slower. The returned network already holds the rounded numbers, so what is measured on it is
    what the file gives. For int8 arithmetic see :func:`coppice.quantization.int8.quantize_int8`.

    Parameters
    ----------
    classifier : Classifier
        Left as it is.
    to : {"float16", "bfloat16", "dynamic_int8"}
        The number format.

    Returns
    -------
    Classifier
        New, with ``stored_as`` set, so that :func:`coppice.networks.checkpoint.save` writes that format.

    Raises
    ------
    CoppiceError
        If the format is unknown, or a parameter is too large for it (float16 ends at 65,504).

    Examples
    --------
    >>> from coppice.networks.dcase2021 import DCASE2021
    >>> one = Classifier(DCASE2021(frames=50), None, tuple("abcdefghij"), None, None)
    >>> quantize(one, to="dynamic_int8").network.conv2.weight.unique().numel() <= 255
    True
    """
    if to not in SMALLER:
        raise CoppiceError(f"parameters cannot be stored as {to!r}. {did_you_mean(str(to), SMALLER)}")
    network = copy.deepcopy(classifier.network)
    rounded = unpacked(packed(network, to))
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            tensor.copy_(rounded[name])
    return classifier.after(network, stored_as=to, verb="quantize", to=to)
