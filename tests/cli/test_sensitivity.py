import json


def test_a_study_prints_a_table_and_leaves_a_page(coppice, sounds, trained, tmp_path):
    answer = coppice(
        "sensitivity", trained, "--data", sounds, "-c", "l1", "--ratios", "0.25,0.5", "--out", tmp_path / "study"
    )
    assert answer.code == 0, answer
    assert "conv1" in answer.out and "1 of 4" in answer.out and "6 of 12" in answer.out
    assert "not cut: dense2: its filters reach the network's output." in answer.out
    assert (tmp_path / "study" / "sensitivity.html").stat().st_size > 10_000
    assert max(map(len, answer.out.splitlines()[:-1])) <= 80


def test_the_same_command_goes_on_and_gives_json(coppice, sounds, trained, tmp_path):
    argv = ["sensitivity", trained, "--data", sounds, "-c", "taylor", "--layer", "conv2", "--out", tmp_path / "study"]
    first = coppice(*argv, "--ratios", "0.5")
    assert "stood there already" not in first.err
    answer = coppice(*argv, "--ratios", "0.5,0.75", "--json")
    assert "2 of 3 measurements stood there already, and were not made again" in answer.err
    said = json.loads(answer.out)
    assert said["criterion"] == "taylor" and said["looked_at"] > 0
    assert [point["removed"] for point in said["groups"][0]["points"]] == [3, 4]


def test_bad_input_is_one_sentence_and_leaves_nothing(coppice, sounds, trained, make_folder, tmp_path):
    other = make_folder(tmp_path / "other", cat=5, rain=5, saw=5)
    out = tmp_path / "study"
    argv = ["sensitivity", trained, "--data", sounds, "--out", out]
    for options, sentence in [
        (["--ratios", "half"], "--ratios 'half' is not a list of numbers; write --ratios 0.25,0.5,0.75."),
        (["--ratios", "0.5,"], "--ratios '0.5,' is not a list of numbers"),
        (["--ratios", "0"], "is 0, which removes nothing"),
        (["--ratios", "1"], "is 1, which leaves no filter"),
        (["--ratios=-0.1"], "a fraction cannot be negative"),
        (["--ratios", "0.5,1.5"], "is 1.5; give a number between 0 and 1"),
        (["--ratios", "nan"], "is not a number (NaN)"),
        (["--criterion", "l1x"], "there is no criterion 'l1x'."),
        (["--layer", "conv4"], "there is no convolution or linear layer 'conv4'."),
        (["--data", other], "the clips have the label 'cat', which this classifier does not know"),
    ]:
        assert sentence in coppice(*argv, *options).sentence
        assert not out.exists()
    assert "cannot" in coppice("sensitivity", tmp_path / "none", "--data", sounds, "--out", out).sentence
