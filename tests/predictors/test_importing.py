"""Importers: each layout in a small made-up file, and what is refused."""

import gzip
import json
import pickle
import tracemalloc

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from device_profiles.errors import InvalidData, InvalidTable, UnknownName, UsageError
from predictors import tables
from predictors.tables import _files

OPERATORS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
CELLS = (
    "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|avg_pool_3x3~0|none~1|nor_conv_1x1~2|",
    "|none~0|+|nor_conv_3x3~0|none~1|+|skip_connect~0|none~1|nor_conv_3x3~2|",
    "|none~0|+|none~0|none~1|+|none~0|nor_conv_3x3~1|none~2|",
)
GENES = [[3, 0, 1, 4, 0, 2], [0, 3, 0, 1, 0, 3], [0, 0, 0, 0, 3, 0]]


@pytest.fixture
def write(tmp_path):
    """Makes a file: `write(name, text or bytes)`."""

    def make(name, content):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return make


# -- NAS-Bench-201


NASBENCH = (
    "arch,accuracy.cifar10.test,latency_ms.gpu_1,latency_s.phone,energy_j.phone\n"
    + "\n".join(f"{cell},{90 + i},{i + 1}.5,0.0{i + 1},0.{i + 1}" for i, cell in enumerate(CELLS))
    + "\n"
)


@pytest.mark.parametrize("pack", [str.encode, lambda text: gzip.compress(text.encode())], ids=["plain", "gzip"])
def test_cells_have_genes_and_units_are_ours(write, pack):
    table = tables.read(write("t.csv", pack(NASBENCH)))
    assert table.kind == "nasbench201" and table.keys == CELLS
    assert table.archs.tolist() == GENES and table.choices == (5,) * 6
    assert table.constant.tolist() == [False, False, True]
    by_name = {column.name: column for column in table.columns}
    assert list(by_name) == ["accuracy.cifar10.test", "latency_ms.gpu_1", "latency_ms.phone", "energy_mj.phone"]
    assert by_name["latency_ms.gpu_1"].values.tolist() == [1.5, 2.5, 3.5]
    phone = by_name["latency_ms.phone"]
    assert phone.values == pytest.approx([10, 20, 30]) and (phone.unit, phone.stated_unit) == ("ms", "s")
    assert by_name["energy_mj.phone"].values == pytest.approx([100, 200, 300])
    accuracy = by_name["accuracy.cifar10.test"]
    assert (accuracy.cost, accuracy.unit, accuracy.device) == ("accuracy", "%", None)


def test_genes_are_those_of_the_space(write):
    import nas

    space = nas.spaces.load("nasbench201")
    archs = space.sample(200, np.random.default_rng(0))
    dead = np.array([[0, 0, 0, 0, 3, 2], [3, 0, 0, 0, 0, 2], [0, 0, 2, 0, 3, 1]])
    archs = np.concatenate([archs, dead])
    text = "arch,latency_ms.a\n" + "".join(f"{space.format(arch)},{i + 1}\n" for i, arch in enumerate(archs))
    table = tables.read(write("t.csv", text))
    assert table.archs.tolist() == archs.tolist()
    assert table.constant.tolist() == (~space.is_valid(archs)).tolist()
    assert table.constant.sum() == 3


def test_sources_are_what_transfer_takes(write):
    table = tables.read(write("t.csv", NASBENCH))
    sources = table.as_sources()
    assert list(sources) == ["gpu_1", "phone"]
    archs, values = sources["gpu_1"]
    assert archs.dtype == np.int64 and archs.tolist() == GENES and values.tolist() == [1.5, 2.5, 3.5]
    assert list(table.as_sources("energy")) == ["phone"]
    with pytest.raises(UsageError, match="no column of memory"):
        table.as_sources("memory")


