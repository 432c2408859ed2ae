"""Who only looks at a run leaves it as it is, whatever version wrote it, and whoever is at work in it."""

import sqlite3

import pytest

from hwnas_cli.app import main
from nas.study.study import Study, open_study
from nas.study.summary import summarise
from nas.study.tables import STUDY_VERSION
from profiler.store import NoStore, Store

RUN = ("search", "--space", "nasbench201", "--strategy", "random", "--evaluations", "6")


def command(*words):
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    return int(ended.value.code or 0)


@pytest.fixture
def run(tmp_path):
    assert command(*RUN, "--objective", "params", "--objective", "macs", "-o", tmp_path / "run") == 0
    return tmp_path / "run"


@pytest.fixture
def old(older, tmp_path):
    """A run as version 1 wrote it, with 4 of 6 trials judged: without seals, in a store of version 1."""
    return older(1, tmp_path / "run" / "run.db").parent


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_search_leaves_no_side_files(run):
    assert not [name for name in contents(run) if name.endswith(("-wal", "-shm"))]


@pytest.mark.parametrize("words", [("status",), ("runs",), ("report", "-o")], ids=lambda words: words[0])
@pytest.mark.parametrize("version", [1, 2])
def test_looking_changes_nothing(words, version, request, tmp_path, capsys):
    place = request.getfixturevalue("old" if version == 1 else "run")
    before = contents(place)
    name, *more = words
    assert command(name, place, *more, *([tmp_path / "page.html"] if more else [])) == 0
    assert contents(place) == before
    assert f"{4 if version == 1 else 6} of 6" in capsys.readouterr().out or name == "report"


def test_a_folder_that_cannot_be_written_is_read(run):
    modes = {path: path.stat().st_mode for path in (run, run / "run.db")}
    for path in modes:
        path.chmod(0o500 if path.is_dir() else 0o400)
    try:
        found = summarise(run)
    finally:
        for path, mode in modes.items():
            path.chmod(mode)
    assert found.evaluations == 6


def test_a_run_of_version_1_says_what_it_says_when_it_is_taken_along(old):
    looked = summarise(old)
    open_study(old).store.close()
    assert summarise(old) == looked and looked.evaluations == 4
    with sqlite3.connect(old / "run.db") as database:
        assert database.execute("SELECT value FROM study WHERE key = 'version'").fetchone() == (str(STUDY_VERSION),)


def test_what_a_search_in_progress_committed_is_seen(run):
    study = open_study(run)
    study.set_fact("asked", [{"evaluations": 50, "strategies": ["random"]}])
    assert (run / "run.db-wal").stat().st_size
    assert summarise(run).asked == 50
    study.set_fact("asked", [{"evaluations": 60, "strategies": ["random"]}])
    assert summarise(run).asked == 60
    study.store.close()
    assert not [name for name in contents(run) if name.endswith("-wal")]


def test_what_is_written_to_a_copy_is_lost(run):
    before = contents(run)
    study = open_study(run, as_copy=True)
    with study.store:
        study.set_fact("data", "other")
        assert study.fact("data") == "other"
    assert contents(run) == before
    with open_study(run).store as store:
        assert Study(store).fact("data") != "other"


def test_there_is_nothing_to_copy(tmp_path):
    with pytest.raises(NoStore):
        Store(tmp_path / "none.db", as_copy=True)
    assert not list(tmp_path.iterdir())
