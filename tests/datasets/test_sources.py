import pytest

from coppice.core.errors import CoppiceError
from coppice.datasets.sources import open_dataset


def test_a_folder_is_recognised_by_its_path_or_named(sounds):
    assert len(open_dataset(sounds)) == len(open_dataset(str(sounds))) == len(open_dataset("folder", root=sounds)) == 12


@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
def test_a_table_is_recognised_by_its_path_or_named(sounds, suffix):
    table = sounds / f"t{suffix}"
    table.write_text("filename\tkind\ndog/0.wav\tdog\nrain/0.wav\train\n")
    columns = {"label": "kind"}
    assert len(open_dataset(table, columns=columns)) == len(open_dataset("csv", root=table, columns=columns)) == 2


def test_published_and_synthetic_datasets_have_names(shared_data):
    assert open_dataset("esc10", root=shared_data / "esc10").name == "esc10"
    assert open_dataset("synthetic", clips_per_class=5, duration_s=0.1).synthetic


@pytest.mark.parametrize(
    ("source", "settings", "saying"),
    [
        ("esc-10", {}, "Did you mean 'esc10'"),
        ("sinthetic", {}, "Did you mean 'synthetic'"),
        ("/nowhere/at/all", {}, "Known: 'esc10'"),
        ("x" * 300, {}, "name is too long"),
        ("folder", {}, "needs root: the folder"),
        ("csv", {}, "needs root: the table"),
        ("esc10", {"columns": {"label": "x"}}, "columns is for tables"),
    ],
)
def test_a_source_that_cannot_be_is_refused(source, settings, saying):
    with pytest.raises(CoppiceError, match=saying):
        open_dataset(source, **settings)


def test_columns_for_a_folder_and_a_file_of_another_kind_are_refused(sounds):
    with pytest.raises(CoppiceError, match="is a folder"):
        open_dataset(sounds, columns={"label": "x"})
    with pytest.raises(CoppiceError, match="neither a folder nor a table"):
        open_dataset(sounds / "dog" / "0.wav")
