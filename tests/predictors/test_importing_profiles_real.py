"""Profiles of programs that run here, and public results where they are there."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from predictors import tables


def need(data, name):
    path = data / name
    if not path.exists():
        pytest.skip(f"no public data at {path}")
    return path


def rules(table, severity):
    return {finding.rule for finding in tables.lint(table) if finding.severity == severity}


@pytest.fixture(scope="module")
def profile(tmp_path_factory):
    """The profile of ten runs of a small network under ONNX Runtime."""
    ort = pytest.importorskip("onnxruntime")
    folder = tmp_path_factory.mktemp("ort")
    weight = np.ones((8, 3, 3, 3), dtype=np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["y"], name="conv"),
        helper.make_node("Relu", ["y"], ["z"], name="relu"),
        helper.make_node("Softmax", ["z"], ["out"], name="softmax"),
    ]
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("x", (1, 3, 32, 32)), ("out", (1, 8, 30, 30)))
    ]
    graph = helper.make_graph(nodes, "g", values[:1], values[1:], [numpy_helper.from_array(weight, "w")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    onnx.save(model, folder / "net.onnx")
    options = ort.SessionOptions()
    options.enable_profiling, options.intra_op_num_threads = True, 1
    options.profile_file_prefix = str(folder / "net")
    session = ort.InferenceSession(folder / "net.onnx", options, providers=["CPUExecutionProvider"])
    for _ in range(10):
        session.run(None, {"x": np.ones((1, 3, 32, 32), dtype=np.float32)})
    return session.end_profiling()


def test_a_profile_that_onnx_runtime_wrote(profile):
    assert tables.detect(profile) == "onnxruntime"
    table = tables.read(profile, device="here", part="threads=1")
    assert {"Conv", "Softmax"} <= set(table.types) and set(table.labels["unit"]) == {"CPU"}
    assert (table.columns[0].values >= 0).all() and (table.columns[0].count == 9).all()
    assert table.stated["runs"] == "10" and table.stated["warm_up"] == "1"
    assert not rules(table, "error") - {"below-clock"} and "threads-unknown" not in rules(table, "warning")
    assert "threads-unknown" in rules(tables.read(profile), "warning")


def test_a_profile_that_was_not_ended_is_refused(profile, tmp_path):
    from pathlib import Path

    from device_profiles.errors import InvalidTable

    cut = tmp_path / "cut.json"
    content = Path(profile).read_bytes()
    cut.write_bytes(content[: content.rindex(b"}")])
    with pytest.raises(InvalidTable) as caught:
        tables.read(cut)
    assert "end_profiling()" in caught.value.hint


def test_all_runs_of_ncnns_own_benchmark(data):
    table = tables.read(need(data, "ncnn.benchmark.md"), device="many")
    assert table.kind == "benchncnn" and len(table) == len(set(table.keys)) == 8554
    assert len(set(table.labels["device"])) > 80 and (table.columns[0].values > 0).all()
    assert {"CPU", "GPU"} <= set(table.labels["unit"]) and not rules(table, "error")
    pi = tables.read(need(data, "ncnn.benchmark.md"), part="section=Raspberry Pi 5")
    row = pi.keys.index(next(key for key in pi.keys if key.startswith("mobilenet_v2@") and "threads=4" in key))
    assert 1 < pi.columns[0].values[row] < 100 and set(pi.labels["device"]) != set(table.labels["device"])


@pytest.mark.parametrize("name", ["efficientnet_b0", "mobilenet_v2", "resnet50", "shufflenet_v2", "vit", "yolov8_det"])
def test_jobs_of_qualcomm_ai_hub(data, name):
    table = tables.read(need(data, f"aihub/{name}.perf.yaml"))
    assert table.kind == "aihub" and len(table) >= 54 and len(table.columns) == 2
    cpu = np.array(table.labels["unit"]) == "CPU"
    (fallback,) = [finding for finding in tables.lint(table) if finding.rule == "fallback"]
    assert fallback.rows == tuple(np.flatnonzero(cpu)) and 3 <= cpu.sum() <= 9
    assert (table.fields["layers_cpu"][cpu] > 0).all()
    assert table.fields["layers"].tolist() == sum(table.fields[f"layers_{u}"] for u in ("npu", "gpu", "cpu")).tolist()
    assert not rules(table, "error")


def test_components_of_qualcomm_ai_hub(data):
    table = tables.read(need(data, "aihub/whisper_tiny.perf.yaml"))
    assert set(table.labels["model"]) == {"HfWhisperEncoder", "HfWhisperDecoder"} and len(table) == 38
    assert "fallback" not in rules(table, "warning")


@pytest.mark.parametrize(("name", "rows"), [("", 1444), ("-dynamo", 1443)])
def test_results_of_timm(data, name, rows):
    table = tables.read(need(data, f"timm/benchmark-infer-amp-nchw-pt240-cu124-rtx4090{name}.csv"), device="rtx4090")
    assert table.kind == "timm" and len(table) == rows and not rules(table, "error")
    assert rules(table, "warning") == {"from-throughput", "unproven-accelerator"}
    assert len(np.unique(table.fields["batch"])) >= 10


def test_energies_of_a_thousand_convolutions(data, tmp_path):
    table = tables.read(need(data, "neurstrucenergy.conv2d.txt"), device="board")
    assert table.kind == "neurstrucenergy" and len(table) == 999 and table.stated["failed"] == "1"
    latency, both, above = table.columns
    watts = both.values / latency.values
    assert 1 < np.median(watts) < 20 and (above.values < both.values).all()
    # The mean power stands in the file on its own, and is the same to some percent.
    assert np.median(np.abs(watts / table.fields["mean_power_w"] - 1)) < 0.1
    findings = tables.lint(table)
    clean = table.without_errors(findings)
    clean.save(tmp_path / "t")
    assert tables.load(tmp_path / "t").stated == {"failed": "1"} and len(clean) >= 900
