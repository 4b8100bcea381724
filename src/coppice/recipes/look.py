"""The verb ``data show``: a clip's spectrogram, plain and augmented, from a source to a page."""

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

from coppice.audio.decode import EXTENSIONS
from coppice.audio.front_end import front_end
from coppice.audio.places import sound_files
from coppice.core.errors import CoppiceError
from coppice.datasets.features import clip_waveform
from coppice.datasets.sources import open_dataset
from coppice.recipes.material import recipe_front_end
from coppice.recipes.recipe import load_recipe
from coppice.reports.spectrogram_figures import write_spectrograms
from coppice.training.augment.settings import Augment
from coppice.training.augment.show import NAMES, augmented_panels, chosen_augmentations


def look_at(
    source: str | Path,
    out: Path,
    *,
    names: Sequence[str] | None = None,
    responses: Path | None = None,
    recipe: str | None = None,
    root: Path | None = None,
    columns: Mapping[str, str] | None = None,
    clip: int = 0,
    preset: str = "dcase2021",
    duration_s: float = 5.0,
    seed: int = 0,
) -> Path:
    """Draw one clip, plain and with each augmentation alone.

    Parameters
    ----------
    source : str or Path
        A sound file, a folder of them, or what :func:`coppice.datasets.sources.open_dataset` takes.
    out : Path
        ``.html``, ``.svg``, ``.png`` or ``.pdf``.
    names : sequence of str, optional
        Augmentations, at their usual strengths; all that can be had if neither these nor a recipe are given.
    responses : Path, optional
        Impulse responses, for ``device_ir``.
    recipe : str, optional
        Whose augmentation and front end are shown, in place of ``names``, ``preset`` and ``duration_s``.
    root, columns
        See :func:`coppice.datasets.sources.open_dataset`.
    clip : int
        Row of the clip table; the next one, or the first behind the last, is mixed in.
    preset, duration_s
        Front end.
    seed : int
        Of what is drawn.

    Raises
    ------
    CoppiceError
        For whatever is wrong with clips, names or files.
    """
    if recipe is not None:
        if names is not None:
            raise CoppiceError("the recipe says which augmentations there are; leave out --augment or --recipe.")
        said = load_recipe(recipe)
        ears, mixup = recipe_front_end(said), said.training.mixup
        augment = said.training.augment.settings() if said.training.augment is not None else Augment()
        if not augment.to_dict() and not mixup:
            raise CoppiceError(f"recipe {said.name!r} augments nothing in training; give --augment in its place.")
    else:
        ears = front_end(preset, duration_s=duration_s)
    clips = _clips(source, root, columns)
    if recipe is None:
        possible = _possible(len(clips), responses, scaled=ears.clip_scaling is not None)
        wanted = possible if names is None else names
        augment, mixup = chosen_augmentations(wanted, responses=None if responses is None else str(responses))
    if not 0 <= clip < len(clips):
        raise CoppiceError(f"--clip is {clip} but there are {len(clips)} clips; give 0 to {len(clips) - 1}.")
    rows = [clip, *([(clip + 1) % len(clips)] if len(clips) > 1 else [])]
    waveforms = [clip_waveform(clips[row], ears)[0] for row in rows]
    panels = augmented_panels(waveforms, ears, augment, mixup=mixup, seed=seed)
    return write_spectrograms(panels, ears, out, clip=str(clips[clip]["clip_id"]))


def _clips(source: str | Path, root: Path | None, columns: Mapping[str, str] | None) -> list[dict[Hashable, Any]]:
    place = Path(source)
    if place.is_dir() or place.suffix.lower() in EXTENSIONS:
        # Labels do not matter here, so that any sound will do.
        return [
            {"clip_id": file.name, "file": str(file), "start_s": 0.0, "duration_s": float("nan")}
            for file in sound_files(place)
        ]
    return open_dataset(source, root=root, columns=columns or None).clips.to_dict("records")


def _possible(clips: int, responses: Path | None, *, scaled: bool) -> list[str]:
    without = {"device_ir"} if responses is None else set()
    without |= {"freq_mixstyle", "mixup"} if clips < 2 else set()
    without |= {"gain", "spec_augment"} if scaled else set()
    return [name for name in NAMES if name not in without]
