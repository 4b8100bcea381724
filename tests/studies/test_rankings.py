"""What a study says of rankings by similarities."""

import csv
from pathlib import Path

import pytest

import coppice as cp
import coppice.evaluation.evaluate as evaluate
import coppice.recipes.run as recipes_run
import coppice.studies.engine as engine
import coppice.studies.tasks as tasks
from coppice.criteria.approximation import approximation
from coppice.networks.checkpoint import load
from coppice.pruning.plan import PruningPlan
from coppice.studies.engine import run_study

STUDY = """\
name: mine
recipe:
  data: {source: synthetic, synthetic: {clips_per_class: 5, duration_s: 0.5}}
  front_end: {preset: dcase2021, duration_s: 0.5}
  network: {name: dcase2021, widths: [6, 6, 8], dense: 6}
  training: {epochs: 1, precision: float32}
  quantize: null
system:
  - prune: {criterion: cosine_similarity, layers: [conv1, conv3], ratios: 0.5}
axes:
  criterion: [cosine_similarity, nystrom(m=1), nystrom_spread(m=2), l1]
  fold: [1]
"""


def table(path):
    with path.open(newline="") as lines:
        return list(csv.DictReader(lines))


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    (folder / "mine.yaml").write_text(STUDY)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COPPICE_CACHE", str(folder / "cache"))
        patch.setattr(engine, "in_processes", lambda given, jobs: ((task, tasks.do_task(task)) for task in given))
        patch.setattr(recipes_run, "write_report", lambda folder: folder / "report.html")
        patch.setattr(evaluate, "RESAMPLES", 20)
        patch.setattr(engine, "write_study_page", lambda folder: folder / "study.html")
        yield run_study(folder / "mine.yaml", out=folder / "study")


def test_every_layer_has_its_error_and_what_exact_similarities_keep(done):
    rows = table(done / "rankings.csv")
    criteria = ("cosine_similarity", "nystrom(m=1)", "nystrom_spread(m=2)")
    names = [(row["point"], row["layer"]) for row in rows]
    assert names == [(f"criterion={name}", layer) for name in criteria for layer in ("conv1", "conv3")]
    net = load(done / "base" / "fold1-seed0" / "train" / "checkpoint.safetensors")
    exact = cp.plan(net, "cosine_similarity", ratios=0.5, layers=["conv1", "conv3"])
    for row in rows:
        criterion = row["point"].removeprefix("criterion=")
        measured = approximation(net.network.get_submodule(row["layer"]).weight, criterion)
        assert float(row["similarity_error"]) == pytest.approx(measured.similarity_error, abs=1e-12)
        assert row["smallest_m"] == str(measured.smallest_m)
        kept = PruningPlan.load(done / row["run"] / "systems" / "pruned" / "1-prune" / "plan.json").keep(row["layer"])
        either, both = {*kept, *exact.keep(row["layer"])}, {*kept} & {*exact.keep(row["layer"])}
        assert float(row["kept_as_exact"]) == len(both) / len(either)
        assert (int(row["filters"]), int(row["kept"])) == ({"conv1": 6, "conv3": 8}[row["layer"]], len(kept))
        assert (row["stage"], row["fold"], row["seed"]) == ("1-prune", "1", "0")
        assert 0 < float(row["ranking_ms"]) < 1000


def test_a_run_has_the_time_of_all_its_layers_and_the_largest_error(done):
    layers = table(done / "rankings.csv")
    *similar, l1 = table(done / "results.csv")
    for row in similar:
        own = [layer for layer in layers if layer["run"] == row["run"]]
        assert float(row["ranking_ms"]) == pytest.approx(sum(float(layer["ranking_ms"]) for layer in own))
        assert float(row["similarity_error"]) == max(float(layer["similarity_error"]) for layer in own)
    assert (float(similar[0]["similarity_error"]), float(similar[0]["kept_as_exact"])) == (0, 1)
    assert float(similar[1]["similarity_error"]) > 0.1
    assert [l1[name] for name in ("ranking_ms", "similarity_error", "kept_as_exact")] == ["", "", ""]


def test_what_was_measured_stays_and_goes_with_the_last_such_run(done, tmp_path):
    before = (done / "rankings.csv").read_bytes()
    file = tmp_path / "mine.yaml"
    file.write_text(STUDY)
    run_study(file, out=done)
    assert (done / "rankings.csv").read_bytes() == before
    file.write_text(STUDY.replace("cosine_similarity, nystrom(m=1), nystrom_spread(m=2), l1", "l1"))
    run_study(file, out=done)
    assert not (done / "rankings.csv").exists()
