"""The feature store at the size of TAU Urban Acoustic Scenes 2022 Mobile: time, disk, memory, and what reading costs.

``python benchmarks/bench_feature_store.py [FOLDER] [--page DIR]`` takes the one-second clips of FOLDER (noise without
one) and makes of them, by links, a dataset of 230,350 clips with the tables of the real one. What grows with the number
of clips is measured at that size (opening, the key of the store, the memory of filling it and of a training part) or
projected from three sizes (the time of computing features). ``--page`` writes the section of the page.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile
import torch

from coppice.audio.decode import decode
from coppice.audio.front_end import front_end
from coppice.audio.log_mel import log_mel
from coppice.core.files import write_json
from coppice.datasets import features
from coppice.datasets.clips import Dataset
from coppice.datasets.feature_file import read_rows
from coppice.datasets.features import clip_waveform, load_features, store_key
from coppice.datasets.normalization import fit_normalization
from coppice.datasets.prepare import Prepared
from coppice.datasets.splits import split_dataset
from coppice.datasets.tau import open_tau
from coppice.datasets.tau_archives import SCENES, collection
from page import machine, table, write_section

PUBLISHED = collection("tau2022-mobile")
CLIPS, TRAIN, TEST = 230_350, 139_620, 29_680
SIZES = (1_000, 2_000, 4_000)
EPOCH_CLIPS, ROUNDS, BATCH = 2_000, 5, 64
PRESETS = ("dcase2022", "dcase2024")
MOST_GIB, LEAST_RATIO = 2.0, 5.0


def make_clips(folder: Path | None, place: Path) -> list[Path]:
    """Return the clips to link to: those of a folder, or noise at the rate and depth of the real ones."""
    if folder is not None:
        return sorted(folder.rglob("*.wav"))
    rng = np.random.default_rng(0)
    made = [place / f"{number}.wav" for number in range(100)]
    for file in made:
        soundfile.write(file, rng.standard_normal(44_100) * 0.1, 44_100, subtype="PCM_24")
    return made


def link_dataset(clips: list[Path], place: Path) -> Path:
    """Make a dataset with the number of clips, locations and parts of the real one; the sounds are links."""
    root = place / PUBLISHED.folder
    (root / "audio").mkdir(parents=True)
    (root / "evaluation_setup").mkdir()
    sources = [clip.resolve() for clip in clips]
    meta, parts = ["filename\tscene_label\tidentifier\tsource_label"], []
    for number in range(CLIPS):
        scene, device = SCENES[number % 10], ("a", "b", "c", "s1", "s2", "s3")[number // 10 % 6]
        location = number // 640 * 10 + number % 10  # 64 clips of a scene to a location
        name = f"audio/{scene}-lyon-{location}-{number}-0-{device}.wav"
        (root / name).symlink_to(sources[number % len(clips)])
        meta.append(f"{name}\t{scene}\tlyon-{location}\t{device}")
        parts.append(f"{name}\t{scene}")
    train = TRAIN // 640 * 640  # whole locations
    (root / "meta.csv").write_text("\n".join(meta) + "\n")
    for part, rows in (("train", parts[:train]), ("test", parts[train : train + TEST])):
        text = "\n".join(["filename\tscene_label", *rows]) + "\n"
        (root / "evaluation_setup" / f"fold1_{part}.csv").write_text(text)
    return root


def peak_gib() -> float:
    """Return the most memory this process has had, in GiB, with pages of files that were mapped."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 2**30


def some(dataset: Dataset, clips: int) -> Dataset:
    """Return the first clips of a dataset."""
    return Dataset(dataset.name, dataset.clips.iloc[:clips].copy(), dataset.labels, dataset.root)


def measure_open(root: Path, _preset: str, _given: str) -> dict[str, float]:
    begin = time.perf_counter()
    dataset = open_tau(PUBLISHED.name, root=root)
    opened = time.perf_counter()
    store_key(dataset, front_end("dcase2022"))
    keyed = time.perf_counter()
    split_dataset(dataset)
    divided = time.perf_counter()
    return {"open_s": opened - begin, "key_s": keyed - opened, "split_s": divided - keyed, "peak_gib": peak_gib()}


