"""Names of others: shown on terminals, in pages and in spreadsheets, and obeyed by none of them."""

from __future__ import annotations

import csv
import subprocess
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

import nas
from device_profiles.errors import InvalidModel
from device_profiles.terminal import visible
from hwnas_cli.answer import Answer, answers, end, say, say_error, table
from hwnas_cli.progress import Live
from nas.report import front
from predictors import page, tables
from predictors.comparison import Comparison, Row, Selected, Spread
from predictors.tables import Column, Source, Table
from profiler.events import ModelFailed

#: Colours, a title of the window, the cursor up, a C1 control, turned directions, nothing to see, and half a surrogate.
NASTY = "a\x1b[31m\x1b]0;t\x07\x9b2A\u202eb\u2066\u200bc\r\x7f\udc80\u2028"
SHOWN = r"a\x1b[31m\x1b]0;t\x07\x9b2A\u202eb\u2066\u200bc\x0d\x7f\udc80\u2028"
TAG = "<script>alert(1)</script>"


def obeyed(text: str) -> bool:
    return any(unicodedata.category(one) in ("Cc", "Cf", "Cs", "Zl", "Zp") and one not in "\n\t" for one in text)


def test_what_a_terminal_obeys_is_shown() -> None:
    assert visible(NASTY) == SHOWN
    assert visible("naïve 模型 🙂 a\u00a0b") == "naïve 模型 🙂 a\u00a0b"
    assert visible("a\n\tb") == "a\n\tb" and visible("a\n\tb", keep="") == r"a\x0a\x09b"


@given(st.text(st.characters()))
def test_nothing_that_is_shown_is_obeyed(text: str) -> None:
    assert not obeyed(visible(text))
    visible(text).encode()


def test_cells_stay_in_their_line() -> None:
    assert table(["", "n"], [["a\nmodel  1 ms\r", "\t1"]]).count("\n") == 1


def test_all_that_is_printed_goes_through_one_door(capsys: pytest.CaptureFixture[str]) -> None:
    say(NASTY)
    say_error(InvalidModel(f"{NASTY}\nerror: not ours", hint=NASTY))
    end(answers("x")(lambda: Answer({}, NASTY))(), as_json=False)
    live = Live()
    live(NASTY, 1, 1)
    live.campaign(ModelFailed("id", f"{NASTY}\n", NASTY))
    shown = capsys.readouterr()
    assert not obeyed(shown.out) and not obeyed(shown.err)
    assert shown.err.count(SHOWN) == 6 and shown.out == f"{SHOWN}\n"
    assert "\nerror: not ours" not in shown.err


def test_a_file_with_escapes_in_all_its_names(tmp_path: Path, onnx_named: Callable[[str], bytes]) -> None:
    for name, content in {"a\x1b[2J\u202e.onnx": onnx_named("\x1b[31m"), "b\x1b[2J.onnx": b"\x1b[31m"}.items():
        (tmp_path / name).write_bytes(content)
    models = [word for path in sorted(tmp_path.glob("*.onnx")) for word in ("--model", str(path))]
    command = [sys.executable, "-m", "hwnas", "profile", "fake", *models, "--store", str(tmp_path / "a.db")]
    ended = subprocess.run([*command, "--budget", "1s"], capture_output=True, text=True, timeout=300, check=False)
    assert ended.returncode == 0, ended.stderr
    assert r"\x1b[2J\u202e.onnx" in ended.stdout and r"b\x1b[2J.onnx" in ended.stdout
    assert not obeyed(ended.stdout) and not obeyed(ended.stderr)


@pytest.fixture
def onnx_named() -> Callable[[str], bytes]:
    """Makes a model whose nodes and values have this in their names."""

    def make(name: str) -> bytes:
        value = helper.make_tensor_value_info
        graph = helper.make_graph(
            [helper.make_node("Relu", [f"x{name}"], [f"y{name}"], name=f"n{name}")],
            name, [value(f"x{name}", 1, [1, 4])], [value(f"y{name}", 1, [1, 4])],
        )  # fmt: skip
        content: bytes = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10
        ).SerializeToString()
        return content

    return make


FORMULAS = ("=1+1", "+1", "-1+cmd|' /C calc'!A0", "@SUM(A1)", "'=1", "''@x", "'plain", "plain")


def test_a_table_holds_no_formulas_and_comes_back_as_it_was(tmp_path: Path) -> None:
    column = Column("=lat", "latency", "ms", np.arange(-4.0, 4.0), device="a")
    made = Table(kind="plain", keys=FORMULAS, columns=(column,), source=Source("f", "0", 1), types=FORMULAS)
    made.save(tmp_path / "t")
    with (tmp_path / "t" / "table.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["key", "type", "'=lat"]
    texts = [cell for row in rows for cell in row[:2]]
    assert not [cell for cell in texts if cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n"))]
    assert [float(row[2]) for row in rows[1:]] == list(column.values)  # numbers stay numbers
    back = tables.load(tmp_path / "t")
    assert back.keys == made.keys and back.types == made.types and back.columns[0].name == "=lat"


def test_a_comparison_shows_tags_in_names(tmp_path: Path) -> None:
    figures = {"mape": Spread(0.1, 0.0, 0.2)}
    row = Row(
        TAG, figures, {TAG: (0.1, 3)}, Selected(0.0, 0.0, 0.0, 0.0), ((0.5, 0.5), (0.9, 0.8)), np.array([1.0, 2.0])
    )
    broken = Row(f"{TAG}2", {}, {}, None, (), np.array([]), failure=TAG)
    compared = Comparison(TAG, TAG, TAG, (row, broken), None, 2, 1, np.array([1.0, 2.0]))
    text = page.write(compared, tmp_path / "p.html").read_text(encoding="utf-8")
    assert "alert(1)" in text and TAG not in text


def test_a_run_shows_tags_in_names(tmp_path: Path) -> None:
    space = nas.spaces.load("nasbench201")
    archs = np.unique(space.sample(3000, np.random.default_rng(0)), axis=0)
    rows = [f"{space.format(arch)},{arch.sum()},{(arch == 3).sum()}" for arch in archs]
    (tmp_path / "t.csv").write_text("\n".join([f"arch,{TAG},b", *rows]) + "\n")
    found = nas.search(
        "nasbench201",
        objectives=[f"table:{tmp_path}/t.csv:{TAG}", f"table:{tmp_path}/t.csv:b"],
        strategy="random", evaluations=40, folder=tmp_path / "run",
    )  # fmt: skip
    latency = {"value": 1.0, "low": 1.0, "high": 1.0, "state": "stable"}
    found.study.set_finalist(found.front[0].arch, {"measured": {"latency_ms": latency}, "onnx": TAG})
    text = front.write(found.study, tmp_path / "front.html").read_text(encoding="utf-8")
    assert "alert(1)" in text and TAG not in text
