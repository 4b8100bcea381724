import hashlib
import io
import zipfile

import pytest

from coppice.core.errors import CoppiceError
from coppice.datasets import tau, tau_archives
from coppice.datasets.archive import Archive, Collection
from coppice.datasets.features import load_features
from coppice.datasets.sources import open_dataset
from coppice.datasets.splits import split_dataset
from coppice.datasets.tau import fetch_tau, open_tau
from coppice.datasets.tau_archives import DEVELOPMENT, NAMES, SCENES, SUBSETS, collection

FOLDER = "TAU-urban-acoustic-scenes-2022-mobile-development"
CITIES = ("lyon", "milan", "paris", "prague")
# Four locations of each scene, two clips of each: three to learn from, one to test; one clip of it is not used.
CLIPS = [
    (f"audio/{scene}-{city}-{10 * SCENES.index(scene) + place}-{segment}-0-{device}.wav", scene, place)
    for scene in SCENES
    for place, city in enumerate(CITIES)
    for segment, device in ((1, "a"), (2, "s1"))
]
TRAIN = [file for file, _, place in CLIPS if place < 3]
TEST = [file for file, _, place in CLIPS if place == 3 and "-1-0-a" in file]


def listed(*lines):
    return "\n".join("\t".join(line) for line in lines) + "\n"


def tables():
    def row(file, scene, _):
        _, city, number, _, _, device = file.removesuffix(".wav").split("-")
        return file, scene, f"{city}-{number}", device

    scenes = {file: scene for file, scene, _ in CLIPS}
    meta = [("filename", "scene_label", "identifier", "source_label"), *(row(*clip) for clip in CLIPS)]
    train = [("filename", "scene_label"), *((file, scenes[file]) for file in TRAIN)]
    made = {
        "meta.csv": listed(*meta),
        "evaluation_setup/fold1_train.csv": listed(*train),
        "evaluation_setup/fold1_test.csv": listed(("filename",), *((file,) for file in TEST)),
        "evaluation_setup/fold1_evaluate.csv": listed(("filename", "scene_label"), *((f, scenes[f]) for f in TEST)),
    }
    return made, train


@pytest.fixture
def small(monkeypatch):
    """The published numbers, for a dataset of eighty clips."""
    real = collection("tau2022-mobile")
    made = Collection(**{**vars(real), "clips": len(CLIPS)})
    monkeypatch.setattr(tau, "collection", lambda name: made)
    return made


@pytest.fixture
def place(tmp_path, small):
    """A dataset as its archives unpack, with empty files for sounds."""
    root = tmp_path / FOLDER
    for name, text in tables()[0].items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    (root / "audio").mkdir()
    for file, _, _ in CLIPS:
        (root / file).touch()
    return root


def refused(saying, root, **how):
    with pytest.raises(CoppiceError, match=saying) as refusal:
        open_dataset("tau2022-mobile", root=root, **how)
    assert "\n" not in str(refusal.value)


def test_the_tables_are_the_published_ones():
    archives = {name: collection(name).archives for name in NAMES}
    assert {name: len(made) for name, made in archives.items()} == {
        "tau2020-mobile": 18,
        "tau2022-mobile": 18,
        "tau2021-evaluation": 8,
        "tau2022-evaluation": 10,
        "tau2023-evaluation": 10,
        "tau2025-evaluation": 14,
        "tau2024-evaluation": 0,
    }
    urls = [archive.url for made in archives.values() for archive in made]
    sums = [archive.md5 for made in archives.values() for archive in made if archive.md5]
    assert len(set(urls)) == len(urls) and len(set(sums)) == len(sums) == 64
    assert all(len(one) == 32 and int(one, 16) for one in sums)
    last = archives["tau2022-mobile"][-1]
    assert last.url == f"https://zenodo.org/record/6337421/files/{FOLDER}.audio.16.zip"
    assert (last.size_bytes, last.md5) == (435_379_083, "6e2df8438c69f6789414aeba8cbad9d8")
    assert tuple(sorted(SCENES)) == SCENES


