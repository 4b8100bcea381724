import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from coppice.challenge.meta_check import check_meta
from coppice.challenge.output_rows import check_output
from coppice.challenge.problems import Problems
from coppice.challenge.rules import COLUMNS, SCENES, rules_of
from coppice.challenge.validate import validate
from coppice.core.errors import CoppiceError
from quick import quick

Files = dict[str, bytes]
YEARS = (2021, 2022, 2023, 2024, 2025)


def read(folder: Path) -> Files:
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def write(files: Files, path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


@pytest.mark.parametrize("year", YEARS)
def test_a_package_that_coppice_wrote_is_valid_as_folder_and_as_zip(package, clip_list, year):
    folder = package(year)
    for path in (folder, folder.with_name("package.zip")):
        found = validate(path, clips=clip_list)
        assert found.valid, [str(problem) for problem in found.problems]
        assert found.rules.year == year  # recognised from the package
        assert found.systems == (f"Muster_UOE_task1{'a' if year == 2021 else ''}_1",)


@pytest.mark.parametrize("year", YEARS)
def test_a_package_of_another_year_is_not_valid(package, clip_list, year):
    # The files of 2022 have no key that those of 2023 lack.
    others = [other for other in YEARS if other != year and (year, other) != (2023, 2022)]
    assert not any(validate(package(year), rules=f"dcase{other}", clips=clip_list).valid for other in others)


# Corruptions: each takes the files and random numbers, and returns the file in which the problem has to be found.


def _pick(files: Files, rng: np.random.Generator, end: str) -> str:
    names = sorted(name for name in files if re.search(end, name))
    return names[rng.integers(len(names))]


def _lines(kind: str) -> Callable[[Files, np.random.Generator], tuple[str, int | None]]:
    """Corrupt one line of an output file in a way."""

    def corrupt(files: Files, rng: np.random.Generator) -> tuple[str, int | None]:
        name = _pick(files, rng, r"output.*csv$")
        lines = files[name].decode().splitlines()
        row = int(rng.integers(1, len(lines)))
        cells = lines[row].split("\t")
        at = int(rng.integers(2, 12))
        line: int | None = row + 1
        best = int(np.argmax([float(cell) for cell in cells[2:]]))
        if kind == "drop field":
            del cells[at]
        elif kind == "add field":
            cells.insert(at, "0")
        elif kind == "text":
            cells[at] = ["x", "0,5", "", "1e", "0.1.2", "-"][rng.integers(6)]
        elif kind == "nan":
            cells[at] = ["nan", "NaN", "inf", "-inf"][rng.integers(4)]
        elif kind == "sum":
            cells[2 + best] = f"{float(cells[2 + best]) + [0.01, -0.01, 0.002][rng.integers(3)]:.6f}"
        elif kind == "negative":
            cells[2 + best] = f"-{cells[2 + best]}"
        elif kind == "logits":
            cells[2:] = [f"{value:.4f}" for value in rng.normal(0, 3, 10)]
        elif kind == "other label":
            cells[1] = SCENES[(best + int(rng.integers(1, 10))) % 10]
        elif kind == "no scene":
            cells[1] = ["Airport", "airport ", "metro-station", "", "beach", "0"][rng.integers(6)]
        elif kind == "unknown clip":
            cells[0] = ["999999.wav", "-1.wav", "03.wav", "a.wav", "3.mp3", "3", "data/3.wav", "3.wav.wav"][
                rng.integers(8)
            ]
        elif kind == "repeat":
            lines.insert(row, lines[row])
            line = row + 2
        elif kind == "missing":
            del lines[row]
            line = None
        elif kind == "empty line":
            lines.insert(row, "")
        elif kind == "commas":
            lines[row] = lines[row].replace("\t", ",")
        if kind not in ("repeat", "missing", "empty line", "commas"):
            lines[row] = "\t".join(cells)
        files[name] = ("\n".join(lines) + "\n").encode()
        return name, line

    return corrupt


def _header(files: Files, rng: np.random.Generator) -> tuple[str, int | None]:
    name = _pick(files, rng, r"output.*csv$")
    header, _, body = files[name].decode().partition("\n")
    columns = header.split("\t")
    at = int(rng.integers(12))
    kind = int(rng.integers(6))
    if kind == 0:
        del columns[at]
    elif kind == 1:
        columns[at] += "s"
    elif kind == 2:
        columns[at] = columns[(at + 1) % 12]
    elif kind == 3:
        columns[at], columns[(at + 5) % 12] = columns[(at + 5) % 12], columns[at]
    elif kind == 4:
        columns.append("extra")
    header = ("," if kind == 5 else "\t").join(columns)
    files[name] = f"{header}\n{body}".encode()
    return name, 1


def _whole_file(files: Files, rng: np.random.Generator) -> tuple[str, int | None]:
    name = _pick(files, rng, r"(output.*csv|meta.yaml|complexity.json|_task1_1.py)$")
    kind = int(rng.integers(5))
    if kind == 0:
        del files[name]
    elif kind == 1:
        files[name] = b""
    elif kind == 2:
        files[name] = files[name][: len(files[name]) // 2] + b"\xff\xfe" + files[name][len(files[name]) // 2 :]
    elif kind == 3:
        files[name] = b"\x00" * 300
    else:
        folder, _, last = name.rpartition("/")
        files[f"{folder}/Other_{last}"] = files.pop(name)
    return name, None


def _stray_file(files: Files, rng: np.random.Generator) -> tuple[str, int | None]:
    name = ["notes.txt", "task1/readme.md", "__MACOSX/._x", ".DS_Store"][rng.integers(4)]
    if not any(one.startswith("predictions/") for one in files):
        files[name] = b"x"
        return name, None
    return _whole_file(files, rng)  # a package of code may hold other files


def _label(files: Files, rng: np.random.Generator) -> tuple[str, int | None]:
    """Rename the system everywhere in its paths, to a label that is none or that the meta file does not have."""
    old = next(
        part
        for name in sorted(files)
        for part in name.split("/")
        if part.startswith("Muster_UOE") and part[-2:] == "_1"
    )
    new = [
        old[:-1] + "7",
        old.replace("_UOE", ""),
        old.replace("task1", "task9"),
        old + "_1",
        old.replace("UOE", "U OE"),
    ]
    new = new[rng.integers(len(new))]
    for name in list(files):
        files[name.replace(old, new)] = files.pop(name)
    return "", None


def _meta(
    change: Callable[[dict, np.random.Generator], None],
) -> Callable[[Files, np.random.Generator], tuple[str, int | None]]:
    def corrupt(files: Files, rng: np.random.Generator) -> tuple[str, int | None]:
        if not any(name.endswith("meta.yaml") for name in files):
            return _complexity(files, rng)
        name = _pick(files, rng, r"meta.yaml$")
        value = yaml.safe_load(files[name])
        change(value, rng)
        files[name] = yaml.safe_dump(value, sort_keys=False).encode()
        return name, None

    return corrupt


def _leaf_paths(value: object, path: tuple = ()) -> list[tuple]:
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [one for key, inner in inside for one in [(*path, key), *_leaf_paths(inner, (*path, key))]]


def _drop_key(value: dict, rng: np.random.Generator) -> None:
    # `corresponding: false` is as good as none, and a second author may be left out.
    paths = [p for p in _leaf_paths(value) if isinstance(p[-1], str) and p[:3] != ("submission", "authors", 1)]
    path = paths[rng.integers(len(paths))]
    for part in path[:-1]:
        value = value[part]
    del value[path[-1]]


def _wrong_number(value: dict, rng: np.random.Generator) -> None:
    results = value["results"]["development_dataset"]
    may_be_null = "general" in results
    if "overall" not in results:
        results = results[sorted(results)[rng.integers(len(results))]]
    part = ["overall", "class_wise", "device_wise"][rng.integers(3)]
    place = (
        results[part] if part == "overall" else results[part][sorted(results[part])[rng.integers(len(results[part]))]]
    )
    bad = ["n/a", -1.0 if may_be_null else None, -1.0, float("nan"), float("inf"), [1.0], True]
    place[["accuracy", "logloss"][rng.integers(2)]] = bad[rng.integers(len(bad))]


def _fractions(value: dict, rng: np.random.Generator) -> None:
    results = value["results"]["development_dataset"]
    results = results.get("split_25", results.get("general", results))
    for part in (results["overall"], *results["class_wise"].values()):
        part["accuracy"] /= 100


def _other_mean(value: dict, rng: np.random.Generator) -> None:
    results = value["results"]["development_dataset"]
    results.get("split_5", results.get("general", results))["overall"]["accuracy"] += 3


def _over_limit(value: dict, rng: np.random.Generator) -> None:
    complexity = value["system"]["complexity"]
    limits = {"model_size": 128.1, "total_model_size": 128_001, "macs": 30_000_001}
    if "model_size" not in complexity and "total_model_size" not in complexity:
        limits["total_parameters"] = 128_001
    names = sorted(limits.keys() & complexity.keys())
    name = names[rng.integers(len(names))]
    complexity[name] = limits[name]


def _no_count(value: dict, rng: np.random.Generator) -> None:
    complexity = value["system"]["complexity"]
    bad = ["46k", None, -5, 0, 1.5, float("nan"), [1]]
    names = sorted(set(complexity) - {"model_size"})
    complexity[names[rng.integers(len(names))]] = bad[rng.integers(len(bad))]


def _people(value: dict, rng: np.random.Generator) -> None:
    submission = value["submission"]
    authors = submission["authors"]
    changes = [
        lambda: submission.update(abbreviation="elevenchars"),
        lambda: submission.update(label=submission["label"][:-1] + "2"),
        lambda: submission.update(name=""),
        lambda: submission.update(authors=[]),
        lambda: authors[1].update(corresponding=True),
        lambda: authors[0].update(corresponding=False),
        lambda: authors[0].update(email="eva at example.org"),
        lambda: authors[1]["affiliation"].pop("institute"),
        lambda: authors[1].pop("lastname"),
        lambda: submission.update(authors="Eva Muster"),
        lambda: value["system"].update(external_datasets=[{"name": "x"}]),
    ]
    changes[rng.integers(len(changes))]()


def _complexity(files: Files, rng: np.random.Generator) -> tuple[str, int | None]:
    if not any(name.endswith("complexity.json") for name in files):
        return _meta(_over_limit)(files, rng)
    name = _pick(files, rng, "complexity.json$")
    value = json.loads(files[name])
    device = sorted(value["per_device"])[rng.integers(len(value["per_device"]))]
    kind = int(rng.integers(5))
    if kind == 0:
        del value["per_device"][device]
    elif kind == 1:
        value["per_device"][device]["MACs"] = value["max_MACs"] = 30_000_001
    elif kind == 2:
        value["per_device"][device]["Params"] = value["max_Params"] = 128_001
    elif kind == 3:
        value["max_Params"] = 1
    else:
        value["per_device"][device]["Params"] = 0
    files[name] = json.dumps(value).encode()
    return name, None


def _module(files: Files, rng: np.random.Generator) -> tuple[str, int | None]:
    if not any(name.endswith("task1_1.py") for name in files):
        return _stray_file(files, rng)
    name = _pick(files, rng, r"task1_1\.py$")
    text = files[name].decode()
    function = ["predict", "load_model", "load_inputs", "get_model_for_device"][rng.integers(4)]
    changed = [
        text.replace(f"def {function}(", f"def {function}s("),
        text.replace("def predict(file_paths, device_ids", "def predict(files, ids"),
        text + "\ndef (",
    ]
    files[name] = changed[rng.integers(3)].encode()
    return name, None


def _not_yaml(files: Files, rng: np.random.Generator) -> tuple[str, int | None]:
    if not any(name.endswith("meta.yaml") for name in files):
        return _module(files, rng)
    name = _pick(files, rng, r"meta.yaml$")
    text = files[name].decode()
    first = text.splitlines()[1]
    wrong = [
        text.replace(":", "", 1),
        "a: [1, 2\n" + text,
        "x: &x [1]\ny: *x\n" + text,
        text.replace(first, f"{first}\n{first}", 1),
        "- 1\n",
        text.replace("system:", "system: none #", 1),
        "!!python/object/apply:os.system ['true']\n",
    ]
    files[name] = wrong[rng.integers(len(wrong))].encode()
    return name, None


_LINE_KINDS = (
    *("drop field", "add field", "text", "nan", "sum", "negative", "logits", "other label", "no scene"),
    *("unknown clip", "repeat", "missing", "empty line", "commas"),
)
CORRUPTIONS = [
    *map(_lines, _LINE_KINDS),
    *map(
        _meta,
        (_drop_key, _drop_key, _wrong_number, _wrong_number, _fractions, _other_mean, _over_limit, _no_count, _people),
    ),
    *(_header, _header, _whole_file, _whole_file, _stray_file, _label, _complexity, _module, _not_yaml),
]


@pytest.mark.parametrize("year", quick(YEARS, 2022, 2025))
def test_forty_seeded_corruptions_of_each_year_are_all_caught(package, clip_list, tmp_path, year):
    valid = read(package(year))
    for seed in range(40):
        rng = np.random.default_rng([year, seed])
        files = dict(valid)
        corruption = CORRUPTIONS[seed % len(CORRUPTIONS)]
        name, line = corruption(files, rng)
        assert files != valid, (seed, corruption)
        found = validate(write(files, tmp_path / "package.zip"), rules=f"dcase{year}", clips=clip_list)
        said = [str(problem) for problem in found.problems]
        assert not found.valid, (seed, corruption, name)
        assert any(problem.file == name or not name for problem in found.problems), (seed, name, said)
        if line is not None:
            assert any(problem.file == name and problem.line == line for problem in found.problems), (seed, line, said)


def test_all_problems_are_told_at_once_with_their_lines(package, clip_list, tmp_path):
    files = read(package(2024))
    name = "task1/Muster_UOE_task1_1/Muster_UOE_task1_1.output.split_50.csv"
    lines = files[name].decode().splitlines()
    lines[3] += "\t0"
    lines[7] = lines[7].replace(".wav", ".mp3")
    lines[9] = lines[8]
    files[name] = "\n".join(lines).encode()
    meta = "task1/Muster_UOE_task1_1/Muster_UOE_task1_1.meta.yaml"
    files[meta] = re.sub(rb"macs: \d+", b"macs: 1000000000000", files[meta])
    found = validate(write(files, tmp_path / "p.zip"), clips=clip_list)
    places = {(problem.file, problem.line) for problem in found.problems}
    at = next(number for number, text in enumerate(files[meta].splitlines(), 1) if b"macs: " in text)
    assert {(name, 4), (name, 8), (name, 10), (name, None), (meta, at)} == places


def test_logits_are_called_logits_and_not_told_a_hundred_thousand_times(package, clip_list, tmp_path):
    files = read(package(2023))
    name = next(one for one in files if one.endswith("output.csv"))
    header, *lines = files[name].decode().splitlines()
    rng = np.random.default_rng(0)
    rows = [line.split("\t")[:2] + [f"{value:.3f}" for value in rng.normal(0, 4, 10)] for line in lines]
    files[name] = "\n".join([header, *map("\t".join, rows)]).encode()
    found = validate(write(files, tmp_path / "p.zip"), rules="dcase2023", clips=clip_list)
    said = [str(problem) for problem in found.problems]
    assert any("look like logits" in one for one in said)
    assert any("20 more lines" in one for one in said)
    assert len(said) < 50


def test_a_meta_file_of_absurd_figures_is_not_valid(package, clip_list, tmp_path):
    # The official validator of 2024 has nothing to say against this one.
    files = read(package(2024))
    name = next(one for one in files if one.endswith("meta.yaml"))
    value = yaml.safe_load(files[name])
    value["system"]["complexity"] = {"total_model_size": 999_999_999, "total_parameters": 10**9, "macs": 10**12}
    value["results"]["development_dataset"] = {f"split_{percent}": {} for percent in (5, 10, 25, 50, 100)}
    files[name] = yaml.safe_dump(value).encode()
    said = [str(problem) for problem in validate(write(files, tmp_path / "p.zip"), clips=clip_list).problems]
    assert len([one for one in said if "allow" in one]) == 2
    assert len([one for one in said if "split_" in one and "is missing" in one]) == 15


def test_files_with_carriage_returns_and_with_the_audio_folder_in_names_are_valid(package, clip_list, tmp_path):
    files = read(package(2022))
    name = next(one for one in files if one.endswith("output.csv"))
    text = re.sub(rb"(?m)^(\d+\.wav)", rb"audio/\1", files[name])
    files[name] = text.replace(b"\n", b"\r\n")
    assert validate(write(files, tmp_path / "p.zip"), clips=clip_list).valid


def test_without_a_list_of_clips_all_of_the_year_are_expected(package):
    said = [problem.message for problem in validate(package(2024)).problems]
    assert said == ["135,690 of 135,730 evaluation clips are missing: 40.wav, 41.wav, 42.wav, 43.wav, 44.wav, …."] * 5


@pytest.mark.parametrize("name", ["../evil.csv", "/etc/evil.csv", "task1/../../evil.csv", "C:\\evil.csv"])
def test_paths_outside_the_package_are_refused(tmp_path, name):
    with pytest.raises(CoppiceError, match="outside its folder"):
        validate(write({name: b"x"}, tmp_path / "slip.zip"), rules="dcase2024")


def test_links_in_a_package_are_refused(tmp_path):
    entry = zipfile.ZipInfo("task1/link")
    entry.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "link.zip", "w") as archive:
        archive.writestr(entry, "/etc/passwd")
    with pytest.raises(CoppiceError, match="link or device"):
        validate(tmp_path / "link.zip", rules="dcase2024")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "link").symlink_to("/etc/passwd")
    with pytest.raises(CoppiceError, match="is a link"):
        validate(tmp_path / "folder", rules="dcase2024")


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr("coppice.challenge.contents.MOST_BYTES", 1_000_000)
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("task1/A_B_task1_1/A_B_task1_1.output.csv", b"0" * 2_000_000)
    with pytest.raises(CoppiceError, match=r"2\.00 MB or more"):
        validate(tmp_path / "bomb.zip", rules="dcase2024")


