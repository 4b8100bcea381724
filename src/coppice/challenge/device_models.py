"""What the meta file of 2025 says of the models for recording devices."""

from collections.abc import Mapping
from typing import Any

import torch

from coppice.challenge.people import People
from coppice.core.errors import CoppiceError
from coppice.networks.classifier import Classifier


def device_description(models: Mapping[str, Classifier], people: People) -> dict[str, Any]:
    """Return how a system uses the recording device, under the keys of ``system.description``.

    Parameters
    ----------
    models : mapping
        ``"base"`` and recording device -> its model.
    people : People
        The authors file, whose ``description.device_information`` says how the models of devices came about.

    Raises
    ------
    CoppiceError
        If there are models for devices and the authors file does not say so.
    """
    alone = len(models) == 1
    if not alone and people.description.get("device_information") is None:
        raise CoppiceError(
            "the authors file lacks description.device_information, such as 'per-device end-to-end fine-tuning'; only "
            "you know how the models of devices were made."
        )
    return {
        "device_information": None,
        "num_models_at_inference": len(models),
        "model_weight_sharing": None if alone else weight_sharing(models),
    }


def weight_sharing(models: Mapping[str, Classifier]) -> str:
    """Return how much of their parameters the models of devices share, in the words of 2025's meta file.

    Parameters
    ----------
    models : mapping
        Name -> model.

    Returns
    -------
    {"fully shared", "partially shared", "fully device-specific"}
        By the parameters that are the same numbers at the same place in all models; running statistics are none.

    Examples
    --------
    >>> from coppice.networks.dcase2021 import DCASE2021
    >>> one = Classifier(DCASE2021(frames=50), None, tuple("abcdefghij"), None, None)
    >>> weight_sharing({"base": one, "a": one})
    'fully shared'
    """
    first, *others = (dict(model.network.named_parameters()) for model in models.values())
    same = [
        all(name in other and torch.equal(parameter, other[name]) for other in others)
        for name, parameter in first.items()
    ]
    if all(same) and all(len(other) == len(first) for other in others):
        return "fully shared"
    return "partially shared" if any(same) else "fully device-specific"
