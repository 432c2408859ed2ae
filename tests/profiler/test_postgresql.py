"""The store of a lab: several campaigns in a real PostgreSQL server at once, where one is installed."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

import profiler
from device_profiles.errors import InvalidData, SchemaMismatch
from device_profiles.profile import load
from nas.study.study import Study
from profiler import schema, watching
from profiler.agent.job import JobPlan
from profiler.conditions import conditions_of
from profiler.onnx_graph import read_graph
from profiler.outstanding import complete_processes
from profiler.records import ModelRow
from profiler.store import NoStore, Store
from profiler.subjects import Subject

ROOT = Path(__file__).resolve().parents[2]


def test_a_campaign_is_kept_and_goes_on(
    postgresql: str, subject: Callable[..., Subject], fake: Callable[..., Any]
) -> None:
    with Store(postgresql) as store:
        first = profiler.measure([subject(4), subject(8)], target=fake(), store=store)
    assert len(first.measurements) == 2 and not first.failures
    with Store(postgresql) as store:
        conditions = store.require_conditions("fake")
        blocks = len(store.blocks(conditions))
        again = profiler.measure([subject(4), subject(8)], target=fake(), store=store)
        assert len(store.blocks(conditions)) == blocks, "nothing is measured twice"
    assert again.measurements == first.measurements


# -- versions


def moved(path: Path, url: str) -> str:
    """A copy of an SQLite database in a server, with the tables and the numbers that it has."""
    source, target = sa.create_engine(f"sqlite:///{path}"), sa.create_engine(url)
    tables = sa.MetaData()
    tables.reflect(source)
    tables.create_all(target)
    with source.connect() as reading, target.begin() as writing:
        for table in tables.sorted_tables:
            if rows := [dict(row) for row in reading.execute(sa.select(table)).mappings()]:
                writing.execute(table.insert(), rows)
            if table.autoincrement_column is not None:
                last = f"SELECT setval(pg_get_serial_sequence('{table.name}', 'id'), max(id)) FROM {table.name}"
                writing.exec_driver_sql(last)
    for engine in (source, target):
        engine.dispose()
    return url


@pytest.mark.parametrize("version", [1, 2, 3])
def test_a_lab_of_an_older_version_is_taken_along(
    older: Callable[..., Path], tmp_path: Path, postgresql: str, version: int
) -> None:
    moved(older(version, tmp_path / "run.db"), postgresql)
    with pytest.raises(SchemaMismatch, match=f"version {version}.* only read"):
        Store(postgresql, as_copy=True)
    opened: list[Store] = []
    both = [threading.Thread(target=lambda: opened.append(Store(postgresql))) for _ in range(2)]
    for one in both:
        one.start()
    for one in both:
        one.join()
    assert len(opened) == 2, "two at once take it along once"
    opened[0].close()
    with opened[1] as store:
        conditions = store.require_conditions("made-up")
        assert len(store.blocks(conditions)) == 12 and len(store.profiles(conditions)) == 2
        study = Study(store)
        assert study.number == 1 and len(study.trials()) == 6 and study.fact("seed") == 3
        assert study.finalists() and [len(study.trials(search)) for search in (1, 2)] == [4, 2]
        other = Study(store, "other")
        other.bind({"seed": 4})
        assert other.number == 2 and other.search("random", {}) == 3, "numbers go on"
        assert (study.fact("seed"), other.fact("seed"), other.trials()) == (3, 4, [])
    with Store(postgresql, as_copy=True) as store:
        assert store.targets() == ("made-up",)


def test_a_lab_of_a_newer_version_is_refused(postgresql: str) -> None:
    with Store(postgresql) as store:
        study = Study(store)
        study.set_fact("version", 99)
        with pytest.raises(SchemaMismatch, match="study of version 99"):
            Study(store, "other")
        with store.transaction() as connection:
            connection.execute(schema.META.update().where(schema.META.c.key == "schema_version").values(value="99"))
    with pytest.raises(SchemaMismatch, match="schema version 99"):
        Store(postgresql)


def test_who_only_looks_changes_nothing(postgresql: str, fake: Callable[..., Any]) -> None:
    with pytest.raises(NoStore):
        Store(postgresql, as_copy=True)
    Store(postgresql).close()
    with Store(postgresql, as_copy=True) as store:
        assert store.targets() == ()
        with pytest.raises(InvalidData, match="read-only"):
            store.bind("fake", "{}", conditions_of(fake()))


# -- several at once

WRITER = """
import sys
from device_profiles.profile import load
from profiler.agent.job import JobPlan
from profiler.conditions import conditions_of
from profiler.onnx_graph import read_graph
from profiler.outstanding import complete_processes
from profiler.records import ModelRow
from profiler.store import Store
conditions, graph = conditions_of(load("fake")), read_graph(open(sys.argv[2], "rb").read())
with Store(sys.argv[1]) as store:
    print("ready", flush=True)
    sys.stdin.readline()
    store.bind("fake", "{}", conditions)
    for number in range(40):
        store.add_model(ModelRow(f"m{number}", "m", None, None), graph)
        store.add_fused(f"m{number}", conditions, graph)
        store.add_failure(f"m{number}", conditions, kind="RuntimeCrash", reason="it crashed", hint="")
