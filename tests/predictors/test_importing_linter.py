"""The linter: each rule finds what it is for in a made-up table, and is silent on a sound one."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import nas
from device_profiles.errors import UsageError
from predictors import tables
from predictors.tables import Column, Source, Table, _cells
from predictors.tables.linter import RULES, lint

ROWS = 400


def column(values, name="latency_ms.a", **changes):
    cost, _, rest = name.partition("_")
    unit = {"ms": "ms", "mj": "mJ"}.get(rest.partition(".")[0], "%")
    device = name.partition(".")[2] or None
    known = {"cost": cost.partition(".")[0], "unit": unit, "device": device, "stated_unit": unit}
    return Column(name, values=np.array(values, dtype=float), **(known | changes))


def table(*columns, **changes):
    rows = len(columns[0].values)
    known = {"kind": "plain", "keys": tuple(f"k{i}" for i in range(rows)), "source": Source("f", "0", 1)}
    return Table(columns=columns, **(known | changes))


def smooth(seed=0, rows=ROWS, scale=10.0):
    """Latencies of networks: log-normal, all distinct."""
    return scale * np.exp(0.3 * np.random.default_rng(seed).standard_normal(rows))


def found(of, rule):
    """Findings of that rule."""
    return [finding for finding in lint(of) if finding.rule == rule]


def one(of, rule):
    findings = found(of, rule)
    assert len(findings) == 1, [finding.rule for finding in lint(of)]
    return findings[0]


@pytest.fixture(scope="module")
def cells():
    """A table of NAS-Bench-201's cells, all of them, with a made-up latency."""
    space = nas.spaces.load("nasbench201")
    archs = np.stack(np.unravel_index(np.arange(space.size), space.choices), axis=1).astype(np.int64)
    cost = np.array([0.1, 0.2, 1.0, 3.0, 0.7])
    values = 3.0 + cost[archs].sum(axis=1) * np.exp(0.1 * np.random.default_rng(0).standard_normal(len(archs)))
    return table(
        column(values),
        keys=tuple(space.format(arch) for arch in archs),
        space="nasbench201",
        choices=(5,) * 6,
        archs=archs,
        constant=_cells.constant(archs),
    )


def with_values(of, values, **changes):
    return replace(of, columns=(replace(of.columns[0], values=np.asarray(values, dtype=float), **changes),))


# -- nothing to say


def test_a_sound_table_has_no_findings():
    latency = smooth()
    columns = (
        column(latency, std=0.02 * smooth(1), count=np.full(ROWS, 50.0)),
        column(smooth(2), "latency_ms.b"),
        column(3.0 * latency * np.exp(0.05 * np.random.default_rng(3).standard_normal(ROWS)), "energy_mj.a"),
        column(60 + 30 * np.random.default_rng(4).random(ROWS), "accuracy.test"),
    )
    assert lint(table(*columns)) == ()


def test_a_whole_space_has_only_its_constant_networks(cells):
    assert [finding.rule for finding in lint(cells)] == ["constant-network"]
    assert one(cells, "constant-network").count == cells.constant.sum() == 341


@settings(max_examples=200, deadline=None)
@given(
    values=arrays(float, st.tuples(st.integers(1, 60), st.integers(1, 4)), elements=st.floats(width=32)),
    beside=st.sampled_from(["nothing", "std", "repeats", "types"]),
)
def test_any_table_can_be_judged(values, beside):
    extra = {"std": values[:, 0]} if beside == "std" else {"repeats": values} if beside == "repeats" else {}
    columns = tuple(column(values[:, i], f"latency_ms.{i}", **extra) for i in range(values.shape[1]))
    energy = column(values[:, -1], "energy_mj.0")
    more = {}
    if beside == "types":
        more = {"types": ("conv",) * len(values), "fields": {"cin": values[:, 0]}}
    of = table(*columns, energy, **more)
    for finding in lint(of):
        assert finding.severity in ("error", "warning", "note") and finding.text and finding.advice
        assert finding.count == len(finding.rows) and all(0 <= row < len(of) for row in finding.rows)
        assert finding.column is None or any(finding.column.startswith(c.name) for c in of.columns)
    bad = ~np.isfinite(values) | (values <= 0)
    reported = {row for finding in lint(of) if finding.severity == "error" for row in finding.rows}
    assert set(np.flatnonzero(bad.any(axis=1)).tolist()) <= reported


