"""The benchmark of compiling takes the time of stages by their names, so it must know where they are."""

from __future__ import annotations

import device_profiles
from benchmarks import compiling


def test_each_stage_is_timed():
    space = "nasbench201:cells=1,channels=4,resolution=8"
    found = compiling.measured(space, device_profiles.load("local-onnxruntime"), 2)
    spent = found["ms"]
    assert {*compiling.STAGES, "fuse", "rest", "total", "elapsed"} == set(spent)
    assert found["networks"] == 2 and all(spent[stage] > 0 for stage in (*compiling.STAGES, "fuse"))