def test_sources_lack_what_is_missing(write):
    table = tables.read(write("t.csv", f"arch,latency_ms.a\n{CELLS[0]},1\n{CELLS[1]},\n"))
    archs, values = table.as_sources()["a"]
    assert archs.tolist() == GENES[:1] and values.tolist() == [1.0]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"arch,latency.phone\n{CELLS[0]},1\n", "has to say its unit"),
        (f"arch,latency_fortnights.phone\n{CELLS[0]},1\n", "has to say its unit"),
        (f"arch,latency_ms.phone\n{CELLS[0]},fast\n", "'fast' is no number"),
        (f"arch,latency_ms.phone\n{CELLS[0]},1_0\n", "'1_0' is no number"),
        ("arch,latency_ms.phone\n|conv_9x9~0|,1\n", "no cell of NAS-Bench-201"),
        (f"cell,latency_ms.phone\n{CELLS[0]},1\n", "no column 'arch'"),
        (f"arch,latency_ms.a\n{CELLS[0]},1,2\n", "3 cells, and the head has 2"),
        (f"arch,latency_ms.a\n{CELLS[0]}\n", "1 cells, and the head has 2"),
        ("arch,latency_ms.a\n", "a head and no rows"),
        (f"arch,latency_ms.a,latency_ms.a\n{CELLS[0]},1,2\n", "'latency_ms.a' twice"),
        (f"arch,latency_ms.a,latency_s.a\n{CELLS[0]},1,2\n", "'latency_ms.a' is there twice"),
        (f"arch\n{CELLS[0]}\n", "1 rows and 0 columns"),
        ("  \n", "is empty"),
        (b"arch,latency_ms.a\n\xff\xfe,1\n", "not UTF-8 text: byte 18 is 0xff"),
        ('arch,latency_ms.a\n"' + "x" * 200_000 + '",1\n', "field larger than field limit"),
    ],
)
def test_what_is_no_table_is_refused_by_name(write, text, said):
    with pytest.raises(InvalidTable) as caught:
        tables.read(write("t.csv", text), "nasbench201")
    assert said in caught.value.message and caught.value.hint


# -- ProxylessNAS and once-for-all


BLOCK = "expanded_conv-input:56x56x24-output:28x28x32-expand:72-kernel:3-stride:2-idskip:0-se:1-hs:0"
YAML = f"""Conv-input:224x224x3-output:112x112x16:
  mean: 1.5
  count: 10
{BLOCK}:
  mean: 0.25
  var: 0.04
  count: 3
Logits-input:1280-output:1000: {{mean: 0.5, var: 0.01}}
"""


def test_blocks_of_once_for_all(write):
    table = tables.read(write("pixel.yaml", YAML))
    assert table.kind == "ofa" and table.keys[1] == BLOCK
    assert table.types == ("Conv", "expanded_conv", "Logits")
    (column,) = table.columns
    assert (column.name, column.unit, column.device) == ("latency_ms.pixel", "ms", "pixel")
    assert column.values.tolist() == [1.5, 0.25, 0.5]
    assert column.std == pytest.approx([np.nan, 0.2, 0.1], nan_ok=True)
    assert column.count == pytest.approx([10, 3, np.nan], nan_ok=True)
    expected = {"cin": 24, "cout": 32, "hw": 56, "expand": 72, "kernel": 3, "stride": 2, "idskip": 0, "se": 1, "hs": 0}
    assert {name: values[1] for name, values in table.fields.items()} == expected
    assert np.isnan(table.fields["kernel"][0]) and table.fields["cin"].tolist() == [3, 24, 1280]
    with pytest.raises(UsageError, match="not architectures of a known space"):
        table.as_sources()


def test_a_device_is_named_by_the_option(write):
    table = tables.read(write("some file:1.yaml", YAML), "ofa", device="pixel7")
    assert table.columns[0].name == "latency_ms.pixel7"
    assert tables.read(write("some file:1.yaml", YAML)).columns[0].device == "some_file_1"
    with pytest.raises(UsageError, match="cannot name a device"):
        tables.read(write("t.yaml", YAML), device="a:b")


