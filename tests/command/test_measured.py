"""Measured devices by their names: shown, predicted with, told of a space; and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from profiler.testing import convolution

NAME = "xeon-amx-torch"
SPACE = "nasbench201:cells=1,channels=4,resolution=8"
#: 81 networks.
SMALL = "mobilenetv3:stages=1,layers=2,resolution=32,smallest=32"


def test_they_are_listed_and_shown(hwnas: Any, ask: Any) -> None:
    code, listed = ask("devices", "list")
    assert code == 0 and NAME in listed["measured"]
    assert NAME in hwnas("devices", "list")[1]
    code, shown = ask("devices", "show", NAME)
    assert code == 0 and shown["target"]["name"] == NAME and shown["target"]["hardware"]["cpu_model"]["value"]


def test_a_model_is_predicted_by_name(ask: Any, tmp_path: Any) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(convolution())
    code, said = ask("predict", NAME, "--model", path)
    assert code == 0 and said["predictions"][0]["value"] > 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--from", NAME), "is told of a space alone"),
        (("--from", NAME, "--space", SPACE, "--store", "a.db"), "is told of a space alone"),
        (("local-torch", "--from", NAME, "--space", SPACE), "is told of a space alone"),
        (("--from", "nobody", "--space", SPACE), "is not a predictor's folder"),
        (("local-torch",), "--store is missing"),
        (("--store", "a.db"), "TARGET is missing"),
    ],
)
def test_what_fit_refuses(hwnas: Any, tmp_path: Any, words: tuple[str, ...], message: str) -> None:
    folder = tmp_path / "fitted"
    code, _, said = hwnas("fit", *words, "-o", folder)
    assert code in (2, 4) and message in said and not folder.exists()


@pytest.mark.slow
def test_a_search_for_another_device_has_no_finalists_here(hwnas: Any, tmp_path: Any) -> None:
    known = tmp_path / "known"
    code, *_ = hwnas("fit", "--from", NAME, "--space", SMALL, "-o", known)
    assert code == 0
    code, _, said = hwnas(
        "search", "--space", SMALL, "--objective", "params",
        "--objective", f"latency:{known}", "--strategy", "random", "--evaluations", "3", "--target", "local-torch",
        "--finalists", "1", "-o", tmp_path / "run",
    )  # fmt: skip
    assert code == 4 and "another target" in said
