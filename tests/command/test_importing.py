"""`hwnas import` and `hwnas lint` as other programs see them."""

import pickle

import numpy as np
import pytest

from predictors.tables import load

YAML = """Conv-input:224x224x3-output:112x112x16: {mean: 1.5, var: 0.01}
Logits-input:1280-output:1000: {mean: 0.5, var: 0.0}
"""


def costs(bad=3, rows=60):
    """A table of one's own: latencies in s, some of them -1."""
    values = 0.01 * np.exp(0.3 * np.random.default_rng(0).standard_normal(rows))
    values[:bad] = -1.0
    return "key,latency_s.phone\n" + "".join(f"net{i},{value}\n" for i, value in enumerate(values))


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "costs.csv"
    path.write_text(costs())
    return path


def test_import_leaves_out_what_is_wrong_and_says_so(ask, file, tmp_path):
    code, answer = ask("import", "plain", file, "-o", tmp_path / "t")
    assert code == 0 and answer["kind"] == "plain" and answer["rows"] == 57
    assert answer["left_out"] == {"rows": 3, "columns": []}
    assert answer["columns"] == [
        {
            "name": "latency_ms.phone",
            "cost": "latency",
            "unit": "ms",
            "stated_unit": "s",
            "device": "phone",
            "workload": None,
        }
    ]
    assert {finding["rule"] for finding in answer["findings"]} == {"negative", "sentinel"}
    assert answer["findings"][0]["count"] == 3 and answer["findings"][0]["sample"] == ["net0", "net1", "net2"]
    assert answer["source"]["file"] == "costs.csv" and len(answer["source"]["sha256"]) == 64
    table = load(answer["path"])
    assert len(table) == 57 and table.columns[0].values.min() > 1.0


def test_import_says_it_to_people(hwnas, file, tmp_path):
    code, out, _ = hwnas("import", "plain", file, "-o", tmp_path / "t")
    assert code == 0
    for text in (
        "costs.csv: plain, 60 rows, 1 column\n",
        "latency [ms, from s]: phone\n",
        "left out: 3 rows, because of 2 errors\n",
        "negative latency_ms.phone: 3 values are negative, the lowest -1000 ms\n",
        "such as net0, net1, net2\n",
        f"57 rows written to {tmp_path / 't'}\n",
    ):
        assert text in out


def test_import_keeps_all_if_asked(ask, hwnas, file, tmp_path):
    code, answer = ask("import", "plain", file, "-o", tmp_path / "t", "--keep")
    assert code == 0 and answer["rows"] == 60 and answer["left_out"]["rows"] == 0 and len(answer["findings"]) == 2
    assert ask("lint", tmp_path / "t")[0] == 1
    assert "kept in spite of 2 errors" in hwnas("import", "plain", file, "-o", tmp_path / "t", "--keep")[1]


def test_lint_answers_no_if_there_are_errors(ask, hwnas, file, tmp_path):
    code, answer = ask("lint", file)
    assert code == 1 and (answer["errors"], answer["warnings"], answer["notes"]) == (2, 0, 0)
    assert {f["severity"] for f in answer["findings"]} == {"error"} and "error" not in answer
    code, out, _ = hwnas("lint", file)
    assert code == 1 and "\n2 errors\n  negative latency_ms.phone: " in out and "Leave the rows out." in out


def test_lint_of_what_was_imported_has_no_errors(ask, hwnas, file, tmp_path):
    ask("import", "plain", file, "-o", tmp_path / "t")
    code, answer = ask("lint", tmp_path / "t")
    assert code == 0 and answer["errors"] == 0 and answer["left_out"]["rows"] == 3 and answer["rows"] == 57
    _, out, _ = hwnas("lint", tmp_path / "t")
    assert "left out when it was imported: 3 rows" in out and "nothing was found" in out


def test_lint_with_notes_alone_is_a_yes(ask, hwnas, tmp_path):
    (tmp_path / "pixel.yaml").write_text(YAML)
    code, answer = ask("lint", tmp_path / "pixel.yaml")
    assert code == 0 and answer["kind"] == "ofa" and answer["notes"] == 1
    assert "1 note\n  no-networks: " in hwnas("lint", tmp_path / "pixel.yaml")[1]


def test_lint_compares_two_tables(ask, tmp_path):
    for name in ("1080ti", "i7"):
        (tmp_path / f"{name}.csv").write_text(costs(bad=0))
    assert ask("lint", tmp_path / "1080ti.csv")[0] == 0
    code, answer = ask("lint", tmp_path / "1080ti.csv", "--against", tmp_path / "i7.csv")
    assert code == 1 and [finding["rule"] for finding in answer["findings"]] == ["same-column"]


