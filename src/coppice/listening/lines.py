"""What is heard, one line for each window: for logs, pipes and machines."""

import json
from dataclasses import asdict

from coppice.core.units import percent_text
from coppice.listening.listen import Summary
from coppice.listening.listener import Heard

_CLASSES = 3


def line(heard: Heard) -> str:
    """Write a window for people.

    Examples
    --------
    >>> line(Heard(0.5, 5.5, "dog", {"dog": 0.9, "cat": 0.1}, {"dog": 0.8, "cat": 0.2}, 12.3, 0.025, "clipped"))
    '     5.5 s  dog 80.0 %, cat 20.0 %  latency 12 ms, load 0.03, clipped'
    """
    best = sorted(heard.smoothed.items(), key=lambda item: -item[1])[:_CLASSES]
    cost = [f"latency {heard.latency_ms:.0f} ms"]
    if heard.load is not None:
        cost.append(f"load {heard.load:.2f}")
    if heard.remark is not None:
        cost.append(heard.remark)
    classes = ", ".join(f"{name} {percent_text(posterior)}" for name, posterior in best)
    return f"{heard.end_s:8.1f} s  {classes}  {', '.join(cost)}"


def json_line(value: Heard | Summary) -> str:
    """Write a window, or in the end the summary, as one line of JSON.

    Examples
    --------
    >>> json_line(Heard(0.0, 1.0, "dog", {"dog": 1.0}, {"dog": 1.0}, 12.5, None, None))[:44]
    '{"start_s": 0.0, "end_s": 1.0, "label": "dog'
    """
    found = asdict(value)
    return json.dumps({"summary": found} if isinstance(value, Summary) else found, ensure_ascii=False)