def test_errors_come_first():
    values = smooth()
    values[3] = -2.0
    severities = [f.severity for f in lint(table(column(np.round(values)), types=("conv",) * ROWS))]
    assert severities == sorted(severities, key=["error", "warning", "note"].index)
    assert set(severities) == {"error", "warning", "note"}


# -- single values


@pytest.mark.parametrize(
    ("value", "rule", "said"),
    [
        (np.nan, "missing", "2 of 400 rows have no value"),
        (np.inf, "not-finite", "2 values are infinite"),
        (-0.5, "negative", "2 values are negative, the lowest -0.5 ms"),
        (0.0, "zero", "2 values are 0"),
    ],
)
def test_values_that_no_cost_has(value, rule, said):
    values = smooth()
    values[[7, 11]] = value
    finding = one(table(column(values)), rule)
    assert (finding.severity, finding.column, finding.rows) == ("error", "latency_ms.a", (7, 11))
    assert said in finding.text and finding.sample == ("k7", "k11")


def test_accuracies_may_be_low_and_repeat_but_not_leave_their_range():
    values = np.full(ROWS, 50.0) + smooth()
    values[:100] = 0.0
    assert lint(table(column(values, "accuracy.test"))) == ()
    values[5] = 101.0
    assert one(table(column(values, "accuracy.test")), "out-of-range").rows == (5,)


def test_a_constant_column():
    finding = one(table(column(np.full(ROWS, 4.0))), "constant")
    assert finding.severity == "error" and finding.rows == () and "all 400 values are 4" in finding.text
    assert found(table(column([4.0])), "constant") == []


@pytest.mark.parametrize("mark", [-1.0, 0.0, 999999.0, 65535.0])
def test_a_mark_in_many_rows(mark):
    values = smooth()
    values[20:46] = mark
    finding = one(table(column(values)), "sentinel")
    assert finding.severity == "error" and finding.rows == tuple(range(20, 46))
    assert f"26 rows hold {mark:g}" in finding.text
    assert found(table(column(values)), "far-above") == []


def test_a_frequent_value_among_others_is_no_mark():
    assert found(table(column(np.round(smooth()))), "sentinel") == []


# -- scales


def test_deleted_networks_are_found_with_the_reason(cells):
    dead = np.flatnonzero(cells.constant)[:273]
    values = cells.columns[0].values.copy()
    values[dead] /= np.random.default_rng(0).uniform(30, 3000, len(dead))
    finding = one(with_values(cells, values), "near-zero")
    assert finding.severity == "error" and finding.rows == tuple(dead) and finding.count == 273
    assert "all of them are networks whose output does not depend on the input (the table has 341" in finding.text
    # What lies below a twentieth of the median is the finding, whatever becomes of the rest.
    assert found(with_values(cells, values), "mixed-units") == []


def test_near_zero_without_a_space_says_no_reason():
    values = smooth()
    values[:10] = 0.0005 + 0.00001 * np.arange(10)
    finding = one(table(column(values)), "near-zero")
    assert finding.severity == "error" and finding.rows == tuple(range(10)) and "does not depend" not in finding.text


def test_near_zero_that_is_not_constant_networks_says_no_reason(cells):
    live = np.flatnonzero(~cells.constant)[:50]
    values = cells.columns[0].values.copy()
    values[live] = 0.05 + 0.001 * np.arange(50)
    finding = one(with_values(cells, values), "near-zero")
    assert finding.rows == tuple(live) and "does not depend" not in finding.text


@pytest.mark.parametrize("count", [20, 150])
@pytest.mark.parametrize("factor", [1e-3, 1e3])
def test_two_units_in_one_column(count, factor):
    values = smooth()
    values[:count] *= factor
    finding = one(table(column(values)), "mixed-units")
    assert finding.severity == "error" and finding.rows == tuple(range(count))
    assert ("smaller" if factor < 1 else "larger") in finding.text
    assert found(table(column(values)), "near-zero") == []


