"""docs/ensembles.md: prose by hand, and a part for each script between markers."""

from pathlib import Path

from coppice.core.errors import CoppiceError
from coppice.core.files import write_text

PAGE = Path("docs/ensembles.md")


def write_part(script: str, text: str) -> None:
    """Put what a script has to say in place of what stands between its markers."""
    begin, end = f"<!-- written by experiments/{script} -->", f"<!-- end of {script} -->"
    whole = PAGE.read_text(encoding="utf-8")
    before, found, rest = whole.partition(begin)
    if not found or end not in rest:
        raise CoppiceError(f"{PAGE} has no place for {script}; write {begin} and {end} into it.")
    write_text(PAGE, f"{before}{begin}\n{text.strip()}\n{end}{rest.partition(end)[2]}")


def table(head: list[str], rows: list[list[str]]) -> str:
    """Write a Markdown table; all columns but the first to the right."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)
