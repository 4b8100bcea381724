from pathlib import Path

import pytest
import vl_convert

from coppice.reports import chart_library as home

BUNDLE = "let end = '</script>', comment = '<!-- no -->';"


@pytest.fixture
def bundled(monkeypatch, tmp_path):
    """Return the times that a script was put together, with nothing kept yet in this process or on the disk."""
    calls = []

    def bundle(snippet: str, vl_version: str) -> str:
        calls.append(vl_version)
        return BUNDLE

    monkeypatch.setenv("COPPICE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(vl_convert, "javascript_bundle", bundle)
    home.chart_library.cache_clear()
    yield calls
    home.chart_library.cache_clear()


def kept(tmp_path: Path) -> list[Path]:
    return list((tmp_path / "cache").rglob("*.js"))


def test_the_script_is_put_together_once_and_kept_for_other_processes(bundled, tmp_path):
    first = home.chart_library()
    home.chart_library.cache_clear()  # as in another process
    assert home.chart_library() == first
    assert len(bundled) == len(kept(tmp_path)) == 1


def test_the_script_cannot_end_the_element_it_stands_in(bundled):
    script = home.chart_library()
    assert "</script" not in script
    assert "<!--" not in script


def test_a_script_kept_by_another_version_is_not_used(bundled, tmp_path):
    home.chart_library()
    (old,) = kept(tmp_path)
    old.rename(old.with_name("vega-lite-0.1-by-vl-convert-0.1.js"))
    home.chart_library.cache_clear()
    home.chart_library()
    assert len(bundled) == 2


def test_a_cache_that_cannot_be_written_costs_time_and_not_the_page(bundled, tmp_path, monkeypatch):
    blocked = tmp_path / "file"
    blocked.write_text("here")
    monkeypatch.setenv("COPPICE_CACHE", str(blocked))
    assert home.chart_library()