def test_one_disturbed_value_is_a_warning():
    values = smooth()
    values[9] = 500.0
    finding = one(table(column(values)), "far-above")
    assert finding.severity == "warning" and finding.rows == (9,)


def test_blocks_of_different_types_may_differ_a_thousand_times():
    values = np.concatenate([smooth(0, 200), smooth(1, 200, scale=0.01)])
    types = ("conv",) * 200 + ("relu",) * 200
    assert [f.rule for f in lint(table(column(values), types=types))] == ["no-networks"]
    assert found(table(column(values)), "mixed-units")


# -- steps


@pytest.mark.parametrize(("step", "severity"), [(1.0, "warning"), (0.5, "warning"), (0.1, "note")])
def test_whole_steps(step, severity):
    values = np.maximum(step, np.round(smooth(rows=2000) / step) * step)
    finding = one(table(column(values)), "quantised")
    assert finding.severity == severity and f"steps of {step:g} ms" in finding.text
    usual, worst = step / 2 / np.median(values), step / 2 / np.percentile(values, 5)
    assert f"+-{usual:.1%} at the median and to +-{worst:.1%}" in finding.text


def test_steps_that_do_not_matter_are_not_mentioned():
    assert found(table(column(np.round(smooth(rows=2000), 4))), "quantised") == []
    # Few distinct values without a common step: a small space measured often, say.
    assert found(table(column(np.random.default_rng(0).choice(smooth(rows=20), 2000))), "quantised") == []


# -- deviations and repeats


def test_deviations_that_copy_the_mean():
    values = smooth()
    finding = one(table(column(values, std=values.copy())), "deviation-is-mean")
    assert (finding.severity, finding.column) == ("error", "latency_ms.a.std") and "400 of 400" in finding.text
    kept = table(column(values, std=values.copy())).without_errors([finding])
    assert kept.columns[0].std is None and len(kept) == ROWS


def test_other_odd_deviations():
    values = smooth()
    assert one(table(column(values, std=np.zeros(ROWS))), "no-deviation").severity == "warning"
    std = 0.1 * values
    std[:40] = 2 * values[:40]
    assert one(table(column(values, std=std)), "wide-deviation").rows == tuple(range(40))
    std[0] = -1.0
    negative = one(table(column(values, std=std)), "negative")
    assert negative.column == "latency_ms.a.std"


def test_first_samples_that_spike():
    samples = smooth()[:, None] * np.exp(0.02 * np.random.default_rng(1).standard_normal((ROWS, 10)))
    assert lint(table(column(np.median(samples, axis=1), repeats=samples))) == ()
    samples[50:150, 0] *= 30
    finding = one(table(column(np.median(samples, axis=1), repeats=samples)), "first-sample")
    assert finding.severity == "warning" and finding.rows == tuple(range(50, 150))
    assert "100 of 400 rows" in finding.text and any(f"up to {k} times" in finding.text for k in range(28, 35))


def test_two_units_among_the_samples_of_one_row():
    samples = smooth()[:, None] * np.exp(0.02 * np.random.default_rng(1).standard_normal((ROWS, 10)))
    samples[:27, 4:] /= 1000
    finding = one(table(column(samples.mean(axis=1), repeats=samples)), "mixed-units")
    assert finding.severity == "error" and finding.rows == tuple(range(27)) and "averaged" in finding.text


# -- pairs of columns


def test_energy_in_a_unit_a_thousand_times_too_large():
    latency = smooth()
    watts = 200 * np.exp(0.1 * np.random.default_rng(1).standard_normal(ROWS))
    sound = column(latency * watts, "energy_mj.a", stated_unit="Wh")
    assert found(table(column(latency), sound), "power") == []
    # What is Wh is labelled kWh, so the importer took it by 3.6e9 instead of 3.6e6.
    wrong = column(1000 * latency * watts, "energy_mj.a", stated_unit="kWh")
    finding = one(table(column(latency), wrong), "power")
    assert (finding.severity, finding.column) == ("error", "energy_mj.a")
    assert "the unit kWh is wrong" in finding.text and "Wh would make it 200 W" in finding.text.replace("199", "200")


