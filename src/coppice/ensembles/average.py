"""The unweighted mean of the members' posteriors."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from coppice.core.errors import CoppiceError


def average_posteriors(members: Sequence[Float[np.ndarray, "clips classes"]]) -> Float[np.ndarray, "clips classes"]:
    """Average the posteriors of several networks on the same clips, in float64.

    The rule of the DCASE 2022 systems of Singh and Plumbley (arXiv 2207.11529): arithmetic mean, equal weights.

    Parameters
    ----------
    members : sequence of ndarray, shape (clips, classes)
        One array per network, classes in the same order.

    Returns
    -------
    ndarray of float64, shape (clips, classes)

    Raises
    ------
    CoppiceError
        If there are no members or their shapes differ.

    Examples
    --------
    >>> average_posteriors([np.array([[1.0, 0.0]]), np.array([[0.5, 0.5]])]).tolist()
    [[0.75, 0.25]]
    """
    if not members:
        raise CoppiceError("an ensemble needs at least one member.")
    shapes = {member.shape for member in members}
    if len(shapes) > 1:
        raise CoppiceError(f"the members' posteriors have different shapes: {', '.join(map(str, sorted(shapes)))}.")
    total = np.zeros(members[0].shape, dtype=np.float64)
    for member in members:
        total += member
    return total / len(members)