@pytest.mark.parametrize(
    ("text", "kind", "said"),
    [
        ("a: &a {mean: 1}\nb: *a\n", InvalidData, "alias"),
        ("a: !!python/object/apply:os.system [echo]\n", InvalidData, "nothing is made of tags"),
        ("a: !!float 1\n", InvalidData, "nothing is made of tags"),
        ("a: {b: {c: 1}}\n", InvalidData, "nested deeper"),
        ("a: " + "{b: " * 5000, InvalidData, "nested deeper"),
        ("[" * 5000, InvalidData, "maximum nesting depth"),
        ("- a\n- b\n", InvalidTable, "not a mapping"),
        ("just text", InvalidTable, "not a mapping"),
        ("a: 1\n", InvalidTable, "not a mapping"),
        ("? {a: b}\n: {mean: 1}\n", InvalidTable, "not a mapping"),
        ("a: {mean: 1}\na: {mean: 2}\n", InvalidTable, "'a' twice"),
        ("a: {mean: 1, mean: 2}\n", InvalidTable, "'mean' twice"),
        ("a: {mean: 1\n", InvalidData, "as YAML"),
        ("# nothing\n", InvalidTable, "no entries"),
        ("a: {mean: 1}\n", InvalidTable, "no key of a block"),
        (f"{BLOCK}: {{var: 1}}\n", InvalidTable, "no mean"),
        (f"{BLOCK}: {{mean: soon}}\n", InvalidTable, "'soon' is no number"),
        (f"{BLOCK}: {{mean: 1, power: 3}}\n", InvalidTable, "fields ['power']"),
    ],
)
def test_strange_yaml_is_refused(write, text, kind, said):
    with pytest.raises(kind) as caught:
        tables.read(write("t.yaml", text), "ofa")
    assert said in caught.value.message and caught.value.hint


def test_a_bomb_of_aliases_is_refused_at_its_first(write):
    levels = "".join(f"l{i}: &l{i} [{', '.join([f'*l{i - 1}'] * 9)}]\n" for i in range(1, 30))
    with pytest.raises(InvalidData):
        tables.read(write("t.yaml", "l0: &l0 {mean: 1}\nx: *l0\n" + levels), "ofa")


# -- HAT


HAT = (
    "encoder_layer_num,ffn_avg,latency_mean_encoder,latency_mean_decoder,latency_std_encoder,latency_std_decoder\n"
    "6,1194.5,9.5,236.0,0.5,12.0\n"
    "3,1024,5.5,110.0,0.25,2.0\n"
)


def test_transformers_of_hat(write):
    table = tables.read(write("t.csv", HAT), device="xeon")
    assert table.kind == "hat" and not table.exact
    assert table.keys == ("encoder_layer_num=6;ffn_avg=1194.5", "encoder_layer_num=3;ffn_avg=1024")
    assert {name: values.tolist() for name, values in table.fields.items()} == {
        "encoder_layer_num": [6, 3],
        "ffn_avg": [1194.5, 1024],
    }
    encoder, decoder = table.columns
    assert (encoder.name, decoder.name) == ("latency_ms.xeon.encoder", "latency_ms.xeon.decoder")
    assert encoder.values.tolist() == [9.5, 5.5] and encoder.std.tolist() == [0.5, 0.25]
    assert decoder.values.tolist() == [236, 110] and decoder.std.tolist() == [12, 2]


def test_a_hat_table_without_deviations_is_refused(write):
    text = "layers,latency_mean_encoder,latency_mean_decoder\n1,2,3\n"
    with pytest.raises(InvalidTable, match="lacks latency_std_encoder, latency_std_decoder"):
        tables.read(write("t.csv", text))


# -- nn-Meter


CONFIG = {"HW": 56, "CIN": 24, "COUT": 64, "KERNEL_SIZE": 3, "STRIDES": 1}


def nnmeter(**entry):
    return json.dumps({"conv-bn-relu": {"id_0": {"model": "m", "shapes": [[56, 56, 24]], "config": CONFIG} | entry}})


