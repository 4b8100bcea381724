"""ONNX Runtime Web from npm: fetched once, compared with what it must be, and plain words where that fails."""

import base64
import hashlib
import io
import tarfile

import pytest

from coppice.core.errors import CoppiceError
from coppice.export.web import runtime_files as module
from coppice.export.web.runtime_files import RuntimeFile, runtime_files

CONTENTS = {"dist/ort.mjs": b"export const ort = 1;\n", "dist/ort.wasm": b"\0asm" + bytes(range(256)) * 40}


def packed(contents):
    package = io.BytesIO()
    with tarfile.open(fileobj=package, mode="w:gz") as archive:
        for name, content in {"package.json": b"{}", **contents}.items():
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return package.getvalue()


@pytest.fixture
def package(monkeypatch, tmp_path):
    """A package that stands for the real one, with the digests that it must have; nothing is in the cache."""
    package = packed(CONTENTS)
    files = []
    for member, content in CONTENTS.items():
        name = member.rpartition("/")[2].replace(".mjs", ".js")
        files.append(RuntimeFile(member, name, len(content), hashlib.sha256(content).hexdigest()))
    monkeypatch.setattr(module, "FILES", tuple(files))
    monkeypatch.setattr(module, "INTEGRITY", base64.b64encode(hashlib.sha512(package).digest()).decode())
    monkeypatch.setenv("COPPICE_CACHE", str(tmp_path / "cache"))
    return package


@pytest.fixture
def registry(served, monkeypatch, tmp_path, package):
    """A registry on this machine; what it has for the package can be changed."""
    place = tmp_path / "registry" / "onnxruntime-web" / "-" / f"onnxruntime-web-{module.VERSION}.tgz"
    place.parent.mkdir(parents=True)
    place.write_bytes(package)
    with served(tmp_path / "registry") as address:
        monkeypatch.setenv("npm_config_registry", address)
        yield place


def test_the_package_is_fetched_once_and_only_its_files_are_kept(registry, tmp_path):
    expected = {"ort.js": CONTENTS["dist/ort.mjs"], "ort.wasm": CONTENTS["dist/ort.wasm"]}
    assert runtime_files() == expected
    registry.unlink()
    assert runtime_files() == expected
    kept = tmp_path / "cache" / "onnxruntime-web" / module.VERSION
    assert {file.name for file in kept.iterdir() if file.suffix != ".lock"} == set(expected)


def test_another_package_than_the_pinned_one_is_refused_and_removed(registry, tmp_path):
    registry.write_bytes(packed({"dist/ort.mjs": b"steal()", "dist/ort.wasm": b""}))
    with pytest.raises(CoppiceError, match=r"arrived with SHA-512 .* instead of .*; it was removed"):
        runtime_files()
    assert not list(tmp_path.rglob("cache/**/*.tgz"))


def test_without_a_network_it_is_said_how_to_do_it_by_hand(registry):
    registry.unlink()
    with pytest.raises(
        CoppiceError, match=r"answers 404; run 'npm pack onnxruntime-web@[\d.]+' where there is a network"
    ):
        runtime_files()


@pytest.mark.parametrize("shape", ["package", "unpacked", "dist", "beside a page"])
def test_the_files_may_be_given(package, tmp_path, shape):
    source = tmp_path / "given"
    if shape == "package":
        source.write_bytes(package)
    for member, content in CONTENTS.items() if shape != "package" else ():
        name = member.rpartition("/")[2]
        places = {"unpacked": f"package/{member}", "dist": name, "beside a page": name.replace(".mjs", ".js")}
        (source / places[shape]).parent.mkdir(parents=True, exist_ok=True)
        (source / places[shape]).write_bytes(content)
    assert runtime_files(source) == {"ort.js": CONTENTS["dist/ort.mjs"], "ort.wasm": CONTENTS["dist/ort.wasm"]}


def test_what_is_given_is_checked_as_well(package, tmp_path):
    (tmp_path / "cut.tgz").write_bytes(package[: len(package) // 2])
    (tmp_path / "text.tgz").write_text("not a package")
    (tmp_path / "other.tgz").write_bytes(packed({"readme": b"nothing"}))
    (tmp_path / "changed.tgz").write_bytes(packed({**CONTENTS, "dist/ort.mjs": b"steal()"}))
    (tmp_path / "folder").mkdir()
    sentences = {
        "cut.tgz": "not a whole package",
        "text.tgz": "not a whole package",
        "other.tgz": "holds no dist/ort.mjs",
        "changed.tgz": "ort.mjs in .*changed.tgz is not that of onnxruntime-web@",
        "folder": "holds no ort.mjs",
        "nowhere": "no such file or folder",
    }
    for name, sentence in sentences.items():
        with pytest.raises(CoppiceError, match=sentence):
            runtime_files(tmp_path / name)
