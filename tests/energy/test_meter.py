import time

import pytest

from coppice.core.errors import CoppiceError
from coppice.energy.estimate import MODE, Reading, estimate
from coppice.energy.meter import Meter, metered

PROCESS = "codecarbon 9.9, load of this process × thermal design power"
RAPL = "codecarbon 9.9, RAPL counter of the whole processor"
HOUR = (Reading(10.0, 5.0), Reading(3610.0, 7205.0))  # two of four processors for an hour


def test_the_estimate_is_the_share_of_processor_time_times_the_power(monkeypatch):
    found = estimate(*HOUR)
    assert found.energy_kwh == pytest.approx(0.0425, rel=1e-12)  # 85 W × 7200 s / 4 = 153 kJ
    assert found.co2_kg == pytest.approx(0.01836, rel=1e-12)  # × 0.432 kg/kWh
    assert (found.seconds, found.mode) == (3600.0, MODE)
    assert "85 W, assumed, as no power of 'Some processor' is on record" in found.assumptions[0]
    assert "a kWh emits 0.432 kg CO2e" in found.assumptions[-1]
    monkeypatch.setenv("COPPICE_POWER_W", "200")
    monkeypatch.setenv("COPPICE_INTENSITY", "0.25")
    assert estimate(*HOUR).energy_kwh == pytest.approx(0.1, rel=1e-12)
    assert estimate(*HOUR).co2_kg == pytest.approx(0.025, rel=1e-12)
    monkeypatch.setenv("COPPICE_INTENSITY", "Paris")
    assert estimate(*HOUR).co2_kg == pytest.approx(0.0105, rel=1e-12)


def test_a_gpu_in_use_is_estimated_at_full_power_over_the_jobs_beside_each_other(monkeypatch):
    alone = estimate(*HOUR, gpus=["Tesla T4"])
    assert alone.energy_kwh == pytest.approx(0.0425 + 0.07, rel=1e-12)
    assert estimate(*HOUR, gpus=["Tesla T4"], jobs=2).energy_kwh == pytest.approx(0.0425 + 0.035, rel=1e-12)
    assert "300 W, assumed" in estimate(*HOUR, gpus=["A card"]).assumptions[2]
    monkeypatch.setenv("COPPICE_GPU_POWER_W", "100")
    assert estimate(*HOUR, gpus=["A card"]).energy_kwh == pytest.approx(0.1425, rel=1e-12)


@pytest.mark.parametrize(
    ("variable", "text", "sentence"),
    [
        ("COPPICE_POWER_W", "lots", "COPPICE_POWER_W is 'lots'; give a number above 0, such as 65."),
        ("COPPICE_POWER_W", "0", "COPPICE_POWER_W is '0'"),
        ("COPPICE_POWER_W", "nan", "COPPICE_POWER_W is 'nan'"),
        ("COPPICE_POWER_W", "inf", "COPPICE_POWER_W is 'inf'"),
        ("COPPICE_INTENSITY", "-1", "COPPICE_INTENSITY is '-1'; give a number from 0 upwards, or a region"),
        ("COPPICE_INTENSITY", "Lodnon", "for 'Lodnon'. Did you mean 'London'"),
    ],
)
def test_a_power_that_cannot_be_is_refused_before_the_work(monkeypatch, no_codecarbon, variable, text, sentence):
    monkeypatch.setenv(variable, text)
    with pytest.raises(CoppiceError, match=sentence), metered():
        pytest.fail("worked")


def test_without_codecarbon_the_energy_is_an_estimate_and_says_why(no_codecarbon):
    with metered() as meter:
        end = time.process_time() + 0.05
        while time.process_time() < end:
            pass
    assert meter.energy.mode == MODE
    assert meter.energy.energy_kwh >= 85 * 0.05 / 4 / 3.6e6
    assert meter.energy.assumptions[0].startswith("CodeCarbon is not installed (extra 'energy')")
    assert meter.energy is meter.energy  # it has stopped