def test_energy_of_another_device_is_not_compared():
    assert found(table(column(smooth()), column(1e6 * smooth(1), "energy_mj.b")), "power") == []


def test_joules_that_are_millijoules():
    latency = smooth()
    wrong = column(1000 * 4.0 * latency, "energy_mj.a", stated_unit="J")
    finding = one(table(column(latency), wrong), "power")
    assert "energy over latency is 4e+03 W" in finding.text and "mJ would make it 4 W" in finding.text


@pytest.mark.parametrize("change", [lambda v: v, lambda v: 1.17 * v, lambda v: np.where(np.arange(ROWS) < 9, 2 * v, v)])
def test_one_device_under_two_names(change):
    values = smooth()
    finding = one(table(column(values), column(change(values), "latency_ms.b")), "same-column")
    assert (finding.severity, finding.column) == ("error", "latency_ms.b") and "latency_ms.a" in finding.text


def test_devices_that_agree_as_devices_do_are_two():
    values = smooth()
    noisy = values * np.exp(0.02 * np.random.default_rng(1).standard_normal(ROWS))
    assert lint(table(column(values), column(noisy, "latency_ms.b"))) == ()


def test_devices_that_rank_alike_over_a_wide_range_are_two():
    values = np.geomspace(0.1, 1000, ROWS)
    noisy = values * np.exp(0.01 * np.random.default_rng(1).standard_normal(ROWS))
    of = table(column(values), column(noisy, "latency_ms.b"), types=("conv",) * ROWS)
    assert found(of, "same-column") == []
    assert found(replace(of, columns=(of.columns[0], column(1.3 * values, "latency_ms.b"))), "same-column")


def test_an_energy_that_is_a_constant_power_is_no_second_device():
    values = smooth()
    assert lint(table(column(values), column(3 * values, "energy_mj.a"))) == ()


def test_entries_taken_from_another_device():
    first, second = np.round(smooth(0, 96), 4), np.round(1.3 * smooth(1, 96), 4)
    assert lint(table(column(first), column(second, "latency_ms.b"))) == ()
    second[[1, 8, 30, 31, 60, 95]] = first[[1, 8, 30, 31, 60, 95]]
    finding = one(table(column(first), column(second, "latency_ms.b")), "copied-entries")
    assert finding.severity == "warning" and finding.rows == (1, 8, 30, 31, 60, 95)
    assert "6 of 96 values equal those of latency_ms.a" in finding.text


def test_two_tables_of_one_device():
    first = np.round(smooth(), 4)
    order = np.random.default_rng(0).permutation(ROWS)
    other = table(column(first[order]), keys=tuple(f"k{i}" for i in order), source=Source("i7.csv", "0", 1))
    mine = table(column(first))
    assert lint(mine) == () == lint(other)
    (finding,) = lint(mine, other)
    assert (finding.rule, finding.severity, finding.column) == ("same-column", "error", "latency_ms.a")
    assert "practically identical to latency_ms.a of i7.csv: 100%" in finding.text


def test_entries_taken_from_another_table():
    first, second = np.round(smooth(0, 96), 4), np.round(1.3 * smooth(1, 96), 4)
    second[[3, 30, 60, 95]] = first[[3, 30, 60, 95]]
    mine = table(column(second))
    other = table(column(first)).take(range(95, 1, -1))
    (finding,) = lint(mine, other)
    assert (finding.rule, finding.rows, finding.sample) == ("copied-entries", (3, 30, 60, 95), ("k3", "k30", "k60"))
    with pytest.raises(UsageError, match="no rows in common"):
        lint(mine, table(column([1.0, 2.0]), keys=("x", "y")))


def test_entries_equal_by_chance_are_no_copies():
    first = smooth(0, 5000)
    second = first * np.exp(0.006 * np.random.default_rng(1).standard_normal(5000))
    first, second = np.round(first, 3), np.round(second, 3)
    assert (first == second).sum() > 10, "chance makes no equals here"
    assert found(table(column(first), column(second, "latency_ms.b")), "copied-entries") == []


