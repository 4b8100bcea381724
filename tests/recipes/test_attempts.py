import errno
import json
from typing import ClassVar

import pytest

from coppice.core.errors import CoppiceError
from coppice.core.files import plain_os_errors
from coppice.energy.energy import Energy
from coppice.recipes import attempts
from coppice.recipes.stages import do_single_stage, do_stage, stage_energy


class FakeMeter:
    """Counts as a list says: one energy for each attempt; what is known so far is half of it."""

    coming: ClassVar[list[Energy]] = []

    def __init__(self, jobs=1):
        self.whole, self.stopped, self.jobs = FakeMeter.coming.pop(0), False, jobs

    @property
    def energy(self):
        whole = self.whole
        return whole if self.stopped else Energy(whole.energy_kwh / 2, whole.co2_kg / 2, whole.seconds / 2, whole.mode)

    def stop(self):
        self.stopped = True
        return self.whole


@pytest.fixture
def spends(monkeypatch):
    """Say what the next attempts spend, in kWh."""

    def say(*kwh, mode="RAPL"):
        FakeMeter.coming = [*FakeMeter.coming, *(Energy(one, one / 2, 100 * one, mode) for one in kwh)]

    FakeMeter.coming = []
    monkeypatch.setattr("coppice.energy.meter.Meter", FakeMeter)
    return say


def interrupted(folder):
    raise KeyboardInterrupt


def killed_claim(folder):
    """Leave what a process leaves that was killed: the claim as it stood then."""
    claim = (folder / attempts.CLAIM).read_bytes()

    def restore():
        (folder / attempts.CLAIM).write_bytes(claim)

    return restore


def test_a_stage_records_its_energy_beside_its_digest_which_does_not_depend_on_it(spends, tmp_path):
    spends(0.5, 0.25)
    first = do_stage(tmp_path, "train", {"seed": 0}, lambda folder: None)
    record = json.loads((first.folder / "stage.json").read_text())
    assert record["energy"] == Energy(0.5, 0.25, 50.0, "RAPL").to_dict()
    again = do_stage(tmp_path, "train", {"seed": 0}, pytest.fail)
    other = do_stage(tmp_path / "elsewhere", "train", {"seed": 0}, lambda folder: None)
    assert again.digest == first.digest == other.digest
    assert stage_energy(other.folder).energy_kwh == 0.25


def test_a_stage_from_before_energies_were_recorded_is_whole_and_has_none(spends, tmp_path):
    spends(1.0)
    stage = do_stage(tmp_path, "train", {}, lambda folder: None)
    record = json.loads((stage.folder / "stage.json").read_text())
    del record["energy"]
    (stage.folder / "stage.json").write_text(json.dumps(record))
    assert not do_stage(tmp_path, "train", {}, pytest.fail).ran
    assert stage_energy(stage.folder) is None
    assert stage_energy(tmp_path) is None


def test_what_interrupted_attempts_spent_is_part_of_the_stages_energy(spends, tmp_path):
    spends(1.0, 2.0, 4.0)

    def full_disk(folder):
        with plain_os_errors("write", folder / "x"):
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(KeyboardInterrupt):
        do_stage(tmp_path, "train", {}, interrupted)
    with pytest.raises(CoppiceError):
        do_stage(tmp_path, "train", {}, full_disk)
    found = stage_energy(do_stage(tmp_path, "train", {}, lambda folder: None).folder)
    assert (found.energy_kwh, found.co2_kg, found.seconds, found.missing) == (7.0, 3.5, 700.0, ())


def test_what_a_killed_attempt_had_last_said_counts_and_the_rest_is_said_to_be_missing(spends, tmp_path):
    spends(1.0, 2.0, 4.0)
    claims = []

    def killed(folder):
        claims.append(killed_claim(folder))
        raise KeyboardInterrupt

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            do_stage(tmp_path, "train", {}, killed)
        claims[-1]()
    found = stage_energy(do_stage(tmp_path, "train", {}, lambda folder: None).folder)
    assert found.energy_kwh == 0.5 + 1.0 + 4.0
    assert found.missing == (
        "an attempt was killed: what it spent after the first 50 s is not known",
        "an attempt was killed: what it spent after the first 100 s is not known",
    )


def test_what_is_spent_is_saved_while_the_work_goes_on(spends, tmp_path, monkeypatch):
    monkeypatch.setattr(attempts, "_SAVE_S", 0.01)
    spends(1.0)
    with attempts.counted_attempt(tmp_path, "key") as attempt:
        attempt.meter.whole = Energy(64.0, 32.0, 1.0, "RAPL")
        for _ in range(500):
            claim = json.loads((tmp_path / attempts.CLAIM).read_text())
            if claim["running"]["energy_kwh"] == 32.0:
                break
            attempts.threading.Event().wait(0.01)
        else:
            pytest.fail("nothing was saved")
    assert attempts.claimed_by(tmp_path) == "key"


def test_an_attempt_that_was_measured_in_another_way_is_named_and_not_added(spends, tmp_path):
    spends(1.0, mode="RAPL")
    spends(2.0, mode="estimate")
    with pytest.raises(KeyboardInterrupt):
        do_stage(tmp_path, "train", {}, interrupted)
    found = stage_energy(do_stage(tmp_path, "train", {}, lambda folder: None).folder)
    assert (found.energy_kwh, found.mode) == (2.0, "estimate")
    assert found.missing == ("1 kWh of an interrupted attempt were measured in another way (RAPL)",)


def test_attempts_at_other_inputs_do_not_count(spends, tmp_path):
    spends(1.0, 2.0)
    with pytest.raises(KeyboardInterrupt):
        do_stage(tmp_path, "train", {"seed": 0}, interrupted)
    assert stage_energy(do_stage(tmp_path, "train", {"seed": 1}, lambda folder: None).folder).energy_kwh == 2.0


@pytest.mark.parametrize("content", ['{"digest": "KEY", "spent": 3}', '{"digest": "KEY", "spent": [{}], "running": 1}'])
def test_a_claim_of_an_earlier_version_or_a_damaged_one_counts_nothing(spends, tmp_path, content):
    spends(1.0, 2.0)
    with pytest.raises(KeyboardInterrupt):
        do_stage(tmp_path, "train", {}, interrupted)
    claim = tmp_path / ".partial" / "train" / attempts.CLAIM
    claim.write_text(content.replace("KEY", attempts.claimed_by(claim.parent)))
    assert stage_energy(do_stage(tmp_path, "train", {}, lambda folder: None).folder).energy_kwh == 2.0


def test_a_stage_that_stands_alone_says_what_it_took(spends, tmp_path, capsys):
    spends(0.5)
    do_single_stage(tmp_path / "mine", {}, lambda folder: None)
    assert capsys.readouterr().err == "energy: 0.5 kWh, 0.25 kg CO2e; RAPL\n"
    do_single_stage(tmp_path / "mine", {}, pytest.fail)
    assert capsys.readouterr().err == ""