def test_the_size_of_a_clip_is_that_of_a_real_one(shared_data):
    file = next((shared_data / "tau2022_sample" / "audio").glob("*.wav"))
    assert file.stat().st_size == collection("tau2022-mobile").clip_bytes


@pytest.mark.parametrize("above", [False, True])
def test_device_city_location_and_official_split_are_read(place, above):
    dataset = open_dataset("tau2022-mobile", root=place.parent if above else place)
    assert len(dataset) == 80 and dataset.labels == SCENES and "non-commercial" in dataset.note
    first = dataset.clips.iloc[1].to_dict()
    assert first["clip_id"] == "audio/airport-lyon-0-2-0-s1.wav" and first["file"] == str(place / first["clip_id"])
    assert (first["device"], first["city"], first["location"], first["recording"], first["split"]) == (
        "s1",
        "lyon",
        "lyon-0",
        "lyon-0",
        "train",
    )
    split = split_dataset(dataset)
    assert split.describe().startswith("40 train, 20 validation, 10 test clips, 10 unused")
    files = dataset.clips["clip_id"].to_numpy()
    assert set(files[split.train]) | set(files[split.validation]) == set(TRAIN) and set(files[split.test]) == set(TEST)


def test_validation_is_whole_locations(place):
    dataset = open_tau("tau2022-mobile", root=place)
    for seed in range(5):
        split = split_dataset(dataset, seed=seed)
        where = dataset.clips["location"].to_numpy()
        assert not set(where[split.train]) & set(where[split.validation])


def test_the_official_test_list_has_the_published_counts(shared_data):
    # 29,680 clips: 3,300 of each device but b and c; no two scenes share a location.
    lines = (shared_data / "tau2022" / "test.csv").read_text().splitlines()[1:]
    names = [line.split("\t")[0].removeprefix("audio/").removesuffix(".wav").split("-") for line in lines]
    assert len(names) == 29_680 and [sum(n[-1] == d for n in names) for d in ("a", "b", "s6")] == [3300, 3290, 3300]
    scenes_of = {}
    for scene, city, number, *_ in names:
        scenes_of.setdefault((city, number), set()).add(scene)
    assert all(len(scenes) == 1 for scenes in scenes_of.values())


def subset_of(place, per_cent, files):
    (place / "evaluation_setup" / f"split{per_cent}.csv").write_text(
        listed(("filename", "scene_label"), *((file, file[6:].split("-")[0]) for file in files))
    )


def test_a_subset_leaves_the_other_training_clips_unused(place):
    subset_of(place, 50, [file for file in TRAIN if "lyon" in file or "milan" in file])
    dataset = open_dataset("tau2022-mobile", root=place, subset=50)
    assert dataset.clips["split"].value_counts().to_dict() == {"train": 40, "test": 10}


@pytest.mark.parametrize(
    ("per_cent", "files", "saying"),
    [
        (5, [file for file in TRAIN if "tram" not in file], r"split5.csv leaves 'tram' without a training clip"),
        (5, [TEST[0], *TRAIN], r"split5.csv names 1 clips outside the training part: audio/airport-prague"),
        (5, ["audio/a-b-c.wav", *TRAIN], r"names 1 clips that .*meta.csv does not list: audio/a-b-c.wav"),
        (25, None, r"subset 25 needs .*split25.csv, which is not there; finish with `coppice data get"),
        (30, None, r"subset is 30; the official ones are 5, 10, 25, 50, 100 per cent"),
    ],
)
def test_a_subset_that_cannot_be_is_refused(place, per_cent, files, saying):
    if files is not None:
        subset_of(place, per_cent, files)
    refused(saying, place, subset=per_cent)