def measure_fill(root: Path, preset: str, clips: str) -> dict[str, float]:
    dataset = some(open_tau(PUBLISHED.name, root=root), int(clips))
    with tempfile.TemporaryDirectory() as place:
        begin = time.perf_counter()
        load_features(dataset, front_end(preset), folder=Path(place))
        seconds = time.perf_counter() - begin
        disk = sum(file.stat().st_size for file in Path(place).rglob("*") if file.is_file())
    return {"seconds": seconds, "disk": disk, "peak_gib": peak_gib()}


def measure_fill_all(root: Path, preset: str, _given: str) -> dict[str, float]:
    """Fill a store of full size with a picture that is computed once: what grows with the number of clips."""
    ears, compute = front_end(preset), features._features
    dataset = open_tau(PUBLISHED.name, root=root)
    picture = compute(dataset.clips.iloc[0].to_dict(), ears)
    features._features = lambda clip, ears: picture
    with tempfile.TemporaryDirectory() as place:
        begin = time.perf_counter()
        load_features(dataset, ears, folder=Path(place))
        seconds = time.perf_counter() - begin
    return {"seconds": seconds, "peak_gib": peak_gib()}


def measure_epoch(root: Path, preset: str, _given: str) -> dict[str, float]:
    """Time the clips of an epoch from the store and from their files, in turn, in the same shuffled order."""
    torch.set_num_threads(1)
    ears = front_end(preset)
    dataset = some(open_tau(PUBLISHED.name, root=root), EPOCH_CLIPS)
    clips = dataset.clips.to_dict("records")
    order = np.random.default_rng(0).permutation(EPOCH_CLIPS)
    times: dict[str, list[float]] = {"store": [], "decode": [], "log_mel": []}
    with tempfile.TemporaryDirectory() as place:
        stored = load_features(dataset, ears, folder=Path(place)).array
        for _ in range(ROUNDS):
            begin = time.perf_counter()
            for start in range(0, EPOCH_CLIPS, BATCH):
                torch.from_numpy(read_rows(stored, order[start : start + BATCH]))
            read = time.perf_counter()
            for row in order.tolist():
                decode(clips[row]["file"], sample_rate=ears.sample_rate, resampler=ears.resampler)
            decoded = time.perf_counter()
            for row in order[: EPOCH_CLIPS // 10].tolist():
                log_mel(clip_waveform(clips[row], ears)[0], ears)
            computed = time.perf_counter()
            times["store"].append(read - begin)
            times["decode"].append(decoded - read)
            times["log_mel"].append((computed - decoded) * 10)
    return {name: float(np.median(seconds)) / EPOCH_CLIPS for name, seconds in times.items()}


def measure_training_part(root: Path, preset: str, _given: str) -> dict[str, float]:
    """Take the training part of a store of full size into memory, as training does; its rows are empty pages."""
    ears, dataset = front_end(preset), open_tau(PUBLISHED.name, root=root)
    with tempfile.TemporaryDirectory() as place:
        store = Path(place) / store_key(dataset, ears)
        store.mkdir()
        shape = (len(dataset), *ears.shape)
        np.lib.format.open_memmap(store / "features.npy", "w+", np.float32, shape).flush()
        write_json(store / "store.json", {"shape": list(shape), "cut": 0, "padded": 0, "problems": {}})
        found = load_features(dataset, ears, folder=Path(place))
        prepared = Prepared(
            dataset, split_dataset(dataset), ears, (), 0, 0, found.array, np.arange(len(dataset), dtype=np.int64)
        )
        fit_normalization(prepared._features, prepared.split.train)
        begin = time.perf_counter()
        part = prepared.log_mel("train")
        seconds = time.perf_counter() - begin
        held = part.numel() * part.element_size() / 2**30
    return {"seconds": seconds, "held_gib": held, "peak_gib": peak_gib()}


MEASURES = {
    "open": measure_open,
    "fill": measure_fill,
    "fill_all": measure_fill_all,
    "epoch": measure_epoch,
    "training_part": measure_training_part,
}


def in_child(measure: str, root: Path, preset: str = "dcase2022", given: str = "") -> dict[str, float]:
    """Measure in a process of its own, whose peak of memory is nobody else's."""
    command = [
        sys.executable,
        __file__,
        "--measure",
        measure,
        "--root",
        str(root),
        "--preset",
        preset,
        "--given",
        given,
    ]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def projected(sizes: tuple[int, ...], values: list[float], to: int) -> float:
    """Return where the straight line through the measured sizes stands at another one."""
    slope, start = np.polyfit(sizes, values, 1)
    return float(slope * to + start)


def duration(seconds: float) -> str:
    return f"{seconds / 60:.1f} min" if seconds >= 100 else f"{seconds:.1f} s"


def section(root: Path, source: str) -> str:
    opened = in_child("open", root)
    rows, verdicts = [], []
    for preset in PRESETS:
        filled = [in_child("fill", root, preset, str(size)) for size in SIZES]
        epoch = in_child("epoch", root, preset)
        ears = front_end(preset)
        ratio = epoch["decode"] / epoch["store"]
        rows.append(
            [
                f"`{preset}`, {ears.n_mels}×{ears.frames}",
                duration(projected(SIZES, [one["seconds"] for one in filled], CLIPS)),
                f"{filled[-1]['disk'] / SIZES[-1] * CLIPS / 1e9:.2f} GB",
                f"{1e6 * epoch['store']:.0f} µs",
                f"{1e6 * epoch['decode']:.0f} µs",
                f"{1e6 * epoch['log_mel']:.0f} µs",
                f"**{ratio:.0f}×**",
            ]
        )
        verdicts += [(f"`{preset}`: reading beside decoding", ratio, LEAST_RATIO, ratio >= LEAST_RATIO, "×")]
    whole, part = in_child("fill_all", root), in_child("training_part", root)
    for what, measured in (("while it is filled", whole), ("with the training part in it", part)):
        peak = measured["peak_gib"]
        verdicts += [(f"`dcase2022`: memory {what}", peak, MOST_GIB, peak <= MOST_GIB, "GiB")]
    head = ["front end", "to fill", "disk", "a clip from the store", "decoded", "and log-mel", "ratio"]
    aims = [
        [what, f"{value:.2f} {unit}", f"{'≥' if unit == '×' else '≤'} {aim:g} {unit}", "yes" if met else "**no**"]
        for what, value, aim, met, unit in verdicts
    ]
    sizes = ", ".join(f"{size:,}" for size in SIZES)
    return (
        f"## The feature store at 230,350 clips\n\n{machine()}. {source}, linked to as often as TAU Urban Acoustic "
        f"Scenes 2022 Mobile has clips. The time of filling is projected from {sizes} clips along a straight line. The "
        "files are in the page cache, which helps decoding more than reading. *A clip from the store*: one in shuffled "
        f"batches of {BATCH}; *decoded*: its waveform at the front end's rate; both on one thread, medians of {ROUNDS} "
        f"rounds of {EPOCH_CLIPS:,} clips. *Ratio*: decoded by stored.\n\n"
        + table(head, rows)
        + f"Opening the table of all clips takes {duration(opened['open_s'])}, the key of its store "
        f"{duration(opened['key_s'])} (size and date of each file), the split {duration(opened['split_s'])}; peak "
        f"{opened['peak_gib']:.2f} GiB. Filling a store of all clips with one picture, computed once, takes "
        f"{duration(whole['seconds'])}: the part that is not decoding and log-mel. Taking the training part of "
        f"`dcase2022` ({part['held_gib']:.2f} GiB) into memory takes {duration(part['seconds'])}, from a store whose "
        "pages are empty. Memory is the peak of the process, with pages of mapped files.\n\n"
        + table(["aim", "measured", "wanted", "met"], aims)
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--page", type=Path)
    parser.add_argument("--measure", choices=MEASURES)
    parser.add_argument("--root", type=Path)
    parser.add_argument("--preset", default="dcase2022")
    parser.add_argument("--given", default="")
    asked = parser.parse_args()
    if asked.measure:
        print(json.dumps(MEASURES[asked.measure](asked.root, asked.preset, asked.given)))
        return
    with tempfile.TemporaryDirectory() as place:
        clips = make_clips(asked.folder, Path(place))
        root = link_dataset(clips, Path(place))
        kind = f"{len(clips)} clips of noise, 24 bit" if asked.folder is None else f"{len(clips)} real one-second clips"
        text = section(root, kind)
    print(text)
    if asked.page:
        write_section(asked.page, "feature_store", text)


if __name__ == "__main__":
    main()
