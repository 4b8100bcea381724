import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coppice.core.errors import CoppiceError
from coppice.energy.co2 import co2
from coppice.energy.tables import INTENSITY_G_PER_KWH, POWER_W, intensity_g, power_w


@pytest.mark.parametrize("card", ["RTX 2080 Ti", "GTX 1080 Ti"])
def test_48_hours_have_the_published_footprint(card):
    found = co2(card, hours=48)
    assert (found.energy_kwh, found.co2_kg) == (12.0, 5.18)
    assert (f"{found.car_km:.1f}", f"{found.car_miles:.1f}") == ("20.9", "13.0")
    assert found.intensity_kg_per_kwh == 0.432 and found.power_w == 250


def test_every_result_says_how_it_was_counted():
    for found in (co2("T4", hours=1), co2(power_w=5, hours=1, pue=1.1, region="London")):
        assert set(found.counted) == {
            "power_w",
            "intensity_kg_per_kwh",
            "energy_kwh",
            "co2_kg",
            "car_km",
            "car_miles",
        }
        assert all(found.counted.values())
    assert "ML CO2 Impact" in co2("T4", hours=1).counted["energy_kwh"]
    assert "PUE (1.1)" in co2("T4", hours=1, pue=1.1).counted["energy_kwh"]


def test_the_calculators_style_rounds_each_step_half_upwards():
    # 0.125 kWh becomes 0.13; then 0.13 kWh at 0.5 kg becomes 0.07 kg.
    found = co2(power_w=125, hours=1, intensity=0.5)
    assert (found.energy_kwh, found.co2_kg) == (0.13, 0.07)


def test_a_region_is_rounded_as_the_calculator_does_and_exact_in_the_general_form():
    assert co2("T4", hours=1, region="London").intensity_kg_per_kwh == 0.62
    assert co2("T4", hours=1, region="ireland").intensity_kg_per_kwh == 0.62
    assert co2("T4", hours=1, region="London", pue=1).intensity_kg_per_kwh == 0.623


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    power=st.floats(0.1, 1e4),
    hours=st.floats(0.01, 1e4),
    intensity=st.floats(0, 2),
    pue=st.floats(1, 3),
    share=st.floats(0.01, 1),
)
def test_the_general_form_is_the_product(power, hours, intensity, pue, share):
    found = co2(power_w=power, hours=hours, intensity=intensity, pue=pue, utilisation=share)
    assert math.isclose(found.energy_kwh, power * share * hours * pue / 1000)
    assert math.isclose(found.co2_kg, found.energy_kwh * intensity, abs_tol=1e-12)
    assert math.isclose(found.car_km, found.car_miles * 1.609344, abs_tol=1e-12)
    plain = co2(power_w=power, hours=hours, intensity=intensity)
    assert abs(plain.energy_kwh - power * hours / 1000) <= 0.005 + 1e-9


@pytest.mark.parametrize(
    ("name", "watts"),
    [
        ("rtx 2080ti", 250),
        ("NVIDIA GeForce RTX 2080 Ti", 250),
        ("V100-SXM2-16GB", 250),
        ("Tesla T4", 70),
        ("Titan RTX", 280),
        ("GTX 1080", 180),
        ("RTX 2080", 215),
        ("Tesla V100 PCIE 16GB", 300),
        ("A100 SXM4 80GB", 400),
    ],
)
def test_hardware_is_found_by_its_usual_names(name, watts):
    assert power_w(name)[1] == watts


def test_every_name_of_the_tables_finds_itself():
    assert [power_w(name)[0] for name in POWER_W] == list(POWER_W)
    assert [intensity_g(name)[0] for name in INTENSITY_G_PER_KWH] == list(INTENSITY_G_PER_KWH)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"hardware": "RTX 2081 Ti", "hours": 1}, "no power on record for 'RTX 2081 Ti'. Did you mean 'RTX 2080 Ti'"),
        ({"hardware": "", "hours": 1}, "no power on record for ''"),
        ({"hours": 1}, "give either the hardware"),
        ({"hardware": "T4", "power_w": 70, "hours": 1}, "give either the hardware"),
        ({"hardware": "T4", "hours": -1}, "hours is -1; give a number above 0."),
        ({"hardware": "T4", "hours": 0}, "hours is 0; give"),
        ({"hardware": "T4", "hours": math.nan}, "hours is nan; give"),
        ({"hardware": "T4", "hours": math.inf}, "hours is inf; give"),
        ({"hardware": "T4", "hours": "two"}, "hours is 'two'; give"),
        ({"hardware": "T4", "hours": True}, "hours is True; give"),
        ({"power_w": 0, "hours": 1}, "power_w is 0; give a number above 0."),
        ({"power_w": math.nan, "hours": 1}, "power_w is nan"),
        ({"hardware": "T4", "hours": 1, "pue": 0.9}, "pue is 0.9; give a number from 1 upwards."),
        ({"hardware": "T4", "hours": 1, "utilisation": 1.5}, "utilisation is 1.5; give a number above 0 and up to 1."),
        ({"hardware": "T4", "hours": 1, "utilisation": 0}, "utilisation is 0; give"),
        ({"hardware": "T4", "hours": 1, "intensity": -0.1}, "intensity is -0.1; give a number from 0 upwards."),
        ({"hardware": "T4", "hours": 1, "region": "Lodnon"}, "on record for 'Lodnon'. Did you mean 'London'"),
        ({"hardware": "T4", "hours": 1, "region": "London", "intensity": 0.3}, "a region or an intensity, not both"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(arguments, sentence):
    with pytest.raises(CoppiceError, match=sentence):
        co2(**arguments)
