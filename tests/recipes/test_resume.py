import shutil
import subprocess

import pytest

# Where a run is stopped, in the order in which one run comes by.
PLACES = [
    ("sounds", "before"),
    ("features", "before"),
    ("data", "before"),
    ("epoch", "before"),
    ("train", "after"),
    ("unpruned/float16", "before"),
    ("systems/cosine/1-prune", "after"),
    ("epoch", "before"),
    ("systems/cosine/float16", "after"),
    ("latency", "before"),
    ("summary", "before"),
    ("report", "before"),
]
ONE_LINE = "coppice: interrupted; the same command goes on where this one stopped."


@pytest.mark.parametrize(
    ("stop", "code", "places"),
    [
        ("SIGINT", 130, PLACES[3:5]),
        ("SIGKILL", -9, PLACES[6:8]),
        pytest.param("SIGINT", 130, PLACES[::2], marks=pytest.mark.proof),
        pytest.param("SIGKILL", -9, PLACES, marks=pytest.mark.proof),
    ],
)
def test_a_run_stopped_in_every_stage_ends_with_the_numbers_of_one_that_was_not(
    tiny, forked, cache, whole_run, results, tmp_path, stop, code, places
):
    own_cache = tmp_path / "cache"
    for at, when in places:
        # The first two fill the cache; from then on the paths of the clips are those of the whole run.
        chosen = own_cache if at in ("sounds", "features") else cache
        env = {"COPPICE_CACHE": str(chosen)}
        answer = forked("run", tiny, "--out", "run", cwd=tmp_path, env=env, at=at, when=when, do=stop)
        assert answer["code"] == code, (at, answer)
        assert "Traceback" not in answer["err"]
        if stop == "SIGINT":
            lines = answer["err"].splitlines()
            assert lines[-1] == ONE_LINE
            assert sum(line.startswith("coppice:") for line in lines) == 1
    answer = forked("run", tiny, "--out", "run", cwd=tmp_path, env=env)
    assert answer["code"] == 0
    assert results(tmp_path / "run") == results(whole_run)
    assert names(tmp_path / "run") == names(whole_run)
    if stop == "SIGINT":
        assert not list(own_cache.glob(".partial-*"))


def test_sounds_and_features_whose_making_was_stopped_are_the_same(tiny, forked, cache, whole_run, tmp_path):
    env = {"COPPICE_CACHE": str(tmp_path)}
    for at in ("sounds", "features", "features"):
        assert forked("run", tiny, "--out", "run", cwd=tmp_path, env=env, at=at, do="SIGKILL")["code"] == -9
    assert forked("run", tiny, "--out", "run", cwd=tmp_path, env=env, at="data", do="SIGKILL")["code"] == -9
    (mine,), (other,) = ([*place.glob("features/*/features.npy")] for place in (tmp_path, cache))
    assert mine.read_bytes() == other.read_bytes()


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own that can be filled."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", place], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"mounting a small file system is not permitted here: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


@pytest.fixture(autouse=True)
def mount_exists(request):
    if "small_disk" in request.fixturenames and not shutil.which("mount"):
        pytest.skip("there is no mount command here")


@pytest.mark.proof
def test_a_disk_that_fills_up_in_any_stage_is_one_sentence_and_the_run_finishes_with_space(
    tiny, forked, cache, whole_run, results, small_disk
):
    for at, when in [place for place in PLACES if place[1] == "before"]:
        (small_disk / "run" / "latency.json").unlink(missing_ok=True)
        chosen = small_disk / "cache" if at in ("sounds", "features") else cache
        env = {"COPPICE_CACHE": str(chosen)}
        job = {"cwd": small_disk, "env": env, "at": at, "when": when, "do": "fill", "disk": small_disk}
        answer = forked("run", tiny, "--out", "run", **job)
        assert answer["code"] == 2, (at, answer)
        last = answer["err"].splitlines()[-1]
        assert last.startswith("coppice: cannot write")
        assert last.endswith("the disk is full; free some space or choose another folder.")
        assert "Traceback" not in answer["err"]
        (small_disk / "filler").unlink()
    assert forked("run", tiny, "--out", "run", cwd=small_disk, env=env)["code"] == 0
    assert results(small_disk / "run") == results(whole_run)
    assert names(small_disk / "run") == names(whole_run)


def names(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))
