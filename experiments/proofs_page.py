"""Write docs/proofs.md: which slow tests there are, and when they last ran.

    make proofs

runs the tests that are marked ``proof`` and calls this with what pytest wrote about them.
"""

import argparse
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path

from coppice.core.files import write_text
from coppice.core.processor import processor

PAGE = Path("docs/proofs.md")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path, help="JUnit file of pytest")
    given = parser.parse_args()
    write_text(PAGE, page(ET.parse(given.results).getroot()))
    print(f"wrote {PAGE}")


def page(results: ET.Element) -> str:
    """Say in Markdown what ran, when and where."""
    suite = next(results.iter("testsuite"))
    counts: dict[str, Counter[str]] = {}
    for case in results.iter("testcase"):
        # A module that was skipped as a whole is a case without a class.
        file = (case.get("classname") or case.get("name", "")).replace(".", "/") + ".py"
        outcome = next((child.tag for child in case if child.tag in ("failure", "error", "skipped")), "passed")
        counts.setdefault(file, Counter())[outcome] += 1
        counts[file]["seconds"] += round(float(case.get("time", "0")))
    kinds = ("passed", "skipped", "failure", "error")
    lines = [
        "# Proofs",
        "",
        "Tests that are too slow for `make test`; `make proofs` runs them and writes this page. Some need a browser or "
        "compilers and emulators for other processors, and are skipped where there is none.",
        "",
        f"Last run: {suite.get('timestamp', '')[:16].replace('T', ', ')}, {processor()}, "
        f"{round(float(suite.get('time', '0')))} s.",
        "",
        "| tests | passed | skipped | failed | seconds |",
        "|---|---:|---:|---:|---:|",
    ]
    for file, found in sorted(counts.items()):
        passed, skipped, failure, error = (found[kind] for kind in kinds)
        lines.append(f"| `{file}` | {passed} | {skipped} | {failure + error} | {found['seconds']} |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
