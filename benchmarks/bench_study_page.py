"""How long the page of a study takes to write and to open, for 100, 1,000 and 10,000 runs."""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from page import machine, table, write_section

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))  # the browser and the made-up studies of the tests
from chromium import Browser, chromium_program
from coppice.core.units import bytes_text
from made_study import CRITERIA, made_rows, write_study

OPENED = 5
BUILT = 3
DRAWN = "document.documentElement.dataset.drawn === 'yes' && document.querySelectorAll('#records tbody tr').length > 0"
COMMAND = "from coppice.cli.main import main; main()"


def ratios(count: int) -> tuple[str, ...]:
    return tuple(f"{0.05 + 0.85 * number / (count - 1):.4f}" for number in range(count))


LAYERS = tuple(f"conv{number}" for number in range(1, 6))
FOLDS = (1, 2, 3, 4, 5)
STUDIES: dict[str, tuple[dict[str, tuple[str, ...]], dict[str, Any]]] = {
    "20 points × 5 folds": ({"criterion": CRITERIA, "ratios": ratios(4)}, {"folds": FOLDS, "seeds": (0,)}),
    "50 points × 5 folds × 4 seeds": (
        {"criterion": CRITERIA, "ratios": ratios(10)},
        {"folds": FOLDS, "seeds": (0, 1, 2, 3)},
    ),
    "500 points × 5 folds × 4 seeds": (
        {"criterion": CRITERIA, "ratios": ratios(20), "layers": LAYERS},
        {"folds": FOLDS, "seeds": (0, 1, 2, 3)},
    ),
    "10,000 points, one run each": (
        {"criterion": CRITERIA, "ratios": ratios(400), "layers": LAYERS},
        {"folds": (1,), "seeds": (0,)},
    ),
}


def built(folder: Path) -> float:
    """Return the seconds of the whole command, in a process of its own."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", COMMAND, "study", "page", str(folder)], check=True, capture_output=True)
    return time.perf_counter() - start


def opened(program: str, page: Path) -> float:
    """Return the seconds from the address to all charts drawn and the table there, in a browser just started."""
    with Browser(program) as browser:
        tab = browser.page()
        start = time.perf_counter()
        tab.open(page.as_uri())
        tab.wait(DRAWN)
        seconds = time.perf_counter() - start
        assert tab.complaints == [], tab.complaints
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--page", type=Path, help="write the section into benchmarks.md in this folder")
    asked = parser.parse_args()
    program = chromium_program()
    rows = []
    for name, (axes, grid) in STUDIES.items():
        with tempfile.TemporaryDirectory() as place:
            made = made_rows(axes, failing=0.01, **grid)
            folder = write_study(Path(place), axes, made)
            page = folder / "study.html"
            writing = [built(folder) for _ in range(BUILT)]
            opening = [opened(program, page) for _ in range(OPENED)] if program else []
            rows.append(
                [
                    name,
                    f"{len(made):,}",
                    f"{median(writing):.1f} ({max(writing):.1f})",
                    bytes_text((folder / "results.csv").stat().st_size),
                    bytes_text(page.stat().st_size),
                    f"{median(opening):.2f} ({max(opening):.2f})" if opening else "no browser",
                ]
            )
            print(*rows[-1], sep="  ", flush=True)
    text = (
        f"## The page of a study\n\n{machine()}. Results made by a seeded procedure (`tests/made_study.py`), one run "
        "in a hundred failed. *Write*: the whole command `coppice study page`, imports included, in seconds, median "
        f"and slowest of {BUILT}. *Open*: from the address to all charts drawn and the table there, in headless "
        f"Chromium just started, in seconds, median and slowest of {OPENED}. To reach at 10,000 runs: 10 s and 2 s. "
        f"Load average at the end: {os.getloadavg()[0]:.1f}.\n\n"
    )
    text += table(["study", "runs", "write", "results.csv", "study.html", "open"], rows)
    print(text)
    if asked.page is not None:
        write_section(asked.page, "study_page", text)


if __name__ == "__main__":
    main()
