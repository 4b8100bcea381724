"""The verb ``ensemble``: several classifiers become one."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from coppice.core.errors import CoppiceError
from coppice.core.modes import eval_mode
from coppice.ensembles.combination import Combination
from coppice.ensembles.sharing import shared_layers
from coppice.networks.classifier import Classifier, as_network
from coppice.networks.ensemble import Ensemble, Member

_MOST_OFF = 1e-5


def ensemble(
    members: Mapping[str, Classifier] | Sequence[Classifier], *, combination: Combination | None = None
) -> Classifier:
    """Make one classifier of several, whose posteriors are their mean.

    It can be saved in one file, quantized, exported as one graph, profiled and listened with like any other. Layers
    that members have in common, with bit for bit the same weights behind the same operators, are found by themselves
    (:func:`coppice.ensembles.sharing.shared_layers`), stored, counted and computed once. The classes of a member are
    matched by name, and a member that was trained with another normalisation of the bands keeps it.

    Parameters
    ----------
    members : mapping of name to Classifier, or sequence
        Two or more, with one front end and the same classes in any order. Left as they are.
    combination : Combination, optional
        Weights, kind of mean and temperature; the arithmetic mean with equal weights if not given. Members without a
        weight are left out.

    Returns
    -------
    Classifier
        Its lineage names the members, with their weights and lineages. Stored as they are, if that is the same for all.

    Raises
    ------
    CoppiceError
        If there are fewer than two members, or they differ in front end or classes, or tag.

    Examples
    --------
    >>> from coppice.audio.front_end import front_end
    >>> from coppice.networks.surrey2022 import Surrey2022
    >>> ear = front_end("surrey2022")
    >>> one, other = (Classifier(Surrey2022(), ear, tuple("abcdefghij"), None, None) for _ in range(2))
    >>> both = ensemble({"one": one, "other": other})
    >>> both.labels == one.labels, sorted(both.network.shared)
    (True, [])
    """
    named = members if isinstance(members, Mapping) else {f"member {i}": m for i, m in enumerate(members, start=1)}
    for name, member in named.items():
        if not isinstance(member, Classifier):
            raise CoppiceError(f"{name} is a {type(member).__name__}, not a classifier; load it with coppice.load.")
    if len(named) < 2:
        raise CoppiceError(f"an ensemble needs two members or more, and this one has {len(named)}.")
    rule = combination or Combination.equal(len(named))
    if len(rule.weights) != len(named):
        raise CoppiceError(f"there are {len(named)} members and {len(rule.weights)} weights; give one for each.")
    chosen = {name: member for (name, member), w in zip(named.items(), rule.weights, strict=True) if w > 0}
    if len(chosen) == 1 and rule.temperature == 1:
        return next(iter(chosen.values()))
    first_name, first = next(iter(chosen.items()))
    for name, member in chosen.items():
        _check_kin(name, member, first_name, first)
    normalised = next((member for member in chosen.values() if member.band_mean is not None), first)
    weights = [weight for weight in rule.weights if weight > 0]
    parts = [
        {"network": copy.deepcopy(member.network), "weight": weight, **_options(member, normalised)}
        for member, weight in zip(chosen.values(), weights, strict=True)
    ]
    found = _same_input_only(parts, shared_layers([part["network"] for part in parts], as_network(first)[1]))
    network = Ensemble(members=parts, how=rule.how, temperature=rule.temperature, shared=found)
    for part, member in zip(network.parts, chosen.values(), strict=True):
        if part.bands is not None:
            _set_scale_(part, member, normalised)
    network.eval()
    made = Classifier(
        network=network,
        front_end=first.front_end,
        labels=first.labels,
        band_mean=normalised.band_mean,
        band_std=normalised.band_std,
        lineage=(_lineage(chosen, weights, rule, found),),
        stored_as=first.stored_as if len({member.stored_as for member in chosen.values()}) == 1 else "float32",
    )
    _prove(made, chosen, rule, weights)
    return made


def _check_kin(name: str, member: Classifier, first_name: str, first: Classifier) -> None:
    """Refuse a member that does not go with the first one."""
    if member.score != "softmax":
        raise CoppiceError(f"{name} tags: each class has a posterior of its own; an ensemble needs one class per clip.")
    if member.front_end != first.front_end:
        texts = ["none" if one.front_end is None else one.front_end.preset for one in (member, first)]
        told = f" ({texts[0]} and {texts[1]})" if texts[0] != texts[1] else ""
        raise CoppiceError(
            f"{name} and {first_name} have different front ends{told}; an ensemble hears with one. Where a file does "
            'not name its front end, load it with one: coppice.load(path, front_end="dcase2021").'
        )
    if member.input_shape != first.input_shape:
        raise CoppiceError(
            f"{name} takes an input of {member.input_shape[1:]} and {first_name} one of {first.input_shape[1:]}."
        )
    if set(member.labels) != set(first.labels):
        other = sorted(set(member.labels) ^ set(first.labels))[0]
        raise CoppiceError(
            f"{name} and {first_name} do not tell the same classes apart: {other!r} is known to one of them only."
        )


def _options(member: Classifier, normalised: Classifier) -> dict[str, Any]:
    options: dict[str, Any] = {}
    if member.labels != normalised.labels:
        options["order"] = [member.labels.index(label) for label in normalised.labels]
    if not (_same(member.band_mean, normalised.band_mean) and _same(member.band_std, normalised.band_std)):
        if member.band_mean is None:
            raise CoppiceError(
                "a member's normalisation is not known and another's is; fine-tune it, which measures it."
            )
        options["bands"] = len(member.band_mean)
    return options


def _same(one: Tensor | None, other: Tensor | None) -> bool:
    return one is other or (one is not None and other is not None and torch.equal(one, other))


def _same_input_only(parts: Sequence[Mapping[str, Any]], found: Mapping[str, str]) -> dict[str, str]:
    """Leave out the layers of members that hear in different normalisations: equal weights, other values."""
    own = {str(index) for index, part in enumerate(parts) if "bands" in part}
    return {layer: owner for layer, owner in found.items() if not own & {layer.split(".")[0], owner.split(".")[0]}}


def _set_scale_(part: Member, member: Classifier, normalised: Classifier) -> None:
    """Let a member hear ``(x - mean) / std`` of its own bands, given that of the ensemble's."""
    assert member.band_mean is not None and member.band_std is not None
    assert normalised.band_mean is not None and normalised.band_std is not None
    std = member.band_std.double()
    part.scale = (normalised.band_std.double() / std).float()
    part.shift = ((normalised.band_mean.double() - member.band_mean.double()) / std).float()


