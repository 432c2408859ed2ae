"""NAS-Bench-Macro and Accel-NASBench in made-up files of their layouts, and what is refused."""

import csv
import gzip
import io
import itertools
import json
import tarfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import nas
from device_profiles.errors import InvalidData, InvalidTable, UsageError
from predictors import tables as importing
from predictors.tables import accelnasbench, nbmacro

TEXTS = ["".join(digits) for digits in itertools.product("012", repeat=8)]


@pytest.fixture
def write(tmp_path):
    """Makes a file: `write(name, text or bytes)`."""

    def make(name, content):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return make


def errors(table):
    return [(f.rule, f.column, f.count) for f in importing.lint(table) if f.severity == "error"]


# -- NAS-Bench-Macro


def layers_of(text):
    """What a network does, stage by stage: its first layer, and those behind it that are no identities."""
    return tuple((stage[0], stage[1:].replace("0", "")) for stage in (text[:2], text[2:5], text[5:]))


def macro(texts=TEXTS):
    """A file's content; texts of one network have the same values."""
    rng = np.random.default_rng(0)
    made = {}
    for text in texts:
        work = sum(map(int, text)) + len(text.replace("0", ""))
        runs = (85 + work / 4 + rng.random(3)).tolist()
        known = {"test_acc": runs, "mean_acc": float(np.mean(runs)), "std": float(np.std(runs))}
        made.setdefault(layers_of(text), {**known, "params": 400_000 + work * 1000, "flops": 10**7 + work})
    return {text: made[layers_of(text)] for text in texts}


@pytest.fixture(scope="module")
def whole():
    return macro()


@pytest.mark.parametrize("pack", [str.encode, lambda text: gzip.compress(text.encode())], ids=["plain", "gzip"])
def test_macro_networks_have_genes_and_trainings(write, whole, pack):
    table = importing.read(write("nas-bench-macro_cifar10.json", pack(json.dumps(whole))))
    assert table.kind == "nbmacro" and len(table) == 6561 and table.choices == (3,) * 8
    assert ["".join(map(str, arch)) for arch in table.archs] == TEXTS
    assert table.keys[5000] == ",".join(TEXTS[5000]) and not table.constant.any()
    accuracy, params, flops = table.columns
    assert (accuracy.name, accuracy.cost, accuracy.unit) == ("accuracy.cifar10.test", "accuracy", "%")
    assert accuracy.device is None and set(accuracy.count) == {3.0}
    assert accuracy.values.tolist() == [entry["mean_acc"] for entry in whole.values()]
    assert accuracy.std.tolist() == [entry["std"] for entry in whole.values()]
    assert accuracy.repeats.tolist() == [entry["test_acc"] for entry in whole.values()]
    assert (params.name, params.values[3]) == ("params", whole[TEXTS[3]]["params"])
    assert (flops.name, flops.unit, flops.values[3]) == ("flops", "", whole[TEXTS[3]]["flops"])
    assert [(f.severity, f.rule) for f in importing.lint(table)] == []


def test_each_macro_network_once(write, whole):
    path = write("m.json", json.dumps(whole))
    table = importing.read(path, part="networks")
    kept = [key.replace(",", "") for key in table.keys]
    assert len(kept) == 3969 == len(set(map(layers_of, TEXTS))) == len(set(map(layers_of, kept)))
    assert kept == sorted(kept) and len(importing.read(path, part="texts")) == 6561
    # The first of each, wherever the published form of a network stands or whether it is there at all.
    some = ["00020000", "00002000", "00000000", "00000002", "00000020"]
    table = importing.read(write("s.json", json.dumps(macro(some))), part="networks")
    assert table.keys == ("0,0,0,2,0,0,0,0", "0,0,0,0,0,0,0,0", "0,0,0,0,0,0,0,2")
    with pytest.raises(UsageError, match="no part 'fbnet'"):
        importing.read(path, part="fbnet")


def test_what_is_wrong_with_macro_values_is_found(write, whole):
    bad = {text: dict(entry) for text, entry in whole.items()}
    bad[TEXTS[7]]["mean_acc"], bad[TEXTS[9]]["mean_acc"], bad[TEXTS[11]]["params"] = 931.3, float("inf"), ""
    table = importing.read(write("m.json", json.dumps(bad)))
    assert sorted(errors(table)) == [
        ("missing", "params", 1),
        ("not-finite", "accuracy.cifar10.test", 1),
        # Infinity is above 100 as well.
        ("out-of-range", "accuracy.cifar10.test", 2),
    ]
    clean = table.without_errors(importing.lint(table))
    assert set(TEXTS) - {key.replace(",", "") for key in clean.keys} == {TEXTS[7], TEXTS[9], TEXTS[11]}