def test_a_device_and_a_part_are_named(ask, tmp_path):
    (tmp_path / "pixel.yaml").write_text(YAML)
    _, answer = ask("import", "ofa", tmp_path / "pixel.yaml", "-o", tmp_path / "t", "--device", "pixel1")
    assert answer["columns"][0]["name"] == "latency_ms.pixel1"
    data = {"fbnet": {"pixel3_latency": {"FC_Cin8_Cout10": 0.5, "FC_Cin16_Cout10": 0.75}}}
    (tmp_path / "b.pickle").write_bytes(pickle.dumps(data))
    code, answer = ask("lint", tmp_path / "b.pickle", "--part", "fbnet", "--kind", "hwnasbench")
    assert code == 0 and answer["rows"] == 2


class Run:
    def __reduce__(self):
        return eval, ("1 + 1",)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("lint", "none.csv"), 4, "none.csv: No such file"),
        (("lint", "hello.txt"), 4, "looks like none of the known layouts"),
        (("lint", "evil.pickle"), 4, "the global builtins.eval; nothing of it was run"),
        (("lint", "costs.csv", "--kind", "plane"), 2, "unknown importer 'plane'"),
        (("lint", "costs.csv", "--kind", "hat"), 4, "lacks latency_mean_encoder"),
        (("lint", "folder"), 4, "folder is not a table's folder"),
        (("lint", "table", "--kind", "plain"), 2, "table is an imported table"),
        (("import", "plain", "costs.csv", "-o", "folder"), 2, "folder exists and is not a table"),
        (("import", "plain", "costs.csv", "-o", "runs/a.db"), 2, "runs/a.db is not a folder"),
        (("import", "plain", "costs.csv", "-o", "postgresql://host/lab"), 2, "is not a folder"),
        (("import", "plain", "costs.csv", "-o", "hello.txt"), 2, "hello.txt is not a folder"),
        (("import", "plain", "bad.csv", "-o", "new"), 4, "nothing is left of bad.csv"),
        (("import", "plain", "unit.csv", "-o", "new"), 4, "a latency has to say its unit"),
    ],
)
def test_what_cannot_be_done_is_refused(ask, hwnas, tmp_path, monkeypatch, arguments, code, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "costs.csv").write_text(costs())
    (tmp_path / "hello.txt").write_text("hello")
    (tmp_path / "evil.pickle").write_bytes(pickle.dumps(Run()))
    (tmp_path / "bad.csv").write_text("key,latency_ms.a\nx,-1\ny,-2\n")
    (tmp_path / "unit.csv").write_text("key,latency.a\nx,1\n")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "mine.txt").write_text("mine")
    ask("import", "plain", "costs.csv", "-o", "table")
    before = sorted(path.name for path in tmp_path.rglob("*"))
    got, answer = ask(*arguments)
    assert got == code and said in answer["error"]["message"] and answer["error"]["hint"]
    got, out, err = hwnas(*arguments)
    assert got == code and out == "" and f"error: {answer['error']['message']}\nhint: " in err
    assert sorted(path.name for path in tmp_path.rglob("*")) == before


def test_an_import_replaces_a_table(ask, file, tmp_path):
    ask("import", "plain", file, "-o", tmp_path / "t")
    file.write_text(costs(bad=0, rows=30))
    assert ask("import", "plain", file, "-o", tmp_path / "t")[1]["rows"] == 30
    assert len(load(tmp_path / "t")) == 30


def test_a_profile_is_imported_with_what_is_said_of_it(ask, tmp_path):
    file = tmp_path / "ncnn.txt"
    file.write_text("squeezenet  min = 2.70  max = 2.90  avg = 2.75\nmobilenet  min = 3.50  max = 3.90  avg = 3.60\n")
    code, answer = ask("import", "benchncnn", file, "--device", "pi5", "--part", "threads=4", "-o", tmp_path / "t")
    assert code == 0 and answer["rows"] == 2 and answer["columns"][0]["name"] == "latency_ms.pi5"
    assert load(tmp_path / "t").stated == {"runtime": "ncnn", "units": "asked for", "threads": "4"}
    code, answer = ask("lint", file)
    assert code == 0 and [finding["rule"] for finding in answer["findings"]] == ["threads-unknown"]


def test_nothing_is_left_of_a_profile_that_is_cut_short(hwnas, tmp_path):
    profile = '[\n{"cat" : "Session","ph" : "X","name" :"model_run","ts" :1,"dur" :2,"args" : {}},\n{"cat" : "Node","na'
    (tmp_path / "cut.json").write_text(profile)
    code, _, err = hwnas("import", "onnxruntime", tmp_path / "cut.json", "-o", tmp_path / "t")
    assert code == 4 and "end_profiling()" in err
    assert [path.name for path in tmp_path.iterdir()] == ["cut.json"]
