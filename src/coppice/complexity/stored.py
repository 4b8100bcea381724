"""Bytes of an imported network in the number formats of the file that it came from."""

from coppice.core.errors import CoppiceError
from coppice.networks.classifier import Classifier


def stored_bytes(classifier: Classifier) -> dict[str, int] | None:
    """Return how many bytes of weights the imported file holds in each number format.

    Parameters
    ----------
    classifier : Classifier
        As it was imported: the last entry of its lineage has the verb ``import``.

    Returns
    -------
    dict or None
        Number format -> bytes; None when the network was not imported, or has changed since.

    Raises
    ------
    CoppiceError
        If the lineage, which may come from anybody's file, says something else than bytes.

    Examples
    --------
    >>> import torch
    >>> imported = {"verb": "import", "stored_bytes": {"float32": 1144, "int8": 4608}}
    >>> stored_bytes(Classifier(torch.nn.Flatten(), None, ("a", "b"), None, None, lineage=(imported,)))
    {'float32': 1144, 'int8': 4608}
    """
    last = classifier.lineage[-1] if classifier.lineage else {}
    if last.get("verb") != "import" or "stored_bytes" not in last:
        return None
    sizes = last["stored_bytes"]
    if not isinstance(sizes, dict) or not all(type(size) is int and size >= 0 for size in sizes.values()):
        raise CoppiceError(f"the lineage's stored_bytes are {str(sizes)[:60]!r}; they should be a number per format.")
    return dict(sizes)
