from coppice.reports.markdown import results_markdown


def rows(text):
    return [line for line in text.splitlines() if line.startswith("|")]


def test_every_row_has_as_many_cells_as_the_head(whole_run):
    table = rows(results_markdown(whole_run))
    cells = [line.replace("\\|", "").count("|") for line in table]
    assert len(table) == 2 + 11
    assert set(cells) == {cells[0]}


def test_numbers_stand_with_their_intervals_and_conventions(whole_run):
    text = results_markdown(whole_run)
    assert "95 % bootstrap over recordings, 1000 resamples" in text
    assert "46,246" in text and "45,990" in text and "143.3 M" in text and "92.5 kB" in text


def test_names_cannot_break_the_table(make_run):
    run = make_run(systems=["l1"])
    path = run / "summary.json"
    path.write_text(path.read_text().replace('"title": "unpruned"', '"title": "a | b <b>\\n# c"'))
    text = results_markdown(run)
    assert "a \\| b \\<b\\> # c" in text


def test_a_cross_validation_gives_paired_changes(make_cross_validation):
    text = results_markdown(make_cross_validation())
    assert "On the same folds and seeds, accuracy changed by" in text
    assert len(rows(text)) == 2 + 7
