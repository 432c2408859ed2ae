"""Outputs take the place of nothing but their own kind, and are written whole or not at all."""

import os
from pathlib import Path

import pytest

from device_profiles import outputs
from device_profiles.errors import UsageError
from predictors import folders

SPACE = "nasbench201:cells=1,channels=4,resolution=8"
SHORT = ("--strategy", "random", "--evaluations", "4")
CELL = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|none~0|none~1|nor_conv_1x1~2|"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A store, a predictor, a run and a table."""
    from hwnas_cli.app import main

    place = tmp_path_factory.mktemp("made")
    rows = [f"{CELL},3.5", f"{CELL.replace('3x3', '1x1')},1.5", f"{CELL.replace('none~1', 'nor_conv_3x3~1')},2"]
    (place / "t.csv").write_text("\n".join(["arch,cost", *rows]) + "\n")
    for line in (
        ["profile", "fake", "--probes", "9", "--store", f"{place}/a.db"],
        ["fit", "fake", "--predictor", "roofline", "--store", f"{place}/a.db", "-o", f"{place}/p"],
        ["search", "--space", SPACE, "--objective", f"table:{place}/t.csv:cost", *SHORT, "-o", f"{place}/r"],
    ):
        with pytest.raises(SystemExit) as ended:
            main(line)
        assert not ended.value.code
    return place


def snapshot(place):
    return {str(path): path.read_bytes() if path.is_file() else None for path in place.rglob("*")}


def command(kind, made, output):
    return {
        "report": ["report", made / "r", "-o", output],
        "detect": ["devices", "detect", "-o", output],
        "fit": ["fit", "fake", "--predictor", "roofline", "--store", made / "a.db", "-o", output],
        "import": ["import", "plain", made / "t.csv", "-o", output],
        "search": ["search", "--space", SPACE, "--objective", f"table:{made}/t.csv:cost", *SHORT, "-o", output],
    }[kind]


KINDS = ("report", "detect", "fit", "import", "search")


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_of_others_is_replaced(ask, made, tmp_path, kind):
    (tmp_path / "cards").mkdir()
    (tmp_path / "cards" / "card.json").write_text('{"title": "a card of mine"}')
    (tmp_path / "cards" / "photo.jpg").write_bytes(b"mine")
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "store.db").write_bytes((made / "a.db").read_bytes())
    (tmp_path / "link").symlink_to(tmp_path / "notes.txt")
    (tmp_path / "page.html").write_text("<!doctype html><title>mine</title>")
    names = ["cards", "notes.txt", "store.db", "link", "page.html", "notes.txt/inside", "x" * 300, "cards/card.json"]
    for name in names:
        before = snapshot(tmp_path)
        code, answer = ask(*command(kind, made, tmp_path / name))
        assert code in (2, 4) and answer["error"]["hint"], (name, answer)
        assert snapshot(tmp_path) == before, name


@pytest.mark.parametrize("kind", KINDS)
def test_its_own_kind_is_replaced_and_nothing_is_left_beside_it(ask, made, tmp_path, kind):
    output = tmp_path / "deep" / "er" / "out"
    assert ask(*command(kind, made, output))[0] == 0
    first = sorted(path.name for path in output.parent.iterdir())
    assert ask(*command(kind, made, output))[0] == 0
    assert sorted(path.name for path in output.parent.iterdir()) == first == ["out"]


def test_a_predictor_is_replaced_only_if_it_is_alone(ask, made, tmp_path):
    output = tmp_path / "p"
    assert ask(*command("fit", made, output))[0] == 0
    (output / "notes.txt").write_text("mine")
    code, answer = ask(*command("fit", made, output))
    assert code == 2 and "notes.txt" in answer["error"]["message"]
    (output / "notes.txt").unlink()
    (output / "sub").mkdir()
    assert ask(*command("fit", made, output))[0] == 2


def test_an_edited_target_is_kept(ask, made, tmp_path):
    output = tmp_path / "t.toml"
    assert ask("devices", "detect", "-o", output)[0] == 0
    assert ask("devices", "show", output)[0] == 0
    output.write_text(output.read_text() + "# mine\n")
    code, answer = ask("devices", "detect", "-o", output)
    assert code == 2 and "edited" in answer["error"]["message"]


def test_a_request_that_is_refused_makes_no_store(ask, made, tmp_path):
    table = f"table:{made}/t.csv:cost"
    for more in (
        ["--set", "nsga2.seed=5"],
        ["--device", "tpu"],
        ["--device", "cpu", "--set", "device=cpu"],
        ["--set", "evaluation_seconds=abc"],
        ["--set", "evaluation_seconds=nan"],
        ["--set", "evaluation_seconds=-1"],
        ["--set", "evaluation_seconds=0"],
        ["--set", "nsga2.population=1"],
        ["--set", "nsga2.population=4.5"],
        ["--set", "nsga2.nobody=1"],
        ["--set", f"nsga2.population={'9' * 5000}"],
        ["--seed", "-1"],
        ["--seed", str(2**63 - 1)],
        ["--evaluations", "0"],
        ["--evaluations", str(10**12)],
        ["--constraint", "nobody <= 1"],
        ["--objective", "accuracy"],
        ["--objective", "latency:nowhere"],
    ):
        line = ["search", "--space", SPACE, "--objective", table, "--strategy", "nsga2", *more]
        code, answer = ask(*line, "-o", tmp_path / "deep" / "r")
        assert code in (2, 4) and answer["error"]["message"], more
        assert list(tmp_path.iterdir()) == [], more
    for more in (
        ["--seed", "-1"],
        ["--seed", str(2**63 - 1)],
        ["--seed", "9" * 5000],
        ["--budget", "1e300s"],
        ["--budget", "nan"],
        ["--budget", "0s"],
        ["--spread", "inf"],
        ["--until", "nan%"],
        ["--probes", str(10**12)],
        ["--probes", "0"],
    ):
        code, answer = ask("profile", "fake", "--probes", "1", "--store", tmp_path / "deep" / "a.db", *more)
        assert code == 2 and answer["error"]["message"], more
        assert list(tmp_path.iterdir()) == [], more


def test_a_foreign_line_in_the_results_of_a_benchmark_is_kept(tmp_path):
    from device_profiles.errors import InvalidData
    from nas.benchmark.run import _kept

    path = tmp_path / "results.jsonl"
    path.write_text("notes without an end")
    with pytest.raises(InvalidData):
        _kept(path, {})
    assert path.read_text() == "notes without an end"
    path.write_text('{"version": 1, "probl')
    assert _kept(path, {}) == {} and path.read_text() == ""


def test_the_folder_that_one_is_in_is_not_replaced(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="you are in"):
        folders.check(Path(), "a predictor", lambda place: True)


def test_a_page_of_the_longest_name_can_be_written(tmp_path):
    path = tmp_path / ("x" * 250 + ".html")
    outputs.write(path, "<!doctype html><title>hwnas: x</title>", outputs.PAGE)
    outputs.write(path, "<!doctype html><title>hwnas: y</title>", outputs.PAGE)
    assert "hwnas: y" in path.read_text() and [p.name for p in tmp_path.iterdir()] == [path.name]
    assert path.stat().st_mode & 0o444 == 0o444 & ~_mask()


def _mask():
    mask = os.umask(0)
    os.umask(mask)
    return mask
