import re

import numpy as np
import pytest

from coppice.audio.front_end import front_end
from coppice.core.errors import CoppiceError
from coppice.reports.spectrogram_figures import coarse, spectrogram, write_spectrograms
from coppice.training.augment.show import Panel

EARS = front_end("dcase2021", duration_s=0.5)


@pytest.fixture
def panels():
    random = np.random.default_rng(0)
    return [
        Panel(name, note, random.normal(-6, 2, EARS.shape).astype(np.float32))
        for name, note in (("plain", ""), ("gain", "+6 dB"))
    ]


@pytest.mark.parametrize("shape", [(40, 25), (256, 65), (40, 500), (65, 126)])
def test_a_picture_is_averaged_until_it_is_small_enough(shape):
    picture = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    small = coarse(picture)
    rows, columns = (-(-size // most) for size, most in zip(shape, (64, 125), strict=True))
    expected = [
        [picture[r : r + rows, c : c + columns].astype(float).mean() for c in range(0, shape[1], columns)]
        for r in range(0, shape[0], rows)
    ]
    assert small.shape[0] <= 64 and small.shape[1] <= 125
    np.testing.assert_allclose(small, expected, atol=1e-5)


def test_low_bands_are_at_the_bottom_and_time_runs_to_the_right():
    picture = np.zeros(EARS.shape, np.float32)
    picture[0, -1] = 5.0
    values = spectrogram(Panel("plain", "", picture), EARS, (0.0, 1.0)).to_dict()["data"]["values"]
    assert values.index(5.0) == len(values) - 1  # rows are drawn from the top, cells from the left


def test_a_page_needs_no_network_and_has_every_picture(panels, tmp_path):
    page = write_spectrograms(panels, EARS, tmp_path / "page.html", clip="<b>dog</b>").read_text()
    assert re.findall(r'data-chart="([^"]+)"', page) == ["0-plain", "1-gain"]
    assert "gain: +6 dB" in page and "&lt;b&gt;dog&lt;/b&gt;" in page and "<b>dog" not in page
    body = re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
    assert "http" not in body.replace("http-equiv", "") and "<nav" not in body and "Environment" not in body


@pytest.mark.parametrize(("kind", "start"), [("svg", b"<svg"), ("png", b"\x89PNG")])
def test_a_figure_has_the_format_of_its_name(panels, tmp_path, kind, start):
    assert write_spectrograms(panels, EARS, tmp_path / f"f.{kind}", clip="dog").read_bytes().startswith(start)


def test_another_format_is_refused_and_nothing_written(panels, tmp_path):
    with pytest.raises(CoppiceError, match=r"f.gif is none of the files .*; name it .html, .svg, .png or .pdf"):
        write_spectrograms(panels, EARS, tmp_path / "f.gif", clip="dog")
    assert not list(tmp_path.iterdir())
