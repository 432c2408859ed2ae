"""Rules about profiles: each finds what it is for in a made-up table, and is silent on a sound one."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from predictors import tables
from predictors.tables import Column, Source, Table

STATED = {"runtime": "r", "threads": "1"}


def table(values, units, *, device="board", models=False, **changes):
    rows = len(values)
    known = {"labels": {"unit": tuple(units)}, "stated": STATED, "types": None if models else ("conv",) * rows}
    column = Column(
        f"latency_ms.{device}", "latency", "ms", np.array(values, dtype=float), device=device, stated_unit="ms"
    )
    return Table(
        **{
            "kind": "onnxruntime",
            "keys": tuple(f"k{i}" for i in range(rows)),
            "columns": (column,),
            "source": Source("f", "0", 1),
            "models": models,
            **known,
            **changes,
        }
    )


def found(of, rule):
    return [finding for finding in tables.lint(of) if finding.rule == rule]


def one(of, rule):
    findings = found(of, rule)
    assert len(findings) == 1, [finding.rule for finding in tables.lint(of)]
    return findings[0]


LAYERS = (1.0, 2.0, 3.0, 4.0)


def test_a_sound_profile_has_its_note_alone():
    assert [finding.rule for finding in tables.lint(table(LAYERS, ["CPU"] * 4))] == ["no-networks"]
    assert [finding.rule for finding in tables.lint(table(LAYERS, ["NPU"] * 4, device="npu"))] == ["no-networks"]


@pytest.mark.parametrize("claim", ["device", "stated"])
def test_an_accelerator_that_is_a_cpu(claim):
    device = "phone_npu" if claim == "device" else "board"
    stated = STATED if claim == "device" else STATED | {"accelerator": "npu"}
    finding = one(table(LAYERS, ["CPU"] * 4, device=device, stated=stated), "accelerator-is-cpu")
    assert finding.severity == "error" and "(npu), and all 4 rows ran on the CPU" in finding.text
    assert finding.column == f"latency_ms.{device}"
    unknown = table(LAYERS, [""] * 4, device=device, stated=stated)
    assert one(unknown, "unproven-accelerator").severity == "warning"
    assert found(table(LAYERS, ["NPU", "CPU", "NPU", ""], device=device, stated=stated), "accelerator-is-cpu") == []


def test_a_word_in_a_name_is_no_accelerator():
    for device in ("danes", "input", "tpuffer", "pixel7", "gpus_of_old"):
        assert found(table(LAYERS, [""] * 4, device=device), "unproven-accelerator") == []


def test_layers_that_fell_back():
    finding = one(table(LAYERS, ["NPU", "CPU", "NPU", "CPU"]), "fallback")
    assert finding.severity == "warning" and finding.rows == (1, 3)
    assert "2 of 4 layers ran on the CPU, 60% of the time, and the others on NPU" in finding.text
    asked_for = STATED | {"units": "asked for"}
    assert found(table(LAYERS, ["GPU", "CPU", "GPU", "CPU"], stated=asked_for), "fallback") == []


def test_models_of_which_some_layers_fell_back():
    fields = {"layers": np.array([10.0, 10, 10, 10]), "layers_cpu": np.array([0.0, 2, 5, 10])}
    of = table(LAYERS, ["NPU", "NPU", "NPU", "CPU"], models=True, fields=fields)
    assert one(of, "partly-on-cpu").rows == (1, 2) and "up to 50% of them" in one(of, "partly-on-cpu").text
    assert one(of, "fallback").rows == (3,) and "1 of 4 models" in one(of, "fallback").text


def networks(npu, devices=("a",)):
    """Each network on the CPU and on an NPU, on each device."""
    cpu = [10.0, 20.0, 30.0, 40.0, 50.0]
    values = [*cpu, *npu] * len(devices)
    labels = {
        "model": tuple(f"n{i}" for i in range(5)) * 2 * len(devices),
        "device": tuple(device for device in devices for _ in range(10)),
        "unit": (*["CPU"] * 5, *["NPU"] * 5) * len(devices),
    }
    return table(values, labels["unit"], models=True, labels=labels)


def test_rows_of_an_accelerator_that_equal_the_cpus():
    fell_back = networks([10.01, 20.0, 29.9, 40.1, 12.0])
    finding = one(fell_back, "equals-cpu")
    assert finding.severity == "error" and finding.rows == (5, 6, 7, 8)
    assert "4 of 5 rows of an accelerator of a took as long as the CPU's" in finding.text
    assert found(networks([1.0, 2.1, 30.0, 4.5, 6.0]), "equals-cpu") == [], "one may be chance"
    # Those of another device say nothing.
    moved = replace(fell_back, labels={**fell_back.labels, "device": (*["a"] * 5, *["b"] * 5)})
    assert found(moved, "equals-cpu") == []


def test_threads_that_nobody_stated():
    nothing = {"runtime": "r"}
    assert one(table(LAYERS, ["CPU"] * 4, stated=nothing), "threads-unknown").rows == ()
    assert one(table(LAYERS, ["NPU", "CPU", "NPU", "NPU"], stated=nothing), "threads-unknown").rows == (1,)
    assert found(table(LAYERS, ["GPU"] * 4, stated=nothing), "threads-unknown") == []
    known = {"threads": np.array([1.0, 2, 4, 8])}
    assert found(table(LAYERS, ["CPU"] * 4, stated=nothing, fields=known), "threads-unknown") == []


def test_latencies_of_batches():
    batches = {"batch": np.array([8.0, 8, 64, 256])}
    stated = STATED | {"from": "throughput"}
    finding = one(table(LAYERS, [""] * 4, models=True, stated=stated, fields=batches), "from-throughput")
    assert finding.severity == "warning" and "of 8 to 256 inputs" in finding.text


def test_times_near_and_below_the_clock():
    stated = STATED | {"clock_ms": "0.001"}
    of = table([0.0, 0.0, 0.002, 0.5], ["CPU"] * 4, stated=stated)
    below = one(of, "below-clock")
    assert below.severity == "error" and below.rows == (0, 1) and "lacks up to 0.002 ms" in below.advice
    assert one(of, "near-clock").rows == (2,) and found(of, "zero") == []
    assert found(replace(of, stated=STATED), "zero") and not found(replace(of, stated=STATED), "below-clock")
    assert len(of.without_errors(tables.lint(of))) == 2
    silent = table(LAYERS, ["CPU"] * 4, stated=STATED | {"silent": "3"})
    assert "3 layers" in one(silent, "silent-layers").text


def test_rows_that_do_not_add_up_to_a_run():
    for run_ms, apart in (("10", False), ("11.9", False), ("20", True), ("5", True), ("0", False), ("soon", False)):
        of = table(LAYERS, ["CPU"] * 4, stated=STATED | {"run_ms": run_ms})
        assert bool(found(of, "sum-apart")) == apart, run_ms
    of = table(LAYERS, ["CPU"] * 4, stated=STATED | {"run_ms": "20"})
    assert "add up to 10 ms, and a run took 20 ms" in one(of, "sum-apart").text


def test_times_of_the_host():
    labels = {"unit": ("GPU", "CPU", "GPU", "CPU"), "provider": ("CUDAExecutionProvider", "CPUExecutionProvider") * 2}
    of = table(LAYERS, (), labels=labels, stated=STATED | {"timed": "host"})
    assert one(of, "host-times").severity == "error" and one(of, "host-times").rows == (0, 2)
    assert found(replace(of, stated=STATED), "host-times") == []


def test_what_is_good_to_know():
    labels = {"unit": ("CPU",) * 4, "precision": ("bf16", "f32", "f16", "f32")}
    stated = STATED | {"warm_up": "included", "failed": "2", "clock_of": "delegate"}
    of = table(LAYERS, (), labels=labels, stated=stated, fields={"calls": np.array([1.0, 13, 1, 2])})
    assert one(of, "reduced-precision").rows == (0, 2) and "in bf16 and f16" in one(of, "reduced-precision").text
    assert one(of, "merged-rows").rows == (1, 3) and "up to 13" in one(of, "merged-rows").text
    assert one(of, "warm-up-included").severity == one(of, "failed-rows").severity == "note"
    assert one(of, "delegate-clock").severity == "warning"


def test_layers_may_take_the_same_time():
    assert found(table([0.017, 0.017], ["CPU"] * 2), "constant") == []
    assert found(table([0.017] * 5, ["CPU"] * 5), "constant")


def test_tables_of_architectures_are_not_asked():
    of = table(LAYERS, ["CPU"] * 4, device="edge_gpu", stated={}, labels={})
    assert {finding.rule for finding in tables.lint(of)} == {"no-networks"}


def test_models_may_differ_in_size_by_any_factor():
    values = [*np.linspace(100, 110, 40), *np.geomspace(3, 90, 8)]
    of = table(values, ["CPU"] * 48, models=True)
    assert found(of, "near-zero") == [] and found(of, "no-networks") == []
    assert found(replace(of, models=False), "near-zero")


NAMES = (
    "runtime",
    "run_ms",
    "threads",
    "accelerator",
    "clock_ms",
    "silent",
    "failed",
    "warm_up",
    "timed",
    "clock_of",
    "from",
)
TEXTS = st.sampled_from(["", "CPU", "NPU", "npu", "0.001", "included", "host", "delegate", "throughput", "soon", "-1"])


@settings(max_examples=200, deadline=None)
@given(data=st.data(), values=st.lists(st.floats(width=32), min_size=1, max_size=12), models=st.booleans())
def test_any_profile_can_be_judged(data, values, models):
    texts = st.lists(TEXTS, min_size=len(values), max_size=len(values)).map(tuple)
    numbers = st.lists(st.floats(), min_size=len(values), max_size=len(values)).map(np.array)
    names = st.sampled_from(["unit", "provider", "precision", "model", "device"])
    of = table(
        values,
        (),
        models=models,
        device=data.draw(st.sampled_from(["board", "npu", "x_rtx4090"])),
        labels=data.draw(st.dictionaries(names, texts)),
        fields=data.draw(
            st.dictionaries(st.sampled_from(["batch", "calls", "layers", "layers_cpu", "threads"]), numbers)
        ),
        stated=data.draw(st.dictionaries(st.sampled_from(NAMES), TEXTS)),
    )
    for finding in tables.lint(of):
        assert finding.text and finding.advice and finding.count == len(finding.rows)
        assert all(0 <= row < len(of) for row in finding.rows)