def test_a_bomb_that_lies_about_its_size_is_refused(tmp_path):
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("task1/A_B_task1_1/A_B_task1_1.output.csv", b"0" * 2_000_000)
    data = path.read_bytes().replace((2_000_000).to_bytes(4, "little"), (10).to_bytes(4, "little"))
    path.write_bytes(data)
    with pytest.raises(CoppiceError, match=r"do not trust it|damaged"):
        validate(path, rules="dcase2022")


@pytest.mark.parametrize("damage", ["cut", "text", "missing", "twice"])
def test_what_is_no_zip_file_is_refused_in_one_sentence(package, tmp_path, damage):
    path = tmp_path / "p.zip"
    data = package(2023).with_name("package.zip").read_bytes()
    if damage == "cut":
        path.write_bytes(data[: len(data) // 2])
    elif damage == "text":
        path.write_text("not a zip file")
    elif damage == "twice":
        with pytest.warns(UserWarning), zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a.txt", "1")
            archive.writestr("a.txt", "2")
    with pytest.raises(CoppiceError, match=r"p\.zip"):
        validate(path, rules="dcase2023")


def test_a_package_without_a_sign_of_its_year_asks_for_it(tmp_path):
    with pytest.raises(CoppiceError, match="say --rules"):
        validate(write({"task1/A_B_task1_1/A_B_task1_1.output.csv": b"x"}, tmp_path / "p.zip"))


def test_a_whole_file_of_135730_rows_has_no_problems():
    rows = rules_of("dcase2024").evaluation_clips
    values = np.random.default_rng(0).dirichlet(np.full(10, 0.3), rows)
    table = pd.DataFrame(values, columns=list(SCENES))
    table.insert(0, "filename", [f"{number}.wav" for number in range(rows)])
    table.insert(1, "scene_label", [SCENES[best] for best in values.argmax(axis=1)])
    data = table[list(COLUMNS)].to_csv(sep="\t", index=False, float_format="%.8f").encode()
    problems = Problems()
    check_output(data, "output.csv", [f"{number}.wav" for number in range(rows)], problems)
    assert not list(problems)


_TEXTS = st.one_of(st.binary(max_size=300), st.text(alphabet="0123.\t\nwavbus-ie,", max_size=300).map(str.encode))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(_TEXTS)
def test_any_bytes_as_an_output_file_are_problems_and_never_a_crash(data):
    for start in (b"", ("\t".join(COLUMNS) + "\n").encode()):
        problems = Problems()
        check_output(start + data, "output.csv", ["0.wav"], problems)
        assert list(problems)


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["submission", "authors", "system", "complexity", "results", "development_dataset", "overall"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.binary(max_size=200) | _VALUES.map(lambda value: yaml.safe_dump(value).encode()))
def test_any_yaml_as_a_meta_file_is_problems_and_never_a_crash(data):
    for year in (2021, 2023, 2024):
        problems = Problems()
        check_meta(data, "a.meta.yaml", "A_B_task1_1", rules_of(f"dcase{year}"), problems)
        assert list(problems)


@pytest.mark.parametrize("place", [("submission",), ("submission", "authors"), ("system", "complexity"), ("results",)])
@pytest.mark.parametrize("value", [None, 3, "x", [], [1], {}, True, [None], {"a": 1}])
def test_any_value_in_place_of_a_table_is_a_problem_and_never_a_crash(package, place, value):
    (path,) = package(2023).rglob("*.meta.yaml")
    document = yaml.safe_load(path.read_text())
    inner = document
    for part in place[:-1]:
        inner = inner[part]
    inner[place[-1]] = value
    problems = Problems()
    check_meta(yaml.safe_dump(document).encode(), "a", "Muster_UOE_task1_1", rules_of("dcase2023"), problems)
    assert list(problems)
