"""Importers of profiles and benchmarks: each layout in a small file, and what is refused."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from device_profiles.errors import InvalidData, InvalidTable, UsageError
from predictors import tables
from predictors.testing import check_importer

FOLDER = Path(__file__).parent / "profiles"
FILES = sorted(path for path in FOLDER.iterdir() if path.name != "README.md")
GRAPH = (FOLDER / "openvino.xml").read_text()


def kind_of(path):
    return re.split(r"[-.]", path.name)[0]


def read(name, **options):
    return tables.read(FOLDER / name, **options)


def times(table):
    return dict(zip(table.keys, table.columns[0].values.tolist(), strict=True))


@pytest.fixture
def write(tmp_path):
    """Makes a file: `write(name, text or bytes)`."""

    def make(name, content):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return make


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_importers_hold_to_the_protocol(path, tmp_path):
    check_importer(kind_of(path), path.read_bytes(), path.name, tmp_path)


def test_each_layout_of_the_folder_has_a_file():
    folder = Path(tables.__file__).parent / "profiles"
    assert {kind_of(path) for path in FILES} == {p.stem for p in folder.glob("*.py") if not p.name.startswith("_")}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_files_with_bytes_exchanged_are_tables_or_refused(tmp_path, data):
    path = data.draw(st.sampled_from(FILES))
    content = bytearray(path.read_bytes())
    for at in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=6)):
        content[at] = data.draw(st.sampled_from(b'\0\t\n "#,-.:;<>[]{}09azEe\xff'))
    (tmp_path / path.name).write_bytes(bytes(content))
    try:
        table = tables.read(tmp_path / path.name, kind_of(path))
    except InvalidData as error:
        assert error.message and error.hint
    else:
        tables.lint(table)


# -- what a user says of a file


def test_a_user_says_what_a_file_does_not(write):
    table = read("onnxruntime.json", part="threads=4, accelerator=npu", device="board")
    assert table.stated["threads"] == "4" and table.stated["accelerator"] == "npu"
    assert table.columns[0].name == "latency_ms.board"


@pytest.mark.parametrize("part", ["threads", "threads=0", "threads=1,threads=2", "=1", "threads=", "colour=red", ","])
@pytest.mark.parametrize("kind", [kind_of(path) for path in FILES if "-" not in path.name])
def test_what_cannot_be_said_is_refused(kind, part):
    path = next(path for path in FILES if kind_of(path) == kind)
    with pytest.raises(UsageError) as caught:
        tables.read(path, kind, part=part)
    assert caught.value.hint


def test_layers_of_one_name_are_told_apart(write):
    layers = [{"name": name, "averageMs": ms} for name, ms in (("a", 1), ("a #2", 2), ("a", 3), ("", 4), ("\n", 5))]
    table = tables.read(write("t.json", json.dumps([{"count": 1}, *layers])))
    assert len(set(table.keys)) == 5 and table.keys[:2] == ("a", "a #2")
    assert table.columns[0].values.tolist() == [1, 2, 3, 4, 5]


# -- ONNX Runtime


def test_kernels_of_onnx_runtime_without_the_first_runs():
    table = read("onnxruntime.json")
    assert times(table) == pytest.approx({"conv": 0.022, "softmax": 0.005}) and table.types == ("Conv", "Softmax")
    (column,) = table.columns
    assert column.count.tolist() == [3, 3] and column.std == pytest.approx([0.002, 0.001])
    assert (column.unit, column.stated_unit) == ("ms", "us")
    assert table.labels == {"unit": ("CPU", "CPU"), "provider": ("CPUExecutionProvider",) * 2}
    assert table.stated == {"runtime": "onnxruntime", "clock_ms": "0.001", "runs": "4", "warm_up": "1", "run_ms": "0.9"}
    assert times(read("onnxruntime.json", part="warmup=3")) == pytest.approx({"conv": 0.024, "softmax": 0.006})
    with pytest.raises(UsageError, match="has 4 runs, and 4 are left out"):
        read("onnxruntime.json", part="warmup=4")


def test_a_node_that_runs_twice_in_a_run_costs_both(write):
    events = json.loads((FOLDER / "onnxruntime.json").read_text())
    again = [{**event, "ts": event["ts"] + 300} for event in events if event["name"] == "conv_kernel_time"]
    table = tables.read(write("t.json", json.dumps([*events, *again])))
    assert times(table)["conv"] == pytest.approx(0.044)


@pytest.mark.parametrize(
    ("provider", "unit"), [("CUDA", "GPU"), ("QNN", "NPU"), ("Xnnpack", "CPU"), ("OpenVINO", ""), ("New", "")]
)
def test_the_unit_of_a_provider(write, provider, unit):
    events = json.loads((FOLDER / "onnxruntime.json").read_text())
    for event in events:
        if event["name"] == "conv_kernel_time":
            event["args"]["provider"] = f"{provider}ExecutionProvider"
    table = tables.read(write("t.json", json.dumps(events)))
    assert table.labels["unit"] == (unit, "CPU")


def ort(change):
    events = json.loads((FOLDER / "onnxruntime.json").read_text())
    changed = change(events)
    return json.dumps(changed if isinstance(changed, list) else events)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (ort(lambda events: [event for event in events if event["cat"] != "Node"]), "has no kernels"),
        (ort(lambda events: events[1].update(dur=-5)), "dur is -5"),
        (ort(lambda events: events[1].update(dur="soon")), "'soon' is no number"),
        (ort(lambda events: events[1]["args"].pop("op_name")), "no op_name"),
        (ort(lambda events: events[3].update(dur=5000)), "runs that overlap"),
        ((FOLDER / "onnxruntime.json").read_text()[:-30], "as JSON"),
        (json.dumps({"traceEvents": []}), "is no list of events"),
    ],
)
def test_other_profiles_are_refused(write, text, said):
    with pytest.raises(InvalidTable) as caught:
        tables.read(write("t.json", text), "onnxruntime")
    assert said in caught.value.message and caught.value.hint


# -- OpenVINO


def test_layers_of_openvino_without_those_that_run_once():
    table = read("openvino.xml")
    assert len(table) == 7 and set(table.types) == {"Reorder", "Convolution", "Reduce", "FullyConnected", "Softmax"}
    assert set(table.labels["unit"]) == {"CPU"} and set(table.labels["precision"]) == {"f32"}
    row = table.keys.index("node_Conv_11/WithoutBiases")
    assert table.labels["original"][row] == "node_Conv_11/WithoutBiases,node_Conv_11,node_relu"
    assert table.labels["primitive"][row] == "brgconv_avx512_f32"
    assert table.columns[0].values[row] == pytest.approx(0.029) and table.columns[0].stated_unit == "us"
    assert table.stated == {"runtime": "openvino", "clock_ms": "0.001", "warm_up": "included"}


def test_the_body_of_a_loop_is_no_layer_of_the_network(write):
    body = (
        '<body><layers><layer id="0" name="inner" type="Add"><data execTimeMcs="3" /></layer></layers></body></layer>'
    )
    text = GRAPH.replace("</layer>", body, 1)
    assert tables.read(write("t.xml", text)).keys == read("openvino.xml").keys


def test_counters_of_benchmark_app():
    table = read("openvino-counters.csv")
    assert len(table) == 9 and table.columns[0].values.sum() == pytest.approx(0.128)
    assert table.stated["silent"] == "1"  # node_linear_bf16_f32_softmax: it ran in less than 1 us
    assert table.labels["precision"][2] == "bf16" and set(table.labels["unit"]) == {""}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (re.sub(r'execTimeMcs="\d+"', 'execTimeMcs="not_executed"', GRAPH), "no time of any"),
        (re.sub(r'execTimeMcs="\w+" ', "", GRAPH), "no execTimeMcs"),
        (GRAPH.replace('execTimeMcs="15"', 'execTimeMcs="-15"'), "-0.015 ms is no time"),
        (GRAPH[: len(GRAPH) // 2], "as XML"),
        ('<!DOCTYPE a [<!ENTITY b "c">]>' + GRAPH, "declares a document type"),
        ("<a>" * 1000 + "</a>" * 1000, "nested deeper"),
        ("layerName;execStatus\na;b\n", "neither an execution graph nor"),
        ((FOLDER / "openvino-counters.csv").read_text().replace("Total;;;;0.128;0.128\n", ""), "cut short"),
        ((FOLDER / "openvino-counters.csv").read_text().replace("0.048", "-0.048"), "-0.048 ms is no time"),
    ],
)
def test_other_graphs_are_refused(write, text, said):
    with pytest.raises(InvalidTable) as caught:
        tables.read(write("t.xml", text), "openvino")
    assert said in caught.value.message and caught.value.hint


# -- LiteRT


def test_operators_of_litert():
    table = read("litert.csv")
    assert table.types == ("CONV_2D", "Convolution (NHWC, F32) GEMM", "SOFTMAX")
    assert table.columns[0].values == pytest.approx([0.093, 0.09, 0.0021])  # three calls of 0.03 ms
    assert table.fields["calls"].tolist() == [1, 3, 1] and table.columns[0].count.tolist() == [50] * 3
    assert table.labels["unit"] == ("CPU", "", "CPU") and "threads" not in table.stated


def test_a_log_of_litert_says_threads_and_delegate(write):
    table = read("litert-log.txt")
    assert table.stated["threads"] == "4" and table.stated["accelerator"] == "gpu"
    assert times(table) == {"[Identity]:77": 8.671, "[post, x]:78": 0.071}
    assert table.labels["unit"] == ("GPU", "CPU")
    copied = (FOLDER / "litert-log.txt").read_text().expandtabs(8).replace("[Identity]", "  [Identity]")
    assert times(tables.read(write("t.txt", copied.replace("1 [post", "1   [post")))) == times(table)


# -- ExecuTorch


def test_events_of_executorch_that_make_up_a_run():
    table = read("executorch.tsv")
    assert table.types == ("DELEGATE_CALL", "mean.out", "DELEGATE_CALL", "cumsum.out", "DELEGATE_CALL")
    assert table.stated["run_ms"] == "0.190096"  # of Method::execute
    assert table.columns[0].values.sum() == pytest.approx(0.190096, rel=0.02)
    assert table.columns[0].count.tolist() == [5] * 5 and table.labels["unit"] == ("", "CPU", "", "CPU", "")
    inside = read("executorch.tsv", part="rows=delegated")
    assert inside.types[0] == "Transpose (ND, X32)" and inside.stated["clock_of"] == "delegate"


def test_an_etdump_is_refused_with_the_command_that_reads_it(write):
    with pytest.raises(InvalidTable, match="is an ETDump") as caught:
        tables.read(write("net.etdp", b"\xac\x17\0\0\x08\0\0\0ED00"[:4] + b"ED00" + bytes(64)))
    assert "Inspector(etdump_path='net.etdp').save_data_to_tsv('net.tsv')" in caught.value.hint


def test_times_without_a_unit_are_refused(write):
    text = (FOLDER / "executorch.tsv").read_text().replace(" (ms)", "")
    with pytest.raises(InvalidTable, match="no median with a unit") as caught:
        tables.read(write("t.tsv", text))
    assert "include_units=True" in caught.value.hint


# -- benchncnn


def test_one_run_of_benchncnn():
    table = read("benchncnn.txt")
    assert times(table) == {"squeezenet": 2.75, "mobilenet_int8": 3.6} and table.models and table.types is None
    assert table.stated["threads"] == "4" and table.labels["cores"] == ("big", "big")
    assert table.labels["unit"] == ("CPU", "CPU") and table.columns[0].count.tolist() == [8, 8]
    assert table.fields["min_ms"].tolist() == [2.7, 3.5] and table.fields["max_ms"].tolist() == [2.9, 3.9]


def test_runs_of_benchncnn_under_headings():
    table = read("benchncnn-sections.md")
    assert len(table) == len(set(table.keys)) == 7
    assert table.keys[0] == "squeezenet@Board A (Cortex-A76 x 4);threads=4;powersave=2;gpu=-1"
    assert table.keys[2] == "squeezenet@Board A (Cortex-A76 x 4);threads=4;powersave=2;gpu=0"
    assert table.keys[6] == "mobilenet_int8@Board B;threads=4;powersave=2;gpu=-1;run=2"
    assert table.labels["unit"][2] == "GPU" and table.labels["provider"][2] == "Mali-G610"
    assert len(read("benchncnn-sections.md", part="section=board a")) == 3
    with pytest.raises(UsageError, match="no section 'Board C'"):
        read("benchncnn-sections.md", part="section=Board C")


def test_a_mean_outside_of_its_range_is_refused(write):
    with pytest.raises(InvalidTable, match="not between"):
        tables.read(write("t", "a  min = 2.0  max = 3.0  avg = 4.0\n"))


# -- TensorRT


def test_layers_of_trtexec(write):
    table = read("trtexec.json")
    assert times(table) == {"conv1 + relu1|conv2": 0.039, "softmax": 0.019}  # medians; the copy took no time
    assert table.columns[0].count.tolist() == [500, 500] and table.stated["runs"] == "500"
    text = (FOLDER / "trtexec.json").read_text().replace('"count": 500', '"count": 50')
    with pytest.raises(InvalidTable, match=r"20 ms in 50 runs are no 0\.04 ms each"):
        tables.read(write("t.json", text))


# -- AI Hub


def test_jobs_of_ai_hub():
    table = read("aihub.yaml")
    assert times(table) == {
        "Net-1@Phone S1;float;tflite": 1.876,
        "Net-1@Phone S1;float;onnx": 2.5,
        "Net-1@Laptop X;float;onnx": 12.5,
    }
    assert table.labels["unit"] == ("NPU", "NPU", "CPU") and table.fields["layers_cpu"].tolist() == [0, 2, 70]
    peak = table.columns[1]
    assert (peak.cost, peak.unit, peak.stated_unit) == ("peak_memory", "bytes", "MB")
    assert peak.values.tolist() == [16e6, 3e6, 2e6] and table.stated["failed"] == "1"
    assert len(read("aihub.yaml", part="runtime=onnx,precision=float")) == 2
    with pytest.raises(UsageError, match="no row of runtime=coreml"):
        read("aihub.yaml", part="runtime=coreml")


def test_jobs_of_ai_hub_in_the_older_form(write):
    table = read("aihub-older.yaml")
    assert times(table) == {"Net-1@Phone S1;fp16;torchscript_onnx_tflite": 1.876}
    assert table.columns[0].stated_unit == "us" and table.columns[1].values.tolist() == [16e6]
    text = (FOLDER / "aihub-older.yaml").read_text()
    with pytest.raises(InvalidTable, match="do not fit"):
        tables.read(write("t.yaml", text.replace("1876.0", "1.876")))
    with pytest.raises(InvalidTable, match="70 layers, and 60 on npu"):
        tables.read(write("t.yaml", text.replace("layers_on_npu: 70", "layers_on_npu: 60")))


# -- timm


def test_latencies_of_timm_are_those_of_batches(write):
    table = read("timm.csv")
    assert times(table) == {"net_a@224": 256.0, "net_b@288": 128.0} and table.stated["from"] == "throughput"
    assert table.fields["batch"].tolist() == [256, 64] and table.columns[0].stated_unit == "samples/s"
    text = (FOLDER / "timm.csv").read_text()
    for change, said in (
        (("256.1", "2.561"), "a step of 2.561 ms"),
        (("1000.0", "0"), "give no latency"),
        (("infer_batch_size", "batch"), "lacks infer_batch_size"),
    ):
        with pytest.raises(InvalidTable, match=said):
            tables.read(write("t.csv", text.replace(*change)), "timm")


def test_training_of_timm_is_a_column_of_its_own(write):
    heads = "model,infer_samples_per_sec,infer_batch_size,train_samples_per_sec,train_batch_size\n"
    table = tables.read(write("gpu.csv", heads + "a,1000,10,100,20\n"))
    values = {column.name: column.values.tolist() for column in table.columns}
    assert values == {"latency_ms.gpu": [10.0], "latency_ms.gpu.train": [200.0]}


# -- energy of layers


def test_energies_of_convolutions(write):
    table = read("neurstrucenergy.txt")
    values = {column.name.partition(".")[2]: column.values for column in table.columns[1:]}
    assert table.columns[0].values == pytest.approx([2.0, 4.0])  # 4 s in 2000 and 1000 passes
    assert values["neurstrucenergy"] == pytest.approx([10, 20])
    assert values["neurstrucenergy.above_idle"] == pytest.approx([7, 14])
    assert table.fields["cin"].tolist() == [3, 4] and table.fields["kernel"].tolist() == [3, 3]
    assert (table.fields["h"][0], table.fields["w"][0]) == (9, 8) and table.stated["failed"] == "1"
    text = (FOLDER / "neurstrucenergy.txt").read_text()
    with pytest.raises(InvalidTable, match=r"are no 0\.1 J"):
        tables.read(write("t", text.replace("0.003 0.01", "0.003 0.1")))
    assert np.isfinite(table.fields["groups"]).all()
