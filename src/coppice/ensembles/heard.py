"""What networks say of prepared clips, as members of an ensemble."""

from collections.abc import Mapping

from coppice.core.errors import CoppiceError
from coppice.datasets.prepare import Prepared
from coppice.ensembles.members import Members, gather
from coppice.ensembles.stored import StoredPosteriors
from coppice.export.onnx_classifier import OnnxClassifier
from coppice.export.posterior_graph import WAVEFORM
from coppice.networks.classifier import Classifier


def hear_members(
    models: Mapping[str, Classifier | OnnxClassifier], data: Prepared, *, part: str = "validation"
) -> Members:
    """Let networks hear clips.

    Parameters
    ----------
    models : mapping of name to Classifier or OnnxClassifier
        Two or more, with the front end of the data.
    data : Prepared
        The clips.
    part : str
        Which of them; what is chosen on ``test`` is chosen by the test.

    Returns
    -------
    Members
        With the right classes.

    Raises
    ------
    CoppiceError
        If a network hears otherwise than the clips were prepared, tags, or was exported with its front end inside.
    """
    clips, log_mel = data.clips(part), data.log_mel(part)
    found = {}
    for name, model in models.items():
        if model.front_end != data.front_end:
            raise CoppiceError(f"{name} has another front end than the clips were prepared with; members hear alike.")
        if isinstance(model, OnnxClassifier) and model.takes == WAVEFORM:
            raise CoppiceError(
                f"{name} has its front end inside; export it without, so that all hear the same log-mel."
            )
        if model.score != "softmax":
            raise CoppiceError(
                f"{name} tags: each class has a posterior of its own; an ensemble needs one class per clip."
            )
        found[name] = StoredPosteriors(model.posteriors(log_mel).numpy(), model.labels, tuple(clips["clip_id"]))
    return gather(found, truth=clips["label"].tolist())
