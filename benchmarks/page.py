"""docs/benchmarks.md: a section for each script, between markers; what others have written there stays."""

import platform
from pathlib import Path

import torch

from coppice.core.files import make_folder, write_text
from coppice.recipes.environment import processor

HEAD = "# Benchmarks\n\nWritten by the scripts in `benchmarks/`; nobody types a number here.\n\n"


def write_section(folder: Path, name: str, text: str, *, of: str = "") -> None:
    """Write the section of ``bench_NAME.py`` into the page in a folder, in place of what it said before.

    With ``of`` it is another section: of another kind of processor, say, beside the first.
    """
    key = f"{name} {of}".strip()
    begin, end = f"<!-- {key}: written by benchmarks/bench_{name}.py -->", f"<!-- end of {key} -->"
    page = make_folder(folder) / "benchmarks.md"
    whole = page.read_text(encoding="utf-8") if page.is_file() else HEAD
    before, _, rest = whole.partition(begin)
    after = rest.partition(end)[2]
    apart = "" if before.endswith("\n\n") else "\n"
    write_text(page, f"{before}{apart}{begin}\n{text.rstrip()}\n\n{end}{after or chr(10)}")


def machine() -> str:
    """Say what was measured on."""
    cores = torch.multiprocessing.cpu_count()
    vectors = torch.backends.cpu.get_cpu_capability()
    return f"{processor()} ({vectors}), {cores} cores, Python {platform.python_version()}, torch {torch.__version__}"


def table(head: list[str], rows: list[list[str]]) -> str:
    """Write a Markdown table; all columns but the first to the right."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines) + "\n"


def ms(value: float | None) -> str:
    """Write milliseconds with three digits that count, or seconds."""
    if value is None:
        return "–"
    if value >= 9_995:
        return f"{value / 1000:,.0f} s" if value >= 99_950 else f"{value / 1000:.1f} s"
    return f"{value:,.0f}" if value >= 99.95 else f"{value:.3g}"
