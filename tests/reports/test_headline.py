import json

import pytest

from coppice.reports.headline import filters_cut, realised_speed, run_headline
from coppice.reports.run_records import read_run
from coppice.reports.stage_table import stage_table


def change(path, **values):
    content = json.loads(path.read_text())
    content["stages"]["cosine_similarity/1-finetune"].update(values)
    path.write_text(json.dumps(content))


def test_the_sentence_counts_filters_clips_and_savings_as_the_records_do(whole_run):
    run = read_run(whole_run)
    after = json.loads((whole_run / "systems/cosine_similarity/float16/metrics.json").read_text())
    before = json.loads((whole_run / "train/metrics.json").read_text())
    right = [sum(m["evaluation"]["test"]["confusion"][i][i] for i in range(10)) for m in (after, before)]
    params = [m["complexity"]["params_total"] for m in (after, before)]
    macs = [m["complexity"]["macs"] for m in (after, before)]
    assert run_headline(run).sentence == (
        "Cutting 20 of 64 filters (cosine_similarity) leaves a network with "
        f"{100 * (1 - params[0] / params[1]):.1f} % fewer parameters that does "
        f"{100 * (1 - macs[0] / macs[1]):.1f} % fewer multiplications per clip, and it gets {right[0]} of 80 "
        f"test clips right, where the unpruned one got {right[1]}."
    )


def test_an_interval_across_zero_is_said_to_decide_nothing(whole_run):
    remark = run_headline(read_run(whole_run)).remarks[0]
    assert "these clips cannot tell the two networks apart" in remark


def test_a_change_beyond_the_interval_is_named_a_loss(make_run):
    run = make_run(systems=["cosine_similarity"])
    folder = run / "systems" / "cosine_similarity"
    for name in ("metrics.json", "predictions.csv"):  # as if fine-tuning had brought nothing back
        (folder / "float16" / name).write_text((folder / "1-prune" / name).read_text())
    assert "the loss is unlikely to be chance" in run_headline(read_run(run)).remarks[0]


def test_without_predictions_no_interval_of_the_change_is_made_up(make_run):
    run = make_run(systems=["cosine_similarity"])
    (run / "train" / "predictions.csv").unlink()
    remark = run_headline(read_run(run)).remarks[0]
    assert "the interval of the change itself cannot be given" in remark


def test_speed_is_the_clock_and_is_set_beside_the_macs(whole_run):
    run = read_run(whole_run)
    speed = realised_speed(run, run.unpruned, run.last_stage("cosine_similarity"))
    times = json.loads((whole_run / "latency.json").read_text())["stages"]
    measured = [times[name]["latency_ms_p50"] for name in ("train", "cosine_similarity/1-finetune")]
    assert speed.speed_up == pytest.approx(measured[0] / measured[1])
    assert speed.ratio == pytest.approx(speed.speed_up / speed.mac_reduction)
    assert "this engine does not follow the MACs" in run_headline(run).remarks[1]


def test_a_network_that_became_slower_is_called_slower(make_run):
    run = make_run(systems=["cosine_similarity"])
    change(run / "latency.json", latency_ms_p50=4.0)
    record = read_run(run)
    assert "It has become slower" in run_headline(record).remarks[1]
    assert "(slower)" in stage_table(record).warnings[0]


def test_no_warning_when_the_speed_follows_the_macs(make_run):
    run = make_run(systems=["cosine_similarity"])
    change(run / "latency.json", latency_ms_p50=1.0)
    record = read_run(run)
    assert stage_table(record).warnings == ()
    assert "arrives as speed" not in run_headline(record).remarks[1]


def test_a_float16_stage_takes_as_long_as_the_stage_it_stores(whole_run):
    run = read_run(whole_run)
    stored = run.last_stage("l1")
    times, measured_on = run.latency_of(stored)
    assert stored.entry.kind == "float16"
    assert measured_on.entry.id == "l1/1-finetune" and times == measured_on.latency


def test_filters_of_coupled_layers_are_counted(make_run):
    run = make_run(systems=["l1"])
    plan = {"version": 1, "layers": [{"name": "a", "filters": 8, "keep": [0, 1, 2], "coupled": ["b", "a"]}]}
    (run / "systems" / "l1" / "1-prune" / "plan.json").write_text(json.dumps(plan))
    cut = filters_cut(read_run(run), "l1")
    assert (cut.removed, cut.filters, cut.layers) == (10, 16, 2)


def test_what_was_not_measured_is_a_dash_in_the_table(make_run):
    run = make_run(systems=["l1"], latency=False)
    (run / "systems" / "l1" / "float16" / "metrics.json").unlink()
    rows = stage_table(read_run(run)).rows
    assert {cell.value for cell in rows[-1].cells} == {"–"}
    assert rows[0].cells[8].value == "–"
