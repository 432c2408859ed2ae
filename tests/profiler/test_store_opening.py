"""How a store begins: paths and URLs, interruptions, two at once, and rows that hold what they must not."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_profiles.conditions import Conditions
from device_profiles.errors import DeviceError, HwnasError, InvalidData, SchemaMismatch, UsageError
from device_profiles.passwords import without_password
from profiler import schema
from profiler.agent.protocol import Block
from profiler.conditions import conditions_of
from profiler.onnx_graph import read_graph
from profiler.records import ModelRow, ProfileRow
from profiler.store import NoStore, Store

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def conditions(fake: Callable[..., Any]) -> Conditions:
    return conditions_of(fake())


@pytest.fixture
def filled(tmp_path: Path, conditions: Conditions, conv_net: Callable[..., bytes]) -> Path:
    path = tmp_path / "filled.db"
    with Store(path) as store:
        store.bind("fake", "{}", conditions)
        store.add_model(ModelRow("m", "a model", "space", "arch"), read_graph(conv_net()))
        store.add_fused("m", conditions, read_graph(conv_net(), runtime="fake"))
        process = store.start_process(conditions, "one", seed=3)
        store.add_block(process, Block("m", 0, 4, 4000, 420, 400))
        store.add_profile(process, ProfileRow("m", [["conv", "Conv", 12.5, 20]], 4096, 400))
        store.add_memory(process, "m", 1 << 20, None)
        store.add_failure("m", conditions, kind="RuntimeCrash", reason="it crashed", hint="")
        store.end_process(process, state="finished", device_s=1.5, facts=[{"event": "reference", "sentinel_ns": 400}])
    return path


def read_all(path: Path, conditions: Conditions) -> list[Any]:
    """All that is read of a store."""
    with Store(path, create=False) as store:
        return [
            store.targets(), store.conditions("fake"), store.models(), store.graph("m"), store.fused("m", conditions),
            store.blocks(conditions), store.profiles(conditions), store.memory(conditions), store.energy(conditions),
            store.failures(conditions), store.device_s(conditions), store.process_facts(conditions),
        ]  # fmt: skip


def edited(path: Path, statement: str, *values: Any) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(statement, values)


# -- paths and URLs


@pytest.mark.parametrize("name", ["a?b.db", "a%20b.db", ":memory:", "a#b.db", "file:x.db", "a b;c.db", "ü.db", "a:b@c"])
@pytest.mark.parametrize("kind", [str, Path])
def test_a_path_is_a_path(name: str, kind: type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with Store(kind(name)) as store:
        assert store.url == name
    assert [entry.name for entry in tmp_path.iterdir()] == [name]
    Store(kind(name), create=False).close()


@pytest.mark.parametrize("path", ["x" * 300, "\0.db", "/dev/null/a.db", "/dev/full", "/proc/none/a.db"])
def test_where_no_file_can_be_is_an_error_by_name(path: str) -> None:
    with pytest.raises(HwnasError):
        Store(path)


def test_a_pipe_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InvalidData, match="no regular file"):
        Store(tmp_path / "pipe")


PASSWORD = "s3cret!"


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://u:{PASSWORD}@127.0.0.1:1/db",
        f"postgresql://127.0.0.1:1/db?user=u&password={PASSWORD}",
        f"postgresql://u:{PASSWORD}@[::bad/db",
        f"postgresql://u:{PASSWORD}@127.0.0.1:port/db",
        f"postgresql+nothing://u:{PASSWORD}@127.0.0.1/db",
        f"nobody://u:{PASSWORD}@127.0.0.1/db",
        f"mysql://u:{PASSWORD}@127.0.0.1/db",
        f"://u:{PASSWORD}@127.0.0.1/db",
    ],
)
def test_a_url_that_leads_nowhere_is_an_error_without_its_password(url: str) -> None:
    with pytest.raises((UsageError, DeviceError)) as caught:
        Store(url)
    assert PASSWORD not in caught.value.message + caught.value.hint


@given(st.text("abc:@/?#&=%. ", min_size=1))
def test_no_part_of_a_password_is_shown(middle: str) -> None:
    password = f"XX{middle}YY"
    shown = without_password(f"postgresql://user:{password}@host/db")
    assert "XX" not in shown and "YY" not in shown and shown.endswith("@host/db")


@pytest.mark.parametrize("text", ["runs/a.db", "a:b@c", "sqlite:///runs/a@b.db", "postgresql://u@host/db", "x=1"])
def test_what_has_no_password_stays(text: str) -> None:
    assert without_password(text) == text


# -- how a store begins


@pytest.mark.parametrize("tables", [0, 1, 4, 99])
def test_what_was_interrupted_is_finished_by_the_next_call(tmp_path: Path, tables: int) -> None:
    """As older versions were: an empty file, a database of nothing, some of the tables, all of them and no rows."""
    import sqlalchemy as sa

    path = tmp_path / "a.db"
    path.touch()
    if tables:
        engine = sa.create_engine(f"sqlite:///{path}")
        schema.METADATA.create_all(engine, tables=schema.METADATA.sorted_tables[:tables])
        engine.dispose()
    before = path.read_bytes()
    with pytest.raises(NoStore):
        Store(path, create=False)
    assert path.read_bytes() == before, "who only reads makes nothing"
    for _ in range(2):
        with Store(path) as store:
            assert store.targets() == ()


def test_tables_with_rows_and_no_version_are_not_taken_over(filled: Path) -> None:
    edited(filled, "DELETE FROM meta")
    before = filled.read_bytes()
    with pytest.raises(SchemaMismatch):
        Store(filled)
    assert filled.read_bytes() == before


def test_killed_at_any_moment_of_its_making_a_store_is_made_by_the_next(tmp_path: Path) -> None:
    made = 0
    for number in range(40):
        path = tmp_path / f"{number}.db"
        child = os.fork()
        if child == 0:
            try:
                Store(path)
            finally:
                os._exit(0)
        deadline = time.monotonic() + 10
        while not path.exists() and time.monotonic() < deadline:
            pass
        time.sleep(0.0008 * number)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        made += bool(path.stat().st_size)
        with Store(path) as store:
            assert store.targets() == ()
        assert [entry.name for entry in tmp_path.glob(f"{number}.db*")] == [path.name]
    assert made


RACER = """
import sys, time
from profiler.conditions import conditions_of
from profiler.onnx_graph import read_graph
from profiler.records import ModelRow
from profiler.store import Store
from device_profiles.profile import load
conditions, graph = conditions_of(load("fake")), read_graph(open(sys.argv[2], "rb").read())
print("ready", flush=True)
sys.stdin.readline()
for number in range(8):
    with Store(f"{sys.argv[1]}{number}.db") as store:
        store.bind("fake", "{}", conditions)
        for model in range(4):
            store.add_model(ModelRow(f"m{model}", "m", None, None), graph)
            store.add_fused(f"m{model}", conditions, graph)
