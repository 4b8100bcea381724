"""The study's page in a browser: choices, the table, the way to a run's report, downloads; by mouse and by key."""

import csv
import io

import pytest

from coppice.reports.study_page import write_study_page
from made_study import made_rows, write_study

pytestmark = pytest.mark.proof
AXES = {"criterion": ("random", "l1", "taylor"), "ratios": ("0.25", "0.5", "0.75")}
DRAWN = "document.documentElement.dataset.drawn === 'yes'"
ROWS = "[...document.querySelectorAll('#records tbody tr')].map((row) => [...row.cells].map((cell) => cell.innerText))"
COUNT = "document.getElementById('count').textContent"
FOCUSED = """(({ tagName, type, dataset, id }) =>
  [tagName, type ?? "", dataset.sort ?? dataset.point ?? id].join(" "))(document.activeElement)"""
SAVED = """(() => {
  const kept = [];
  const make = URL.createObjectURL;
  URL.createObjectURL = (blob) => { kept.push(blob); return make.call(URL, blob); };
  HTMLAnchorElement.prototype.click = function () { this.dispatchEvent(new Event("kept")); };
  window.kept = kept;
})()"""


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    rows = made_rows(AXES, folds=(1, 2, 3, 4), seeds=(0, 1), failing=0.12)
    write_study(folder, AXES, rows)
    report = folder / rows[0]["run"] / "report.html"
    report.parent.mkdir(parents=True)
    report.write_text("<h1>a run</h1>")
    write_study_page(folder)
    return folder, rows


@pytest.fixture
def page(browser, study):
    with browser() as started:
        tab = started.page()
        tab.call("Emulation.setDeviceMetricsOverride", width=1280, height=900, deviceScaleFactor=1, mobile=False)
        tab.open((study[0] / "study.html").as_uri())
        tab.wait(DRAWN)
        yield tab
        assert tab.complaints == []
        assert all(url.startswith(("file:", "blob:", "data:")) for url in tab.requests)


def pick(page, label):
    page.value(f"[...document.querySelectorAll('label')].find((one) => one.innerText === {label!r}).click()")


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_wider_than_the_window(page, width):
    page.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 500)
    page.wait("innerWidth === " + str(width))
    assert page.value("document.documentElement.scrollWidth <= innerWidth")


def test_a_choice_changes_the_chart_and_its_table(page):
    shown = "document.querySelector('[data-list=\"front\"]:not([hidden]) caption').innerText"
    assert "accuracy against parameters" in page.value(shown)
    pick(page, "log-loss")
    pick(page, "MACs")
    assert "log-loss against MACs" in page.value(shown)
    page.wait("document.querySelector('[data-of=\"front\"]').innerHTML.includes('test log-loss (nats)')")


def test_choices_that_exclude_each_other_give_way_to_the_last(page):
    shown = "document.querySelector('[data-of=\"pairs\"]').dataset.chart"
    pick(page, "ratios 0.25")
    assert page.value(shown) == "pairs-criterion-ratios-0.25-accuracy"
    pick(page, "ratios")  # ratios at one ratio make no pairs
    assert page.value(shown) == "pairs-ratios-all-accuracy"


def test_the_table_sorts_filters_and_pages(page, study):
    _, rows = study
    pick(page, "single runs")
    assert page.value(COUNT) == f"1 to 50 of {len(rows)} runs"
    page.click("#next")
    assert page.value(COUNT) == f"51 to {len(rows)} of {len(rows)} runs"
    page.click("[data-sort='log_loss']")
    losses = sorted(row["log_loss"] for row in rows if "log_loss" in row)
    column = page.value(
        "[...document.querySelectorAll('#records th button')].findIndex((b) => b.innerText === 'Log-loss')"
    )
    first = [float(row[column]) for row in page.value(ROWS)]
    assert first == [pytest.approx(loss, abs=5.1e-4) for loss in losses[:50]]
    page.click("[data-sort='log_loss']")
    page.click("#next")
    assert page.value(ROWS)[-1][column] == "–"  # a failed run stays last both ways
    page.value("{const s = document.querySelector('[data-axis=\"criterion\"]'); s.value = 'l1';"
               "s.dispatchEvent(new Event('change', {bubbles: true}))}")  # fmt: skip
    wanted = [row for row in rows if row["axis.criterion"] == "l1"]
    ratio = next(row["axis.ratios"] for row in wanted if row["status"] == "failed")
    assert page.value(COUNT) == f"1 to {len(wanted)} of {len(wanted)} runs, of {len(rows)} in all"
    page.value(f"document.getElementById('search').value = 'nan {ratio}'")
    page.value("document.getElementById('search').dispatchEvent(new Event('input'))")
    failed = [row for row in wanted if row["status"] == "failed" and row["axis.ratios"] == ratio]
    assert len(page.value(ROWS)) == len(failed) > 0


def test_a_point_leads_to_its_runs_and_a_run_to_its_report(page, study):
    _, rows = study
    page.value("document.querySelector('[data-list=\"front\"]:not([hidden]) a[data-point]').focus()")
    point = page.value("document.activeElement.dataset.point")
    page.value("document.activeElement.click()")
    assert page.value(COUNT).startswith("1 to 8 of 8 runs")
    assert page.value("document.querySelector('#only strong').innerText") == point
    page.click("#only button")
    assert page.value(COUNT) == f"1 to 50 of {len(rows)} runs"
    links = "[...document.querySelectorAll('#records tbody a')].map((link) => link.getAttribute('href'))"
    assert page.value(links) == [f"./{rows[0]['run']}/report.html"]
    page.click("#records tbody a")
    page.wait("document.body.innerText.includes('a run')")


def test_a_mark_in_the_chart_leads_to_the_runs_of_its_point(page):
    mark = 'document.querySelector(\'[data-of="front"] .mark-symbol.role-mark path[aria-label*="point: criterion"]\')'
    page.value(f"{mark}.scrollIntoView({{block: 'center', behavior: 'instant'}})")
    page.value(f"{{window.box = {mark}.getBoundingClientRect()}}")
    box = page.value("[box.x + box.width / 2, box.y + box.height / 2]")
    for kind in ("mousePressed", "mouseReleased"):
        page.call("Input.dispatchMouseEvent", type=kind, x=box[0], y=box[1], button="left", clickCount=1)
    page.wait("!document.getElementById('only').hidden")
    assert page.value("document.querySelector('#only strong').innerText").startswith("criterion ")


def test_everything_can_be_reached_by_key(page):
    reached = []
    for _ in range(90):
        page.press("Tab", 9)
        reached.append(page.value(FOCUSED))
    text = "\n".join(reached)
    for wanted in ("INPUT radio", "A  criterion", "INPUT search search", "SELECT select-one", "BUTTON button accuracy"):
        assert wanted in text, (wanted, text)


def test_downloads_hold_the_results_and_the_chart(page, study):
    folder, rows = study
    page.value(SAVED)
    page.click("#csv")
    text = page.value("kept[0].text()")
    assert text == (folder / "results.csv").read_bytes().decode()
    assert len(list(csv.DictReader(io.StringIO(text)))) == len(rows)
    page.click("[data-downloads='front'] [data-format='svg']")
    page.wait("kept.length === 2")
    assert page.value("kept[1].text()").startswith("<svg")
    page.click("[data-downloads='front'] [data-format='pdf']")
    page.wait("kept.length === 3")
    assert page.value("kept[2].slice(0, 4).text()") == "%PDF"
