import json
import struct
import zlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from coppice.reports.filters_drawing import draw_layer, kept_filters, overlay, png
from coppice.reports.layer_filters import filters_of_run, layer_filters
from coppice.reports.run_records import read_run
from coppice.reports.similarity_figures import MOST_FILTERS_IN_A_MAP, nearest_histogram, shown_in_map


def published_prototypes(weight):
    """Full SVD of each filter, first column of its rank-1 part, as the authors' code does it."""
    result = []
    for filter_ in weight.double().numpy():
        matrix = filter_.reshape(filter_.shape[0], -1).T
        u, _, v = np.linalg.svd(matrix, full_matrices=False)
        column = u[:, 0] * v[0, 0]
        result.append(column / np.linalg.norm(column))
    return np.array(result)


def decode(data):
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    place, chunks = 8, {}
    while place < len(data):
        (length,) = struct.unpack_from(">I", data, place)
        kind, body = data[place + 4 : place + 8], data[place + 8 : place + 8 + length]
        (check,) = struct.unpack_from(">I", data, place + 8 + length)
        assert check == zlib.crc32(kind + body)
        chunks[kind], place = body, place + 12 + length
    width, height = struct.unpack_from(">II", chunks[b"IHDR"])
    lines = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), dtype=np.uint8).reshape(height, 1 + 3 * width)
    assert (lines[:, 0] == 0).all()
    return lines[:, 1:].reshape(height, width, 3)


def test_mean_and_sd_of_the_nearest_distances_equal_the_published_way():
    weight = torch.randn(16, 4, 3, 3)
    layer = layer_filters("conv", weight)
    vectors = published_prototypes(weight)
    distances = 1 - vectors @ vectors.T
    np.fill_diagonal(distances, np.inf)
    nearest = distances.min(axis=1)
    assert layer.nearest_mean == pytest.approx(nearest.mean(), abs=1e-9)
    assert layer.nearest_sd == pytest.approx(nearest.std(), abs=1e-9)


def test_the_histogram_counts_every_filter_once():
    layer = layer_filters("conv", torch.randn(40, 4, 3, 3))
    bars = nearest_histogram(layer).to_dict()["layer"][0]["data"]["values"]
    assert sum(bar["filters"] for bar in bars) == 40


def test_a_layer_with_one_filter_has_no_neighbour_and_still_a_drawing():
    layer = layer_filters("conv", torch.randn(1, 4, 3, 3))
    assert layer.nearest_mean is None and nearest_histogram(layer) is None
    assert draw_layer(layer).shown == 1


def test_a_wide_layer_is_mapped_by_its_closest_filters():
    layer = layer_filters("conv", torch.randn(130, 2, 3, 3))
    shown = shown_in_map(layer)
    assert len(shown) == MOST_FILTERS_IN_A_MAP
    assert layer.nearest[shown].max() <= np.sort(layer.nearest.numpy())[MOST_FILTERS_IN_A_MAP]


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_pixels_survive_the_png(height, width, seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    assert (decode(png(pixels)) == pixels).all()


@pytest.mark.parametrize("shape", [(5, 2, 7, 7), (40, 3, 1, 1), (6, 2, 9), (4, 2, 3, 3, 3), (3, 1, 1, 31)])
def test_every_kind_of_convolution_can_be_drawn(shape):
    drawing = draw_layer(layer_filters("conv", torch.randn(shape)))
    assert drawing.rows * drawing.columns >= drawing.shown == shape[0]


def test_each_removed_filter_is_crossed_out_once():
    drawing = draw_layer(layer_filters("conv", torch.randn(20, 2, 3, 3)))
    paths = overlay(drawing, [0, 3, 19])
    assert paths.grid.count("h1v") == 20
    assert paths.removed.count("h1v") == 17
    assert not paths.removed.startswith("M0 0h1v") and paths.removed.startswith("M1 0h1v")


def test_a_layer_of_zeros_is_drawn_blank():
    drawing = draw_layer(layer_filters("conv", torch.zeros(4, 2, 3, 3)))
    assert drawing.shown == 4


def test_plans_that_follow_each_other_are_read_as_indices_into_the_first_network(make_run):
    run = make_run(systems=["l1"])
    summary = json.loads((run / "summary.json").read_text())
    again = next(s for s in summary["stages"] if s["id"] == "l1/1-prune") | {
        "id": "l1/2-prune", "folder": "systems/l1/2-prune",
    }  # fmt: skip
    summary["stages"].append(again)
    (run / "summary.json").write_text(json.dumps(summary))
    for step, filters, keep in ((1, 6, [1, 3, 5]), (2, 3, [0, 2])):
        folder = run / "systems" / "l1" / f"{step}-prune"
        folder.mkdir(exist_ok=True)
        layer = {"name": "conv1", "filters": filters, "keep": keep, "coupled": []}
        (folder / "plan.json").write_text(json.dumps({"version": 1, "layers": [layer]}))
    assert kept_filters(read_run(run), "l1") == {"conv1": (1, 5)}


def test_the_filters_come_from_the_unpruned_checkpoint(whole_run):
    layers, note = filters_of_run(read_run(whole_run))
    assert [(layer.name, layer.filters, layer.kernel_text) for layer in layers] == [
        ("conv1", 16, "7×7"), ("conv2", 16, "7×7"), ("conv3", 32, "7×7"),
    ]  # fmt: skip
    assert note == ""