def test_codecarbon_is_asked_offline_by_process_and_for_no_output(codecarbon, capfd, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with metered() as meter:
        pass
    wanted = {
        "tracking_mode": "process",
        "output_methods": [],
        "emissions_endpoint": False,
        "electricitymaps_api_token": "",
        "allow_multiple_runs": True,
    }
    assert codecarbon.options.items() >= wanted.items()
    assert codecarbon.calls == ["make", "start", "stop"]
    assert capfd.readouterr() == ("", "")
    assert not list(tmp_path.iterdir())
    found = meter.energy
    assert (found.mode, found.energy_kwh, found.seconds) == (PROCESS, pytest.approx(0.4), 60.0)  # 0.3 + 0.1
    assert found.co2_kg == pytest.approx(0.4 * 0.432)
    assert found.assumptions[0] == "the processor by load of this process × thermal design power, with 40 W"


def test_jobs_beside_each_other_are_not_counted_twice(codecarbon):
    with metered(jobs=2) as meter:
        pass
    assert meter.energy.energy_kwh == pytest.approx(0.3 + 0.1 / 2)  # only the memory is the machine's
    codecarbon.hardware = [codecarbon.part("RAM"), codecarbon.part("CPU", _mode="intel_rapl", _tdp=85)]
    with metered(jobs=2) as meter:
        pass
    assert (meter.energy.mode, meter.energy.energy_kwh) == (RAPL, pytest.approx((0.3 + 0.1) / 2))
    assert "what is measured of the whole machine is divided by 2, the jobs on it" in meter.energy.assumptions
    with metered() as meter:
        pass
    assert meter.energy.energy_kwh == pytest.approx(0.4)
    assert "whatever else ran on the processor at that time is counted, too" in meter.energy.assumptions


@pytest.mark.parametrize(
    ("kind", "attributes", "said"),
    [
        ("CPU", {"_mode": "constant", "_tdp": 85}, "constant power"),
        ("CPU", {"_mode": "intel_power_gadget"}, "Power Gadget's counter of the whole processor"),
        ("CPU", {"_mode": "telepathy"}, "a way that it calls telepathy"),
        ("AppleSiliconChip", {"chip_part": "CPU"}, "powermetrics of the whole chip"),
        ("Raspberry", {"chip_part": "CPU"}, "power chip of the whole board"),
    ],
)
def test_the_mode_says_in_which_way_codecarbon_fell_back(codecarbon, kind, attributes, said):
    memory = codecarbon.part("Raspberry", chip_part="RAM")
    codecarbon.hardware = [memory, codecarbon.part(kind, **attributes)]
    with metered() as meter:
        pass
    assert meter.energy.mode == f"codecarbon 9.9, {said}"


def test_a_gpu_is_counted_only_where_the_work_uses_it(codecarbon, gpu, monkeypatch):
    codecarbon.hardware.append(codecarbon.part("GPU"))
    with metered() as used:
        pass
    monkeypatch.setattr("coppice.energy.meter.gpus_in_use", lambda: [])
    with metered() as unused:
        pass
    assert used.energy.mode == unused.energy.mode == f"{PROCESS}; GPU's counter"
    assert (used.energy.energy_kwh, unused.energy.energy_kwh) == (pytest.approx(0.9), pytest.approx(0.4))
    assert "the GPU was not used" in unused.energy.assumptions


def test_a_power_that_the_user_gives_takes_the_place_of_codecarbons(codecarbon, monkeypatch):
    monkeypatch.setenv("COPPICE_POWER_W", "80")
    with metered() as meter:
        pass
    assert meter.energy.energy_kwh == pytest.approx(2 * 0.3 + 0.1)
    assert meter.energy.assumptions[0].endswith("with 80 W, given as COPPICE_POWER_W")


def test_a_country_in_codecarbons_settings_gives_the_intensity_unless_the_user_gives_one(codecarbon, monkeypatch):
    codecarbon.data |= {"country_iso_code": "FRA", "pue": 1.2}
    with metered() as meter:
        pass
    assert meter.energy.co2_kg == pytest.approx(0.4 * 0.18 / 0.9)
    assert meter.energy.assumptions[-1] == "a kWh emits 0.2 kg CO2e (CodeCarbon's table, FRA)"
    assert "the building takes 1.2 times what its computers take (CodeCarbon's setting)" in meter.energy.assumptions
    monkeypatch.setenv("COPPICE_INTENSITY", "0.5")
    with metered() as meter:
        pass
    assert meter.energy.co2_kg == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("step", "error", "said"),
    [
        ("make", RuntimeError("no\nluck."), "CodeCarbon failed (RuntimeError: no luck), so nothing was measured"),
        ("start", PermissionError("RAPL"), "CodeCarbon failed (PermissionError: RAPL)"),
        ("stop", ValueError("lost"), "CodeCarbon failed (ValueError: lost)"),
        ("make", ImportError("no module", name="pynvml"), "CodeCarbon failed (ImportError: no module)"),
    ],
)
def test_a_failure_of_codecarbon_falls_back_to_the_estimate_and_says_so(codecarbon, capfd, step, error, said):
    codecarbon.fails = {step: error}
    with metered() as meter:
        done = True
    assert done
    assert meter.energy.mode == MODE
    assert meter.energy.assumptions[0].startswith(said)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("broken", ["nothing", "nan", "no hardware", "no field"])
def test_a_result_that_is_none_falls_back_to_the_estimate(codecarbon, broken):
    if broken == "nothing":
        codecarbon.data = None
    elif broken == "nan":
        codecarbon.data["cpu_energy"] = float("nan")
    elif broken == "no hardware":
        codecarbon.hardware = None
    else:
        del codecarbon.data["ram_energy"]
    with metered() as meter:
        pass
    assert meter.energy.mode == MODE
    assert meter.energy.assumptions[0].startswith("CodeCarbon failed")


def test_an_error_of_the_work_goes_through_and_its_energy_is_known(codecarbon):
    with pytest.raises(KeyboardInterrupt), metered() as meter:
        raise KeyboardInterrupt
    assert meter.energy.energy_kwh == pytest.approx(0.4)
    assert codecarbon.calls[-1] == "stop"


def test_what_is_known_so_far_is_the_last_sample(codecarbon):
    meter = Meter()
    assert (meter.energy.energy_kwh, meter.energy.mode) == (0.0, PROCESS)
    (handler,) = codecarbon.options["output_handlers"]
    handler.live_out(codecarbon.result, None)
    assert meter.energy.energy_kwh == pytest.approx(0.4)
    codecarbon.data["cpu_energy"] = 0.7
    assert meter.stop().energy_kwh == pytest.approx(0.8)
    assert meter.stop() is meter.energy
