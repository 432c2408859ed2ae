"""Published tables, where they are there: what is known to be wrong with them is found, and nothing else is said."""

import csv
import gzip
import pickle
from dataclasses import replace

import numpy as np
import pytest

from predictors import tables

WHOLE_MS = {"latency_ms.essential_ph_1", "latency_ms.samsung_a50", "latency_ms.samsung_s7"}


def need(data, name):
    path = data / name
    if not path.is_file():
        pytest.skip(f"no public table at {path}")
    return path


@pytest.fixture(scope="module")
def nasbench(data):
    return tables.read(need(data, "nasbench201.csv.gz"))


@pytest.fixture(scope="module")
def findings(nasbench):
    return tables.lint(nasbench)


def test_all_cells_are_read(nasbench):
    assert nasbench.kind == "nasbench201" and len(nasbench) == 15625
    assert len(np.unique(nasbench.archs, axis=0)) == 15625 and nasbench.constant.sum() == 341
    assert sum(column.cost == "latency" for column in nasbench.columns) == 21


def test_the_near_zero_entries_of_pixel3_are_the_only_errors(nasbench, findings):
    (error,) = [finding for finding in findings if finding.severity == "error"]
    assert (error.rule, error.column, error.count) == ("near-zero", "latency_ms.pixel3", 273)
    assert nasbench.constant[list(error.rows)].all()
    assert "all of them are networks whose output does not depend on the input" in error.text


def test_the_whole_millisecond_devices_are_the_only_warnings(findings):
    warnings = [finding for finding in findings if finding.severity == "warning"]
    assert {finding.rule for finding in warnings} == {"quantised"}
    assert {finding.column for finding in warnings} == WHOLE_MS
    assert all("steps of 1 ms" in finding.text for finding in warnings)


def test_what_is_left_has_no_errors_and_keeps_its_values(nasbench, findings, tmp_path):
    nasbench.without_errors(findings).save(tmp_path / "t")
    back = tables.load(tmp_path / "t")
    assert len(back) == 15625 - 273 and back.left_out == tables.LeftOut(273)
    assert not [finding for finding in tables.lint(back) if finding.severity == "error"]
    keep = np.setdiff1d(np.arange(15625), next(f.rows for f in findings if f.severity == "error"))
    sources, before = back.as_sources(), nasbench.as_sources()
    assert len(sources) == 21
    for name, (archs, values) in sources.items():
        assert np.array_equal(archs, before[name][0][keep]) and np.array_equal(values, before[name][1][keep])


def test_the_traps_of_other_tables_planted_in_this_one(nasbench):
    """The same table with what is known of raspi4, of one device under two names, and of values of -1."""
    first = next(column for column in nasbench.columns if column.name == "latency_ms.gold_6240")
    rng = np.random.default_rng(0)
    dead = rng.permutation(np.flatnonzero(nasbench.constant))[:284]
    values = {"raspi4": first.values.copy(), "edgetpu": first.values * rng.uniform(0.9, 1.1, 15625), "i7": first.values}
    values["raspi4"][dead] /= rng.uniform(300, 3000, 284)
    marked = rng.permutation(15625)[:259]
    values["edgetpu"][marked] = -1.0
    more = [replace(first, name=f"latency_ms.{name}", device=name, values=v) for name, v in values.items()]
    found = tables.lint(replace(nasbench, columns=(first, *more)))
    by = {(f.rule, f.column): f for f in found if f.severity == "error"}
    assert by["near-zero", "latency_ms.raspi4"].rows == tuple(sorted(dead))
    assert by["sentinel", "latency_ms.edgetpu"].rows == tuple(sorted(marked))
    # gold, i7, and raspi4 but for its rows in error, hold the same values.
    assert {column for rule, column in by if rule == "same-column"} == {"latency_ms.raspi4", "latency_ms.i7"}
    assert not [column for _, column in by if column == "latency_ms.gold_6240"]


def test_the_once_for_all_table_has_notes_alone(data):
    table = tables.read(need(data, "ofa_lut.i7-8700K.yaml"), device="i7-8700K")
    assert table.kind == "ofa" and len(table) == 4050 and set(table.types) >= {"MBConv", "first_conv", "classifier"}
    assert table.columns[0].std is not None and (table.columns[0].values > 0).all()
    assert {finding.severity for finding in tables.lint(table)} == {"note"}


@pytest.mark.parametrize("device", ["cpu_xeon", "gpu_titanxp"])
def test_hat_tables_have_notes_alone(data, device):
    path = need(data, f"hat.wmt14ende.{device}.csv")
    table = tables.read(path)
    assert table.kind == "hat" and len(table) == 2000 and len(table.fields) == 10
    assert [finding.rule for finding in tables.lint(table)] == ["averaged-features"]
    row = next(csv.DictReader(path.open()))
    assert table.columns[1].values[0] == float(row["latency_mean_decoder"])
    assert table.columns[1].std[0] == float(row["latency_std_decoder"])


def test_a_pickle_of_the_size_of_hw_nas_bench(data, tmp_path):
    with gzip.open(need(data, "nasbench201.csv.gz"), "rt") as file:
        rows = list(csv.DictReader(file))
    configs = [{"name": "infer.tiny", "C": 16, "N": 5, "arch_str": row["arch"], "num_classes": 10} for row in rows]
    pixel3 = [np.float64(row["latency_ms.pixel3"]) for row in rows]
    path = tmp_path / "HW-NAS-Bench.pickle"
    parts = {name: {"config": configs, "pixel3_latency": pixel3} for name in ("cifar10", "cifar100")}
    path.write_bytes(pickle.dumps({"nasbench201": parts}))
    table = tables.read(path)
    errors = [finding for finding in tables.lint(table) if finding.severity == "error"]
    assert [(finding.rule, finding.count) for finding in errors[:2]] == [("near-zero", 273)] * 2
    # The two are one column, and that is said too.
    assert [finding.rule for finding in errors[2:]] == ["same-column"]