@pytest.mark.parametrize(
    ("latency", "ms", "std"),
    [("12.5 +- 0.5", 12.5, 0.5), ("12.5", 12.5, None), (12.5, 12.5, None), ({"avg": 12.5, "std": 0.5}, 12.5, 0.5)],
)
def test_kernels_of_nn_meter(write, latency, ms, std):
    table = tables.read(write("profiled_conv.json", nnmeter(latency=latency)))
    assert table.kind == "nnmeter" and table.types == ("conv-bn-relu",)
    assert table.keys == ("conv-bn-relu;HW=56;CIN=24;COUT=64;KERNEL_SIZE=3;STRIDES=1",)
    (column,) = table.columns
    assert column.values.tolist() == [ms] and column.name == "latency_ms.profiled_conv"
    assert (column.std is None) if std is None else column.std.tolist() == [std]
    assert {name: values.tolist() for name, values in table.fields.items()} == {
        name.lower(): [value] for name, value in CONFIG.items()
    }


def test_repeats_make_a_median(write):
    (column,) = tables.read(write("t.json", nnmeter(latency=[30.0, 1.0, 1.1]))).columns
    assert column.values.tolist() == [1.1] and column.repeats.tolist() == [[30.0, 1.0, 1.1]]


def test_kernels_as_csv(write):
    text = "kernel,HW,CIN,COUT,latency_ms,std,count\nconv,56,24,64,2.5,0.1,50\nrelu,56,24,,0.5,0.2,50\n"
    table = tables.read(write("a76.csv", text))
    assert table.kind == "nnmeter" and table.keys == ("conv;HW=56;CIN=24;COUT=64", "relu;HW=56;CIN=24")
    (column,) = table.columns
    assert (column.name, column.values.tolist()) == ("latency_ms.a76", [2.5, 0.5])
    assert column.std.tolist() == [0.1, 0.2] and column.count.tolist() == [50, 50]
    assert table.fields["cout"] == pytest.approx([64, np.nan], nan_ok=True)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (json.dumps({"conv": {"id_0": {"latency": "1 +- 2"}}}), "no config"),
        (json.dumps({"conv": {"id_0": {"config": {}}}}), "no latency"),
        (json.dumps({"conv": [1]}), "no object of ids"),
        (nnmeter(latency="soon"), "'soon' is no number"),
        (nnmeter(latency=True), "is no number"),
        ("{", "as JSON"),
        ("{}", "no kernels"),
        ('{"a": {}, "a": {}}', "'a' is there twice"),
        ('{"a":' * 10_000, "nested deeper"),
        ("kernel,latency\n", "a head and no rows"),
        ("kernel,latency_ms,latency_us\nrelu,1,2\n", "the unit of column 'latency_us' is not known"),
        ("kernel,time\nrelu,1\n", "are needed"),
    ],
)
def test_strange_kernels_are_refused(write, text, said):
    with pytest.raises(InvalidTable) as caught:
        tables.read(write("t", text), "nnmeter")
    assert said in caught.value.message and caught.value.hint


# -- HW-NAS-Bench


def hwnasbench():
    """Two data sets, the second with the cells in another order; numbers as numpy's scalars and as arrays."""
    configs = [{"name": "infer.tiny", "C": 16, "N": 5, "arch_str": cell, "num_classes": 10} for cell in CELLS]
    return {
        "nasbench201": {
            "cifar10": {
                "config": configs,
                "pixel3_latency": [np.float64(1.5), 2.5, 3],
                "edgegpu_latency": np.array([5.0, 6.0, 7.0], dtype=np.float32),
                "edgegpu_energy": [20.0, 24.0, 28.0],
                "eyeriss_arithmetic_intensity": [1.0, 2.0, 3.0],
            },
            "ImageNet16-120": {"config": configs[::-1], "pixel3_latency": [30.0, 20.0, 10.0]},
        },
        "fbnet": {
            "pixel3_latency": {
                "ConvBlock_H112_W112_Cin16_Cout24_exp3_kernel5_stride2_group1": 1.25,
                "FC_Cin8_Cout10": 0.5,
            },
            "eyeriss_energy": {
                "ConvBlock_H112_W112_Cin16_Cout24_exp3_kernel5_stride2_group1": 4.0,
                "FC_Cin8_Cout10": 1,
            },
        },
    }