# -- rows


def test_architectures_there_twice():
    keys = ("a", "b", "a", "c", "b")
    finding = one(table(column([1.0, 2.0, 1.0, 3.0, 2.0]), keys=keys), "duplicate")
    assert finding.severity == "error" and finding.rows == (2, 4)
    of = table(column([1.0, 2.0, 1.5, 3.0, 2.0]), keys=keys)
    contradiction, again = one(of, "contradiction"), one(of, "duplicate")
    assert contradiction.rows == (0, 2) and "1.50 times apart" in contradiction.text
    assert again.rows == (4,)
    assert of.without_errors(lint(of)).keys == ("b", "c")


def test_features_that_several_networks_share_are_no_contradiction():
    of = table(column([1.0, 2.0, 1.5]), keys=("a", "b", "a"), exact=False, fields={"x": np.array([1.0, 2.0, 1.0])})
    assert {finding.severity for finding in lint(of)} == {"note"}
    assert one(of, "repeated-features").rows == (2,) and one(of, "averaged-features")


def test_a_part_of_a_space(cells):
    some = cells.take(range(0, 15625, 5))
    assert "3125 of the 15625 architectures of nasbench201" in one(some, "coverage").text
    assert found(cells, "coverage") == []


def test_a_table_that_was_added_up(cells):
    costs = np.random.default_rng(0).uniform(0.1, 2.0, (6, 5))
    added = 1.0 + sum(costs[gene][cells.archs[:, gene]] for gene in range(6))
    for values in (added, np.round(added, 5)):
        finding = one(with_values(cells, values), "additive")
        assert finding.severity == "note" and finding.column == "latency_ms.a"
    noisy = added * np.exp(0.001 * np.random.default_rng(1).standard_normal(len(added)))
    assert found(with_values(cells, noisy), "additive") == []
    assert found(with_values(cells, added).take(range(30)), "additive") == []


def test_kernels_that_are_faster_with_more_channels():
    channels = np.array([8.0, 16, 32, 64, 8, 16])
    kernel = np.array([1.0, 1, 1, 1, 3, 3])
    values = np.array([1.0, 2.0, 0.5, 4.0, 3.0, 2.9])
    of = table(column(values), types=("conv",) * 6, fields={"cin": channels, "kernel": kernel})
    finding = one(of, "not-monotone")
    assert finding.severity == "note" and finding.rows == (2,) and "k2 at 0.25 of k1" in finding.text
    assert "of 4 pairs" in finding.text
    values[2] = 3.0
    assert found(replace(of, columns=(column(values),)), "not-monotone") == []


def test_kernels_are_no_networks():
    assert "2 types of blocks" in one(table(column([1.0, 2.0]), types=("conv", "relu")), "no-networks").text


# -- findings and the documentation


def test_a_finding_as_data_has_no_rows_and_its_sample():
    values = smooth()
    values[:50] = -1.0
    plain = one(table(column(values)), "negative").to_plain()
    assert set(plain) == {"severity", "rule", "column", "count", "sample", "text", "advice"}
    assert plain["count"] == 50 and plain["sample"] == ["k0", "k1", "k2"]


def test_the_reference_lists_the_rules_and_no_others():
    root = Path(tables.__file__).parents[2]
    sources = "".join(path.read_text() for path in (root / "predictors" / "tables").glob("_rules_*.py"))
    text = (root / "docs" / "reference" / "tables.md").read_text()
    listed = re.findall(r"^\| `([a-z-]+)` \| (?:error|warning|note)", text, flags=re.MULTILINE)
    # A finding's rule stands between its severity and its column.
    named = re.findall(r'"(?:error|warning|note)",\s+"([a-z-]+)"(?: if is_low else "([a-z-]+)")?,', sources)
    assert {rule for pair in named for rule in pair if rule} == set(listed)
    assert len(listed) == len(set(listed)) == 44 and len(RULES) == 28
