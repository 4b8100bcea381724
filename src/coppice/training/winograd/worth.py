"""Which layers take less time by minimal filtering: counted in operations on whole vectors."""

import torch

from coppice.training.winograd.transforms import OUTPUTS, TAPS

# Counted operations that minimal filtering must save for each of its own: its loads and stores take time as well.
_AT_LEAST = 1.75
# Multiplications of a clip below which a layer takes less time than compiling it is worth.
_LEAST_WORK = 2_000_000
# Bytes of the weights as points: beyond, they leave the caches between two rows of tiles.
_MOST_BYTES = 3 * 2**20


def is_worth(
    channels: int, filters: int, taps: int, *, bands: int, frames: int, half: bool, lanes: int, matrices: bool = False
) -> bool:
    """Say whether a convolution of stride one with zeros around is clearly faster by minimal filtering.

    ``benchmarks/bench_training.py`` measures what comes of it.

    Parameters
    ----------
    channels, filters, taps : int
        Of the layer.
    bands, frames : int
        Of what it is given.
    half : bool
        Whether the direct convolution would compute in bfloat16, two products for each of float32.
    lanes : int
        float32 numbers in a vector.
    matrices : bool
        Whether the processor multiplies whole bfloat16 matrices, which no vector keeps up with.

    Examples
    --------
    >>> is_worth(16, 16, 7, bands=40, frames=500, half=True, lanes=16)
    True
    >>> is_worth(1, 16, 7, bands=40, frames=500, half=True, lanes=16)
    False
    """
    if taps not in TAPS or (half and matrices):
        return False
    points = OUTPUTS + taps - 1
    work = bands * frames * taps**2 * channels * filters
    if work < _LEAST_WORK or points**2 * channels * filters * 4 > _MOST_BYTES:
        return False
    vectors_in, vectors_out = -(-channels // lanes), -(-filters // lanes)
    direct = taps**2 * channels * vectors_out / (2 if half else 1)
    return direct >= _AT_LEAST * _operations(points, channels, vectors_in, vectors_out) / _used(bands, frames)


def _operations(points: int, channels: int, vectors_in: int, vectors_out: int) -> float:
    """Return the vector operations for one output: into points, products, and out of them."""
    pairs = points // 2 - 1
    into = (OUTPUTS + points) * (pairs * (2 * pairs + 2) + 2 * (pairs + 1))
    out_of = (OUTPUTS + points) * (2 * pairs + OUTPUTS * pairs + 2)
    products = points**2 * channels * vectors_out
    return (into * vectors_in + products + out_of * vectors_out) / OUTPUTS**2


def _used(bands: int, frames: int) -> float:
    """Return the share of the tiles that lies inside the image."""
    return bands * frames / (-(-bands // OUTPUTS) * -(-frames // OUTPUTS) * OUTPUTS**2)


def has_matrix_instructions() -> bool:
    """Say whether this processor multiplies bfloat16 matrices (AMX)."""
    return torch.cpu._is_amx_tile_supported()