@pytest.mark.parametrize("protocol", range(6))
def test_cells_of_hw_nas_bench(write, protocol):
    table = tables.read(write("b.pickle", pickle.dumps(hwnasbench(), protocol=protocol)))
    assert table.kind == "hwnasbench" and table.keys == CELLS and table.archs.tolist() == GENES
    values = {column.name: column.values.tolist() for column in table.columns}
    assert values == {
        "latency_ms.pixel3.cifar10": [1.5, 2.5, 3],
        "latency_ms.edgegpu.cifar10": [5, 6, 7],
        "energy_mj.edgegpu.cifar10": [20, 24, 28],
        "arithmetic_intensity.eyeriss.cifar10": [1, 2, 3],
        "latency_ms.pixel3.ImageNet16-120": [10, 20, 30],
    }
    assert list(table.as_sources()) == ["pixel3.cifar10", "edgegpu.cifar10", "pixel3.ImageNet16-120"]


def test_one_part_alone_and_texts_in_place_of_configs(write):
    data = {"cifar10": {"config": list(CELLS), "pixel3_latency": [1.0, 2.0, 3.0]}}
    table = tables.read(write("b.pickle", pickle.dumps(data)))
    assert [column.name for column in table.columns] == ["latency_ms.pixel3.cifar10"]


def test_blocks_of_fbnet(write):
    path = write("b.pickle", pickle.dumps(hwnasbench()))
    table = tables.read(path, part="fbnet")
    assert table.types == ("ConvBlock", "FC") and table.archs is None
    assert {c.name: c.values.tolist() for c in table.columns} == {
        "latency_ms.pixel3": [1.25, 0.5],
        "energy_mj.eyeriss": [4, 1],
    }
    assert table.fields["hw"][0] == 112 and table.fields["cin"].tolist() == [16, 8] and table.fields["kernel"][0] == 5
    with pytest.raises(UsageError, match="no part 'resnet'"):
        tables.read(path, part="resnet")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda data: data["nasbench201"]["cifar10"].update(pixel3_latency=[1.0]), "1 values for 3 architectures"),
        (lambda data: data["nasbench201"]["cifar10"].update(pixel3_power=[1, 2, 3]), "unit of 'pixel3_power'"),
        (lambda data: data["nasbench201"]["cifar10"].update(pixel3_latency=["a"] * 3), "'a' is no number"),
        (lambda data: data["nasbench201"]["cifar10"].update(pixel3_latency=3.0), "is a float, not a list"),
        (lambda data: data["nasbench201"]["cifar10"].update(config=[1, 2, 3]), "without 'arch_str'"),
        (lambda data: data["nasbench201"]["cifar10"].pop("config"), "no 'config'"),
        (lambda data: data.clear(), "neither 'config' nor tables"),
    ],
)
def test_other_pickles_are_refused(write, change, said):
    data = hwnasbench()
    change(data)
    with pytest.raises(InvalidTable) as caught:
        tables.read(write("b.pickle", pickle.dumps(data)), "hwnasbench")
    assert said in caught.value.message


# -- tables of one's own


def test_a_plain_table(write):
    text = (
        "key,latency_us.a,latency_us.a.std,latency_us.a.count,energy_wh.a,memory_mib.a,score\nx,1500,100,7,0.001,2,5\n"
    )
    table = tables.read(write("t.csv", text))
    assert table.kind == "plain" and table.archs is None
    latency, energy, memory, score = table.columns
    assert (latency.name, latency.values.tolist(), latency.std.tolist()) == ("latency_ms.a", [1.5], [0.1])
    assert latency.count.tolist() == [7] and latency.stated_unit == "us"
    assert (energy.name, energy.values.tolist(), energy.stated_unit) == ("energy_mj.a", [3600.0], "Wh")
    assert (memory.name, memory.values.tolist()) == ("memory_bytes.a", [2 * 2**20])
    assert (score.cost, score.unit) == ("score", "")


