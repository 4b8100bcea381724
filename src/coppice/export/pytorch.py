"""The verb ``export_torch``: a classifier as a ``.pt2`` file of ``torch.export``, verified."""

import io
import json
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from coppice.core.files import whole_file
from coppice.export.exported import Exported, metadata
from coppice.export.posterior_graph import PosteriorGraph
from coppice.export.traced import quiet, traced
from coppice.export.verify import TOLERANCE, verify
from coppice.networks.classifier import Classifier

SAID_IN = "coppice.json"


def export_torch(
    classifier: Classifier,
    path: str | Path,
    *,
    with_front_end: bool = False,
    clips: Float[Tensor, "clips samples"] | None = None,
    tolerance: float = TOLERANCE,
) -> Exported:
    """Write a classifier as a graph that ``torch.export.load`` reads, once it has given the same posteriors.

    The program takes any number of clips and returns logits and posteriors. What :func:`export_onnx
    <coppice.export.onnx.export_onnx>` writes into its metadata stands in the extra file ``coppice.json``. The file
    needs neither this package nor the class of the network; but loading one can run code that is in it.

    Parameters
    ----------
    classifier : Classifier
        Left as it is.
    path : str or Path
        The file to write, by custom ``.pt2``; it appears whole or not at all.
    with_front_end : bool
        Whether it takes waveforms.
    clips : Tensor, shape (clips, samples), optional
        Waveforms to verify with; seeded noise without.
    tolerance : float
        Largest absolute difference of a posterior allowed.

    Raises
    ------
    CoppiceError
        If the network cannot be traced, the posteriors differ by more than allowed, or the disk refuses.

    Examples
    --------
    >>> import tempfile
    >>> from coppice.audio.front_end import front_end
    >>> from coppice.networks.dcase2021 import DCASE2021
    >>> ear = front_end("dcase2021", duration_s=1.0)
    >>> one = Classifier(DCASE2021(widths=(2, 2, 2), frames=50), ear, tuple("abcdefghij"), None, None)
    >>> done = export_torch(one, Path(tempfile.mkdtemp()) / "one.pt2")
    >>> program = torch.export.load(done.path).module()
    >>> [tuple(out.shape) for out in program(torch.zeros(3, 1, 40, 50))]
    [(3, 10), (3, 10)]
    """
    path = Path(path)
    graph = PosteriorGraph(classifier, with_front_end=with_front_end)
    content = _program(graph, json.dumps(metadata(classifier, graph)))
    with quiet():
        module = torch.export.load(io.BytesIO(content)).module()

    def posteriors(inputs: Float32[np.ndarray, "clips *shape"]) -> Float[np.ndarray, "clips classes"]:
        with torch.inference_mode():
            return module(torch.from_numpy(inputs))[1].numpy()

    agreement = verify(posteriors, classifier, with_front_end=with_front_end, clips=clips, tolerance=tolerance)
    with whole_file(path) as temporary:
        temporary.write_bytes(content)
    return Exported(
        path=path,
        format="torch.export",
        precision="float32",
        size_bytes=path.stat().st_size,
        input_name=graph.input_name,
        clip_shape=graph.clip_shape,
        checked_in="PyTorch, read back,",
        agreement=agreement,
    )


def _program(graph: PosteriorGraph, said: str) -> bytes:
    """Trace, without the example and without the lines of source that ran, with their paths."""
    with quiet():
        program = traced(graph, torch.zeros(2, *graph.clip_shape))
        program.example_inputs = None
        for node in program.graph.nodes:
            node.meta.pop("stack_trace", None)
        buffer = io.BytesIO()
        torch.export.save(program, buffer, extra_files={SAID_IN: said})
    return buffer.getvalue()
