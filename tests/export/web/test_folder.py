"""What the folder holds, and which networks may stand on one page."""

import json
import re
from dataclasses import replace

import pytest
import torch

from coppice.audio.front_end import front_end
from coppice.core.errors import CoppiceError
from coppice.export.onnx import export_onnx
from coppice.export.onnx_classifier import load_onnx
from coppice.export.web import folder as module
from coppice.export.web.folder import export_web
from coppice.reports.style import DARK, LIGHT

PAGE = ("index.html", "app.js", "style.css")


@pytest.fixture(autouse=True)
def no_runtime(monkeypatch):
    """These tests look at the folder; what computes in it is another matter."""
    monkeypatch.setattr(module, "runtime_files", lambda source: {"ort.js": b"//"})


@pytest.fixture(scope="module")
def whole(classifier, tmp_path_factory):
    """The classifier as a file with its front end inside."""
    return load_onnx(export_onnx(classifier, tmp_path_factory.mktemp("whole") / "small.onnx", with_front_end=True).path)


@pytest.fixture(scope="module")
def narrow(classifier):
    """The same ear and labels; a lineage that says what was done."""
    return classifier.after(classifier.network, verb="prune", plan={})


def test_the_folder_says_what_it_holds(classifier, narrow, tmp_path):
    page = export_web(narrow, tmp_path / "page", compare=classifier)
    said = json.loads((tmp_path / "page" / "model.json").read_text())
    assert said["labels"] == ["bus", "park", "tram"]
    assert (said["sample_rate_hz"], said["samples"], said["pad"]) == (44100, 22050, "zeros")
    assert [one["name"] for one in said["models"]] == ["unpruned", "pruned"]
    for one in said["models"]:
        assert one["size_bytes"] == (tmp_path / "page" / one["file"]).stat().st_size > one["network_size_bytes"]
    assert page.size_bytes == sum(file.stat().st_size for file in page.folder.rglob("*") if file.is_file())
    assert all(one.agreement.max_delta < 1e-4 for one in page.models)
    assert load_onnx(tmp_path / "page" / "network-2.onnx").takes == "waveform"


def test_the_page_names_no_other_server_and_runs_no_script_of_others(whole, tmp_path):
    export_web(whole, tmp_path, title='Bees & <b>"birds"</b>')
    html = (tmp_path / "index.html").read_text()
    assert "<h1>Bees &amp; &lt;b&gt;&quot;birds&quot;&lt;/b&gt;</h1>" in html
    assert "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'" in html
    for file in (file for file in tmp_path.rglob("*") if file.suffix in {".html", ".js", ".css"}):
        text = file.read_text()
        assert set(re.findall(r"https?://\w[^\s\"'`]*", text)) <= {"http://localhost:8000"}, file
        assert not re.search(r"<script(?![^>]*src=)|\son\w+=|\bstyle=", text), file


def test_the_page_has_the_colours_of_the_reports(whole, tmp_path):
    export_web(whole, tmp_path)
    light, dark = re.findall(r":root \{(.*?)\}", (tmp_path / "style.css").read_text(), flags=re.DOTALL)
    for text, palette in ((light, LIGHT), (dark, DARK)):
        found = dict(re.findall(r"--([\w-]+): (#\w+);", text))
        before, after = found.pop("before"), found.pop("after")
        assert found == {name: palette[name] for name in found}
        assert [before, after] == palette["categories"][:2]


def test_a_model_that_is_an_onnx_file_already_goes_in_as_it_is(whole, tmp_path):
    page = export_web(whole, tmp_path)
    assert (tmp_path / "network-1.onnx").read_bytes() == whole.file.content
    assert page.models[0].name == "small"
    assert page.models[0].network_size_bytes is None


def test_networks_that_cannot_stand_on_a_page_are_refused_before_a_file_is_written(classifier, bare, tmp_path):
    alone = load_onnx(export_onnx(classifier, tmp_path / "alone.onnx").path)
    deaf = bare("dcase2021", (1, 40, 25), widths=(2, 2, 2), frames=25)
    others = replace(classifier, labels=("bus", "park", "metro"))
    slower = replace(classifier, front_end=front_end("dcase2021", duration_s=0.5, pad="repeat"))
    cases = [
        ("takes normalised_log_mel, and a page has the waveform only", {"model": alone}),
        ("no front end", {"model": deaf}),
        ("'unpruned 1' and 'unpruned 2' have other classes", {"model": classifier, "compare": others}),
        ("hear other clips .pad: repeat and zeros", {"model": classifier, "compare": slower}),
        ("give one for each", {"model": classifier, "names": ["one", "two"]}),
        ("do not fit", {"model": classifier, "clips": torch.zeros(2, 5)}),
    ]
    for sentence, given in cases:
        with pytest.raises(CoppiceError, match=sentence):
            export_web(folder=tmp_path / "page", **given)
    assert not (tmp_path / "page").exists()


def test_a_disk_that_refuses_is_said(whole, tmp_path):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(CoppiceError, match="taken: a file of that name is there already"):
        export_web(whole, tmp_path / "taken")
