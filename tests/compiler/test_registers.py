"""Sums that the compiler lets wait in memory cost a third of the time, and no posterior tells."""

import re
import subprocess
from dataclasses import replace
from itertools import pairwise

import pytest
from tests.compiler.conftest import needed
from torch import nn

from coppice.compiler.planned import planned
from coppice.compiler.programs import network_program
from coppice.compiler.source import model_sources
from coppice.compiler.tiles import Tile
from coppice.native.toolchain import FLAGS

TILES = {2: Tile(2, 8), 4: Tile(4, 5, 2), 6: Tile(6, 3), 8: Tile(8, 3, 1), 11: Tile(11, 2), 12: Tile(12, 2, 1)}
WRITES = re.compile(r"\tvmov\w+\t%.*\)$")
X86 = {"haswell": "ymm", "skylake-avx512": "zmm", "znver3 -mavx512f": "zmm"}  # GCC has a way of its own with each


@pytest.fixture(scope="module")
def tiled():
    """C of a network with a layer for each tile."""
    widths = (1, *TILES)
    layers = [
        layer for given, filters in pairwise(widths) for layer in (nn.Conv2d(given, filters, 7, padding=3), nn.ReLU())
    ]
    plan = planned(network_program(nn.Sequential(*layers).eval(), (1, 40, 250)))
    chosen = {
        name: replace(geometry, tiles=(tile,))
        for (name, geometry), tile in zip(plan.geometries.items(), TILES.values(), strict=True)
    }
    plan = replace(plan, geometries=chosen)
    return model_sources(plan, title="Tiles", origin="", labels=["any"], given="noise")


@pytest.mark.parametrize("processor", X86)
def test_no_sum_waits_in_memory_while_others_are_added_up(tiled, processor, tmp_path):
    gcc = needed("gcc")
    if not subprocess.check_output([gcc, "-dumpmachine"], text=True).startswith("x86_64"):
        pytest.skip("gcc is for another processor")
    for name, text in tiled.items():
        (tmp_path / name).write_text(text)
    call = [gcc, *FLAGS, *f"-march={processor}".split(), "-S", "-o", "model.s", "model.c"]
    subprocess.run(call, cwd=tmp_path, check=True)
    loops = inner_loops((tmp_path / "model.s").read_text(), X86[processor])
    assert {function for function, _ in loops} >= {f"go_{kind}" for tile in TILES.values() for kind in tile.kinds[:1]}
    waiting = [function for function, lines in loops if any(WRITES.match(line) for line in lines)]
    assert waiting == []


def inner_loops(assembly: str, register: str) -> list[tuple[str, list[str]]]:
    """Return what jumps back to its own beginning and adds products to eight sums or more, with its function."""
    found, function, block = [], "", []
    for line in assembly.splitlines():
        if label := re.match(r"(\.?\w+):", line):
            function = function if line.startswith(".") else label[1]
            block = [label[1]]
        elif line.startswith("\t") and not line.startswith("\t."):
            block.append(line)
            if re.match(rf"\tj\w+\t{re.escape(block[0])}$", line):
                if sum("vfmadd" in each and register in each for each in block) >= 8:
                    found.append((function, block))
            elif re.match(r"\tj", line):
                block = [""]
    return found