"""


def test_two_at_once_make_one_store(tmp_path: Path, conv_net: Callable[..., bytes], conditions: Conditions) -> None:
    (tmp_path / "m.onnx").write_bytes(conv_net())
    command = [sys.executable, "-c", RACER, str(tmp_path / "a"), str(tmp_path / "m.onnx")]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    racers = [subprocess.Popen(command, text=True, cwd=ROOT, **pipes) for _ in range(3)]
    for racer in racers:
        assert racer.stdout is not None and racer.stdout.readline() == "ready\n"
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("\n")
        racer.stdin.flush()
    for racer in racers:
        _, said = racer.communicate(timeout=120)
        assert racer.returncode == 0, said
    for number in range(8):
        with Store(tmp_path / f"a{number}.db", create=False) as store:
            assert len(store.models()) == 4 and store.targets() == ("fake",)


# -- damage inside of rows


@pytest.mark.parametrize(
    ("table", "column", "value"),
    [
        ("blocks", "calls", 0), ("blocks", "calls", "many"), ("blocks", "ns", -1), ("blocks", "ns", 0),
        ("blocks", "ns", 1.5), ("blocks", "ns", b"\xff"), ("blocks", "sentinel_before_ns", 0),
        ("blocks", "sentinel_after_ns", "0x1"), ("blocks", "round", -1),
        ("profiles", "sentinel_ns", 0), ("profiles", "kernels", "{"), ("profiles", "kernels", "{}"),
        ("profiles", "kernels", "[[1]]"), ("profiles", "kernels", '[["a", "b", NaN, 1]]'),
        ("profiles", "kernels", "[" * 100_000), ("profiles", "allocator_peak_bytes", -5),
        ("processes", "facts", "nothing"), ("processes", "facts", "[1]"), ("processes", "facts", "{}"),
        ("processes", "facts", '[{"event": "reference", "sentinel_ns": 0}]'), ("processes", "device_s", -1.0),
        ("processes", "device_s", "x"), ("processes", "invocation", "x" * 40),
        ("conditions", "facts", "{}"), ("conditions", "facts", "[]"), ("conditions", "facts", "1"),
        ("models", "copies", 0), ("models", "graph", "{}"), ("models", "kernel", "[]"), ("models", "kernel", "7"),
        ("models", "name", b"\x00"), ("fused", "graph", '{"schema": "hwnas.graph/2"}'),
        ("memory", "process_peak_bytes", "1 GB"), ("memory", "process_peak_bytes", -1), ("failures", "reason", b"x"),
        ("targets", "profile", b"x"),
    ],
)  # fmt: skip
def test_a_value_that_cannot_be_is_refused_by_table_and_row(
    filled: Path, conditions: Conditions, table: str, column: str, value: Any
) -> None:
    edited(filled, f"UPDATE {table} SET {column} = ?", value)
    with pytest.raises(SchemaMismatch) as caught:
        read_all(filled, conditions)
    assert repr(table) in caught.value.message and str(filled) in caught.value.message


@pytest.mark.parametrize(
    ("before", "after"),
    [(b"a model", b"b model"), (b"it crashed", b"it smashed"), (b"12.5", b"13.5"), (b'[1,3,8,8]', b'[1,3,9,8]'),
     (b'"sentinel_ns": 400', b'"sentinel_ns": 500')],
)  # fmt: skip
def test_a_value_that_could_be_but_is_not_what_was_written_is_refused(
    filled: Path, conditions: Conditions, before: bytes, after: bytes
) -> None:
    content = filled.read_bytes()
    assert before in content
    filled.write_bytes(content.replace(before, after))
    with pytest.raises(SchemaMismatch, match="not those that were written"):
        read_all(filled, conditions)


def test_who_edits_a_row_means_it(filled: Path, conditions: Conditions) -> None:
    edited(filled, "UPDATE blocks SET ns = ns * 2")
    with Store(filled) as store:
        assert [row.ns for row in store.blocks(conditions)] == [8000]


@pytest.mark.parametrize("table", [table.name for table in schema.METADATA.sorted_tables if table.name != "meta"])
def test_a_table_that_is_gone_is_named(filled: Path, table: str) -> None:
    edited(filled, f"DROP TABLE {table}")
    with pytest.raises(SchemaMismatch, match=table):
        Store(filled)


@pytest.mark.parametrize("block", [Block("m", 0, 0, 1, 1, 1), Block("m", 0, 1, 2**63, 1, 1), Block("m", 0, 1, 1, 0, 1)])
def test_what_could_not_be_read_is_not_written(filled: Path, conditions: Conditions, block: Block) -> None:
    with Store(filled) as store:
        with pytest.raises(InvalidData, match="'blocks'"):
            store.add_block(1, block)
        assert len(store.blocks(conditions)) == 1
