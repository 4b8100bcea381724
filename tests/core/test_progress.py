import io

import pytest
from rich.console import Console

from coppice.core import progress


@pytest.mark.parametrize(("after_s", "terminal", "shown"), [(0, True, True), (99, True, False), (0, False, False)])
def test_a_bar_is_shown_on_a_terminal_once_work_takes_long(monkeypatch, after_s, terminal, shown):
    out = io.StringIO()
    monkeypatch.setattr(progress, "console", Console(file=out, force_terminal=terminal, width=80))
    with progress.progress_bar("hearing", 3, after_s=after_s) as advance:
        for number in range(3):
            advance(1, f"file {number}")
    assert ("3/3" in out.getvalue()) == ("file 2" in out.getvalue()) == shown
    assert bool(out.getvalue()) == shown
