from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from device_profiles.conditions import Conditions
from device_profiles.errors import ConditionMismatch, InvalidData, SchemaMismatch
from nas.study.study import Study
from profiler.agent.protocol import Block
from profiler.conditions import conditions_of
from profiler.meters.protocol import Energy
from profiler.onnx_graph import read_graph
from profiler.records import BlockRow, ModelRow, ProfileRow
from profiler.store import Store, StoreFull


@pytest.fixture
def conditions(fake: Callable[..., Any]) -> Conditions:
    return conditions_of(fake())


@pytest.fixture
def fill(conditions: Conditions, conv_net: Callable[..., bytes]) -> Callable[..., int]:
    """Puts a model "m" and blocks of it into a store; the number of their process."""

    def put(store: Store, blocks: int = 5) -> int:
        store.bind("fake", "{}", conditions)
        store.add_model(ModelRow("m", "a model", "space", "arch"), read_graph(conv_net()))
        process = store.start_process(conditions, "one", seed=3)
        for index in range(blocks):
            store.add_block(process, Block("m", index, 4, 4000 + index, 420, 400))
        return process

    return put


def refused_unchanged(path: Path, error: type[Exception] = SchemaMismatch) -> str:
    before = path.read_bytes()
    others = sorted(path.parent.iterdir())
    with pytest.raises(error) as caught:
        Store(path)
    assert path.read_bytes() == before
    assert sorted(path.parent.iterdir()) == others, "no side files"
    return str(caught.value)


