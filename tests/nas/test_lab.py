"""Runs whose rows are in a lab: many in one database, each written by one search at a time, whoever looks."""

import csv
import json
import os
import socket

import numpy as np
import pytest
import sqlalchemy as sa

import nas
from device_profiles.errors import ConditionMismatch, InvalidData, RunBusy, SchemaMismatch, UsageError
from hwnas_cli import watching
from hwnas_cli.app import main
from nas.study import lab as lab_runs
from nas.study.study import Study, begin_study, open_study
from nas.study.summary import in_database, summarise
from nas.study.tables import OWN, STUDIES
from profiler import presence
from profiler.schema import INVOCATIONS
from profiler.store import Store

SPACE = nas.spaces.load("nasbench201")


@pytest.fixture(params=["sqlite", "postgresql"])
def lab(request, tmp_path):
    """Where a lab is: a file, or a server."""
    return str(tmp_path / "lab.db") if request.param == "sqlite" else request.getfixturevalue("postgresql")


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    path = tmp_path_factory.mktemp("table") / "t.csv"
    archs = SPACE.sample(60, np.random.default_rng(0))
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["arch", "error", "ms"])
        writer.writerows([SPACE.format(arch), 30 - arch.sum(), 1 + arch[0] + arch[3]] for arch in archs)
    return path


def search(table, folder, **options):
    given = {"objectives": [f"table:{table}:error", f"latency=table:{table}:ms"], "evaluations": 30, **options}
    return nas.search("nasbench201", folder=folder, strategy="random", **given)


def trials(study):
    return [(trial.batch, trial.arch, trial.result, trial.completed) for trial in study.trials()]


def ask(capsys, *words):
    with pytest.raises(SystemExit) as ended:
        main([*map(str, words), "--json"])
    return int(ended.value.code or 0), json.loads(capsys.readouterr().out)


# -- many runs in one database


def test_two_studies_of_one_database_know_nothing_of_each_other(lab):
    with Store(lab) as store:
        one, two = Study(store, "one"), Study(store, "two")
        for number, study in enumerate((one, two)):
            study.bind({"seed": number, "objectives": []})
            study.set_fact("reference", [float(number)])
            asked = study.add_batch(study.search("random", {}), "random", 0, SPACE.sample(3, np.random.default_rng(0)))
            study.judge({asked[0].id: {"x": (float(number), None, None)}}, {asked[0].id: f"of {number}"})
            study.set_finalist((0, 0), {"test_accuracy": number / 2})
        assert (one.number, two.number) == (1, 2)
        for number, study in enumerate((Study(store, "one"), Study(store, "two"))):
            assert study.fact("seed") == number and study.fact("reference") == [float(number)]
            assert [t.result for t in study.trials()] == [{"x": (float(number), None, None)}, None, None]
            assert [t.completed for t in study.trials()] == [1, None, None]
            assert set(study.failures().values()) == {f"of {number}"}
            assert study.finalists() == {(0, 0): {"test_accuracy": number / 2}}
        with pytest.raises(ConditionMismatch):
            two.bind({"seed": 0, "objectives": []})
        one.withdraw()
        assert one.number == 0 and one.trials() == [] and len(two.trials()) == 3


def test_a_run_in_a_lab_is_the_run_that_it_is_in_its_folder(table, tmp_path, lab, capsys):
    here = search(table, tmp_path / "here")
    part = search(table, tmp_path / "there", lab=lab, evaluations=10)
    other = search(table, tmp_path / "other", lab=lab, seed=1)
    there = search(table, tmp_path / "there")  # the folder says in which lab it is
    assert trials(there.study) == trials(here.study) != trials(other.study)
    assert [point.arch for point in there.front] == [point.arch for point in here.front]
    assert sorted(path.name for path in (tmp_path / "there").iterdir()) == [lab_runs.POINTER]
    code, said = ask(capsys, "status", tmp_path / "there")
    assert code == 0 and (said["evaluations"], said["asked"], said["state"]) == (30, 30, "finished")
    assert (said["host"], said["pid"], said["study"]) == (socket.gethostname(), os.getpid(), there.study.name)
    assert ask(capsys, "report", tmp_path / "there", "-o", tmp_path / "page.html")[0] == 0
    code, said = ask(capsys, "runs", lab)
    assert code == 0 and [run["path"] for run in said["runs"]] == [
        f"{socket.gethostname()}:{tmp_path / name}" for name in ("there", "other")
    ]
    assert [run["evaluations"] for run in said["runs"]] == [30, 30] and said["campaigns"] == []
    code, below = ask(capsys, "runs", tmp_path)
    assert {run["path"] for run in below["runs"]} == {str(tmp_path / name) for name in ("here", "there", "other")}
    for result in (here, part, other, there):
        result.study.store.close()


def test_a_folder_may_move_and_a_lab_may_get_another_address(table, tmp_path):
    search(table, tmp_path / "run", lab=tmp_path / "lab.db", evaluations=10).study.store.close()
    (tmp_path / "run").rename(tmp_path / "moved")
    (tmp_path / "lab.db").rename(tmp_path / "new.db")
    result = search(table, tmp_path / "moved", lab=tmp_path / "new.db")
    assert result.evaluations == 30 and result.study.number == 1
    assert lab_runs.pointer_of(tmp_path / "moved").lab == str(tmp_path / "new.db")
    result.study.store.close()


