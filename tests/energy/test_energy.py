import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coppice.core.errors import CoppiceError
from coppice.energy.energy import Energy, add_up, energy_of, one_mode, sums_by_mode
from coppice.energy.tables import find_power_w

numbers = st.floats(0, 1e9)
texts = st.lists(st.text(max_size=5), max_size=3).map(tuple)
energies = st.builds(Energy, numbers, numbers, numbers, st.sampled_from(["a", "b"]), texts, texts)
anything = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["energy_kwh", "co2_kg", "seconds", "mode", "missing"]), inner, max_size=5)
    ),
)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(energies)
def test_a_record_of_an_energy_gives_it_back(energy):
    assert energy_of(energy.to_dict()) == energy


@settings(max_examples=100, deadline=None, derandomize=True)
@given(anything)
def test_whatever_stands_in_a_record_is_an_energy_or_none(value):
    found = energy_of(value)
    assert found is None or (found.energy_kwh >= 0 and isinstance(found.mode, str))


def test_energies_of_one_mode_are_added_up_and_keep_each_sentence_once():
    found = add_up([Energy(0.25, 0.1, 30.0, "RAPL", ("x", "y")), Energy(0.5, 0.2, 60.0, "RAPL", ("y",), ("half",))])
    assert (found.energy_kwh, round(found.co2_kg, 12), found.seconds) == (0.75, 0.3, 90.0)
    assert (found.assumptions, found.missing) == (("x", "y"), ("half",))


def test_energies_of_two_modes_are_neither_added_up_nor_compared():
    parts = [Energy(1, 1, 1, "RAPL"), Energy(1, 1, 1, "estimate")]
    for refuse in (add_up, one_mode):
        with pytest.raises(CoppiceError, match=r"cannot be added up or compared: RAPL / estimate\. Measure"):
            refuse(parts)
    with pytest.raises(CoppiceError, match="no energy to add up"):
        add_up([])


def test_sums_are_made_for_each_mode_apart_and_name_what_has_no_record():
    one, other = Energy(1.0, 0.5, 1.0, "RAPL"), Energy(8.0, 4.0, 1.0, "estimate")
    found = sums_by_mode({"train": one, "prune": other, "finetune": one, "float16": None})
    assert [(sum.mode, sum.energy_kwh) for sum in found] == [("RAPL", 2.0), ("estimate", 8.0)]
    assert found[0].missing == ("there is no record of the energy of float16",)
    assert sums_by_mode({"train": None}) == ()
    many = sums_by_mode({"train": one, **dict.fromkeys("abcd")})
    assert many[0].missing == ("there is no record of the energy of 4 of 5 parts, such as a",)


@pytest.mark.parametrize(
    ("described", "watts"),
    [
        ("AMD EPYC 7763 64-Core Processor", 280),
        ("NVIDIA A100-SXM4-80GB", 400),
        ("Intel(R) Xeon(R) Gold 6148 CPU @ 2.40GHz", 150),
        ("Tesla T4", 70),
        ("NVIDIA GeForce RTX 2080 Ti", 250),
        ("NVIDIA GeForce RTX 2080", 215),
        ("AMD EPYC", None),
        ("AMD EPYC 776", None),
        ("NVIDIA GeForce RTX 20801", None),
        ("", None),
    ],
)
def test_a_processor_is_found_in_what_a_system_calls_it(described, watts):
    found = find_power_w(described)
    assert (found and found[1]) == watts
