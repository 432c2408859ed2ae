"""ONNX's own node tests under the runtime `torch`: the outputs that ONNX defines, or a refusal by name."""

from __future__ import annotations

import re

import onnx
import pytest

from benchmarks import torch_operators


@pytest.fixture(scope="module")
def verdicts() -> list[torch_operators.Verdict]:
    return torch_operators.all_verdicts()


def assert_right_or_named(verdicts: list[torch_operators.Verdict]) -> None:
    wrong = {verdict.test: verdict.difference for verdict in verdicts if verdict.difference}
    assert not wrong
    for verdict in verdicts:
        if verdict.refusal:
            assert torch_operators.FILE in verdict.refusal
            assert any(re.search(rf"\b{re.escape(kind)}\b", verdict.refusal) for kind in verdict.operators), verdict


@pytest.mark.slow
def test_every_node_test_agrees_or_is_refused_by_name(verdicts):
    assert len(verdicts) > 1500
    assert_right_or_named(verdicts)


def test_the_page_of_operators_is_current(verdicts):
    written = torch_operators.PAGE.read_text(encoding="utf-8")
    if f"of onnx {onnx.__version__}," not in written:
        pytest.skip("the page was written with another version of onnx, which has other node tests")
    assert written == torch_operators.page(verdicts), "run python -m benchmarks.torch_operators --write"


@pytest.mark.slow
@pytest.mark.parametrize("constants_from", [0, 1])
def test_inputs_that_are_weights_change_nothing(constants_from: int):
    """Builders prepare what is constant at load: weights, positions, scales. All of it must compute the same."""
    found = torch_operators.all_verdicts(constants_from=constants_from)
    assert len(found) > 1000
    assert_right_or_named(found)
