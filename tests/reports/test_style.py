import pytest

from coppice.reports.style import DARK, LIGHT


def luminance(colour):
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    bright, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
def test_text_stands_at_least_4_5_to_1_against_its_ground(palette):
    pairs = [
        ("ink", "paper"), ("quiet", "paper"), ("accent", "paper"), ("ink", "raised"), ("quiet", "raised"),
        ("warn", "warn-soft"), ("ink", "accent-soft"), ("quiet", "accent-soft"), ("on-accent", "accent"),
    ]  # fmt: skip
    measured = {pair: contrast(palette[pair[0]], palette[pair[1]]) for pair in pairs}
    assert {pair: ratio for pair, ratio in measured.items() if ratio < 4.5} == {}


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
def test_marks_stand_at_least_3_to_1_against_the_paper(palette):
    assert all(contrast(colour, palette["paper"]) >= 3 for colour in palette["categories"])
