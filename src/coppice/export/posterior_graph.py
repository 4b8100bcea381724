"""What goes into a file: the network, what stands before it and what makes posteriors of its logits, as one module."""

import copy

import torch
from jaxtyping import Float
from torch import Tensor, nn

from coppice.export.front_end_graph import FrontEndGraph
from coppice.networks.classifier import Classifier

WAVEFORM, LOG_MEL, FEATURES = "waveform", "normalised_log_mel", "features"


class PosteriorGraph(nn.Module):
    """A classifier in one module, in eval mode and float32, on the CPU: input to logits and posteriors.

    Parameters
    ----------
    classifier : Classifier
        Its network is copied.
    with_front_end : bool
        Whether the input is the waveform at the front end's sample rate, (clips, samples), or what the network takes,
        for most (clips, 1, mels, frames) of log-mel normalised per band.

    Raises
    ------
    CoppiceError
        If the front end is wanted and not known; when called, if the normalisation is not.

    Examples
    --------
    >>> from coppice.audio.front_end import front_end
    >>> from coppice.networks.dcase2021 import DCASE2021
    >>> ear = front_end("dcase2021", duration_s=1.0)
    >>> one = Classifier(DCASE2021(frames=50), ear, tuple("abcdefghij"), None, None)
    >>> graph = PosteriorGraph(one, with_front_end=False)
    >>> graph.input_name, [tuple(out.shape) for out in graph(torch.zeros(2, *graph.clip_shape))]
    ('normalised_log_mel', [(2, 10), (2, 10)])
    """

    def __init__(self, classifier: Classifier, *, with_front_end: bool) -> None:
        super().__init__()
        self.network = copy.deepcopy(classifier.network).cpu().float()
        self.score = classifier.score
        self.front_end: FrontEndGraph | None = None
        self.clip_shape: tuple[int, ...] = classifier.input_shape[1:] if not with_front_end else ()
        self.input_name = FEATURES if classifier.front_end is None else LOG_MEL
        if with_front_end:
            front_end = classifier.known_front_end()
            self.front_end = FrontEndGraph(front_end)
            self.normalise = classifier.normalise
            self.clip_shape = (front_end.samples,)
            self.input_name = WAVEFORM
        self.eval()

    def forward(
        self, clips: Float[Tensor, "clips *shape"]
    ) -> tuple[Float[Tensor, "clips classes"], Float[Tensor, "clips classes"]]:
        """Return logits and posteriors."""
        if self.front_end is not None:
            clips = self.normalise(self.front_end(clips))
        logits = self.network(clips)
        return logits, torch.sigmoid(logits) if self.score == "sigmoid" else torch.softmax(logits, dim=1)
