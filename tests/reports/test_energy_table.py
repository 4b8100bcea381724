import json
import re

import pytest

from coppice.energy.energy import INFERENCE, Energy
from coppice.reports.cross_validation_records import read_cross_validation
from coppice.reports.energy_table import (
    MIXED,
    cross_validation_energy_table,
    inference_table,
    run_energy_table,
)
from coppice.reports.markdown import results_page
from coppice.reports.report import write_report
from coppice.reports.run_records import read_run

RAPL = Energy(0.25, 0.108, 90.0, "RAPL", ("whole processors",))
ESTIMATE = Energy(0.5, 0.216, 60.0, "estimate")


@pytest.fixture
def spent(make_run):
    """A run of two systems' stages, each with the energy that a test gives it by its folder."""

    def make(default=RAPL, **by_folder):
        run = make_run(systems=["l1"], latency=False)
        for path in run.rglob("stage.json"):
            energy = by_folder.get(path.parent.name.replace("-", "_"), default)
            path.write_text(json.dumps({"seconds": 1.0} | ({} if energy is None else {"energy": energy.to_dict()})))
        return run

    return make


def page_of(run):
    page = write_report(run).read_text(encoding="utf-8")
    section = page[page.index('<section id="energy"') :]
    return re.sub(r"\s+", " ", re.sub("<[^>]+>", " ", section[: section.index("</section>")]))


def test_stages_of_one_mode_are_added_up(spent):
    table = run_energy_table(read_run(spent()))
    assert [row.title for row in table.rows][-1] == "all stages"
    assert [cell.value for cell in table.rows[0].cells] == ["0.25", "0.108 kg", "1 min 30 s", "RAPL"]
    assert [cell.value for cell in table.rows[-1].cells][:2] == ["1.25", "0.54 kg"]  # five stages
    assert "Whole processors." in table.footnotes
    assert not table.warnings


def test_stages_of_two_modes_have_two_sums_and_a_warning(spent):
    run = spent(**{"1_finetune": ESTIMATE})
    table = run_energy_table(read_run(run))
    sums = [(row.title, row.cells[0].value, row.cells[-1].value) for row in table.rows if row.headline]
    assert sums == [
        ("all stages that were measured so", "1", "RAPL"),
        ("all stages that were measured so", "0.5", "estimate"),
    ]
    assert table.warnings == (MIXED,)
    (run / "train" / INFERENCE).write_text(json.dumps({"clips": 100, "energy": RAPL.to_dict()}))
    page = page_of(run)
    assert "neither added up nor to be compared" in page
    assert "Energy of classifying clips" in page


def test_a_stage_without_a_record_is_a_dash_and_named(spent):
    table = run_energy_table(read_run(spent(train=None)))
    assert {cell.value for cell in table.rows[0].cells} == {"–"}
    assert table.footnotes[-1] == "Not in the numbers: there is no record of the energy of unpruned."


def test_a_stage_of_which_a_part_is_missing_says_so(spent):
    lost = "an attempt was killed"
    table = run_energy_table(read_run(spent(train=Energy(0.25, 0.1, 1.0, "RAPL", (), (lost,)))))
    assert table.rows[0].cells[0].small == "not all of it"
    assert f"Not in the numbers: {lost}." in table.footnotes


def test_a_run_from_before_energies_were_recorded_has_its_report(spent, make_cross_validation):
    assert run_energy_table(read_run(spent(default=None))) is None
    assert cross_validation_energy_table(read_cross_validation(make_cross_validation())) is None
    assert "The energy was not recorded." in page_of(make_cross_validation())


@pytest.mark.parametrize("damage", [3, {"mode": "RAPL"}, {"energy_kwh": "many"}])
def test_a_damaged_record_of_an_energy_leaves_the_time(spent, damage):
    run = spent()
    (run / "train" / "stage.json").write_text(json.dumps({"seconds": 61.0, "energy": damage}))
    stage = read_run(run).unpruned
    assert (stage.energy, stage.seconds) == (None, 61.0)


def test_a_cross_validation_shows_sums_over_its_runs(make_cross_validation):
    folder = make_cross_validation()
    summary = json.loads((folder / "summary.json").read_text())
    summary["energy"] = [RAPL.to_dict(), ESTIMATE.to_dict()]
    summary["stages"][0]["energy"] = [RAPL.to_dict(), ESTIMATE.to_dict(), 3]
    (folder / "summary.json").write_text(json.dumps(summary))
    table = cross_validation_energy_table(read_cross_validation(folder))
    assert [row.title for row in table.rows[:2]] == [summary["stages"][0]["title"]] * 2
    assert [row.cells[-1].value for row in table.rows if row.headline] == ["RAPL", "estimate"]
    assert all("all stages of all runs" in row.title for row in table.rows if row.headline)


def test_the_energy_of_listening_stands_beside_the_baselines(spent):
    run = spent()
    assert inference_table(read_run(run)) is None
    record = {"clips": 100, "energy": RAPL.to_dict(), "baseline": {"network": "baseline", "energy": RAPL.to_dict()}}
    (run / "train" / INFERENCE).write_text(json.dumps(record))
    table = inference_table(read_run(run))
    assert table.rows == (
        ("unpruned", "100", "0.25", "9e+03 J", "RAPL"),
        ("baseline", "100", "0.25", "9e+03 J", "RAPL"),
    )
    (run / "systems" / "l1" / "float16" / INFERENCE).write_text(
        json.dumps({"clips": 100, "energy": ESTIMATE.to_dict(), "baseline": None})
    )
    assert "different ways is not comparable" in inference_table(read_run(run)).caption


def test_the_page_in_markdown_has_what_stages_and_listening_took(spent):
    run = spent(**{"1_finetune": ESTIMATE})
    (run / "train" / INFERENCE).write_text(json.dumps({"clips": 100, "energy": RAPL.to_dict()}))
    section = results_page(run).partition("## Energy\n")[2].partition("## Environment")[0]
    lines = section.splitlines()
    assert "| all stages that were measured so | 0.5 | 0.216 kg | 1 min 0 s | estimate |" in lines
    assert "| unpruned | 100 | 0.25 | 9e+03 J | RAPL |" in lines
    assert MIXED in lines
    tables = [line.count("|") for line in lines if line.startswith("|")]
    assert sorted(set(tables)) == [6]


def test_without_records_of_energy_the_page_in_markdown_has_no_such_section(spent, make_cross_validation):
    assert "Energy" not in results_page(spent(default=None))
    assert "Energy" not in results_page(make_cross_validation())