def _lineage(
    chosen: Mapping[str, Classifier], weights: Sequence[float], rule: Combination, found: Mapping[str, str]
) -> dict[str, Any]:
    return {
        "verb": "ensemble",
        "how": rule.how,
        "temperature": rule.temperature,
        "shared": len(found),
        "members": [
            {"name": name, "weight": weight, "lineage": list(member.lineage)}
            for (name, member), weight in zip(chosen.items(), weights, strict=True)
        ],
    }


@torch.no_grad()
def _prove(made: Classifier, chosen: Mapping[str, Classifier], rule: Combination, weights: Sequence[float]) -> None:
    """Compare with the members on one input; sharing must not change what they say."""
    _, example = as_network(made)
    said = []
    for member in chosen.values():
        features = example
        if not _same(member.band_mean, made.band_mean) or not _same(member.band_std, made.band_std):
            assert made.band_mean is not None and made.band_std is not None
            features = member.normalise(example[:, 0] * made.band_std[:, None] + made.band_mean[:, None])
        with eval_mode(member.network):
            logits = member.network(features)[:, [member.labels.index(label) for label in made.labels]]
        said.append(logits.double().softmax(1).numpy())
    expected = replace(rule, weights=tuple(weights))(torch.stack([torch.from_numpy(one) for one in said]).numpy())
    off = float((made.network(example).double().softmax(1) - torch.from_numpy(expected)).abs().max())
    if not off <= _MOST_OFF:
        raise CoppiceError(
            f"the ensemble does not say what its members say together: a posterior differs by {off:.2g}; a member may "
            "compute at random or remember what it heard before."
        )
