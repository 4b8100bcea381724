"""CodeCarbon itself, where it is installed."""

import time

import pytest

from coppice.energy.meter import metered

pytest.importorskip("codecarbon", reason="the extra energy is not installed")


def busy(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


def test_codecarbon_measures_in_a_way_that_has_a_name_without_a_word_or_a_file(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    # A user's settings that would write a file and send results away.
    (tmp_path / ".codecarbon.config").write_text(
        "[codecarbon]\nsave_to_file=True\nsave_to_api=True\nemissions_endpoint=http://127.0.0.1:9\nlog_level=debug\n"
        "output_dir=nowhere\nallow_multiple_runs=False\n"
    )
    with metered() as meter:
        busy(1.2)
    found = meter.energy
    assert found.mode.startswith("codecarbon ")
    assert "a way that it calls" not in found.mode
    assert found.energy_kwh > 0
    assert 1.2 <= found.seconds < 10
    assert found.co2_kg == pytest.approx(0.432 * found.energy_kwh)
    assert capfd.readouterr() == ("", "")
    assert [file.name for file in tmp_path.iterdir()] == [".codecarbon.config"]


def test_a_country_of_codecarbons_table_gives_the_intensity(monkeypatch):
    monkeypatch.setenv("CODECARBON_COUNTRY_ISO_CODE", "FRA")
    with metered() as meter:
        busy(0.5)
    assert meter.energy.assumptions[-1].endswith("(CodeCarbon's table, FRA)")
    assert 0 < meter.energy.co2_kg < 0.2 * meter.energy.energy_kwh  # nuclear power: far below the default