def test_repeats_are_numbered(write):
    text = "key,latency_s.a,latency_s.a.repeat2,latency_s.a.repeat1\nx,1,2,3\n"
    assert tables.read(write("t.csv", text)).columns[0].repeats.tolist() == [[3000.0, 2000.0]]
    with pytest.raises(InvalidTable, match=r"repeats of latency_s.a are \[2\]"):
        tables.read(write("t.csv", "key,latency_s.a,latency_s.a.repeat2\nx,1,2\n"))
    with pytest.raises(InvalidTable, match=r"no column latency_s\.a"):
        tables.read(write("t.csv", "key,latency_s.a.std\nx,1\n"))


# -- files


def test_layouts_are_recognised_and_named(write):
    assert tables.names() == (
        *("accelnasbench", "aihub", "benchncnn", "executorch", "hat", "hwnasbench", "litert", "nasbench201"),
        *("nbmacro", "neurstrucenergy", "nnmeter", "ofa", "onnxruntime", "openvino", "plain", "timm", "trtexec"),
    )
    assert tables.detect(write("a", NASBENCH)) == "nasbench201"
    assert tables.detect(write("a", YAML)) == "ofa"
    assert tables.detect(write("a", HAT)) == "hat"
    assert tables.detect(write("a", nnmeter(latency=1))) == "nnmeter"
    assert tables.detect(write("a", "arch,latency_ms.a\n1 2 3,4\n")) == "plain"
    assert all(tables.detect(write("a", pickle.dumps(hwnasbench(), p))) == "hwnasbench" for p in range(6))
    with pytest.raises(InvalidData, match="none of the known layouts") as caught:
        tables.detect(write("a", "hello"))
    assert "--kind: accelnasbench, aihub" in caught.value.hint
    with pytest.raises(UnknownName) as caught:
        tables.read(write("a", HAT), "hatt")
    assert "'hat'" in caught.value.hint


def test_the_wrong_layout_is_told_the_right_one(write):
    with pytest.raises(InvalidTable) as caught:
        tables.read(write("a", YAML), "nasbench201")
    assert caught.value.hint.startswith("It looks like ofa rather than nasbench201.")


def test_size_is_bounded_before_and_after_decompression(write, tmp_path):
    bomb = write("bomb.gz", gzip.compress(b"0" * 1_000_000))
    assert bomb.stat().st_size < 10_000
    with pytest.raises(InvalidData, match="decompresses to more than 100000 bytes"):
        _files.read_raw(bomb, limit=100_000)
    with pytest.raises(InvalidData, match="has 200000 bytes, at most 100000 are read"):
        _files.read_raw(write("large", b"0" * 200_000), limit=100_000)
    assert len(_files.read_raw(bomb, limit=1_000_000).data) == 1_000_000


def test_a_bomb_is_not_unpacked(write):
    bomb = write("bomb.gz", gzip.compress(bytes(2**26)))
    tracemalloc.start()
    try:
        with pytest.raises(InvalidData, match="decompresses to more than"):
            _files.read_raw(bomb, limit=2**20)
        assert tracemalloc.get_traced_memory()[1] < 2**23
    finally:
        tracemalloc.stop()


def test_files_that_cannot_be_read(write, tmp_path):
    with pytest.raises(InvalidData, match="No such file"):
        tables.read(tmp_path / "none.csv")
    with pytest.raises(InvalidData, match="cannot decompress"):
        tables.read(write("t.gz", gzip.compress(NASBENCH.encode())[:-20]))
    with pytest.raises(InvalidTable, match="is empty"):
        tables.read(write("t.gz", gzip.compress(b"")))


@pytest.mark.parametrize("kind", tables.names())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.one_of(st.binary(max_size=200), st.text(max_size=200).map(str.encode)))
def test_any_file_is_a_table_or_refused(tmp_path, kind, content):
    path = tmp_path / "any"
    path.write_bytes(content)
    try:
        table = tables.read(path, kind)
    except InvalidData as error:
        assert error.message and error.hint
    else:
        assert len(table) and table.columns
