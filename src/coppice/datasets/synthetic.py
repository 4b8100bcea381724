"""A dataset of computed sounds: for demonstrations and tests, without a download."""

import io
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile
from filelock import FileLock
from jaxtyping import Float64

from coppice.core.errors import CoppiceError
from coppice.core.files import digest, make_folder, plain_os_errors, read_json, write_json, write_text
from coppice.core.progress import progress_bar
from coppice.core.seeds import numpy_stream
from coppice.datasets.cache import cache_folder
from coppice.datasets.clips import Dataset, make_dataset
from coppice.datasets.scenes import SCENES, shaped_noise, unit
from coppice.datasets.simulated_devices import DEVICES

VERSION = 1
SAMPLE_RATE = 44100
FOLDS = 5
CLIPS_PER_RECORDING = 2.5
NOTE = "Synthetic: computed by Coppice, not recorded. Results on these sounds say nothing about real ones."
# Level of the scene against its background, in dB: the loud end is easy, the low end is not.
SCENE_TO_BACKGROUND_DB = (3.0, 22.0)


def open_synthetic(
    *,
    root: str | Path | None = None,
    clips_per_class: int = 40,
    duration_s: float = 2.0,
    seed: int = 0,
    threads: int = 2,
) -> Dataset:
    """Make ten scenes of computed sound, or take them from the folder where they already are.

    Every recording has its own parameters, background, device and level; the clips of one recording follow
    each other in time and stand in one of five folds.

    Parameters
    ----------
    root : str, Path or None
        Folder to appear; None: one in the cache folder.
    clips_per_class : int >= 5
        In at least five recordings, one per fold.
    duration_s : float
        Of each clip, 0.1 to 30 seconds.
    seed : int
        Same seed, same files.
    threads : int
        Recordings computed at the same time.

    Returns
    -------
    Dataset
        With ``synthetic`` set, 16-bit WAV files at 44.1 kHz.

    Raises
    ------
    CoppiceError
        If a number cannot be, or the folder holds something else.

    Examples
    --------
    >>> dataset = open_synthetic(root=Path(tempfile.mkdtemp()) / "s", clips_per_class=5, duration_s=0.2)
    >>> len(dataset), dataset.synthetic, dataset.clips["fold"].nunique()
    (50, True, 5)
    """
    if clips_per_class < FOLDS:
        raise CoppiceError(f"clips_per_class is {clips_per_class}; give at least {FOLDS}, one for each fold.")
    if not 0.1 <= duration_s <= 30:
        raise CoppiceError(f"duration_s is {duration_s}; give 0.1 to 30 seconds.")
    wanted = {
        "version": VERSION,
        "clips_per_class": clips_per_class,
        "duration_s": float(duration_s),
        "seed": seed,
    }
    place = Path(root).resolve() if root is not None else cache_folder() / f"synthetic-{digest(wanted)}"
    if not place.exists():
        make_folder(place.parent)
        with plain_os_errors("write", place), FileLock(place.with_name(place.name + ".lock")):
            if not place.exists():
                _write(place, wanted, clips_per_class, duration_s, seed, threads)
    found = read_json(place / "synthetic.json", "folder of synthetic sounds")
    if found != wanted:
        raise CoppiceError(f"{place} holds other synthetic sounds ({found}); choose another folder or remove it.")
    return make_dataset("synthetic", _table(place, clips_per_class), root=place, synthetic=True, note=NOTE)


def _recordings(clips_per_class: int) -> list[int]:
    """Return how many clips each recording of a class gives."""
    number = FOLDS * max(1, round(clips_per_class / CLIPS_PER_RECORDING / FOLDS))
    return [len(part) for part in np.array_split(np.arange(clips_per_class), number)]


def _table(place: Path, clips_per_class: int) -> pd.DataFrame:
    rows = []
    for index, label in enumerate(SCENES):
        for recording, clips in enumerate(_recordings(clips_per_class)):
            # Each fold of each class begins with another device, so that neither tells the class.
            device = DEVICES[(index + recording % FOLDS + recording // FOLDS) % len(DEVICES)]
            for clip in range(clips):
                name = f"{label}-{recording:03d}-{clip}"
                rows.append(
                    {
                        "clip_id": name,
                        "file": str(place / label / f"{name}.wav"),
                        "label": label,
                        "fold": recording % FOLDS + 1,
                        "recording": f"{label}-{recording:03d}",
                        "device": device.name,
                    }
                )
    return pd.DataFrame(rows)


def _write(
    place: Path, wanted: dict[str, float], clips_per_class: int, duration_s: float, seed: int, threads: int
) -> None:
    temporary = Path(tempfile.mkdtemp(prefix=".partial-", dir=place.parent))
    try:
        table = _table(temporary, clips_per_class)
        for label in SCENES:
            (temporary / label).mkdir()
        groups = [group for _, group in table.groupby("recording", sort=False)]

        def work(group: pd.DataFrame) -> int:
            first = group.iloc[0]
            rng = numpy_stream(seed, "synthetic", first["recording"])
            samples = round(duration_s * SAMPLE_RATE)
            wave = _record(first["label"], first["device"], len(group) * samples, rng)
            for number, file in enumerate(group["file"]):
                # Through memory: of a full disk Python speaks plainly, the library does not.
                content = io.BytesIO()
                clip = wave[number * samples :][:samples]
                soundfile.write(content, clip, SAMPLE_RATE, format="WAV", subtype="PCM_16")
                Path(file).write_bytes(content.getvalue())
            return len(group)

        with ThreadPoolExecutor(threads) as pool, progress_bar("computing sounds", len(table)) as advance:
            for clips in pool.map(work, groups):
                advance(clips, "")
        write_text(temporary / "README.txt", NOTE + "\n")
        write_json(temporary / "synthetic.json", wanted)
        temporary.chmod(0o755)
        temporary.rename(place)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _record(label: str, device: str, samples: int, rng: np.random.Generator) -> Float64[np.ndarray, "samples"]:
    scene = unit(SCENES[label](rng, samples, SAMPLE_RATE))
    background = shaped_noise(rng, samples, SAMPLE_RATE, low_hz=50, high_hz=9000, slope_db=rng.uniform(2, 5))
    level = 10 ** (rng.uniform(*SCENE_TO_BACKGROUND_DB) / 20)
    heard = unit(level * scene + background) * 10 ** (rng.uniform(-9, 3) / 20)
    microphone = next(candidate for candidate in DEVICES if candidate.name == device)
    return microphone.record(heard, SAMPLE_RATE, rng)
