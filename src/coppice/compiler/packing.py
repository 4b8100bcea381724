"""Constants in the order in which the C reads them."""

import numpy as np
from jaxtyping import Float32

from coppice.compiler.planned import Planned
from coppice.compiler.steps import Convolution, Dense, Scale
from coppice.compiler.tiles import Tile

UNITS = 16  # of a dense layer, side by side

Numbers = Float32[np.ndarray, " numbers"]


def constants(planned: Planned) -> list[tuple[str, str, Numbers]]:
    """Return all constants of a program: what each is, of which step, and its numbers in order.

    Examples
    --------
    >>> from coppice.compiler.planned import planned
    >>> from coppice.compiler.programs import network_program
    >>> from coppice.networks.dcase2021 import DCASE2021
    >>> program = network_program(DCASE2021(frames=50), (1, 40, 50))
    >>> [(kind, step, len(numbers)) for kind, step, numbers in constants(planned(program))][:3]
    [('weight', 'conv1', 784), ('bias', 'conv1', 16), ('weight', 'conv2', 12544)]
    """
    found: list[tuple[str, str, Numbers]] = []
    for step in planned.program.steps:
        if isinstance(step, Scale):
            found += [("factor", step.name, step.factor), ("offset", step.name, step.offset)]
        elif isinstance(step, Dense):
            in_order = by_units(step.weight) if planned.target == "simd" else step.weight
            found += [("weight", step.name, in_order), ("bias", step.name, _filled(step.bias))]
        elif isinstance(step, Convolution):
            geometry = planned.geometries.get(step.name)
            in_order = step.weight if geometry is None else by_tiles(step.weight, step.groups, geometry.tiles)
            found += [("weight", step.name, in_order), ("bias", step.name, step.bias)]
    return [(kind, name, numbers.astype(np.float32).ravel()) for kind, name, numbers in found]


def by_tiles(weight: np.ndarray, groups: int, tiles: tuple[Tile, ...]) -> np.ndarray:
    """Return the weights of a convolution tile after tile; in each, tap after tap, filters side by side.

    Examples
    --------
    >>> by_tiles(np.arange(6.0).reshape(3, 1, 1, 2), 1, (Tile(2, 1), Tile(1, 1)))
    array([0., 2., 1., 3., 4., 5.])
    """
    parts = []
    for group in np.split(weight.reshape(len(weight), -1), groups):
        first = 0
        for tile in tiles:
            parts.append(group[first : first + tile.filters].T.ravel())
            first += tile.filters
    return np.concatenate(parts)


def by_units(weight: np.ndarray) -> np.ndarray:
    """Return the weights of a dense layer 16 units after 16 units; in these, number after number, units side by side."""
    rows = -(-len(weight) // UNITS) * UNITS
    whole = np.zeros((rows, weight.shape[1]), weight.dtype)
    whole[: len(weight)] = weight
    return whole.reshape(-1, UNITS, weight.shape[1]).transpose(0, 2, 1)


def _filled(bias: np.ndarray) -> np.ndarray:
    return np.pad(bias, (0, -len(bias) % UNITS))
