"""What docs/energy.md says of names and defaults is what the code has."""

from pathlib import Path

from coppice.energy.assumptions import GPU_W, PROCESSOR_W
from coppice.energy.co2 import DEFAULT_INTENSITY
from coppice.energy.codecarbon_tracker import _WAYS
from coppice.energy.energy import INFERENCE, Energy
from coppice.energy.estimate import MODE

PAGE = (Path(__file__).parents[2] / "docs" / "energy.md").read_text(encoding="utf-8")


def test_the_page_names_the_modes_and_the_defaults():
    for text in (MODE, *(f"codecarbon …, {_WAYS[way][0]}" for way in ("intel_rapl", "cpu_load", "constant"))):
        assert f"`{text}`" in PAGE
    for text in (f"{PROCESSOR_W:g} W", f"{GPU_W:g} W", f"{DEFAULT_INTENSITY:g}", INFERENCE):
        assert text in PAGE


def test_the_page_names_every_field_of_a_record():
    fields = ", ".join(f"`{name}`" for name in Energy(0, 0, 0, "").to_dict())
    assert f"`energy` with {fields}" in " ".join(PAGE.split())
