from made_study import made_rows, write_study

AXES = {"criterion": ("random", "l1")}


def test_a_study_gets_a_page_and_figures(coppice, tmp_path):
    folder = write_study(tmp_path / "study", AXES, made_rows(AXES))
    said = coppice("study", "page", folder)
    assert (folder / "study.html").is_file()
    assert "study.html" in said.out
    assert coppice("study", "figures", folder, "--formats", "svg", "--out", tmp_path / "out").code == 0
    assert (tmp_path / "out" / "front-accuracy-macs.svg").is_file()
    assert not list((tmp_path / "out").glob("*.pdf"))


def test_what_is_no_study_is_one_sentence(coppice, tmp_path):
    assert "cannot read the study" in coppice("study", "page", tmp_path).sentence
    folder = write_study(tmp_path / "study", AXES, made_rows(AXES))
    assert "there is no style 'pretty'" in coppice("study", "figures", folder, "--style", "pretty").sentence