"""


def test_two_writers_of_the_same_models_write_each_once(
    postgresql: str, tmp_path: Path, conv_net: Callable[..., bytes], fake: Callable[..., Any]
) -> None:
    (tmp_path / "m.onnx").write_bytes(conv_net())
    command = [sys.executable, "-c", WRITER, postgresql, str(tmp_path / "m.onnx")]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    writers = [subprocess.Popen(command, text=True, cwd=ROOT, **pipes) for _ in range(2)]
    for writer in writers:
        assert writer.stdout is not None and writer.stdout.readline() == "ready\n"
    for writer in writers:
        _, said = writer.communicate("\n", timeout=120)
        assert writer.returncode == 0, said
    with Store(postgresql, create=False) as store:
        conditions = conditions_of(fake())
        assert len(store.models()) == len(store.failures(conditions)) == 40
        assert len(store.fused_graphs(conditions, store.models())) == 40


def test_insertions_need_no_lock(postgresql: str, conv_net: Callable[..., bytes]) -> None:
    """Of two transactions that insert one row, neither fails, though nothing has them wait for each other before."""
    with Store(postgresql) as store:
        row = {"id": "m", "name": "m", "graph": read_graph(conv_net()).to_json(), "copies": 1}
        with store.engine.begin() as first:
            assert store.insert_once(first, schema.MODELS, **row)
            written: list[bool] = []

            def second() -> None:
                with store.engine.begin() as connection:
                    written.append(store.insert_once(connection, schema.MODELS, **row))

            other = threading.Thread(target=second)
            other.start()
        other.join()
        assert written == [False] and store.models() == {"m": ModelRow("m", "m", None, None)}


KILLS = 10
#: A process that took as many blocks of a model counts, whether it took all that it was to take or was killed.
LEAST, ROUNDS = JobPlan().min_rounds, 15


class Board:
    """A machine with a simulated device: its own locks, and a campaign of the same models as all others."""

    def __init__(self, name: str, threads: int, processes: int, folder: Path, models: list[Subject]) -> None:
        self._models = models
        self._budget = profiler.Budget(
            min_processes=processes,
            max_processes=processes,
            rounds=ROUNDS,
            device_s=600.0,
            memory=False,
            profile_runs=2,
        )
        self._locks = str(folder / name)
        profile = folder / f"{name}.toml"
        profile.write_text(f'extends = "fake"\nname = "{name}"\n[runtime]\nthreads = {threads}\n')
        self._target = load(str(profile))

    def begin(self, url: str) -> int:
        """Measure, in a process of its own that leads its group; its number."""
        child = os.fork()
        if child:
            return child
        code = 1
        try:
            os.setpgid(0, 0)
            os.environ["HWNAS_LOCKS"] = self._locks
            with Store(url) as store:
                profiler.measure(self._models, target=self._target, store=store, budget=self._budget)
            code = 0
        finally:
            os._exit(code)


def ended(process: int) -> None:
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0


def killed(process: int) -> bool:
    """Kill it with what it started; whether it was still at work."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == -signal.SIGKILL