def test_macro_tables_are_saved_and_searched(write, whole, tmp_path, monkeypatch):
    importing.read(write("m.json", json.dumps(whole))).save(tmp_path / "t")
    back = importing.load(tmp_path / "t")
    assert back.kind == back.space == "nbmacro" and back.choices == (3,) * 8
    assert back.columns[0].repeats.tolist() == [entry["test_acc"] for entry in whole.values()]
    registry = nas.spaces.REGISTRY  # as it was, for other tests: this space has no networks
    monkeypatch.setattr(registry, "_registered", dict(registry._registered))
    space = nas.spaces.from_choices(
        {f"layer{i}": (0, 1, 2) for i in range(8)}, lambda _: None, input_shape=(1, 3, 8, 8)
    )
    with (tmp_path / "t" / "table.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert ["".join(map(str, space.parse(row["arch"]))) for row in rows] == TEXTS


GOOD = {"test_acc": [90.0, 91.0], "mean_acc": 90.5, "std": 0.5, "params": 1, "flops": 2}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"01201201": {"mean_acc": 90', "as JSON"),
        ('{"01201201": ' + "[" * 100_000, "as JSON"),
        ('{"01201201": {"mean_acc": 90}, "01201201": {"mean_acc": 91}}', "is there twice"),
        ('{"01201201": {"mean_acc": 90, "mean_acc": 91}}', "is there twice"),
        ({}, "no object with entries"),
        ([GOOD], "no object with entries"),
        ({"01201201": GOOD, "0120120": GOOD}, "'0120120' is no text of 8 digits in 0..2"),
        ({"01201203": GOOD}, "'01201203' is no text of 8 digits in 0..2"),
        ({"01201201": GOOD, "0120120\n": GOOD}, "is no text of 8 digits"),
        ({"01201201": 90.5}, "01201201 has no mean_acc"),
        ({"01201201": {"test_acc": [90]}}, "01201201 has no mean_acc"),
        ({"01201201": {**GOOD, "latency": 3}}, "01201201 has 'latency'"),
        ({"01201201": {**GOOD, "test_acc": 90}}, "test_acc is no list"),
        ({"01201201": {**GOOD, "test_acc": [90] * 101}}, "test_acc is no list of at most 100"),
        ({"01201201": {**GOOD, "test_acc": [[90]]}}, "is no number"),
        ({"01201201": {**GOOD, "params": "many"}}, "params: 'many' is no number"),
        ({"01201201": {**GOOD, "params": True}}, "is no number"),
        ({"01201201": {**GOOD, "mean_acc": 0.905}}, "the highest is 0.905): they are shares"),
    ],
)
def test_what_is_no_macro_table_is_refused(write, content, said):
    text = content if isinstance(content, str) else json.dumps(content)
    with pytest.raises(InvalidTable) as caught:
        importing.read(write("m.json", text), "nbmacro")
    assert said in caught.value.message and caught.value.hint


def test_trainings_may_be_missing(write):
    some = {"00000000": {"mean_acc": 80.0}, "00000001": {**GOOD, "test_acc": [90.0]}}
    accuracy = importing.read(write("m.json", json.dumps(some))).columns[0]
    assert accuracy.count.tolist() == [0, 1] and np.isnan(accuracy.repeats[0]).all()
    (bare,) = importing.read(write("m.json", json.dumps({"00000000": {"mean_acc": 80.0}}))).columns
    assert bare.repeats is bare.std is bare.count is None and bare.values.tolist() == [80.0]


def test_macro_files_are_bounded(write, monkeypatch):
    path = write("m.json", json.dumps({"01201201": GOOD}))
    monkeypatch.setattr(nbmacro, "LIMIT_BYTES", 50)
    with pytest.raises(InvalidTable, match="and 50 are allowed"):
        importing.read(path)


# -- Accel-NASBench

EXPANSIONS, KERNELS = (1, 4, 6), (3, 5)
DEVICES = ("3090", "a100", "tpuv2", "tpuv3", "zcu102", "vck190")