def test_a_subset_of_another_dataset_is_refused(place, sounds):
    with pytest.raises(CoppiceError, match="subset is for tau2022-mobile"):
        open_dataset(sounds, subset=25)


def test_a_dataset_without_most_of_its_sounds_says_how_to_finish(place):
    for file in TRAIN[:30]:
        (place / file).unlink()
    refused(
        rf"holds 50 of the 80 clips that its meta.csv lists; 30 are not there: audio/airport-lyon-0-1-0-a.wav, .* and "
        rf"27 more; finish with `coppice data get tau2022-mobile --root {place.parent}`",
        place,
    )


def test_single_missing_sounds_are_listed_like_other_bad_clips(place, write_noise, monkeypatch, capsys):
    monkeypatch.setattr(tau, "_HOLES", 0.05)
    from coppice.audio.front_end import front_end

    for seed, (file, _, _) in enumerate(CLIPS):
        write_noise(place / file, seed=seed, seconds=0.1)
    (place / CLIPS[3][0]).unlink()
    dataset = open_tau("tau2022-mobile", root=place)
    assert "1 of 80 clips are not there: audio/airport-milan-1-2-0-s1.wav" in " ".join(capsys.readouterr().err.split())
    ears = front_end("logmel", duration_s=0.1)
    with pytest.raises(CoppiceError, match=r"1 of 80 clips cannot be used: .*no such file"):
        load_features(dataset, ears)
    problems = load_features(dataset, ears, bad_clips="skip").problems
    assert [clip_id for clip_id, _, _ in problems] == [CLIPS[3][0]]


def test_archives_that_are_not_unpacked_are_named(place, small):
    (place / ".fetched").mkdir()
    for archive in small.archives[:-2]:
        (place / ".fetched" / f"{archive.name}.json").touch()
    refused(
        r"is half downloaded: 2 of 18 archives are not unpacked \(.*audio.15.zip, .*audio.16.zip\); finish with", place
    )


@pytest.mark.parametrize("begun", [False, True])
def test_a_wrong_folder_is_told_with_what_was_looked_for(tmp_path, small, begun):
    if begun:
        (tmp_path / FOLDER / "audio").mkdir(parents=True)
        return refused(rf"is half downloaded: there is no {tmp_path / FOLDER / 'meta.csv'}; finish with", tmp_path)
    return refused(
        rf"{tmp_path} does not hold tau2022-mobile: there is neither {tmp_path / 'meta.csv'} nor "
        rf"{tmp_path / FOLDER / 'meta.csv'}; give the folder {FOLDER} or the one above it as root",
        tmp_path,
    )


def test_without_the_official_lists_a_whole_dataset_is_refused_and_an_excerpt_is_not(place, small, monkeypatch):
    (place / "evaluation_setup" / "fold1_train.csv").unlink()
    refused(r"there is no .*fold1_train.csv; finish with", place)
    monkeypatch.setattr(tau, "collection", lambda name: Collection(**{**vars(small), "clips": 1000}))
    dataset = open_tau("tau2022-mobile", root=place)
    assert dataset.clips["split"].isna().all() and "An excerpt: 80 of its 1000 clips" in dataset.note


@pytest.mark.parametrize(
    ("table", "was", "becomes", "saying"),
    [
        (
            "meta.csv",
            "\ttram\t",
            "\ttrem\t",
            r"line 74 has the label 'trem', none of the ten scenes. Did you mean 'tram'",
        ),
        ("meta.csv", "identifier", "place", r"meta.csv has no column 'identifier'; it is not the table of tau2022"),
        ("meta.csv", "\tlyon-0\t", "\t\t", r"meta.csv: line 2 has no identifier"),
        (
            "evaluation_setup/fold1_train.csv",
            "airport-lyon-0-1-",
            "airport-lyon-0-9-",
            r"fold1_train.csv names 1 clips that .*meta.csv does not list: audio/airport-lyon-0-9-0-a.wav",
        ),
        ("evaluation_setup/fold1_test.csv", "filename", "file", r"fold1_test.csv has no column 'filename'"),
        (
            "evaluation_setup/fold1_test.csv",
            "airport-prague-3-",
            "airport-lyon-0-",
            r"airport-lyon-0-1-0-a.wav is in both .*fold1_train.csv and .*fold1_test.csv",
        ),
    ],
)
def test_tables_that_do_not_fit_are_refused_by_name_and_line(place, table, was, becomes, saying):
    file = place / table
    text = file.read_text()
    assert was in text
    file.write_text(text.replace(was, becomes, 1))
    refused(saying, place)


