import dataclasses
import re

import pytest

from coppice.core.errors import CoppiceError
from coppice.reproduction.claim import Claim, Paper, Row
from coppice.reproduction.pages import as_html, as_markdown, summary_line, value_text, write_pages
from coppice.reproduction.reproduce import all_claims, choose, reproduce

PAPER = Paper("some2020", "Some | paper", "Somebody, 2020")


def claim(**changes):
    given = {"paper": PAPER, "name": "x", "what": "a thing", "published": 1.5, "compute": lambda data: 1.5}
    return Claim(**{**given, "source": "printed", "convention": "as printed", "tolerance": 0.05, **changes})


@pytest.fixture(scope="module")
def rows(shared_data):
    return {row.claim.key: row for row in reproduce(shared_data)}


@pytest.mark.parametrize("key", [c.key for c in all_claims()])
def test_the_published_number_is_reproduced(rows, key):
    row = rows[key]
    assert row.status == "agrees", f"{row.claim.what}: published {row.claim.published}, ours {row.ours} {row.note}"


def test_every_number_has_a_name_of_its_own_a_source_and_a_convention():
    claims = all_claims()
    assert len({c.key for c in claims}) == len(claims)
    assert all(re.fullmatch(r"[\w.-]+", c.key) and c.source and c.convention for c in claims)


def test_counts_have_no_tolerance_and_measures_at_most_one_digit():
    for c in all_claims():
        if isinstance(c.published, int) and c.unit in ("", "B"):
            assert c.tolerance == 0, c.key
    assert all(c.tolerance <= 1e-5 for c in all_claims() if c.name.startswith(("audio", "forward")))


@pytest.mark.parametrize(
    ("published", "ours", "tolerance", "status"),
    [
        (1.5, 1.549, 0.05, "agrees"),
        (1.5, 1.551, 0.05, "differs"),
        (2.675, 2.68, 0.005, "agrees"),
        (100, 101, 0.0, "differs"),
        (100, 100, 0.0, "agrees"),
        ("0 1", "0 1", 0.0, "agrees"),
        ("0 1", "0 2", 0.0, "differs"),
        (1.0, float("nan"), 0.5, "differs"),
        (1, "1", 0.5, "differs"),
    ],
)
def test_a_row_agrees_within_its_tolerance_and_not_beyond(published, ours, tolerance, status):
    assert Row(claim(published=published, tolerance=tolerance), ours).status == status


def test_rows_without_their_files_say_which_are_missing(tmp_path):
    absent = [row for row in reproduce(tmp_path) if row.claim.needs]
    assert absent
    assert all(row.status == "absent" and row.claim.needs[0] in row.note for row in absent)


def test_a_file_that_cannot_be_read_makes_its_rows_differ(tmp_path):
    for name in ("C1", "C2"):
        (tmp_path / "surrey2021" / "nets").mkdir(parents=True, exist_ok=True)
        (tmp_path / "surrey2021" / "nets" / f"{name}.h5").write_bytes(b"\x89HDF\r\n\x1a\n and no more")
    row = reproduce(tmp_path, only=["interspeech2022.C1.params"])[0]
    assert row.status == "differs"
    assert "C1.h5" in row.note


def test_a_name_chooses_a_paper_or_one_number_and_a_wrong_one_is_refused():
    claims = all_claims()
    assert {c.paper.key for c in choose(claims, ["co2", "soundnet"])} == {"co2", "soundnet"}
    assert [c.key for c in choose(claims, ["co2.km"])] == ["co2.km"]
    with pytest.raises(CoppiceError, match="Did you mean 'soundnet'"):
        choose(claims, ["sondnet"])


def test_the_pages_hold_every_row_and_mark_what_differs(tmp_path):
    rows = [Row(claim(), 1.5), Row(claim(name="y"), 2.0), Row(claim(name="z", what="<b>"), None, "needs a, which")]
    assert summary_line(rows) == "3 rows, 1 agree, 1 differ, 1 need files that are not there"
    markdown, page = write_pages(rows, tmp_path / "docs")
    assert markdown.read_text() == as_markdown(rows)
    assert page.read_text() == as_html(rows)
    assert markdown.read_text().count("| some2020.") == 3
    assert "DIFFERS" in page.read_text()
    assert "<b>" not in page.read_text()


def test_published_values_keep_their_digits_and_ours_show_one_more():
    size = dataclasses.replace(claim(), unit="KB", tolerance=0.005)
    assert value_text(28.82, size) == "28.82\N{NO-BREAK SPACE}KB"
    assert value_text(28.8203125, size, more=1) == "28.820\N{NO-BREAK SPACE}KB"
    assert value_text(46246, claim()) == "46,246"
    assert value_text(1.2e-7, claim(tolerance=1e-5), more=1) == "1.2e-07"
    assert value_text(0.0, claim(tolerance=1e-5)) == "0"