def result(rng, latency=True):
    """One published result."""
    arch = {}
    for block in range(7):
        arch[f"block{block}_k"] = int(rng.choice(KERNELS))
        arch[f"block{block}_e"] = int(rng.choice(EXPANSIONS))
        arch[f"block{block}_l"] = int(rng.integers(1, 5 if block == 5 else 4))
        arch[f"block{block}_se"] = bool(rng.random() < 0.5)
    ms = 5 + sum(arch[f"block{b}_e"] * arch[f"block{b}_l"] for b in range(7)) * (1 + rng.random()) / 20
    perf = {f"throughput_{d}": {"throughput_mean": 9e3 / ms, "throughput_std": 2.0 + ms} for d in DEVICES}
    if latency:
        perf |= {f"latency_{d}": {"latency_mean": ms + n, "latency_std": ms / 100} for n, d in enumerate(DEVICES[4:])}
    for n, measured in enumerate(perf.values()):
        measured[next(iter(measured))] *= 1 + n / 10 + rng.random() / 10
    metrics = {"val_top1": 60 + 8 * rng.random(), "val_top5": 85 + 8 * rng.random(), "train_time": 9000 + ms}
    return {"architecture": arch, "metrics": metrics, "platform_perf": perf}


@pytest.fixture(scope="module")
def results():
    rng = np.random.default_rng(1)
    return [result(rng) for _ in range(60)]


