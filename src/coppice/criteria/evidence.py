"""What a criterion may look at besides the weights of the layer."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from coppice.core.errors import CoppiceError
from coppice.criteria.summaries import summarise, summary_names, summary_needs


@dataclass(frozen=True, eq=False)
class Evidence:
    """Facts about one layer; a criterion declares those it needs as keyword-only arguments of the same names.

    A summary (see :func:`~coppice.criteria.summaries.summary`) is asked for by its name in the same way; it is worked
    out from ``maps`` and ``gradients`` where these are given instead.

    Attributes
    ----------
    scale : Tensor [shape=(filters,)] or None
        Weight (γ) of the batch normalisation that follows; None where there is none.
    maps : Tensor [shape=(clips, filters, *positions)] or None
        What the layer hands on for some clips: after its batch normalisation and activation, before pooling.
    gradients : Tensor [shape=(clips, filters, *positions)] or None
        Gradient of each clip's log-loss with respect to ``maps``.
    read_gram : Tensor [shape=(filters, taps, filters, taps)] or None
        Products of what the layers behind read of the filters, summed over positions; mean over clips.
    read_weights : Tensor [shape=(filters, taps, outputs)] or None
        With which weights they do, in units of the posteriors.
    summaries : mapping of str to Tensor
        Means over clips, by the name of the summary.

    Examples
    --------
    >>> Evidence(maps=torch.tensor([[[0.0, 2.0], [1.0, 1.0]]])).look_up("nonzero_share", 2).tolist()
    [0.5, 1.0]
    """

    scale: Float[Tensor, " filters"] | None = None
    maps: Float[Tensor, "clips filters *positions"] | None = None
    gradients: Float[Tensor, "clips filters *positions"] | None = None
    read_gram: Float[Tensor, "filters taps filters taps"] | None = None
    read_weights: Float[Tensor, "filters taps outputs"] | None = None
    summaries: Mapping[str, Float[Tensor, "filters *rest"]] = field(default_factory=dict)

    def look_up(self, name: str, filters: int) -> Float[Tensor, "..."] | None:
        """Return a field or a summary by name, float64 on the CPU; None where it is not known.

        Parameters
        ----------
        name : str
            One of :func:`evidence_names`.
        filters : int
            How many filters the layer has.

        Raises
        ------
        CoppiceError
            If its shape does not fit the layer, or it holds a value that is not finite.
        """
        if name in NEEDS:
            found, axis = getattr(self, name), 1 if name in ("maps", "gradients") else 0
        elif name in self.summaries:
            found, axis = self.summaries[name], 0
        else:
            maps = self.look_up("maps", filters)
            gradients = self.look_up("gradients", filters)
            if maps is None or ("gradients" in summary_needs(name) and gradients is None):
                return None
            found, axis = summarise(name, maps, gradients), 0
        if found is None:
            return None
        if found.ndim <= axis or found.shape[axis] != filters or found.numel() == 0:
            wanted = "(filters,)" if axis == 0 else "(clips, filters, *positions)"
            raise CoppiceError(f"{name} of shape {tuple(found.shape)} do not fit {filters} filters; give {wanted}.")
        if name == "gradients" and self.maps is not None and self.maps.shape != found.shape:
            raise CoppiceError(
                f"gradients of shape {tuple(found.shape)} do not go with maps of shape {tuple(self.maps.shape)}; "
                "give the same shape."
            )
        if not bool(torch.isfinite(found).all()):
            raise CoppiceError(f"its {name} hold values that are not finite (NaN or infinite); nothing can be ranked.")
        return found.detach().to("cpu", torch.float64)


NEEDS = {
    "scale": "a batch normalisation behind the layer",
    "maps": "clips to look at: give clips (on the command line, --data)",
    "gradients": "clips with labels that the network knows: give clips and targets (on the command line, --data)",
    "read_gram": "clips to look at: give clips (on the command line, --data)",
    "read_weights": "clips to look at: give clips (on the command line, --data)",
}


def evidence_names() -> tuple[str, ...]:
    """Return what criteria can ask for: fields of :class:`Evidence` and summaries.

    Examples
    --------
    >>> evidence_names()[:3]
    ('scale', 'maps', 'gradients')
    """
    return (*NEEDS, *summary_names())


def looks_at(name: str) -> frozenset[str]:
    """Return which of ``scale``, ``maps`` and ``gradients`` a field or summary is made from.

    Examples
    --------
    >>> looks_at("nonzero_share")
    frozenset({'maps'})
    """
    return frozenset({name}) if name in NEEDS else summary_needs(name)


def missing_sentence(name: str) -> str:
    """Say what must be given so that a field or summary is known; completes "criterion … needs".

    Examples
    --------
    >>> missing_sentence("nonzero_share")
    'clips to look at: give clips (on the command line, --data)'
    """
    parts = looks_at(name)
    return NEEDS["gradients" if "gradients" in parts else min(parts)]