def test_a_run_is_in_one_place(table, tmp_path):
    search(table, tmp_path / "here", evaluations=5).study.store.close()
    with pytest.raises(UsageError, match="keeps its rows in its folder"):
        search(table, tmp_path / "here", lab=tmp_path / "lab.db")
    assert not (tmp_path / "lab.db").exists()
    search(table, tmp_path / "there", lab=tmp_path / "lab.db", evaluations=5).study.store.close()
    with pytest.raises(ConditionMismatch, match="are not in"):
        search(table, tmp_path / "there", lab=tmp_path / "other.db")
    (tmp_path / "there" / lab_runs.POINTER).write_text("{}")
    with pytest.raises(SchemaMismatch, match="in which lab"):
        open_study(tmp_path / "there")


def test_what_is_refused_leaves_nothing(table, tmp_path, lab):
    search(table, tmp_path / "run", lab=lab, evaluations=5).study.store.close()
    with pytest.raises(InvalidData):
        search(table, tmp_path / "deep" / "bad", lab=lab, objectives=["table:nowhere.csv:error"])
    with pytest.raises(UsageError):
        search(table, tmp_path / "deep" / "bad", lab=lab, constraints=["nothing <= 2"])
    assert not (tmp_path / "deep").exists()
    with Store(lab) as store:
        assert len(store.rows(STUDIES)) == 1


def test_no_password_is_kept(tmp_path):
    found = lab_runs.pointer_to(tmp_path, "postgresql://me:s3cret@lab/hwnas")
    assert found.lab == "postgresql://me@lab/hwnas"


# -- one search at a time


def rewrite(store, invocation, **changes):
    with store.transaction() as connection:
        store.rewrite(connection, INVOCATIONS, INVOCATIONS.c.id == invocation, **changes)


def test_two_searches_do_not_write_one_study(table, tmp_path, lab):
    search(table, tmp_path / "run", lab=lab, evaluations=5).study.store.close()
    study = begin_study(tmp_path / "run")
    copied = tmp_path / "elsewhere"  # the same run on another machine: its lock of files is another one
    copied.mkdir()
    (copied / lab_runs.POINTER).write_text((tmp_path / "run" / lab_runs.POINTER).read_text())
    with study.store, lab_runs.held(study):
        assert summarise(copied).state == "running"
        with pytest.raises(RunBusy, match=f"process {os.getpid()} of {socket.gethostname()}"):
            search(table, copied)
        # It falls silent for longer than a beat may be late, and another search takes over.
        rewrite(study.store, study.writer, seen_s=study.store.now_s() - 2 * presence.LAPSE_S)
        assert not summarise(copied).writer.works
        result = search(table, copied)
        assert result.evaluations == 30
        for write in (lambda: study.set_fact("reference", [0.0]), lambda: study.search("nsga2", {})):
            with pytest.raises(RunBusy, match="has taken over"):
                write()
    assert summarise(copied).state == "finished"
    result.study.store.close()


def test_who_was_killed_here_is_taken_over_at_once(table, tmp_path, lab):
    search(table, tmp_path / "run", lab=lab, evaluations=5).study.store.close()
    study = begin_study(tmp_path / "run")
    study.store.engine.dispose()  # no connection goes to the child
    child = os.fork()
    if not child:
        with lab_runs.held(study):
            os._exit(0)  # as if killed: it does not say that it ends
    os.waitpid(child, 0)
    with study.store:
        (*_, last) = presence.invocations(study.store, lab_runs.KIND)
        assert (last.pid, last.state) == (child, "stopped") and last.age_s < presence.LAPSE_S
    result = search(table, tmp_path / "run")
    assert result.evaluations == 30
    result.study.store.close()


def test_a_heartbeat_keeps_a_row_up(tmp_path, lab, monkeypatch):
    monkeypatch.setattr(presence, "HEARTBEAT_S", 0.02)
    with Store(lab) as store:
        with presence.present(store, "campaign", "c") as mine:
            rewrite(store, mine, seen_s=1.0)
            while presence.invocations(store, "campaign")[0].seen_s == 1.0:
                pass
        (call,) = presence.invocations(store, "campaign")
        assert (call.state, call.pid, call.host) == ("finished", os.getpid(), socket.gethostname())
        with pytest.raises(KeyboardInterrupt), presence.present(store, "campaign", "c"):
            raise KeyboardInterrupt
        assert [call.state for call in presence.invocations(store, "campaign")] == ["finished", "stopped"]


# -- looking


def test_a_watcher_looks_again_until_it_is_interrupted(table, tmp_path, lab, monkeypatch, capsys):
    search(table, tmp_path / "run", lab=lab, evaluations=5).study.store.close()
    looks = []

    def pause(seconds):
        looks.append(seconds)
        if len(looks) == 2:
            search(table, tmp_path / "run", evaluations=10).study.store.close()
        if len(looks) == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(watching.time, "sleep", pause)
    with pytest.raises(SystemExit) as ended:
        main(["runs", lab, "--watch"])
    said = capsys.readouterr()
    assert ended.value.code == 130 and looks == [watching.EVERY_S] * 4
    assert said.err.count("5 of 5") == 2 and said.err.count("10 of 10") == 2 and said.out == ""
    looks[:] = [0, 0]
    with pytest.raises(SystemExit):
        main(["status", str(tmp_path / "run"), "--watch"])
    assert capsys.readouterr().err.count("10 of 10") == 2


def test_the_database_of_a_run_is_listed_as_well(table, tmp_path):
    search(table, tmp_path / "run", evaluations=5).study.store.close()
    before = (tmp_path / "run" / "run.db").read_bytes()
    with Store(tmp_path / "run" / "run.db", as_copy=True) as store:
        ((place, read),) = in_database(store)
        found = read()
        assert place == store.url and found.evaluations == 5 and found.study is None and found.lab is None
        with store.reading() as connection:
            assert connection.scalars(sa.select(STUDIES.c.name)).all() == [OWN]
    assert (tmp_path / "run" / "run.db").read_bytes() == before