def counts(store: Store) -> dict[str, int]:
    """How much there is of what must not depend on when somebody was killed."""
    found = {"models": len(store.models()), "targets": len(store.targets())}
    with store.reading() as connection:
        for table in (schema.CONDITIONS, schema.FUSED, schema.FAILURES):
            found[table.name] = int(connection.scalar(sa.select(sa.func.count()).select_from(table)) or 0)
    for name in store.targets():
        conditions = store.require_conditions(name)
        found[f"{name}: models measured"] = len({row.model for row in store.blocks(conditions)})
        complete = complete_processes(store, conditions, store.models(), least_blocks=LEAST)
        found |= {
            f"{name}: processes of model {place}": complete[model] for place, model in enumerate(sorted(complete))
        }
    return found


def of(store: Store, target: str) -> list[tuple[Any, ...]]:
    """Blocks of a target, in the order they were taken; none before it is known."""
    b, p, t = schema.BLOCKS.c, schema.PROCESSES.c, schema.TARGETS.c
    query = sa.select(b.id, b.process, b.model, b.round, b.retry, b.ns).order_by(b.id)
    query = query.join(schema.PROCESSES, p.id == b.process).join(schema.TARGETS, t.conditions == p.conditions)
    with store.reading() as connection:
        return [tuple(row) for row in connection.execute(query.where(t.name == target))]


def test_two_campaigns_at_once_one_of_them_killed_again_and_again_end_like_one_after_the_other(
    new_database: Callable[[], str], tmp_path: Path, subject: Callable[..., Subject]
) -> None:
    models = [subject(channels) for channels in (3, 4)]
    # Each kill leaves at most one complete process behind.
    first, second = Board("board-a", 1, KILLS + 2, tmp_path, models), Board("board-b", 2, 4, tmp_path, models)
    moments = random.Random(0)
    together, in_turn = new_database(), new_database()
    with Store(together) as store:
        other = second.begin(together)
        kept: set[tuple[Any, ...]] = set()
        for number in range(KILLS):
            before, more = len(of(store, "board-a")), moments.randrange(LEAST * len(models))
            running = first.begin(together)
            while len(of(store, "board-a")) < before + more:
                time.sleep(0.02)
            time.sleep(0.2 * moments.random())
            assert killed(running), f"kill {number}: it had ended before"
            now = set(of(store, "board-a"))
            assert kept <= now, "what was committed stays"
            kept = now
            assert {one.target: one.state for one in watching.campaigns(store)}.get("board-a", "stopped") == "stopped"
        for process in (first.begin(together), other):
            ended(process)
        assert {one.target: one.state for one in watching.campaigns(store)} == dict.fromkeys(
            ("board-a", "board-b"), "finished"
        )
        at_once, taken = counts(store), {name: of(store, name) for name in ("board-a", "board-b")}
    for board in (first, second):
        ended(board.begin(in_turn))
    with Store(in_turn) as store:
        undisturbed = counts(store)
        said = [f"{KILLS} kills while another one measured; beside it one after the other, without"]
        said += [f"{name}: {count}, {undisturbed[name]}" for name, count in at_once.items()]
        said += [f"{name}: all blocks: {len(rows)}, {len(of(store, name))}" for name, rows in taken.items()]
    sys.stdout.write("\n  ".join(["", *said, ""]))
    assert at_once == undisturbed and kept <= set(taken["board-a"])
    assert all(len({row[1:5] for row in rows}) == len(rows) for rows in taken.values()), "nothing is doubled"
