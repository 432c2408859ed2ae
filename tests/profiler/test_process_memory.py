"""Peak memory of a process that runs a model, by the agent itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from onnx import helper

from device_profiles.errors import HwnasError
from device_profiles.facts import Unavailable
from profiler import Budget, Store, measure
from profiler.agent.job import Candidate, Job, JobPlan
from profiler.testing import convolution
from profiler.transports.local import LocalTransport

ROOT = Path(__file__).resolve().parents[2]
MIB = 1 << 20
Make = Callable[..., Any]

needs_proc = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="this system has no clear_refs")


def peaks(folder: Path, runtime: str, models: dict[str, bytes], root: Path = ROOT) -> dict[str, dict[str, Any]]:
    """What the agent says of the memory of models."""
    for name, content in models.items():
        (folder / f"{name}.onnx").write_bytes(content)
    candidates = tuple(Candidate(name, f"{name}.onnx", memory=True) for name in models)
    Job("nonce", runtime, candidates, plan=JobPlan(rounds=1, min_rounds=1, seconds=0.1)).write(folder / "job.json")
    lines = LocalTransport(root=root).run(folder, {"OMP_NUM_THREADS": "1"}, lambda: 300.0)
    events = [json.loads(line) for line in lines]
    return {event["id"]: event for event in events if event["event"] == "memory"}


@pytest.fixture
def product(onnx_model: Make) -> Make:
    """Makes a model with a square weight of so many MiB."""

    def make(mib: int) -> bytes:
        size = int((mib * MIB // 4) ** 0.5)
        nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
        content: bytes = onnx_model(nodes, {"x": (1, size)}, {"y": (1, size)}, {"w": (size, size)}).SerializeToString()
        return content

    return make


@needs_proc
def test_the_peak_grows_by_about_the_weights(tmp_path: Path, product: Make) -> None:
    found = peaks(tmp_path, "onnxruntime", {"small": product(1), "large": product(65), "again": product(1)})
    small, large, again = (found[name]["process_peak_bytes"] for name in ("small", "large", "again"))
    assert 0.9 * 64 * MIB <= large - small <= 4 * 64 * MIB, "once, and what loading it needs"
    assert abs(again - small) < 16 * MIB, "the peak of one model is not the next one's"
    assert small > 8 * MIB, "a process with a runtime in it"


@needs_proc
def test_a_model_that_cannot_be_run_has_no_peak(tmp_path: Path) -> None:
    found = peaks(tmp_path, "onnxruntime", {"bad": convolution("NoSuchOperator"), "good": convolution()})
    assert "process_peak_bytes" not in found["bad"] and "could not be run" in found["bad"]["unavailable"]
    assert found["good"]["process_peak_bytes"] > 0


WITHOUT = {
    "no-proc": """
import pathlib
exists = pathlib.Path.exists
pathlib.Path.exists = lambda self, **more: not str(self).startswith("/proc/self") and exists(self, **more)
""",
    "no-fork": "import os\ndel os.fork\n",
}


@pytest.fixture(params=sorted(WITHOUT))
def poor_system(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The toolkit, on a system that lacks something."""
    root = tmp_path / "poor"
    root.mkdir()
    (root / "sitecustomize.py").write_text(WITHOUT[request.param])
    for package in ("device_profiles", "profiler"):
        (root / package).symlink_to(ROOT / package)
    return root


def test_where_it_cannot_be_told_there_is_a_reason_and_never_a_zero(tmp_path: Path, poor_system: Path) -> None:
    (found,) = peaks(tmp_path, "fake", {"m": convolution()}, poor_system).values()
    assert "process_peak_bytes" not in found and "clear_refs" in found["unavailable"]


def test_the_reason_reaches_the_measurement(
    tmp_path: Path,
    poor_system: Path,
    fake: Make,
    reached: Make,
    subject: Make,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HWNAS_CACHE", str(tmp_path / "cache"))
    target = reached(fake(), poor_system)
    budget = Budget(spread=1.0, min_processes=1, rounds=5)
    with Store(tmp_path / "a.db") as store:
        (row,) = measure([subject()], target=target, store=store, budget=budget).measurements
    assert isinstance(row.memory.process, Unavailable) and "clear_refs" in row.memory.process.reason
    assert row.to_plain()["memory_bytes"]["process"] == {"unavailable": row.memory.process.reason}


def test_memory_that_was_not_asked_for_says_so(
    tmp_path: Path, fake: Make, subject: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HWNAS_CACHE", str(tmp_path / "cache"))
    budget = Budget(spread=1.0, min_processes=1, rounds=5, memory=False)
    with Store(tmp_path / "a.db") as store:
        (row,) = measure([subject()], target=fake(), store=store, budget=budget).measurements
    assert row.memory.process == Unavailable("it was not measured")


def test_a_model_that_cannot_be_read_is_refused_before_its_memory_is(tmp_path: Path) -> None:
    from profiler import subjects

    with pytest.raises(HwnasError):
        subjects.from_bytes(b"no model", name="bad")
