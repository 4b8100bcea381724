"""What a study file may ask of ensembles, and how what cannot be is refused."""

import pytest
import yaml

from coppice.core.errors import CoppiceError
from coppice.studies.study_file import load_study

BASE = """\
name: mine
recipe: {data: {source: synthetic}}
system: [prune: {criterion: l1}, finetune]
axes:
  keep: {A: {conv1: 2}, B: {conv2: 2}, C: {conv3: 2}}
"""


@pytest.fixture
def read(tmp_path):
    def read(text, more=""):
        (tmp_path / "mine.yaml").write_text(f"{BASE}{more}ensembles: {text}\n")
        return load_study(tmp_path / "mine.yaml")

    return read


def test_named_sets_come_first_then_all_but_one_then_the_best(read):
    found = read("{named: {whole: all}, leave_one_out: true, best: {sizes: [1, 3]}}").ensembles
    assert [(one.name, "".join(one.members), one.size) for one in found] == [
        ("whole", "ABC", None),
        ("all but A", "BC", None),
        ("all but B", "AC", None),
        ("all but C", "AB", None),
        ("best 1", "ABC", 1),
        ("best 3", "ABC", 3),
    ]


def test_members_of_a_named_set_stand_in_the_order_of_the_axis(read):
    assert read("{named: {pair: [C, A]}}").ensembles[0].members == ("A", "C")


def test_members_are_named_by_their_labels_whatever_the_values_are(read):
    found = read("{axis: fraction, named: {both: [0, 0.5]}}", "  fraction: [0, 0.5, 1]\n").ensembles
    assert [(one.axis, one.members) for one in found] == [("fraction", ("0", "0.5"))]


def test_a_study_without_the_section_has_none_and_one_with_it_can_be_written_and_read_again(read, tmp_path):
    study = read("{best: {sizes: [2]}}")
    (tmp_path / "again.yaml").write_text(study.to_yaml())
    assert load_study(tmp_path / "again.yaml").ensembles == study.ensembles
    (tmp_path / "none.yaml").write_text(BASE + "  seed: [0]\n")
    assert load_study(tmp_path / "none.yaml").ensembles == ()
    assert "ensembles" not in yaml.safe_load(load_study(tmp_path / "none.yaml").to_yaml())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{named: {pair: [A, D]}}", "ensemble 'pair': axis 'keep' has no value 'D'. Known: 'A', 'B', 'C'."),
        ("{named: {one: [A]}}", "ensemble 'one' has 1 members; give two or more."),
        ("{named: {one: A}}", "ensemble 'one' is 'A'; give a list of values of axis 'keep', or all."),
        ("{named: {none: }}", "ensemble 'none' is 'none'; give a list of values of axis 'keep', or all."),
        ("{named: {none: []}}", "ensemble 'none' has 0 members; give two or more."),
        ("{named: {twice: [A, B, A]}}", "ensemble 'twice' has 'A' twice; give each member once."),
        ("{named: {A: [B, C]}}", "ensembles has two things called 'A'; choose another name."),
        (
            "{named: {both: [B, C]}, leave_one_out: true}",
            "ensembles 'both' and 'all but A' are the same; leave one of them out.",
        ),
        ("{best: {sizes: [2, 4]}}", "ensembles.best.sizes holds 4; axis 'keep' has 3 members: give 1 to 3."),
        ("{best: {sizes: [0]}}", "ensembles.best.sizes holds 0; axis 'keep' has 3 members: give 1 to 3."),
        ("{best: {sizes: [2, 2]}}", "ensembles has two things called 'best 2'; choose another name."),
        ("{best: {sizes: []}}", "ensembles.best.sizes is []: give at least one."),
        ("{best: {sizes: [two]}}", "ensembles.best.sizes.0 is 'two': give a whole number."),
        ("{}", "ensembles asks for none; give named, leave_one_out: true, or best: {sizes: [2]}."),
        ("{axis: kep, best: {sizes: [2]}}", "ensembles.axis is 'kep', no axis. Did you mean 'keep'?"),
        (
            "{axis: seed, best: {sizes: [2]}}",
            "ensembles.axis is 'seed'; members share their fold and seed. Give another axis.",
        ),
    ],
)
def test_what_is_no_ensemble_is_refused_in_a_sentence(read, text, said):
    with pytest.raises(CoppiceError) as refused:
        read(text)
    assert str(refused.value) == f"study mine.yaml: {said}"


@pytest.mark.parametrize(
    ("more", "text", "said"),
    [
        (
            "  fraction: [0, 1]\n",
            "{best: {sizes: [2]}}",
            "ensembles.axis has to say along which axis the members stand",
        ),
        ("  fraction: [0, 1]\n", "{axis: fraction, leave_one_out: true}", "leave_one_out needs 3 members or more"),
        (
            "  fraction: [0, 0.5, 1]\nzip: [keep, fraction]\n",
            "{axis: keep, best: {sizes: [2]}}",
            "ensembles.axis is 'keep', which is zipped",
        ),
        (
            f"  round_to: {[*range(1, 18)]}\n",
            "{axis: round_to, best: {sizes: [2]}}",
            "ensembles.best goes through all subsets of up to 16 members; axis 'round_to' has 17.",
        ),
    ],
)
def test_axes_that_cannot_hold_members_are_refused(read, more, text, said):
    with pytest.raises(CoppiceError) as refused:
        read(text, more)
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("text", "key", "hint"),
    [
        ("{leave_on_out: true}", "ensembles.leave_on_out", "Did you mean 'leave_one_out'?"),
        ("{best: {size: [2]}}", "ensembles.best.size", "Did you mean 'sizes'?"),
    ],
)
def test_a_key_that_nobody_knows_is_refused_with_the_nearest_one(read, text, key, hint):
    with pytest.raises(CoppiceError) as refused:
        read(text)
    assert str(refused.value) == f"study mine.yaml has no key {key!r}. {hint}"
