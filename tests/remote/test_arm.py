"""A board of another kind behind sshd: its own conditions, its own fused graph, and the same commands."""

import pytest

import device_profiles
import profiler
from profiler import deploying, subjects, transports
from profiler.conditions import conditions_of
from profiler.fusing import fused_graph
from profiler.testing import convolution


@pytest.fixture(scope="module")
def arm_board(board):
    """The board with a Python of aarch64, and the agent on it."""
    from . import arm

    folder = board.home / "arm"
    folder.mkdir()
    arm.python(folder)
    enter = board.place / "enter"
    enter.write_text(enter.read_text().replace("&& exec", f"&& export PATH={folder}:$PATH && exec"))
    made = deploying.deploy(transports.elsewhere_or_refuse(board.target()), "onnxruntime")
    assert made.machine == "aarch64" and made.installed == ()
    return board


def test_an_arm_board_is_measured_as_what_it_is(arm_board, tmp_path):
    target, path = arm_board.target(), tmp_path / "model.onnx"
    path.write_bytes(convolution())
    conditions = conditions_of(target)
    assert conditions.own.machine == "aarch64" and conditions.device == "Emulated Cortex-A72"
    here = device_profiles.load("local-onnxruntime")
    assert {"machine", "cpu_flags"} <= conditions.differences(conditions_of(here)).keys()
    there, mine = (fused_graph(path, one) for one in (target, here))
    assert there.to_json() != mine.to_json(), "x86 blocks layouts, and Arm does not"
    assert not any("Reorder" in node.operator.op_type for node in there.nodes)
    budget = profiler.Budget(
        spread=9.0, device_s=5.0, min_processes=1, max_processes=1, rounds=3, profile_runs=1, memory=False
    )
    with profiler.Store(tmp_path / "a.db") as store:
        found = profiler.measure([subjects.from_file(path)], target=target, store=store, budget=budget)
        assert len(found.measurements) == 1 and not found.failures, found.failures
        assert store.fused(found.measurements[0].model, conditions).to_json() == there.to_json()
        assert store.require_conditions("board").own.machine == "aarch64"
