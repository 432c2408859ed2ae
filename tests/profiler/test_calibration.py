"""What quantisation is calibrated on, and how far quantised models are from fp32."""

import json
import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import device_profiles
import profiler
from device_profiles.errors import InvalidData, SchemaMismatch, UsageError
from device_profiles.facts import Unavailable
from profiler import calibration, comparison, deviations
from profiler.agent import comparing
from profiler.measurement import Deviation
from profiler.onnx_graph import read_graph
from profiler.subjects import from_file
from profiler.summary import measurements
from profiler.testing import convolution

QUICK = profiler.Budget(rounds=3, device_s=2.0, profile_runs=0, memory=False)
INT8 = device_profiles.load("local-onnxruntime-int8")


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(convolution())
    return path


@pytest.fixture
def graph(model):
    return read_graph(model)


def saved(path, **arrays):
    np.savez(path, **arrays)
    return path


def images(folder, count, mode="RGB"):
    folder.mkdir()
    for number in range(count):
        Image.new(mode, (5 + number, 9), 40 * number).save(folder / f"{number}.png")
    return folder


# ---- reading ----


def test_stacked_arrays_are_sets(graph, tmp_path):
    stacked = np.random.default_rng(0).standard_normal((5, 1, 3, 8, 8))
    sets = calibration.read(saved(tmp_path / "c.npz", x=stacked), graph)
    assert len(sets) == 5 and all(one["x"].dtype == np.float32 for one in sets)
    np.testing.assert_array_equal([one["x"] for one in sets], stacked.astype(np.float32))


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P"])
def test_images_become_what_a_model_reads(graph, tmp_path, mode):
    sets = calibration.read(images(tmp_path / "images", 3, mode), graph)
    assert [one["x"].shape for one in sets] == [(1, 3, 8, 8)] * 3
    assert all(one["x"].min() >= 0.0 and one["x"].max() <= 1.0 for one in sets)


def test_images_fill_batches(tmp_path):
    (tmp_path / "four.onnx").write_bytes(_of_batch(4))
    sets = calibration.read(images(tmp_path / "images", 6), read_graph(tmp_path / "four.onnx"))
    assert [one["x"].shape for one in sets] == [(4, 3, 8, 8)] * 2
    np.testing.assert_array_equal(sets[1]["x"][2:], sets[0]["x"][:2])


def _of_batch(batch):
    import onnx

    proto = onnx.load_from_string(convolution())
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = batch
    return proto.SerializeToString()


def test_the_digest_is_of_the_content():
    one, other = {"x": np.zeros(3, dtype=np.float32)}, {"x": np.ones(3, dtype=np.float32)}
    assert calibration.digest([one]) == calibration.digest([{"x": np.zeros(3, dtype=np.float32)}])
    assert len({calibration.digest(sets) for sets in ([one], [other], [one, one], [one, other], [other, one])}) == 5


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"y": np.zeros((2, 1, 3, 8, 8))}, "arrays for 'y', the model's inputs are 'x'"),
        ({}, "arrays for none"),
        ({"x": np.zeros((0, 1, 3, 8, 8))}, "no sets"),
        ({"x": np.zeros(())}, "no sets"),
        ({"x": np.zeros((2, 3, 8, 8))}, r"is \[3, 8, 8\], the model reads \[1, 3, 8, 8\]"),
        ({"x": np.full((2, 1, 3, 8, 8), np.nan)}, "no finite number"),
        ({"x": np.full((2, 1, 3, 8, 8), "a")}, "no finite number"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(graph, tmp_path, arrays, words):
    with pytest.raises(InvalidData, match=words) as caught:
        calibration.read(saved(tmp_path / "c.npz", **arrays), graph)
    assert caught.value.hint


def test_what_holds_no_data_is_refused(graph, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("no image")
    with pytest.raises(InvalidData, match="has no images"):
        calibration.read(tmp_path / "empty", graph)
    with pytest.raises(UsageError, match="there is no calibration data"):
        calibration.read(tmp_path / "nowhere", graph)
    (tmp_path / "broken.npz").write_bytes(b"PK no zip")
    with pytest.raises(InvalidData, match=r"cannot read the calibration data .*broken\.npz"):
        calibration.read(tmp_path / "broken.npz", graph)
    (images(tmp_path / "images", 1) / "bad.png").write_bytes(b"no image")
    with pytest.raises(InvalidData, match=r"cannot read the image .*bad\.png"):
        calibration.read(tmp_path / "images", graph)


def test_a_model_that_reads_no_images_needs_arrays(tmp_path):
    import onnx
    from onnx import TensorProto, helper

    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 7]) for name in "xy"]
    nodes = [helper.make_node("Relu", ["x"], ["y"])]
    made = helper.make_model(helper.make_graph(nodes, "g", values[:1], values[1:]), ir_version=10)
    onnx.save(made, tmp_path / "flat.onnx")
    with pytest.raises(UsageError, match=r"reads x \[2, 7\]"):
        calibration.read(images(tmp_path / "images", 1), read_graph(tmp_path / "flat.onnx"))


# ---- how far ----


def expected(path, *sets):
    np.savez(path, *(array for one in sets for array in one))
    return path