def test_an_evaluation_set_cannot_be_learnt_from():
    refused_name = "tau2023-evaluation"
    with pytest.raises(CoppiceError, match=f"'{refused_name}' has no labels to learn or measure with"):
        open_dataset(refused_name)


def test_the_real_sample_is_an_excerpt(shared_data):
    dataset = open_dataset("tau2022-mobile", root=shared_data / "tau2022_sample")
    assert len(dataset) == 188 and dataset.labels == SCENES and "An excerpt: 188 of its 230350" in dataset.note
    split = split_dataset(dataset)
    assert "drawn" in split.how and len(split.test) > 20


@pytest.fixture
def served(server, tmp_path, monkeypatch):
    """The small dataset on a server, in two archives, with its lists of training clips."""
    made, train = tables()
    archives = []
    for part, members in (("meta", made), ("audio.1", {file: file for file, _, _ in CLIPS})):
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as writing:
            for name, text in members.items():
                writing.writestr(f"{FOLDER}/{name}", text)
        name, data = f"{FOLDER}.{part}.zip", packed.getvalue()
        server.files[f"/{name}"] = data
        archives.append(Archive(name, f"{server.place}/{name}", len(data), hashlib.md5(data).hexdigest()))
    for per_cent in SUBSETS:
        server.files[f"/split{per_cent}.csv"] = listed(*train[: 1 + round(len(TRAIN) * per_cent / 100)]).encode()
    published = Collection(**{**vars(collection("tau2022-mobile")), "clips": 80, "archives": tuple(archives)})
    monkeypatch.setattr(tau, "collection", lambda name: published)
    monkeypatch.setattr(tau, "SUBSETS_URL", server.place)
    return server


def test_get_fetches_archives_and_subsets_and_the_dataset_opens(served, tmp_path):
    place, clips = fetch_tau("tau2022-mobile", tmp_path)
    assert (place, clips) == (tmp_path / FOLDER, 80)
    assert [entry.name for entry in tmp_path.iterdir()] == [FOLDER]
    assert len(open_dataset("tau2022-mobile", root=tmp_path)) == 80
    assert open_dataset("tau2022-mobile", root=tmp_path, subset=100).clips["split"].eq("train").sum() == 60
    served.asked.clear()
    fetch_tau("tau2022-mobile", tmp_path)
    assert served.asked == []


def test_what_somebody_unpacked_by_hand_is_not_fetched(served, place):
    fetch_tau("tau2022-mobile", place.parent)
    assert {name for name, _ in served.asked} == {f"split{per_cent}.csv" for per_cent in SUBSETS}


def test_a_list_of_another_size_is_not_kept(served, tmp_path):
    served.files["/split10.csv"] = served.files["/split50.csv"]
    with pytest.raises(CoppiceError, match=r"split10.csv lists 50.0 % of the training clips instead of 10 %"):
        fetch_tau("tau2022-mobile", tmp_path)
    assert not (tmp_path / FOLDER / "evaluation_setup" / "split10.csv").exists()


def test_names_that_are_no_dataset_are_refused():
    with pytest.raises(CoppiceError, match="Did you mean 'tau2022-mobile'"):
        fetch_tau("tau2022-mobil")
    assert set(DEVELOPMENT) < set(tau_archives.NAMES)
