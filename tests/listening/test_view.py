import io
import json

import numpy as np
from rich.console import Console

from coppice.listening.lines import json_line
from coppice.listening.listen import summary
from coppice.listening.listener import Heard, Listener
from coppice.listening.view import View, bars

RATE = 8000


class Still:
    name, sample_rate, dropped = "kitchen.wav", RATE, 2


def text_of(drawn, width=60):
    out = io.StringIO()
    Console(file=out, width=width, color_system=None).print(drawn)
    return out.getvalue()


def heard(**changes):
    posteriors = {"bus": 0.1, "park": 0.7, "tram": 0.2}
    given = {"label": "park", "posteriors": posteriors, "smoothed": posteriors, "latency_ms": 12.3, "load": 0.024}
    return Heard(**{"start_s": 1.0, "end_s": 1.5, "remark": None, **given, **changes})


def view_of(classifier, terminal=False):
    console = Console(file=io.StringIO(), width=60, height=20, force_terminal=terminal, color_system=None)
    listener = Listener(classifier, sample_rate=RATE)
    return View(listener, Still(), title="net [b] hears kitchen.wav", console=console), listener, console


def test_the_view_says_how_much_is_missing_until_the_first_window(classifier):
    view, listener, _ = view_of(classifier)
    listener.push(np.full((1600, 1), 0.1, np.float32))
    view.show([])
    assert text_of(view._picture()).splitlines() == ["net [b] hears kitchen.wav", "0.2 s of the first 0.5 s"]


def test_the_view_shows_a_bar_for_each_class_and_what_hearing_costs(classifier):
    view, _, _ = view_of(classifier)
    view.show([heard(label="bus"), heard()])
    lines = text_of(view._picture()).splitlines()
    assert [line.split()[0] for line in lines[1:4]] == ["bus", "park", "tram"]
    assert [line.split()[-2] for line in lines[1:4]] == ["10.0", "70.0", "20.0"]
    lengths = [line.count("━") for line in lines[1:4]]
    assert lengths[0] < lengths[2] < lengths[1]
    assert lines[4:] == ["1.5 s · latency 12 ms · load 0.02 · 2 blocks dropped"]
    view.show([heard(remark="silent", load=None)])
    *_, cost, remark = text_of(view._picture(), width=80).splitlines()
    assert "load –" in cost
    assert remark == "silent: every sample is 0; is the microphone muted, or not allowed?"


def test_many_classes_are_shown_by_their_largest():
    posteriors = {f"class {number}": number / 1000 for number in range(30)}
    lines = text_of(bars(posteriors, "class 29")).splitlines()
    assert [line[:8] for line in lines] == [f"class {number}" for number in range(29, 17, -1)]


def test_long_names_leave_room_for_their_bars():
    for line in text_of(bars({"x" * 200: 0.5, "[b]犬": 0.5}, "[b]犬"), width=50).splitlines():
        assert line.rstrip().endswith("50.0 %")
        assert "━" in line


def test_the_terminal_is_left_in_order(classifier):
    view, _, console = view_of(classifier, terminal=True)
    with view:
        view.show([heard()])
    shown = console.file.getvalue()
    assert "\x1b[?25l" in shown
    assert shown.rindex("\x1b[?25h") > shown.rindex("70.0 %")


def test_json_lines_are_one_object_each(classifier):
    one = json.loads(json_line(heard(label="犬")))
    assert one["label"] == "犬"
    assert one["smoothed"] == {"bus": 0.1, "park": 0.7, "tram": 0.2}
    _, listener, _ = view_of(classifier)
    found = json.loads(json_line(summary(listener, Still())))
    assert found["summary"]["dropped"] == 2
    assert found["summary"]["real_time_factor"] is None