def test_a_fresh_store_is_made_with_its_folder(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.db"
    with Store(path) as store:
        assert store.targets() == () and store.models() == {}
    assert [entry.name for entry in path.parent.iterdir()] == ["a.db"]


def test_a_store_that_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(InvalidData, match="there is no store"):
        Store(tmp_path / "a.db", create=False)
    assert not (tmp_path / "a.db").exists()


def test_what_was_written_is_read_after_reopening(
    tmp_path: Path, fill: Callable[..., int], conditions: Conditions, conv_net: Callable[..., bytes]
) -> None:
    path = tmp_path / "a.db"
    graph = read_graph(conv_net(), runtime="fake")
    profile = ProfileRow("m", [["conv", "Conv", 12.5, 20]], 4096, 400)
    with Store(path) as store:
        process = fill(store)
        store.add_fused("m", conditions, graph)
        store.add_profile(process, profile)
        store.add_memory(process, "m", 1 << 20, None)
        store.add_failure("m", conditions, kind="RuntimeCrash", reason="first", hint="")
        store.add_failure("m", conditions, kind="RuntimeCrash", reason="it crashed", hint="Mend it.")
        store.end_process(process, state="finished", device_s=1.5, facts=[{"event": "state", "gemm_ns": 400}])
    with Store(path, create=False) as store:
        assert store.targets() == ("fake",)
        assert store.conditions("fake") == store.require_conditions("fake") == conditions
        assert store.models() == {"m": ModelRow("m", "a model", "space", "arch")}
        assert store.models(["other"]) == {}
        assert store.graph("m") == read_graph(conv_net())
        assert store.fused("m", conditions) == graph
        assert store.blocks(conditions) == [BlockRow(process, "one", "m", 4, 4000 + i, 400) for i in range(5)]
        assert store.profiles(conditions) == [profile]
        assert store.memory(conditions) == {"m": (1 << 20, None)}
        assert store.failures(conditions) == {"m": ("RuntimeCrash", "it crashed", "Mend it.")}
        assert store.device_s(conditions) == 1.5
        assert store.process_facts(conditions) == [{"event": "state", "gemm_ns": 400}]


def test_rows_of_other_conditions_are_not_seen(
    tmp_path: Path, fill: Callable[..., int], conditions: Conditions
) -> None:
    other = conditions.changed(threads=2)
    with Store(tmp_path / "a.db") as store:
        fill(store)
        store.bind("fake-2t", "{}", other)
        assert store.blocks(other) == [] and store.device_s(other) == 0.0
        assert len(store.blocks(conditions)) == 5
        assert store.targets() == ("fake", "fake-2t")


def test_a_second_time_changes_nothing(tmp_path: Path, fill: Callable[..., int], conditions: Conditions) -> None:
    with Store(tmp_path / "a.db") as store:
        first, second = fill(store, 2), fill(store, 2)
        assert second > first
        assert len(store.blocks(conditions)) == 4 and len(store.models()) == 1


def test_other_conditions_of_a_target_are_refused(tmp_path: Path, conditions: Conditions) -> None:
    with Store(tmp_path / "a.db") as store:
        store.bind("fake", "{}", conditions)
        store.bind("fake", "{}", conditions)
        with pytest.raises(ConditionMismatch) as caught:
            store.bind("fake", "{}", conditions.changed(kernel="another", threads=2))
        assert set(caught.value.got) == {"kernel", "threads"}
        assert "'fake'" in caught.value.message
        assert store.conditions("fake") == conditions


def test_what_is_not_there_is_named(tmp_path: Path, conditions: Conditions) -> None:
    with Store(tmp_path / "a.db") as store:
        assert store.conditions("nowhere") is None and store.fused("m", conditions) is None
        with pytest.raises(InvalidData, match="'nowhere'"):
            store.require_conditions("nowhere")
        with pytest.raises(InvalidData, match="no model"):
            store.graph("m")


def test_a_block_of_an_unknown_model_is_refused(tmp_path: Path, fill: Callable[..., int]) -> None:
    with Store(tmp_path / "a.db") as store:
        process = fill(store)
        with pytest.raises(InvalidData):
            store.add_block(process, Block("ghost", 0, 4, 1, 1, 1))


def test_a_transaction_is_all_or_nothing(tmp_path: Path) -> None:
    from profiler import schema

    with Store(tmp_path / "a.db") as store:
        with pytest.raises(RuntimeError), store.transaction() as connection:
            connection.execute(schema.META.insert().values(key="k", value="v"))
            raise RuntimeError("stop")
        with store.transaction() as connection:
            assert connection.scalar(sa.select(schema.META.c.value).where(schema.META.c.key == "k")) is None


@pytest.mark.parametrize("share", [0.9, 0.5, 0.01])
def test_a_store_that_was_cut_short_is_refused_unchanged(
    tmp_path: Path, fill: Callable[..., int], share: float
) -> None:
    path = tmp_path / "a.db"
    with Store(path) as store:
        fill(store, 50)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    assert "cut short" in refused_unchanged(path)


@pytest.mark.parametrize("content", [b"SQLite format 3\x00", b"not a database at all" * 50, b"\x00" * 4096])
def test_what_is_no_database_is_refused_unchanged(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.db"
    path.write_bytes(content)
    refused_unchanged(path)


@pytest.mark.parametrize("version", ["6", "99", "0", "x"])
def test_another_schema_is_refused_unchanged(tmp_path: Path, fill: Callable[..., int], version: str) -> None:
    path = tmp_path / "a.db"
    with Store(path) as store:
        fill(store)
    with sqlite3.connect(path) as database:
        database.execute("UPDATE meta SET value = ? WHERE key = 'schema_version'", [version])
    database.close()
    message = refused_unchanged(path)
    assert f"schema version {version}" in message and "reads 5" in message


def contents(path: Path) -> dict[str, list[dict[str, Any]]]:
    """All rows of all tables, read behind the store's back."""
    with closing(sqlite3.connect(path)) as database:
        database.row_factory = sqlite3.Row
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: [dict(row) for row in database.execute(f"SELECT * FROM {name}")] for name in tables}


def kept(before: dict[str, list[dict[str, Any]]], after: dict[str, list[dict[str, Any]]]) -> bool:
    """Whether each row is there with all that it had, but for seals and versions."""

    def without(row: dict[str, Any]) -> dict[str, Any]:
        version = row.get("key") in ("schema_version", "version")
        return {name: value for name, value in row.items() if name != "seal" and not (version and name == "value")}

    return all(
        len(after[name]) == len(rows)
        and all(without(old).items() <= new.items() for old, new in zip(rows, after[name], strict=True))
        for name, rows in before.items()
    )


@pytest.mark.parametrize("create", [True, False])
@pytest.mark.parametrize("version", [1, 2, 3])
def test_a_store_of_an_older_version_is_taken_along_and_keeps_all_it_holds(
    older: Callable[..., Path], tmp_path: Path, version: int, create: bool
) -> None:
    path = older(version, tmp_path / "a.db")
    before = contents(path)
    assert ("energy" in before) == (version > 1) and len(before["blocks"]) == 12
    assert all(rows for rows in before.values()), "no table is compared empty"
    with Store(path, create=create) as store:
        known = store.require_conditions("made-up")
        assert store.energy(known) == ({} if version == 1 else {"m0": [2.0, 3.0]})
        assert len(store.blocks(known)) == 12 and len(store.profiles(known)) == 2
    after = contents(path)
    assert kept(before, after)
    assert {row["key"]: row["value"] for row in after["meta"]}["schema_version"] == "5"
    with Store(path) as store:
        store.add_energy(1, "m0", Energy(4.0, 4.0, "made up", 1.0))
        assert store.energy(known) == {"m0": [4.0] if version == 1 else [2.0, 3.0, 4.0]}


def test_a_store_of_version_4_is_taken_along(tmp_path: Path, fill: Callable[..., int]) -> None:
    """Its tables are those of today; what is new is what a column may say."""
    path = tmp_path / "a.db"
    with Store(path) as store:
        fill(store)
    with closing(sqlite3.connect(path)) as database:
        database.execute("UPDATE meta SET value = '4' WHERE key = 'schema_version'")
        database.commit()
    before = contents(path)
    with Store(path):
        pass
    after = contents(path)
    assert kept(before, after)
    assert {row["key"]: row["value"] for row in after["meta"]}["schema_version"] == "5"


def test_blocks_of_one_key_in_an_older_store_are_told_apart(older: Callable[..., Path], tmp_path: Path) -> None:
    path = older(3, tmp_path / "a.db")
    columns = "process, model, round, retry, calls, ns, sentinel_before_ns, sentinel_after_ns"
    with closing(sqlite3.connect(path)) as database:
        for ns in ("ns", "ns + 1", "ns + 2", "ns + 2"):
            database.execute(
                f"INSERT INTO blocks ({columns}) SELECT {columns.replace('ns,', f'{ns},', 1)} FROM blocks WHERE id = 1"
            )
        database.execute("UPDATE blocks SET cpu_ns = 900, switches = 1")
        database.commit()
    with Store(path) as store:
        assert len(store.blocks(store.require_conditions("made-up"))) == 12 + 2, "what is equal is one"
    rows = [(row["retry"], row["ns"]) for row in contents(path)["blocks"] if row["model"] == "m0" and not row["round"]]
    assert rows == [(0, 4000), (0, 4010), (1, 4001), (2, 4002)]


@pytest.mark.parametrize("version", [1, 2, 3])
def test_an_upgraded_store_has_the_tables_of_a_fresh_one(
    older: Callable[..., Path], tmp_path: Path, version: int
) -> None:
    def shapes(path: Path) -> set[Any]:
        with sqlite3.connect(path) as database:
            found = set(database.execute("SELECT type, name, tbl_name FROM sqlite_master"))
            for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
                columns = database.execute(f"SELECT name, type, [notnull], pk FROM pragma_table_info('{name}')")
                found |= {(name, *column) for column in columns}
        database.close()
        return found

    places = older(version, tmp_path / "old.db"), tmp_path / "fresh.db"
    for path in places:
        with Store(path) as store:
            Study(store).bind({})
    assert shapes(places[0]) == shapes(places[1])


# -- energy


def test_energies_are_kept_window_by_window(tmp_path: Path, fill: Callable[..., int], conditions: Conditions) -> None:
    path = tmp_path / "a.db"
    with Store(path) as store:
        process = fill(store)
        store.add_model(ModelRow("other", "other", None, None), store.graph("m"))
        for model, net in (("m", 3.0), ("other", 7.0), ("m", 1.0), ("m", 2.0)):
            store.add_energy(process, model, Energy(2 * net, net, "package", 1.5))
        store.add_energy(store.start_process(conditions, "two", seed=4), "m", Energy(9.0, 9.0, "package", 1.5))
        elsewhere = conditions.changed(threads=2)
        store.bind("fake-2t", "{}", elsewhere)
        store.add_energy(store.start_process(elsewhere, "one", seed=5), "m", Energy(5.0, 4.0, "package", 1.5))
    with Store(path, create=False) as store:
        assert store.energy(conditions) == {"m": [3.0, 1.0, 2.0, 9.0], "other": [7.0]}
        assert store.energy(elsewhere) == {"m": [4.0]}
    rows = contents(path)["energy"]
    first = {"process": process, "model": "m", "gross_mj": 6.0, "sensor": "package", "update_ms": 1.5, "number": 0}
    assert first.items() <= rows[0].items(), "gross and sensor are kept, too"


@pytest.mark.parametrize(
    ("gross", "net"),
    [(1.0, 0.0), (1.0, -1.0), (0.0, 0.0), (1.0, 2.0), (float("nan"), 1.0), (1.0, float("nan")), (float("inf"), 1.0)],
)
def test_energies_that_are_none_are_refused(
    tmp_path: Path, fill: Callable[..., int], conditions: Conditions, gross: float, net: float
) -> None:
    with Store(tmp_path / "a.db") as store:
        process = fill(store)
        with pytest.raises(InvalidData) as caught:
            store.add_energy(process, "m", Energy(gross, net, "package", 1.0))
        assert str(net) in caught.value.message and str(gross) in caught.value.message and caught.value.hint
        assert store.energy(conditions) == {}


def test_the_energy_of_an_unknown_model_is_refused(tmp_path: Path, fill: Callable[..., int]) -> None:
    with Store(tmp_path / "a.db") as store:
        process = fill(store)
        with pytest.raises(InvalidData):
            store.add_energy(process, "ghost", Energy(2.0, 1.0, "package", 1.0))


@pytest.mark.parametrize("table", ["songs (title TEXT)", "meta (title TEXT)"])
def test_a_database_of_something_else_is_refused_unchanged(tmp_path: Path, table: str) -> None:
    path = tmp_path / "a.db"
    with sqlite3.connect(path) as database:
        database.execute(f"CREATE TABLE {table}")
    database.close()
    refused_unchanged(path, InvalidData)


def test_a_folder_is_no_store(tmp_path: Path) -> None:
    with pytest.raises(InvalidData, match="folder"):
        Store(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidData):
        Store(tmp_path / "file" / "a.db")


def test_damage_inside_is_found_when_it_is_read(
    tmp_path: Path, fill: Callable[..., int], conditions: Conditions
) -> None:
    path = tmp_path / "a.db"
    with Store(path) as store:
        fill(store, 600)
        with store.engine.connect() as connection:
            root = connection.exec_driver_sql("SELECT rootpage FROM sqlite_master WHERE name = 'blocks'").scalar_one()
    content = bytearray(path.read_bytes())
    content[(root - 1) * 4096 : (root - 1) * 4096 + 64] = b"\xff" * 64
    path.write_bytes(content)
    assert "damaged" in refused_unchanged(path)


def test_a_full_disk_keeps_what_was_committed(tmp_path: Path, fill: Callable[..., int], conditions: Conditions) -> None:
    path = tmp_path / "a.db"
    with Store(path) as store:
        process = fill(store, 5)
        store.engine.dispose()
        pages = path.stat().st_size // 4096

        def small_disk(connection: Any, _record: Any) -> None:
            connection.execute(f"PRAGMA max_page_count = {pages + 1}")

        sa.event.listen(store.engine, "connect", small_disk)
        kept = 5
        with pytest.raises(StoreFull) as caught:
            for index in range(5, 5000):
                store.add_block(process, Block("m", index, 4, 4000 + index, 400, 400))
                kept += 1
        assert 5 < kept < 4999
        assert str(path) in caught.value.message and "again" in caught.value.hint
        assert len(store.blocks(conditions)) == kept
    with Store(path) as store:
        assert [row.ns for row in store.blocks(conditions)] == [4000 + i for i in range(kept)]
        store.add_block(process, Block("m", 0, 4, 1, 1, 1))


def test_a_reader_and_a_writer_share_a_file(tmp_path: Path, fill: Callable[..., int], conditions: Conditions) -> None:
    path = tmp_path / "a.db"
    with Store(path) as writer:
        process = fill(writer, 1)
        with Store(path) as reader:
            writer.add_block(process, Block("m", 1, 4, 1, 1, 1))
            assert len(reader.blocks(conditions)) == 2


def test_a_recording_holds_times_of_a_call_and_sentinels(
    tmp_path: Path, fill: Callable[..., int], conditions: Conditions
) -> None:
    with Store(tmp_path / "a.db") as store:
        fill(store, 3)
        assert store.recording(conditions) == {
            "models": {"m": [1000.0, 1000.25, 1000.5]},
            "sentinel": [400, 400, 400],
        }


def test_a_store_may_live_in_memory(fill: Callable[..., int], conditions: Conditions) -> None:
    with Store("sqlite://") as store:
        fill(store)
        assert len(store.blocks(conditions)) == 5
