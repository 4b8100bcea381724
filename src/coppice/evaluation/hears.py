"""What can listen: anything that turns waveforms into class posteriors, whoever computes them."""

from typing import Protocol

from jaxtyping import Float
from torch import Tensor

from coppice.audio.front_end import FrontEnd


class Hears(Protocol):
    """A classifier as a listener sees it: :class:`coppice.networks.classifier.Classifier`, or one in an exported file.

    Attributes
    ----------
    labels : tuple of str
        The classes, in the order of the posteriors.
    """

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes, in the order of the posteriors."""

    def known_front_end(self) -> FrontEnd:
        """Return rate, length and padding of a clip; raise CoppiceError if they are not known."""

    def posteriors_of_waveforms(
        self, waveforms: Float[Tensor, "clips samples"], *, batch_size: int = 64
    ) -> Float[Tensor, "clips classes"]:
        """Return the class probabilities of waveforms of the front end's rate and length, as float64."""
