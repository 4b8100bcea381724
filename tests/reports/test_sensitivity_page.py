import re

import pytest
import vl_convert

from coppice.core.errors import CoppiceError
from coppice.core.files import write_json
from coppice.reports.figure import VEGALITE_VERSION
from coppice.reports.sensitivity_figure import MEASURES, sensitivity_against, sensitivity_chart
from coppice.reports.sensitivity_page import write_sensitivity_page
from coppice.reports.sensitivity_records import GroupPoints, Sensitivity, read_sensitivity
from coppice.reports.style import LIGHT, vega_config

RATIOS = (0.25, 0.5)
ODD = "stages.<b>&amp;</script>.0"


def scored(value):
    scores = {}
    for name in ("accuracy", "macro_accuracy", "log_loss", "agreement", "accuracy_change", "log_loss_change"):
        scores |= {name: value, f"{name}_interval": (value - 0.1, value + 0.1)}
    return scores


def point(ratio, removed, value):
    if not removed:
        return {"ratio": ratio, "removed": 0, "reason": "25 % of 2 filters is less than one filter"}
    return {"ratio": ratio, "removed": removed, "scores": scored(value), "params_total": 900, "macs": 80_000}


def made(names=("conv1", ODD), *, synthetic=False):
    groups = [
        {"name": name, "coupled": ["b", "c"] if index == 0 else [], "filters": 16,
         "points": [point(ratio, round(16 * ratio), 0.9 - ratio * (index + 1) / 4) for ratio in RATIOS]}
        for index, name in enumerate(names)
    ]  # fmt: skip
    groups += [
        {"name": "few", "filters": 2, "points": [point(0.25, 0, 0), point(0.5, 1, 0.8)]},
        {"name": "dense2", "filters": 10, "reason": "its filters reach the network's output"},
    ]
    return Sensitivity.model_validate(
        {
            "model": "0" * 64,
            "criterion": "taylor",
            "ratios": RATIOS,
            "seed": 3,
            "looked_at": 64,
            "clips": {"name": "mine", "clips": 80, "recordings": 57, "synthetic": synthetic},
            "unpruned": scored(0.925),
            "params_total": 1000,
            "macs": 100_000,
            "groups": groups,
            "conventions": {"agreement": "share of the clips with the same label"},
            "environment": {"torch": "2"},
        }
    )


@pytest.fixture
def page(tmp_path):
    def write(study):
        write_json(tmp_path / "sensitivity.json", study.model_dump(mode="json"))
        return write_sensitivity_page(tmp_path).read_text()

    write.folder = tmp_path
    return write


def body(text):
    return text[: text.index('id="charts"')]


def test_the_page_says_which_group_costs_most_and_what_was_not_measured(page):
    text = body(page(made()))
    lead = re.search(r'<p class="lead">(.*?)</p>', text, re.S).group(1)
    assert "With 50 % of its filters removed and nothing else cut" in lead
    assert "costs most: 65.0 % of the clips keep their label" in lead
    assert "few costs least: 80.0 % keep it" in lead
    assert "looked at 64 training clips" in text
    assert "the test clips played no part" in text
    missing = text[text.index('id="h-left-out"') :]
    assert "dense2" in missing and "reach the network&#39;s output" in missing
    assert "few at 25 %" in missing and "less than one filter" in missing
    rows = re.findall(r"<tr.*?</tr>", text[text.index('id="h-table"') : text.index('id="h-left-out"')], re.S)
    assert len(rows) == 1 + 1 + 2 * 2 + 1  # head, unpruned, two groups at two ratios, one at one
    assert not any("dense2" in row for row in rows)


def test_names_of_layers_are_text_not_markup(page):
    text = page(made())
    assert "stages.<b>" not in text
    assert text.count("</script>") == 4


def test_made_up_sounds_are_announced(page):
    assert "Made-up sounds" in page(made(synthetic=True))
    assert "Made-up sounds" not in page(made())


def test_there_is_a_figure_for_each_score(page):
    page(made())
    names = sorted(path.name for path in (page.folder / "figures").iterdir())
    assert names == [f"sensitivity-{name}.svg" for name in ("accuracy", "agreement", "log_loss", "macro_accuracy")]
    drawn = (page.folder / "figures/sensitivity-log_loss.svg").read_text()
    assert "log-loss (nats)" in drawn
    assert "conv1 (+2)" in drawn
    assert "dense2" not in drawn


@pytest.mark.parametrize("count", [1, 6, 7, 20])
def test_every_group_has_a_line_that_no_other_looks_like(count):
    study = made([f"layer{number}" for number in range(count)])
    spec = sensitivity_against(study, MEASURES[0]).to_dict() | {"width": 400, "config": vega_config(LIGHT)}
    svg = vl_convert.vegalite_to_svg(spec, vl_version=VEGALITE_VERSION)
    lines = re.findall(r'<path aria-label[^>]*aria-roledescription="line mark"[^>]*>', svg)
    looks = {tuple(re.findall(r'stroke(?:-dasharray)?="([^"]+)"', line)) for line in lines}
    assert len(looks) == len(lines) == count + 1  # and "few"
    assert not any(LIGHT["categories"][0] in look for look in looks)  # grey is the unpruned network's


def test_the_reader_chooses_the_score(page):
    spec = sensitivity_chart(made()).to_dict() | {"width": 400}
    for measure in MEASURES:
        for param in spec["params"]:
            if param["name"] == "score":
                param["value"] = measure.title
        svg = vl_convert.vegalite_to_svg(spec, vl_version=VEGALITE_VERSION)
        assert svg.count(f"score: {measure.title}") == 3 + 3 + 2  # a mark for each point, and for each unpruned start
        assert f">{measure.title}</text>" in svg


def test_where_nothing_could_be_cut_nothing_is_claimed(page):
    study = made()
    none = tuple(GroupPoints(name=group.name, filters=2, reason="it is pinned") for group in study.groups)
    text = page(study.model_copy(update={"groups": none}))
    assert "No group could be cut" in text
    assert "so there is nothing to draw" in text
    assert sensitivity_chart(study.model_copy(update={"groups": none})) is None


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("{", "not valid JSON"),
        ("[]", "is not a sensitivity study"),
        ('{"kind": "run"}', "is not a sensitivity study"),
        (None, "no such file"),
    ],
)
def test_what_is_no_study_is_refused_plainly(tmp_path, content, sentence):
    path = tmp_path / "sensitivity.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(CoppiceError, match=sentence):
        write_sensitivity_page(tmp_path)


def test_a_study_of_a_later_version_is_refused(tmp_path):
    write_json(tmp_path / "sensitivity.json", made().model_dump(mode="json") | {"version": 2})
    with pytest.raises(CoppiceError, match="is of version 2; this Coppice reads version 1"):
        read_sensitivity(tmp_path / "sensitivity.json")
