"""What an importer returns: a network, and what its file said and did not say."""

from dataclasses import dataclass, field

from torch import nn

from coppice.audio.front_end import FrontEnd


@dataclass(frozen=True, eq=False)
class Imported:
    """A network from a foreign file.

    Attributes
    ----------
    network : nn.Module
        In eval mode, on the CPU, in float32; returns logits.
    format : str
        Such as ``"keras-h5"`` or ``"tflite"``.
    score : {"softmax", "sigmoid"}
        How its logits become scores.
    stored_bytes : dict
        Number format in the file -> bytes of the weights stored so.
    layer_names : dict
        Dotted layer name here -> name in the file.
    front_end : FrontEnd or None
        Where the format settles it.
    front_end_assumed : bool
        Whether that front end is only the usual one, so that a user may know better.
    normalised : bool
        Whether that front end is all the normalisation that the network needs.
    labels : tuple of str or None
        Where the format settles them.
    notes : tuple of str
        What a user should know: sentences.
    """

    network: nn.Module
    format: str
    score: str
    stored_bytes: dict[str, int]
    layer_names: dict[str, str] = field(default_factory=dict)
    front_end: FrontEnd | None = None
    front_end_assumed: bool = False
    normalised: bool = False
    labels: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()
