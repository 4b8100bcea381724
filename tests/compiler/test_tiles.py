import pytest

from coppice.compiler.tiles import Tile, channels_at_once, cycles, tiles_of


@pytest.mark.parametrize("filters", range(1, 40))
@pytest.mark.parametrize("step", [1, 4])
def test_tiles_hold_every_filter_and_fit_the_registers(filters, step):
    filters = -(-filters // step) * step
    tiles = tiles_of(filters, ((144, 2000, 1),), step=step)
    assert sum(tile.filters for tile in tiles) == filters
    assert all(tile.filters % step == 0 for tile in tiles)
    for tile in tiles:
        assert tile.filters * tile.vectors + tile.vectors + 1 <= 32
        assert tile.filters * tile.few_vectors + tile.few_vectors + 1 <= 16 or tile.few_vectors == 1
        numbered = [first + f for first, size, _ in tile.few_parts for f in range(size)]
        assert numbered == [*range(tile.filters)]
        assert all((size + 1) * vectors + 1 <= 16 for _, size, vectors in tile.few_parts)


def test_estimated_time_follows_the_filters():
    def whole(filters: int) -> float:
        return sum(cycles(tile, taps=784, length=20_000) for tile in tiles_of(filters, ((784, 20_000, 1),)))

    for filters in range(4, 17):
        assert whole(filters) / whole(16) == pytest.approx(filters / 16, rel=0.06)


def test_four_by_four_is_no_tile_for_long_strips():
    assert Tile(4, 4) not in tiles_of(16, ((784, 20_000, 1),))


@pytest.mark.parametrize("few", [False, True])
@pytest.mark.parametrize("kernel", [(1, 1), (3, 3), (7, 7), (1, 64)])
def test_channels_are_divided_as_evenly_as_can_be_and_one_always_fits(kernel, few):
    for channels in (*range(1, 40), 512):
        at_once = channels_at_once(Tile(8, 3), (8, channels, *kernel), few=few)
        turns = -(-channels // at_once)
        assert 1 <= at_once <= channels and at_once == -(-channels // turns)


def test_on_few_registers_less_is_read_at_once_and_more_channels_fit():
    shape = (8, 64, 7, 7)
    assert channels_at_once(Tile(8, 3), shape, few=True) > channels_at_once(Tile(8, 3), shape)