@given(scale=st.floats(1e-3, 1e3), off=st.floats(-0.5, 0.5))
def test_deviations_do_not_depend_on_the_unit(scale, off, tmp_path_factory):
    place = tmp_path_factory.mktemp("e") / "e.npz"
    exact = np.array([1.0, -4.0, 2.0]) * scale
    expected(place, (np.zeros(1), exact), (np.zeros(1), exact))
    found = comparing.far(lambda inputs: [exact + np.array([off, 0.0, 0.0]) * scale], place, ["x"], 2)
    assert found["largest"] == pytest.approx(abs(off) / 4.0, abs=1e-9)
    assert found["mean"] == pytest.approx(abs(off) / np.sqrt(21.0), abs=1e-9)


@pytest.mark.parametrize(
    ("got", "words"),
    [
        ([np.zeros(2)], "other sizes"),
        ([], "other sizes"),
        ([np.array([1.0, np.nan, 2.0])], "not finite"),
    ],
)
def test_what_cannot_be_compared_says_why(tmp_path, got, words):
    place = expected(tmp_path / "e.npz", (np.zeros(1), np.array([1.0, 2.0, 3.0])))
    assert words in comparing.far(lambda inputs: got, place, ["x"], 1)["unavailable"]
    whole = expected(tmp_path / "w.npz", (np.zeros(1), np.array([1, 2, 3])))
    assert "no output" in comparing.far(lambda inputs: [np.array([1, 2, 3])], whole, ["x"], 1)["unavailable"]


def test_a_quantised_model_says_how_far_it_is(model, tmp_path):
    subject = from_file(model)
    with profiler.Store(tmp_path / "a.db") as store:
        (first,) = profiler.measure([subject], target=INT8, store=store, budget=QUICK).measurements
        (again,) = profiler.measure([subject], target=INT8, store=store, budget=QUICK).measurements
        plain = profiler.measure([subject], target="local-onnxruntime", store=store, budget=QUICK).measurements[0]
        (row,) = comparison.compare(store, store, across=["precision"])
    assert isinstance(first.deviation, Deviation) and again.deviation == first.deviation
    assert 0.0 < first.deviation.mean < 0.05 > first.deviation.largest > 0.0 and first.deviation.sets == 1
    assert json.loads(json.dumps(first.to_plain()))["deviation"] == first.deviation.to_plain()
    assert plain.deviation is None and "deviation" not in plain.to_plain()
    assert (row.first, row.deviation) == (INT8.name, None) or row.deviation == first.deviation


@pytest.mark.slow
def test_calibration_decides_how_far_it_is(model, tmp_path):
    """Scales of values that never come leave few steps for those that do."""
    near = tmp_path / "near.npz"
    rng = np.random.default_rng(0)
    saved(near, x=rng.standard_normal((3, 1, 3, 8, 8)))
    saved(tmp_path / "far.npz", x=np.concatenate([rng.standard_normal((3, 1, 3, 8, 8)), np.full((1, 1, 3, 8, 8), 300)]))
    found = []
    for name in ("near.npz", "far.npz"):
        subject = from_file(model)
        sets = calibration.read(tmp_path / name, subject.graph)
        with profiler.Store(tmp_path / f"{name}.db") as store:
            calibrated = profiler.subjects.Subject(**{**vars(subject), "calibration": sets})
            (one,) = profiler.measure([calibrated], target=INT8, store=store, budget=QUICK).measurements
        assert one.deviation is not None and not isinstance(one.deviation, Unavailable)
        assert one.deviation.calibration == calibration.digest(sets)
        found.append(one.deviation)
    assert [one.sets for one in found] == [3, 4]
    assert found[0].calibration != found[1].calibration and found[0].mean != found[1].mean


CHANGES = (
    {"largest": "far"},
    {"largest": -1.0},
    {"mean": None},
    {"id": 3},
    {"calibration": None},
    {"sets": "two"},
    {"unavailable": 1},
)


def test_a_damaged_comparison_is_named(model, tmp_path):
    with profiler.Store(tmp_path / "a.db") as store:
        (one,) = profiler.measure([from_file(model)], target=INT8, store=store, budget=QUICK).measurements
        conditions = store.require_conditions(INT8.name)
    known = {"event": "deviation", "id": one.model, **one.deviation.to_plain()}
    for number, change in enumerate(CHANGES):
        path = shutil.copy(tmp_path / "a.db", tmp_path / f"{number}.db")
        with profiler.Store(path) as store:
            process = store.start_process(conditions, "more", seed=0)
            store.end_process(process, state="finished", device_s=0.1, facts=[{**known, **change}])
            with pytest.raises(SchemaMismatch, match="its facts are none"):
                measurements(store, conditions)


def test_outputs_that_are_not_of_the_precision_are_a_failure(model, tmp_path, monkeypatch):
    """Where nothing else tells in which precision a runtime computes."""
    asked = deviations.asked
    monkeypatch.setattr("profiler.workers.deviations.asked", lambda *given: asked(*given) | {"allowed": 1e-6})
    with profiler.Store(tmp_path / "a.db") as store:
        outcome = profiler.measure([from_file(model)], target=INT8, store=store, budget=QUICK)
    (failed,) = outcome.failures
    assert not outcome.measurements and failed.kind == "WrongPrecision"
    assert "that is not int8" in failed.reason and failed.hint
