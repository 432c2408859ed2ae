"""Two stores side by side, built from rows, so that every verdict can be told by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from device_profiles.conditions import Conditions
from device_profiles.errors import UsageError
from profiler import compare
from profiler.agent.protocol import Block
from profiler.comparison import ACROSS, fastest
from profiler.conditions import conditions_of
from profiler.operators import Operator, Tensor
from profiler.store import ModelRow, Store
from profiler.subjects import Subject

Make = Callable[..., Any]
#: Microseconds of an inference in each process.
Times = Mapping[str, Sequence[float]]
STEADY = (100.0, 100.0, 100.0)


@pytest.fixture
def conditions(fake: Make) -> Conditions:
    return conditions_of(fake())


@pytest.fixture
def build(tmp_path: Path, subject: Callable[..., Subject], conditions: Conditions) -> Make:
    """Makes a store: `build(name, {"model": (us, us, us)})`."""

    def make(
        name: str,
        times: Times,
        *,
        slow: float = 1.0,
        target: str = "fake",
        under: Conditions | None = None,
        into: Store | None = None,
    ) -> Store:
        store = into or Store(tmp_path / f"{name}.db")
        where = under or conditions
        store.bind(target, "{}", where)
        for model, values in times.items():
            arch = f"({model})" if model.startswith("cell") else None
            kernel = Operator("", "Relu", (), (Tensor((4,)),), (Tensor((4,)),)) if model.startswith("kernel") else None
            store.add_model(ModelRow(model, f"{model}.onnx", None, arch, kernel), subject().graph)
            for number, us in enumerate(values):
                process = store.start_process(where, f"{name} {number}", number)
                for index in range(6):
                    guard = int(400_000 * slow)
                    store.add_block(process, Block(model, index, 10, int(us * slow * 10_000), guard, guard))
        return store

    return make


def test_verdicts_and_ratios_are_of_the_second_store(build: Make) -> None:
    first = build("first", {"same": STEADY, "slow": STEADY, "fast": STEADY})
    second = build("second", {"same": STEADY, "slow": (120.0,) * 3, "fast": (80.0,) * 3})
    rows = compare(first, second)
    assert [(row.key, row.verdict) for row in rows] == [
        ("same.onnx", "no change"),
        ("slow.onnx", "slower"),
        ("fast.onnx", "faster"),
    ]
    assert [row.ratio for row in rows] == pytest.approx([1.0, 1.2, 0.8], rel=1e-3)
    for row in rows:
        assert row.target == "fake" and row.reason == ""
        assert row.low < row.ratio < row.high
        assert row.ratio - row.low == pytest.approx(row.high - row.ratio)


def test_turned_round_the_verdicts_turn_too(build: Make) -> None:
    first, second = build("first", {"a": STEADY, "b": STEADY}), build("second", {"a": (120.0,) * 3, "b": STEADY})
    forwards, backwards = compare(first, second), compare(second, first)
    assert [row.verdict for row in forwards] == ["slower", "no change"]
    assert [row.verdict for row in backwards] == ["faster", "no change"]
    for one, other in zip(forwards, backwards, strict=True):
        assert one.ratio * other.ratio == pytest.approx(1.0, rel=1e-3)


def test_what_the_processes_disagree_on_is_no_change(build: Make) -> None:
    spread = (70.0, 100.0, 130.0)
    wide = compare(build("a", {"m": spread}), build("b", {"m": [1.1 * us for us in spread]}))[0]
    narrow = compare(build("c", {"m": STEADY}), build("d", {"m": [1.1 * us for us in STEADY]}))[0]
    assert (wide.verdict, narrow.verdict) == ("no change", "slower")
    assert wide.ratio == pytest.approx(narrow.ratio, rel=1e-3)
    assert wide.high - wide.low > 5 * (narrow.high - narrow.low)


def test_a_store_compared_with_itself_shows_no_change(build: Make) -> None:
    store = build("a", {"m": (98.0, 101.0, 100.0), "n": (7.0, 7.1, 6.9)})
    assert [(row.ratio, row.verdict) for row in compare(store, store)] == [(1.0, "no change")] * 2


def test_a_slow_state_of_the_machine_is_no_change_of_the_model(build: Make) -> None:
    (row,) = compare(build("calm", {"m": STEADY}), build("busy", {"m": STEADY}, slow=1.2))
    assert row.verdict == "no change" and row.ratio == pytest.approx(1.0, abs=0.05)


def test_models_come_in_the_order_of_the_first_store_and_then_of_the_second(build: Make) -> None:
    first = build("first", {"c": STEADY, "a": STEADY})
    second = build("second", {"z": STEADY, "a": STEADY, "b": STEADY, "c": STEADY})
    assert [row.key for row in compare(first, second)] == ["c.onnx", "a.onnx", "z.onnx", "b.onnx"]


def test_architectures_are_called_by_their_text_and_kernels_are_left_out(build: Make) -> None:
    first, second = (build(name, {"cell": STEADY, "kernel": STEADY}) for name in ("a", "b"))
    assert [row.key for row in compare(first, second)] == ["(cell)"]


def test_a_model_that_one_of_them_lacks_is_not_comparable(build: Make) -> None:
    first, second = build("first", {"both": STEADY, "mine": STEADY}), build("second", {"both": STEADY, "other": STEADY})
    rows = {row.key: row for row in compare(first, second)}
    assert rows["both.onnx"].verdict == "no change"
    for key, place in (("mine.onnx", second.url), ("other.onnx", first.url)):
        row = rows[key]
        assert (row.ratio, row.low, row.high, row.verdict) == (None, None, None, "not comparable")
        assert place in row.reason


def test_a_target_that_one_of_them_lacks_is_not_comparable(build: Make) -> None:
    first, second = build("first", {"m": STEADY}), build("second", {"m": STEADY}, target="another")
    rows = compare(first, second)
    assert [(row.target, row.verdict) for row in rows] == [("fake", "not comparable"), ("another", "not comparable")]
    assert second.url in rows[0].reason and "'fake'" in rows[0].reason
    assert first.url in rows[1].reason and "'another'" in rows[1].reason


def test_other_conditions_are_not_comparable_and_the_reason_says_what_differs(
    build: Make, conditions: Conditions
) -> None:
    other = conditions.changed(threads=4, kernel="9.9.9")
    first, second = build("first", {"m": STEADY}), build("second", {"m": STEADY}, under=other)
    (row,) = compare(first, second)
    assert (row.verdict, row.ratio) == ("not comparable", None)
    for words in ("threads: 1 and 4", "kernel", "'9.9.9'"):
        assert words in row.reason
    assert "precision" not in row.reason


def test_empty_stores_have_nothing_to_compare(tmp_path: Path, build: Make) -> None:
    empty = Store(tmp_path / "empty.db")
    assert compare(empty, empty) == []
    (row,) = compare(build("a", {"m": STEADY}), empty)
    assert row.verdict == "not comparable" and empty.url in row.reason


# -- on purpose

REAL = {"runtime": "onnxruntime", "runtime_version": "onnxruntime 1", "options": ()}


@pytest.fixture
def real(conditions: Conditions) -> Conditions:
    """Conditions of a runtime that is not simulated."""
    return conditions.changed(**REAL)


@pytest.fixture
def runtimes(build: Make, real: Conditions) -> Store:
    """One store with three runtimes: `a`, `b`, which takes 0.8 of the time, and `c`, which takes 1.5 of it."""
    store: Store | None = None
    for target, factor in (("a", 1.0), ("b", 0.8), ("c", 1.5)):
        under = replace(real, runtime=target, runtime_version=f"{target} 1")
        times = {"m": [factor * us for us in STEADY], "n": [factor * 7 for _ in STEADY]}
        store = build("all", times, target=target, under=under, into=store)
    assert store is not None
    return store


def test_all_targets_of_one_store_are_compared_with_its_first(runtimes: Store) -> None:
    rows = compare(runtimes, runtimes, across=["runtime"])
    assert [(row.first, row.second, row.key, row.verdict) for row in rows] == [
        ("a", "b", "m.onnx", "faster"),
        ("a", "b", "n.onnx", "faster"),
        ("a", "c", "m.onnx", "slower"),
        ("a", "c", "n.onnx", "slower"),
    ]
    assert [row.ratio for row in rows] == pytest.approx([0.8, 0.8, 1.5, 1.5], rel=1e-3)
    assert all(row.target == row.second and row.low < row.ratio < row.high for row in rows)
    with Store(runtimes.url) as again:
        assert compare(runtimes, again, across=["runtime"]) == rows, "the same file is the same store"


def test_targets_of_two_stores_are_compared_each_with_each(runtimes: Store, build: Make, real: Conditions) -> None:
    other = build("other", {"m": (200.0,) * 3}, target="d", under=replace(real, runtime="d"))
    rows = [row for row in compare(runtimes, other, across=["runtime"]) if row.key == "m.onnx"]
    assert [(row.first, row.second) for row in rows] == [("a", "d"), ("b", "d"), ("c", "d")]
    assert [row.ratio for row in rows] == pytest.approx([2.0, 2.5, 4 / 3], rel=1e-3)
    lacking = [row for row in compare(runtimes, other, across=["runtime"]) if row.key == "n.onnx"]
    assert {row.verdict for row in lacking} == {"not comparable"}
    assert all("'d'" in row.reason and other.url in row.reason for row in lacking)


def test_another_state_of_the_machine_is_no_difference_of_runtimes(build: Make, real: Conditions) -> None:
    store = build("a", {"m": STEADY}, target="a", under=real)
    build("a", {"m": STEADY}, target="b", under=replace(real, runtime="torch"), slow=1.2, into=store)
    (row,) = compare(store, store, across=["runtime"])
    assert row.verdict == "no change" and row.ratio == pytest.approx(1.0, abs=0.05)


#: Another value of each fact that targets may differ in.
OTHERS: dict[str, Any] = {
    "runtime": "torch",
    "runtime_version": "torch 9",
    "threads": 2,
    "affinity": (7, 8),
    "precision": "int8",
    "optimisation": "none",
    "options": (("spinning", "0"),),
}


def test_every_name_of_across_is_tried() -> None:
    assert OTHERS.keys() == {fact for facts in ACROSS.values() for fact in facts}


@pytest.mark.parametrize("fact", OTHERS)
def test_a_fact_is_compared_across_its_own_name_alone(build: Make, real: Conditions, fact: str) -> None:
    store = build("a", {"m": STEADY}, target="a", under=real)
    build("a", {"m": (120.0,) * 3}, target="b", under=real.changed(**{fact: OTHERS[fact]}), into=store)
    own = next(name for name, facts in ACROSS.items() if fact in facts)
    for name in ACROSS:
        (row,) = compare(store, store, across=[name])
        if name == own:
            assert row.verdict == "slower" and row.reason == ""
        else:
            needed = ",".join(flag for flag in ACROSS if flag in (name, own))
            assert row.verdict == "not comparable"
            assert f"{fact}: " in row.reason and f"--across {needed} compares them" in row.reason
            (followed,) = compare(store, store, across=needed.split(","))
            assert followed.verdict == "slower", "what the reason says works"


@pytest.mark.parametrize(
    "fact", [{"kernel": "9"}, {"device": "another"}, {"numpy": "0"}, {"governor": "x"}, {"batch": 8}, {"protocol": 99}]
)
def test_other_machines_and_other_ways_of_measuring_are_never_compared(
    build: Make, real: Conditions, fact: dict[str, Any]
) -> None:
    store = build("a", {"m": STEADY}, target="a", under=real)
    build("a", {"m": STEADY}, target="b", under=real.changed(runtime="torch", **fact), into=store)
    (row,) = compare(store, store, across=list(ACROSS))
    assert row.verdict == "not comparable" and next(iter(fact)) in row.reason and "--across" not in row.reason


def test_simulated_times_are_not_compared_with_real_ones(build: Make, conditions: Conditions, real: Conditions) -> None:
    store = build("a", {"m": STEADY}, target="a", under=conditions)
    build("a", {"m": STEADY}, target="b", under=real, into=store)
    (row,) = compare(store, store, across=list(ACROSS))
    assert row.verdict == "not comparable" and "simulated" in row.reason and "--across" not in row.reason


def test_without_the_option_the_reason_says_what_differs_and_how_to_compare(build: Make, real: Conditions) -> None:
    first = build("first", {"m": STEADY}, target="ort", under=real)
    second = build("second", {"m": STEADY}, target="torch", under=real.changed(runtime="torch", threads=4))
    for row in compare(first, second):
        assert row.verdict == "not comparable"
        for words in ("'ort'", "'torch'", "runtime: ", "threads: ", "--across runtime,threads compares them"):
            assert words in row.reason
    (row,) = compare(first, second, across=["runtime", "threads"])
    assert row.verdict == "no change"
    same = build("same", {"m": STEADY}, target="renamed", under=real)
    for row in compare(first, same):
        assert "equal conditions" in row.reason and "--across runtime compares them" in row.reason
    (row,) = compare(first, same, across=["runtime"])
    assert row.verdict == "no change"


def test_other_names_are_refused_with_those_that_there_are(runtimes: Store) -> None:
    for name in ("kernel", "", "runtimes"):
        with pytest.raises(UsageError) as caught:
            compare(runtimes, runtimes, across=["runtime", name])
        assert repr(name) in caught.value.message and all(allowed in caught.value.hint for allowed in ACROSS)


def test_the_fastest_are_those_that_none_is_surely_faster_than(build: Make, real: Conditions, runtimes: Store) -> None:
    assert fastest(compare(runtimes, runtimes, across=["runtime"])) == {"m.onnx": ("b",), "n.onnx": ("b",)}
    build("d", {"m": [80.2] * 3}, target="d", under=replace(real, runtime="d"), into=runtimes)
    found = fastest(compare(runtimes, runtimes, across=["runtime"]))
    assert found == {"m.onnx": ("b", "d"), "n.onnx": ("b",)}
    assert fastest([]) == {}
    slower = [row for row in compare(runtimes, runtimes, across=["runtime"]) if row.second == "c"]
    assert fastest(slower)["m.onnx"] == ("a",), "the first is one of them"
    assert fastest(compare(runtimes, runtimes, across=["threads"])) == {}, "nothing was compared"


def test_one_target_alone_has_nothing_to_be_compared_with(build: Make) -> None:
    store = build("a", {"m": STEADY})
    assert compare(store, store, across=["runtime"]) == []
