"""The folder that a table is kept in: what is saved comes back, damage is refused, errors are left out."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from device_profiles.errors import HwnasError, InvalidTable, SchemaMismatch, UsageError
from nas.evaluators.tabular import check_column, read_columns
from predictors import tables
from predictors.tables import Column, Source, Table
from predictors.testing import check_importer

CELLS = (
    "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|avg_pool_3x3~0|none~1|nor_conv_1x1~2|",
    "|none~0|+|nor_conv_3x3~0|none~1|+|skip_connect~0|none~1|nor_conv_3x3~2|",
    "|none~0|+|none~0|none~1|+|none~0|nor_conv_3x3~1|none~2|",
)


def small(**changes):
    """A table of two kernels."""
    column = Column("latency_ms.a", "latency", "ms", np.array([1.0, 2.5]), device="a")
    return Table(
        **{"kind": "plain", "keys": ("k1", "k2"), "columns": (column,), "source": Source("f", "0", 1)} | changes
    )


# -- the folder


PRINTED = st.characters(categories=("L", "N", "P", "S"), include_characters=" ", codec="utf-8")


FILES = {
    "cells.csv": "arch,latency_ms.a\n" + "".join(f"{cell},{i + 0.1}\n" for i, cell in enumerate(CELLS, 1)),
    "blocks.yaml": "Conv-input:8x8x3-output:8x8x16: {mean: 1.5, var: 0.1}\nFC-input:16-output:10: {mean: 0.3}\n",
    "hat.csv": "x,latency_mean_encoder,latency_mean_decoder,latency_std_encoder,latency_std_decoder\n6,9,236,0.5,12\n",
    "kernels.json": json.dumps({"conv": {"id_0": {"config": {"HW": 8, "CIN": 3}, "latency": [3.0, 1.0, 1.25]}}}),
    "own.csv": "key,latency_us.a,latency_us.a.std,latency_us.a.count\nx,1500,100,7\ny,,3,1\n",
}


@pytest.mark.parametrize("name", FILES)
def test_a_table_comes_back_as_it_was(tmp_path, name):
    (tmp_path / name).write_text(FILES[name])
    table = tables.read(tmp_path / name)
    findings = tables.lint(table)
    assert findings, "nothing would be compared"
    table = replace(table, findings=findings)
    table.save(tmp_path / "t")
    back = tables.load(tmp_path / "t")
    same_table(back, table)
    assert [f.to_plain() for f in back.findings] == [f.to_plain() for f in findings]


KINDS = {
    "cells.csv": "nasbench201",
    "blocks.yaml": "ofa",
    "hat.csv": "hat",
    "kernels.json": "nnmeter",
    "own.csv": "plain",
}


@pytest.mark.parametrize("name", FILES)
def test_importers_hold_to_the_protocol(tmp_path, name):
    check_importer(KINDS[name], FILES[name].encode(), name, tmp_path)


def test_labels_and_what_is_stated_come_back(tmp_path):
    table = small(
        labels={"unit": ("", "=CPU"), "provider": ("'@x", 'a, "b"')}, stated={"threads": "4", "=x": "+1"}, models=True
    )
    table.save(tmp_path / "t")
    back = tables.load(tmp_path / "t")
    same_table(back, table)
    assert back.labels == table.labels and back.stated == table.stated
    plain = tables.read(tmp_path / "t" / "table.csv", "plain")
    assert list(plain.labels) == ["unit", "provider"] and len(plain.columns) == 1
    with pytest.raises(InvalidTable, match="label 'unit' has 1 texts"):
        small(labels={"unit": ("CPU",)})
    with pytest.raises(InvalidTable, match="label 'unit' holds"):
        small(labels={"unit": ("CPU", "a\x07")})


def test_a_folder_of_the_schema_before_is_read(tmp_path, forge):
    small().save(tmp_path / "t")
    facts = json.loads((tmp_path / "t" / "table.json").read_text())
    for name in ("models", "labels", "stated"):
        del facts[name]
    (tmp_path / "t" / "table.json").write_text(json.dumps(facts))
    forge(tmp_path / "t", "table.json", schema="hwnas.table/2")
    same_table(tables.load(tmp_path / "t"), small())


def same_table(back, table):
    for name in ("kind", "keys", "source", "space", "choices", "exact", "types", "left_out", "models"):
        assert getattr(back, name) == getattr(table, name), name
    for name in ("archs", "constant"):
        assert np.array_equal(getattr(back, name), getattr(table, name)), name
    assert list(back.fields) == list(table.fields)
    assert all(np.array_equal(back.fields[k], table.fields[k], equal_nan=True) for k in table.fields)
    for ours, theirs in zip(back.columns, table.columns, strict=True):
        for name in ("name", "cost", "unit", "device", "workload", "stated_unit"):
            assert getattr(ours, name) == getattr(theirs, name)
        for name in ("values", "std", "count", "repeats"):
            a, b = getattr(ours, name), getattr(theirs, name)
            assert (a is None) == (b is None) and (a is None or np.array_equal(a, b, equal_nan=True)), name


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(
        st.tuples(st.text(PRINTED, min_size=1, max_size=8), st.floats(), st.floats(allow_nan=False)),
        min_size=1,
    )
)
def test_any_key_and_number_survives_the_folder(tmp_path, rows):
    keys, values, stds = (tuple(part) for part in zip(*rows, strict=True))
    column = Column("latency_ms.a", "latency", "ms", np.array(values), std=np.array(stds))
    table = small(keys=keys, columns=(column,))
    table.save(tmp_path / "t")
    same_table(tables.load(tmp_path / "t"), table)


@pytest.mark.parametrize("key", ["", "a\rb", "a\nb", "\x1b[2J", "a\x00", "\ud800"])
def test_keys_that_would_break_a_terminal_or_a_file_are_refused(key):
    with pytest.raises(InvalidTable, match="control characters"):
        small(keys=("k1", key))
    with pytest.raises(InvalidTable, match="control characters"):
        small(types=("t", key))


def test_a_search_reads_the_folder(tmp_path):
    (tmp_path / "cells.csv").write_text(FILES["cells.csv"])
    tables.read(tmp_path / "cells.csv").save(tmp_path / "t")
    columns, texts = read_columns(tmp_path / "t" / "table.csv", ["latency_ms.a"])
    values = columns[:, 0]
    assert values.tolist() == [1.1, 2.1, 3.1] and tuple(texts) == CELLS
    check_column(values, "latency_ms.a", maximise=False)


def test_a_search_does_not_read_a_damaged_folder(tmp_path):
    from nas.evaluators.tabular import EVALUATOR

    (tmp_path / "cells.csv").write_text(FILES["cells.csv"])
    tables.read(tmp_path / "cells.csv").save(tmp_path / "t")
    path = tmp_path / "t" / "table.csv"
    path.write_text(path.read_text().replace("1.1", "4.1"))
    with pytest.raises(SchemaMismatch, match="SHA-256 differs"):
        EVALUATOR.open("latency", f"table:{path}:latency_ms.a", None)


def test_saving_replaces_a_table_and_nothing_else(tmp_path):
    table = small()
    table.save(tmp_path / "t")
    small(keys=("k3", "k4")).save(tmp_path / "t")
    assert tables.load(tmp_path / "t").keys == ("k3", "k4")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["t"]
    (tmp_path / "t" / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="exists and is not a table"):
        table.save(tmp_path / "t")
    assert (tmp_path / "t" / "mine.txt").read_text() == "mine"
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError, match="exists and is not a table"):
        table.save(tmp_path / "file")
    other = tmp_path / "other"
    other.mkdir()
    (other / "table.json").write_text('{"schema": "somebody.else/1"}')
    with pytest.raises(UsageError, match="exists and is not a table"):
        table.save(other)
    table.save(tmp_path / "deep" / "er")
    assert tables.load(tmp_path / "deep" / "er").keys == table.keys


def test_a_save_that_fails_keeps_what_was_there(tmp_path, monkeypatch):
    from predictors import folders

    small().save(tmp_path / "t")
    real = folders.shutil.move

    def fail_second(source, target):
        if str(source).endswith("new"):
            raise OSError("disk full")
        return real(source, target)

    monkeypatch.setattr(folders.shutil, "move", fail_second)
    with pytest.raises(UsageError, match="cannot write"):
        small(keys=("k3", "k4")).save(tmp_path / "t")
    monkeypatch.undo()
    assert tables.load(tmp_path / "t").keys == ("k1", "k2")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["t"]


def set_fact(name, value):
    return lambda folder, forge: forge(folder, "table.json", **{name: value})


def without(name):
    def change(folder, forge):
        facts = json.loads((folder / "table.json").read_text())
        del facts[name]
        (folder / "table.json").write_text(json.dumps(facts))
        forge(folder, "table.json")

    return change


COLUMN = {
    "name": "latency_ms.a",
    "cost": "latency",
    "unit": "ms",
    "device": "a",
    "workload": None,
    "stated_unit": None,
    "std": False,
    "count": False,
    "repeats": 0,
}


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda f, _: (f / "table.json").unlink(), "No such file"),
        (lambda f, _: (f / "table.csv").unlink(), "'table.csv' is missing"),
        (lambda f, _: (f / "more.csv").write_text("x"), "'more.csv', which was not written with it"),
        (lambda f, _: (f / "table.json").write_text("{"), "not a table's folder"),
        (lambda f, _: (f / "table.json").write_text("[]"), "not a table's folder"),
        (lambda f, _: (f / "table.json").write_text("[" * 100_000), "not a table's folder"),
        (lambda f, _: (f / "table.csv").write_text("key,latency_ms.a\nk1,1\nk2,9\n"), "SHA-256 differs"),
        (lambda f, _: (f / "table.csv").write_bytes((f / "table.csv").read_bytes()[:-3]), "SHA-256 differs"),
        (set_fact("schema", "hwnas.table/1"), "has schema 'hwnas.table/1', of 'a version of 2026-11'"),
        (set_fact("schema", "hwnas.table/9"), "has schema 'hwnas.table/9', of 'hwnas 0."),
        (set_fact("rows", 3), "table.json says 3"),
        (set_fact("rows", "2"), "not a table's folder"),
        (set_fact("kind", 3), "kind must be a text"),
        (set_fact("exact", "no"), "exact must be true or false"),
        (set_fact("columns", [{"name": "x"}]), "not a table's folder"),
        (set_fact("columns", 3), "not a table's folder"),
        (set_fact("columns", []), "not a table's folder"),
        (set_fact("columns", [COLUMN, COLUMN]), "is there twice"),
        (set_fact("columns", [{**COLUMN, "unit": None}]), "unit must be a text"),
        (set_fact("columns", [{**COLUMN, "repeats": 10**9}]), "not a table's folder"),
        (set_fact("columns", [{**COLUMN, "repeats": -1}]), "not a table's folder"),
        (set_fact("columns", [{**COLUMN, "std": True}]), "'latency_ms.a.std' is missing"),
        (set_fact("fields", ["x"]), "'field.x' is missing"),
        (set_fact("labels", ["x"]), "'label.x' is missing"),
        (set_fact("labels", [3]), "must be a text"),
        (set_fact("labels", 3), "not a table's folder"),
        (set_fact("models", "no"), "models must be true or false"),
        (set_fact("stated", {"threads": 4}), "must be a text"),
        (set_fact("stated", ["threads"]), "not a table's folder"),
        (set_fact("choices", [5, 0]), "choices"),
        (set_fact("choices", "55"), "choices"),
        (set_fact("space", "nasbench201"), "not a table's folder"),
        (set_fact("findings", [{"rule": "x"}]), "not a table's folder"),
        (set_fact("source", None), "not a table's folder"),
        *(
            (without(name), "not a table's folder")
            for name in ("kind", "rows", "space", "columns", "source", "left_out")
        ),
    ],
)
def test_a_damaged_folder_is_refused(tmp_path, forge, damage, said):
    small().save(tmp_path / "t")
    assert tables.load(tmp_path / "t").keys == ("k1", "k2")
    damage(tmp_path / "t", forge)
    with pytest.raises(SchemaMismatch) as caught:
        tables.load(tmp_path / "t")
    assert said in caught.value.message and caught.value.hint


# -- what is left out


def finding(rule="r", column=None, rows=(), severity="error"):
    return tables.Finding(severity, rule, column, "text", "advice", tuple(rows), len(rows))


def wide(n=10):
    columns = [Column(f"latency_ms.{d}", "latency", "ms", np.arange(1.0, n + 1), std=np.ones(n)) for d in "ab"]
    return small(keys=tuple(f"k{i}" for i in range(n)), columns=tuple(columns))


def test_rows_in_error_leave_the_whole_table():
    table = wide().without_errors([finding(column="latency_ms.a", rows=[0, 3]), finding(rows=[3, 9])])
    assert table.keys == ("k1", "k2", "k4", "k5", "k6", "k7", "k8")
    assert [column.values.tolist() for column in table.columns] == [[2, 3, 5, 6, 7, 8, 9]] * 2
    assert (table.left_out.rows, table.left_out.columns) == (3, ())


def test_warnings_and_notes_leave_nothing_out():
    findings = [finding(rows=[1], severity="warning"), finding(column="latency_ms.a", severity="note")]
    assert wide().without_errors(findings).keys == wide().keys


def test_a_column_in_error_goes_and_its_rows_stay():
    table = wide().without_errors([finding(column="latency_ms.a"), finding(column="latency_ms.a", rows=[0])])
    assert len(table) == 10 and [column.name for column in table.columns] == ["latency_ms.b"]
    assert table.left_out.columns == ("latency_ms.a",)


def test_a_column_with_most_rows_in_error_goes():
    table = wide().without_errors([finding(column="latency_ms.a", rows=range(6))])
    assert len(table) == 10 and table.left_out.columns == ("latency_ms.a",)


def test_deviations_in_error_go_alone():
    table = wide().without_errors([finding(column="latency_ms.a.std")])
    assert [column.std is None for column in table.columns] == [True, False] and len(table) == 10


def test_nothing_left_is_an_error():
    with pytest.raises(InvalidTable, match="nothing is left"):
        wide().without_errors([finding(column="latency_ms.a"), finding(column="latency_ms.b")])
    with pytest.raises(HwnasError, match="nothing is left"):
        wide().without_errors([finding(rows=range(10))])


def test_a_table_knows_its_columns():
    table = wide()
    assert table.column("latency_ms.b").name == "latency_ms.b"
    with pytest.raises(UsageError, match=r"no column 'latency_ms\.c'"):
        table.column("latency_ms.c")
    with pytest.raises(InvalidTable, match="10 rows"):
        small(keys=tuple("abcdefghij"))
