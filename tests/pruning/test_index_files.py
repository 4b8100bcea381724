import io

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from coppice.core.errors import CoppiceError
from coppice.networks.dcase2021 import DCASE2021
from coppice.pruning.plan import PruningPlan
from coppice.pruning.planning.index_files import plan_from_indices, read_indices
from coppice.pruning.surgery.prune import prune

EXAMPLE = torch.zeros(1, 1, 40, 50)


@pytest.fixture(scope="module")
def network():
    return DCASE2021(frames=50)


def test_published_index_files_cut_the_network_to_the_published_widths(shared_data, network):
    keep = shared_data / "surrey2021" / "keep"
    plan = plan_from_indices(network, {f"conv{i}": keep / f"C{i}.npy" for i in (1, 2, 3)}, example=EXAMPLE)
    # Released with the Interspeech 2022 paper.
    assert plan.keep("conv1") == (0, 1, 2, 4, 5, 6, 9, 10, 11, 12, 15)
    assert plan.keep("conv2") == (0, 1, 2, 3, 4, 5, 6, 7, 9, 10, 14)
    assert plan.keep("conv3") == (3, 4, 5, 7, 8, 9, 13, 15, 16, 17, 18, 19, 21, 22, *range(24, 32))
    assert prune(network, plan, example=EXAMPLE).config()["widths"] == [11, 11, 22]


def test_a_plan_from_indices_survives_its_file(network):
    plan = plan_from_indices(network, {"conv2": [5, 1, 3]}, example=EXAMPLE)
    assert plan.keep("conv2") == (1, 3, 5)
    assert PruningPlan.from_json(plan.to_json()) == plan


@pytest.mark.parametrize(
    ("indices", "sentence"),
    [
        ({"conv9": [0]}, "there is no layer 'conv9'"),
        ({"conv2": [16]}, "'conv2' keeps filter 16 in the plan but has filters 0 to 15"),
        ({"conv2": [1, 1]}, "keeps filter 1 twice"),
        ({"conv2": []}, "keeps no filter"),
        ({"conv2": [0.5]}, "give whole numbers"),
        ({"dense2": [0]}, "'dense2' cannot be cut"),
        ({"conv2": "nowhere.npy"}, "nowhere.npy"),
    ],
)
def test_indices_that_do_not_fit_are_refused_in_one_sentence(network, indices, sentence):
    with pytest.raises(CoppiceError, match=sentence):
        plan_from_indices(network, indices, example=EXAMPLE)


@pytest.mark.parametrize(
    "value",
    [np.zeros((2, 2)), np.array(["a"]), np.array([0.5]), np.array([np.nan]), np.zeros(0, int), np.array([1 + 1j])],
)
def test_a_file_that_is_no_list_of_indices_is_refused(tmp_path, value):
    np.save(tmp_path / "keep.npy", value)
    with pytest.raises(CoppiceError, match=r"keep\.npy"):
        read_indices(tmp_path / "keep.npy")


def test_a_pickled_array_is_refused_and_not_unpickled(tmp_path):
    np.save(tmp_path / "keep.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(CoppiceError, match="not a whole NumPy file"):
        read_indices(tmp_path / "keep.npy")


def test_a_header_that_claims_more_than_the_file_holds_is_refused(tmp_path):
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "<i8", "fortran_order": False, "shape": (10**15,)})
    (tmp_path / "keep.npy").write_bytes(buffer.getvalue())
    with pytest.raises(CoppiceError, match="not a whole NumPy file"):
        read_indices(tmp_path / "keep.npy")


@settings(max_examples=60, deadline=None, derandomize=True)
@given(cut=st.integers(0, 215), byte=st.integers(0, 215), value=st.integers(0, 255))
def test_a_damaged_index_file_gives_indices_or_one_error(tmp_path_factory, cut, byte, value):
    buffer = io.BytesIO()
    np.save(buffer, np.arange(11))
    data = bytearray(buffer.getvalue())
    data[byte] = value
    file = tmp_path_factory.getbasetemp() / "damaged.npy"
    for content in (bytes(data), bytes(data[:cut])):
        file.write_bytes(content)
        try:
            assert all(isinstance(index, int) for index in read_indices(file))
        except CoppiceError as error:
            assert "damaged.npy" in str(error)
