"""What the documents name is there: verbs in Python and on the command line, files and headings that they link to."""

import re
from pathlib import Path

import pytest
import typer

import coppice
from coppice.cli.main import app

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])


def heading(line: str) -> str:
    """Return the anchor of a heading."""
    kept = re.sub(r"[^\w\- ]", "", line.lstrip("#").strip().lower())
    return kept.replace(" ", "-")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_what_is_called_in_python_exists(document):
    names = set(re.findall(r"\bcp\.(\w+)", document.read_text(encoding="utf-8")))
    assert {name for name in names if not hasattr(coppice, name)} == set()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_what_is_called_on_the_command_line_exists(document):
    command = typer.main.get_command(app)
    text = document.read_text(encoding="utf-8")
    code = "\n".join(
        [*re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL), *re.findall(r"`(coppice .*?)`", text)]
    )
    for line in re.findall(r"^(?:\$ )?coppice ((?:[a-z][a-z0-9-]* ?)+)", code, re.MULTILINE):
        words, found = line.split(), command
        while words and hasattr(found, "commands"):
            assert words[0] in found.commands, line
            found = found.commands[words.pop(0)]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document):
    for link in re.findall(r"\]\(([^)\s]+)\)", document.read_text(encoding="utf-8")):
        if link.startswith(("http:", "https:")):
            continue
        file, _, anchor = link.partition("#")
        target = document.parent / file if file else document
        assert target.exists(), link
        if anchor and target.suffix == ".md":
            lines = target.read_text(encoding="utf-8").splitlines()
            assert anchor in {heading(line) for line in lines if line.startswith("#")}, link