def archive(members, change=None):
    """A gzipped tar of `(name, bytes)`, in a folder."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as made:
        made.addfile(tarfile.TarInfo("jsons"))
        for name, data in members:
            info = tarfile.TarInfo(f"jsons/{name}")
            info.size = len(data)
            if change is not None:
                change(info)
            made.addfile(info, io.BytesIO(data))
    return packed.getvalue()


def packed(results):
    return archive([(f"result_{n}.json", json.dumps(one).encode()) for n, one in enumerate(results)])


def as_csv(results, unit="_ms"):
    rows = []
    for one in results:
        row = {**one["architecture"], **one["metrics"]}
        for key, measured in one["platform_perf"].items():
            metric, _, device = key.partition("_")
            stated = f"{metric}{unit}_{device}" if metric == "latency" else key
            row |= {stated: measured[f"{metric}_mean"], f"{stated}_std": measured[f"{metric}_std"]}
        rows.append(row)
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, rows[0])
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def test_accelerators_out_of_the_published_archive(write, results):
    table = importing.read(write("anb_dataset_jsons.tar.gz", packed(results)), part="latency_ms")
    assert table.kind == "accelnasbench" and len(table) == 60 and len(table.choices) == 28
    assert np.prod(table.choices, dtype=float) == 3**7 * 2**7 * 3**6 * 4 * 2**7
    for key, genes, one in zip(table.keys, table.archs.tolist(), results, strict=True):
        arch = one["architecture"]
        assert key == ",".join(map(str, genes))
        assert [EXPANSIONS[g] for g in genes[:7]] == [arch[f"block{b}_e"] for b in range(7)]
        assert [KERNELS[g] for g in genes[7:14]] == [arch[f"block{b}_k"] for b in range(7)]
        assert [g + 1 for g in genes[14:21]] == [arch[f"block{b}_l"] for b in range(7)]
        assert [g == 1 for g in genes[21:]] == [arch[f"block{b}_se"] for b in range(7)]
    by_name = {column.name: column for column in table.columns}
    facts = ["accuracy.imagenet.val_top1", "accuracy.imagenet.val_top5", "train_time_s"]
    costs = [f"throughput.{device}" for device in DEVICES] + ["latency_ms.zcu102", "latency_ms.vck190"]
    assert list(by_name) == facts + costs
    assert by_name[facts[0]].values.tolist() == [one["metrics"]["val_top1"] for one in results]
    assert (by_name[facts[0]].cost, by_name[facts[0]].unit, by_name[facts[2]].unit) == ("accuracy", "%", "s")
    tpu = by_name["throughput.tpuv3"]
    assert (tpu.cost, tpu.unit, tpu.device) == ("throughput", "images/s", "tpuv3")
    assert tpu.values.tolist() == [one["platform_perf"]["throughput_tpuv3"]["throughput_mean"] for one in results]
    assert tpu.std.tolist() == [one["platform_perf"]["throughput_tpuv3"]["throughput_std"] for one in results]
    fpga = by_name["latency_ms.vck190"]
    assert (fpga.cost, fpga.unit, fpga.stated_unit) == ("latency", "ms", "ms")
    assert fpga.values.tolist() == [one["platform_perf"]["latency_vck190"]["latency_mean"] for one in results]
    assert list(table.as_sources()) == ["zcu102", "vck190"]
    assert [(f.severity, f.rule) for f in importing.lint(table)] == [("note", "coverage")]


def test_no_unit_is_guessed(write, results):
    path = write("a.tar.gz", packed(results))
    with pytest.raises(InvalidTable, match="'latency_zcu102': the layout states no unit") as caught:
        importing.read(path)
    assert "--part latency_ms" in caught.value.hint
    without = importing.read(path, part="throughput")
    assert len(without.columns) == 9 and "latency" not in {column.cost for column in without.columns}
    ms, seconds = (importing.read(path, part=f"latency_{unit}").column("latency_ms.zcu102") for unit in ("ms", "s"))
    assert seconds.values == pytest.approx(1000 * ms.values) and seconds.std == pytest.approx(1000 * ms.std)
    assert seconds.stated_unit == "s"
    with pytest.raises(UsageError, match="no part 'latency_minutes'"):
        importing.read(path, part="latency_minutes")
    rng = np.random.default_rng(2)
    plain = write("p.json", json.dumps([result(rng, latency=False) for _ in range(3)]))
    assert {column.cost for column in importing.read(plain).columns} == {"accuracy", "train_time", "throughput"}


def test_the_same_content_in_other_files(write, results):
    named = {f"net{n}": one for n, one in enumerate(results)}
    contents = [packed(results), json.dumps(results), json.dumps(named), as_csv(results, "")]
    tables = [importing.read(write("t", content), part="latency_us") for content in contents]
    tables.append(importing.read(write("t", as_csv(results, "_us"))))
    for table in tables:
        assert table.kind == "accelnasbench" and np.array_equal(table.archs, tables[0].archs)
        for column, first in zip(table.columns, tables[0].columns, strict=True):
            assert column.name == first.name and np.array_equal(column.values, first.values)
            assert (column.std is None) == (first.std is None)
            assert column.std is None or np.array_equal(column.std, first.std)
    one = importing.read(write("t", json.dumps(results[4])), part="throughput")
    assert len(one) == 1 and np.array_equal(one.archs[0], tables[0].archs[4])


def test_accelerator_tables_are_linted_and_saved(write, results, tmp_path):
    bad = json.loads(json.dumps(results))
    for n in (3, 5, 8):
        bad[n]["platform_perf"]["latency_zcu102"]["latency_mean"] = -1
    del bad[9]["platform_perf"]["throughput_a100"]
    bad.append(bad[0])
    table = importing.read(write("t.tar", gzip.decompress(packed(bad))), part="latency_ms")
    assert sorted(errors(table), key=str) == [
        ("duplicate", None, 1),
        ("missing", "throughput.a100", 1),
        ("negative", "latency_ms.zcu102", 3),
        ("sentinel", "latency_ms.zcu102", 3),
    ]
    table.without_errors(importing.lint(table)).save(tmp_path / "t")
    back = importing.load(tmp_path / "t")
    assert len(back) == 56 and back.left_out.rows == 5
    assert back.column("throughput.tpuv2").unit == "images/s" and back.source.licence == "Accel-NASBench: Apache-2.0"


def changed(path, value):
    """A result with one place changed; `None` removes it."""

    def change(one):
        made = json.loads(json.dumps(one))
        place = made
        for name in path[:-1]:
            place = place[name]
        if value is None:
            del place[path[-1]]
        else:
            place[path[-1]] = value
        return made

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (changed(["architecture", "block3_e"], 3), "block3_e is 3"),
        (changed(["architecture", "block6_l"], 4), "block6_l is 4"),
        (changed(["architecture", "block0_se"], 1), "block0_se is 1"),
        (changed(["architecture", "block0_k"], None), "block0_k is nothing"),
        (changed(["architecture"], None), "has no architecture"),
        (changed(["metrics"], [1]), "is no object"),
        (changed(["metrics", "val_top1"], "good"), "val_top1: 'good' is no number"),
        (changed(["metrics", "val_top1"], 0.67), "no val_top1 is above 1 %"),
        (changed(["metrics"], {"energy_a100": 3}), "'energy_a100' is no METRIC_DEVICE"),
        (changed(["platform_perf", "throughput_a100"], 800), "'throughput_a100' has no throughput_mean"),
        (changed(["platform_perf", "power_a100"], {"mean": 8}), "'power_a100' has no power_mean"),
        (changed(["platform_perf", "latency_ms"], {"latency_mean": 8}), "'latency_ms' is no METRIC_DEVICE"),
        (changed(["platform_perf", "throughput_x y"], {"throughput_mean": 8}), "'throughput_x y' is no METRIC_DEVICE"),
        (lambda one: 3, "has no architecture"),
        (lambda one: {"architecture": one["architecture"]}, "needs rows and columns"),
    ],
)
def test_what_is_no_accelerator_result_is_refused(write, results, change, said):
    for content in (json.dumps([change(results[0])]), packed([change(results[0])])):
        with pytest.raises(InvalidTable) as caught:
            importing.read(write("t", content), "accelnasbench", part="throughput")
        assert said in caught.value.message and caught.value.hint


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"[" * 100_000, "as JSON"),
        (b'[{"architecture": {"block0_e": 1, "block0_e": 4}}]', "is there twice"),
        (b"[]", "no results"),
        (b"{}", "no results"),
        (b"block0_e,throughput_a100\n1,2\n", "block1_e is nothing"),
        (archive([]), "no results"),
        (archive([("result_0.json", b"{")]), "result_0.json as JSON"),
        (archive([("result_0.json", b"\xff")]), "result_0.json as JSON"),
        (archive([("a.json", b" " * 2**20 + b"{}")]), "'a.json' has more than 1048576 bytes"),
        (archive([("a.json", b"{}"), ("a.json", b"{}")]), "has no architecture"),
    ],
)
def test_other_accelerator_files_are_refused(write, content, said):
    with pytest.raises(InvalidTable) as caught:
        importing.read(write("t", content), "accelnasbench")
    assert said in caught.value.message and caught.value.hint


def test_archives_lead_nowhere_and_are_bounded(write, results, tmp_path, monkeypatch):
    (tmp_path / "secret.json").write_text(json.dumps(results[1]))
    data = json.dumps(results[0]).encode()

    def link(info):
        if "link" in info.name:
            info.type, info.linkname, info.size = tarfile.SYMTYPE, str(tmp_path / "secret.json"), 0

    names = ("result_0.json", "link.json", "._result_1.json", "notes.txt")
    path = write("a.tar.gz", archive([(name, data) for name in names], link))
    before = sorted(tmp_path.rglob("*"))
    table = importing.read(path, part="throughput")
    assert len(table) == 1 and sorted(tmp_path.rglob("*")) == before
    twice = write("b.tar.gz", archive([("result_0.json", data), ("result_0.json", data)]))
    with pytest.raises(InvalidTable, match=r"'result_0\.json' is there twice"):
        importing.read(twice, part="throughput")
    monkeypatch.setattr(accelnasbench, "LIMIT_RESULTS", 2)
    with pytest.raises(InvalidTable, match="more than 2 files"):
        importing.read(path, part="throughput")
    with pytest.raises(InvalidTable, match="3 results, and 2 are allowed"):
        importing.read(write("c.json", json.dumps(results[:3])), part="throughput")
    monkeypatch.setattr(accelnasbench, "LIMIT_COSTS", 15)
    with pytest.raises(InvalidTable, match="16 costs, 15 are allowed"):
        importing.read(write("c.json", json.dumps(results[:1])), part="throughput")
    monkeypatch.setattr(accelnasbench, "LIMIT_BYTES", 1000)
    with pytest.raises(InvalidTable, match="and 1000 are allowed"):
        importing.read(path, part="throughput")


TAR = gzip.decompress(packed([result(np.random.default_rng(3)) for _ in range(2)]))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(places=st.lists(st.tuples(st.integers(0, 2500), st.integers(0, 255)), max_size=6), length=st.integers(0, 12_000))
def test_a_damaged_archive_is_a_table_or_refused(tmp_path, places, length):
    data = bytearray(TAR)
    for place, byte in places:
        data[place] = byte
    path = tmp_path / "a.tar"
    path.write_bytes(data[:length])
    try:
        table = importing.read(path, "accelnasbench", part="throughput")
    except InvalidData as error:
        assert error.message and error.hint
    else:
        assert 1 <= len(table) <= 2 and table.columns


def test_layouts_are_told_apart(write, whole, results):
    assert importing.detect(write("t", json.dumps(whole))) == "nbmacro"
    assert all(
        importing.detect(write("t", content)) == "accelnasbench"
        for content in (packed(results), json.dumps(results), json.dumps(results[0]), as_csv(results))
    )
    kernels = {"conv": {"id_0": {"config": {"CIN": 3}, "latency": 1.0}}}
    assert importing.detect(write("t", json.dumps(kernels))) == "nnmeter"
    with pytest.raises(InvalidTable) as caught:
        importing.read(write("t", json.dumps(whole)), "accelnasbench")
    assert caught.value.hint.startswith("It looks like nbmacro")
