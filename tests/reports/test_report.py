import json
import re
import shutil
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest

from coppice.core.errors import CoppiceError
from coppice.reports.report import write_report
from quick import quick

HOSTILE = '</script><script>alert(1)</script>"><img src=x onerror=alert(2)>'


class Page(HTMLParser):
    """Tags with their attributes, the text that is shown, and the content of scripts."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.shown: list[str] = []
        self._inside = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self._inside = tag if tag in ("script", "style") else ""
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag):
        self._inside = ""

    def handle_data(self, data):
        if self._inside == "script":
            self.scripts[-1] += data
        elif self._inside != "style":
            self.shown.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.shown).split())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def page(whole_run: Path) -> Page:
    return Page(write_report(whole_run))


def test_the_report_is_one_file_below_3_mb_in_the_run_folder(whole_run, page):
    assert 0 < (whole_run / "report.html").stat().st_size < 3_000_000
    assert page.all("link") == page.all("iframe") == []


def test_nothing_on_the_page_points_outside_it(page):
    for tag, attributes in page.tags:
        for name in ("src", "href", "xlink:href", "action", "data", "poster"):
            value = attributes.get(name)
            assert value is None or value.startswith(("#", "data:image/png;base64,")), (tag, name, value)
    policy = next(meta["content"] for meta in page.all("meta") if "http-equiv" in meta)
    assert policy.startswith("default-src 'none'")
    assert "http" not in policy


def test_every_section_of_a_whole_run_is_there(page):
    headings = [attributes["id"] for attributes in page.all("section")]
    expected = ["stages", "cost", "training", "classes", "similarity", "filters", "energy", "data", "environment"]
    assert headings == expected
    assert "What is missing here" not in page.text


def test_each_fit_says_why_it_ended_and_what_it_took(page):
    assert re.search(r"stopped: no progress for 10 epochs.{1,80} and 1\.2 TMACs\.", page.text)


def test_every_chart_on_the_page_has_a_specification_and_a_description(page):
    charts = json.loads(page.scripts[0])
    used = [attributes["data-chart"] for attributes in page.all("div") if "data-chart" in attributes]
    assert sorted(used) == sorted(charts)
    assert all(chart["spec"]["description"] for chart in charts.values())


def test_tables_say_what_their_headings_head(page):
    headings = page.all("th")
    assert headings
    assert all(attributes.get("scope") in ("row", "col") for attributes in headings)
    assert len(page.all("caption")) == len(page.all("table"))


def test_there_is_one_first_heading_and_no_level_is_skipped(page):
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels.count(1) == 1 and levels[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_the_recipe_is_shown_to_the_letter(whole_run, page):
    assert (whole_run / "recipe.yaml").read_text() in "".join(page.shown)


def test_files_left_out_are_listed_with_their_reason(page):
    assert "audio/9.ogg" in page.text and "it is cut short" in page.text


def test_scripts_in_names_are_inert(make_run):
    labels = [HOSTILE, *"abcdefghi"]
    run = make_run(labels=labels, problems=[(HOSTILE, HOSTILE)])
    for name in ("summary.json", "environment.json"):
        text = (run / name).read_text().replace("ESC-10, three criteria", "TITLE").replace("3.11.9", "TITLE")
        (run / name).write_text(text.replace('"TITLE"', json.dumps(HOSTILE)))
    (run / "recipe.yaml").write_text(HOSTILE)
    page = Page(write_report(run))
    assert len(page.scripts) == 4  # charts, themes, library, ours
    assert "alert(" not in page.scripts[2] + page.scripts[3]
    assert "<" not in page.scripts[0]
    assert HOSTILE in json.dumps(json.loads(page.scripts[0]), ensure_ascii=False).replace('\\"', '"')
    assert not page.all("img")
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    assert page.text.count("alert(1)") > 3  # it is shown, as text


def test_made_up_sounds_are_said_to_be_made_up(make_run, page):
    shown = Page(write_report(make_run(synthetic=True))).text
    assert "say nothing about recordings of the real world" in shown
    assert "made by a procedure" not in page.text


def test_a_run_without_latency_or_devices_says_so(make_run):
    text = Page(write_report(make_run(latency=False, devices=False))).text
    assert "Latency was not measured in this run" in text
    assert "The recording devices are not known" in text
    assert "latency p50 (ms)" not in text


PIECES = (
    "train/checkpoint.safetensors", "train/history.csv", "train/predictions.csv", "train/stage.json",
    "data/clips.csv", "data/data.json", "environment.json", "recipe.yaml", "latency.json",
    "systems/cosine_similarity/1-prune/plan.json", "systems/cosine_similarity/float16/metrics.json",
    "train/metrics.json",
)  # fmt: skip


KEY_PIECES = ("train/checkpoint.safetensors", "train/metrics.json", "environment.json", "data", "systems")


@pytest.mark.parametrize("gone", quick([*PIECES, "data", "systems"], *KEY_PIECES))
def test_a_missing_piece_is_a_note_and_not_a_failure(make_run, gone):
    run = make_run(systems=["cosine_similarity"])
    path = run / gone
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert "Every stage, every measure" in Page(write_report(run)).text


@pytest.mark.parametrize("damage", [b'\xff{"a": [', b"", b"[]", b"a,b\n1"], ids=["cut", "empty", "list", "table"])
def test_damaged_pieces_are_notes_and_not_failures(make_run, damage):
    run = make_run(systems=["cosine_similarity"])
    for piece in PIECES:
        (run / piece).write_bytes(damage)
    text = Page(write_report(run)).text
    assert "What is missing here" in text and "Every stage, every measure" in text


def test_a_run_that_was_stopped_shows_what_it_had(make_run):
    run = make_run(systems=["cosine_similarity"])
    (run / "summary.json").unlink()
    shutil.rmtree(run / "systems" / "cosine_similarity" / "float16")
    shutil.rmtree(run / "systems" / "cosine_similarity" / "1-finetune")
    text = Page(write_report(run)).text
    assert "This run has not finished" in text
    assert "cosine_similarity · pruned" in text


def test_a_run_of_one_stage_is_reported(make_run):
    run = make_run(systems=[])
    summary = json.loads((run / "summary.json").read_text())
    summary["stages"] = summary["stages"][:1]
    (run / "summary.json").write_text(json.dumps(summary))
    text = Page(write_report(run)).text
    assert re.search(r"The unpruned network gets \d+ of 80 test clips right", text)


def test_a_folder_that_is_no_run_is_refused_in_one_sentence(tmp_path):
    with pytest.raises(CoppiceError, match="is not a run folder"):
        write_report(tmp_path)
    with pytest.raises(CoppiceError, match="there is no run folder"):
        write_report(tmp_path / "nowhere")


def test_a_cross_validation_links_to_the_reports_of_its_runs(make_cross_validation):
    folder = make_cross_validation(sub_reports=["fold1-seed0", "fold2-seed1"])
    page = Page(write_report(folder))
    links = [a["href"] for a in page.all("a") if not a["href"].startswith("#")]
    assert links == ["./fold1-seed0/report.html", "./fold2-seed1/report.html"]
    assert page.text.count("(no report yet)") == 8


def test_a_cross_validation_of_made_up_sounds_says_so(make_cross_validation):
    folder = make_cross_validation()
    data = folder / "fold3-seed0" / "data"
    data.mkdir()
    (data / "data.json").write_text('{"name": "demo", "synthetic": true}')
    assert "made by a procedure" in Page(write_report(folder)).text


def test_a_run_folder_outside_the_cross_validation_is_refused(make_cross_validation):
    folder = make_cross_validation()
    text = (folder / "summary.json").read_text().replace("fold1-seed0", "../elsewhere")
    (folder / "summary.json").write_text(text)
    with pytest.raises(CoppiceError, match="not inside"):
        write_report(folder)
