"""The command that writes a page."""

import json

from coppice.export.web import folder


def test_a_page_is_written_and_says_how_to_look_at_it(coppice, trained, tmp_path, monkeypatch):
    monkeypatch.setattr(folder, "runtime_files", lambda source: {"ort.js": b"//"})
    whole = tmp_path / "bees.onnx"
    assert coppice("export", trained, "--with-front-end", "--out", whole).code == 0
    page = tmp_path / "page"
    answer = coppice("export", trained, "--to", "web", "--compare", whole, "--title", "Bees?", "--out", page)
    assert answer.code == 0
    assert "bees: network-1.onnx" in answer.out
    assert "unpruned: network-2.onnx" in answer.out
    assert "largest difference of a posterior" in answer.out
    assert f"python -m http.server --directory {page}" in answer.out
    assert "<h1>Bees?</h1>" in (page / "index.html").read_text()
    said = json.loads(coppice("export", whole, "--to", "web", "--out", page, "--json").out)
    assert [one["name"] for one in said["models"]] == ["bees"]


def test_what_cannot_be_on_a_page_is_said_in_one_sentence(coppice, trained, tmp_path):
    out = tmp_path / "out"
    sentences = {
        "--compare goes with --to web": ["export", trained, "--compare", trained, "--out", out],
        "--title goes with --to web": ["export", trained, "--title", "Bees", "--out", out],
        "give it the file of coppice quantize": ["export", trained, "--to", "web", "--precision", "int8", "--out", out],
        "nowhere.tgz: no such file": ["export", trained, "--to", "web", "--runtime-files", "nowhere.tgz", "--out", out],
    }
    for sentence, argv in sentences.items():
        assert sentence in coppice(*argv).sentence
    assert not out.exists()
