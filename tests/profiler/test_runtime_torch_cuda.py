"""PyTorch on a GPU, against a stand-in: the CPU takes the place of the GPU, and nothing else is different."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import device_profiles
from device_profiles.conditions import Gpu
from device_profiles.errors import DeviceError, InvalidModel, UsageError, WrongPrecision
from profiler import compilers, conditions, runtimes, transports
from profiler.agent import facts
from profiler.agent.__main__ import Worker
from profiler.agent.job import Candidate, Job, JobPlan
from profiler.compilers.torch_cuda import in_precision
from profiler.fusing import read_fused
from profiler.kernels import FEWEST_COPIES, MOST_COPIES, kernel_subjects, rotated_copies
from profiler.onnx_graph import read_graph
from profiler.operators import Operator, Tensor
from profiler.proofs import precision_of, require_precision
from profiler.runtimes._torch import gpu, profiling
from profiler.runtimes.protocol import RuntimeOptions
from profiler.runtimes.torch_cuda import MODES, TorchCuda
from profiler.statistics import ProcessEstimate
from profiler.summary import Settled, _throttled
from profiler.testing import check_runtime, convolution

GPU = {"device": "A GPU", "driver": "600.1", "capability": "9.0"}


@pytest.fixture
def stand_in(monkeypatch):
    """What is asked of a GPU, with what was asked."""
    asked = []

    def captured(run):
        made = run()

        def replay():
            asked.append("replay")
            with torch.inference_mode():
                for kept, new in zip(made, run(), strict=True):
                    kept.copy_(new)

        return replay, made

    times = profiling.kernel_times
    monkeypatch.setattr(gpu, "require", lambda: None)
    monkeypatch.setattr(gpu, "DEVICE", "cpu")
    monkeypatch.setattr(gpu, "facts", lambda: GPU)
    monkeypatch.setattr(gpu, "synchronise", lambda: asked.append("synchronise"))
    monkeypatch.setattr(gpu, "set_precision", lambda precision: asked.append(precision))
    monkeypatch.setattr(gpu, "captured", captured)
    monkeypatch.setattr(gpu, "peak_bytes", lambda run: run() or 4096)
    monkeypatch.setattr(profiling, "kernel_times", lambda *given, on_device: times(*given))
    return asked


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(convolution())
    return path


def compiled(model, options):
    return compilers.load("torch-cuda").compile(model, options)


@pytest.mark.parametrize("precision", TorchCuda.traits.precisions)
def test_it_conforms(stand_in, precision):
    check_runtime("torch-cuda", precision=precision)
    assert precision in stand_in and "synchronise" in stand_in


@pytest.mark.parametrize("mode", [MODES[0], MODES[1], pytest.param(MODES[2], marks=pytest.mark.slow)])
def test_all_modes_compute_the_same(stand_in, model, mode):
    options = RuntimeOptions(options={"mode": mode})
    given = {"x": np.full((1, 3, 8, 8), 0.5, dtype=np.float32)}
    session = runtimes.load("torch-cuda").load(compiled(model, options), options, given)
    plain = runtimes.load("torch").load(model, RuntimeOptions(), given).outputs()
    for _ in range(2):
        np.testing.assert_allclose(session.outputs()[0], plain[0], rtol=1e-4, atol=1e-5)
    assert ("replay" in stand_in) == (mode == "graphs")
    assert (session.profile(2) is not None) == (mode == "eager")
    session.close()


def test_the_clock_waits_for_the_gpu(stand_in):
    clock = runtimes.load("torch-cuda").clock
    stand_in.clear()
    assert clock() < clock() and stand_in == ["synchronise", "synchronise"]


def test_conditions_are_those_of_the_gpu(stand_in, monkeypatch):
    told = facts.of_device("torch-cuda")
    assert told["kind"] == "gpu" and told.items() >= GPU.items()
    assert json.loads(json.dumps(told)) == told
    there = transports.load("local", "", {})
    monkeypatch.setattr(type(there), "facts", lambda self, runtime: facts.of_device(runtime))
    found = conditions.conditions_of(device_profiles.load("local-cuda"))
    assert isinstance(found.own, Gpu) and (found.device, found.own.driver) == ("A GPU", "600.1")
    assert type(found).from_plain(found.to_plain()) == found


def test_lower_precisions_are_those_of_the_kernels(stand_in, model):
    captured = read_graph(model)
    for precision in ("tf32", "fp16", "bf16"):
        options = RuntimeOptions(precision=precision)
        fused = read_fused(runtimes.load("torch-cuda").fuse(compiled(model, options), options), "torch-cuda")
        require_precision(fused, precision, captured, "model")
        with pytest.raises(WrongPrecision):
            require_precision(fused, "fp32", captured, "model")
        assert {precision_of(node.operator) for node in fused.nodes} == {precision}
        assert [node.outputs for node in fused.nodes] == [node.outputs for node in captured.nodes]
    assert in_precision(captured, "fp16").inputs[0][1].bytes * 2 == captured.inputs[0][1].bytes


def test_a_program_that_cannot_be_captured_is_refused(stand_in, model, monkeypatch):
    def refuse(run):
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(gpu, "captured", refuse)
    options = RuntimeOptions(options={"mode": "graphs"})
    with pytest.raises(InvalidModel, match=r"cannot be captured.*not permitted") as caught:
        runtimes.load("torch-cuda").load(compiled(model, options), options)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (RuntimeOptions(options={"mode": "fast"}), "eager, graphs, compile"),
        (RuntimeOptions(options={"streams": 2}), "no option 'streams'"),
        (RuntimeOptions(precision="int8"), "fp32, tf32, fp16, bf16"),
        (RuntimeOptions(optimisation="basic"), "no optimisation level"),
    ],
)
def test_what_it_does_not_offer_is_refused(stand_in, model, options, words):
    with pytest.raises(UsageError, match=words):
        runtimes.load("torch-cuda").load(compiled(model, RuntimeOptions()), options)


def test_levels_of_optimisation_are_refused_on_the_host(model):
    """A kernel alone is loaded without optimisation; a network is not compiled for that."""
    with pytest.raises(UsageError, match="no optimisation level 'none'"):
        compiled(model, RuntimeOptions(optimisation="none"))


@pytest.mark.parametrize("precision", TorchCuda.traits.precisions)
def test_a_kernel_alone_is_a_graph_of_its_copies(stand_in, model, precision):
    """In any mode, in the precision of its network, each copy with weights of its own."""
    options = RuntimeOptions(precision=precision)
    fused = read_fused(runtimes.load("torch-cuda").fuse(compiled(model, options), options), "torch-cuda")
    target = device_profiles.load("local-cuda")
    (subject,) = [one for one in kernel_subjects(fused.operators, target) if one.kernel.op_type == "Conv"]
    assert subject.suffix == ".pt2" and subject.copies == MOST_COPIES
    path = model.with_name("kernel.pt2")
    path.write_bytes(subject.onnx())
    alone = RuntimeOptions(precision=precision, optimisation="none")
    session = runtimes.load("torch-cuda").load(path, alone)
    outputs = session.outputs()
    assert "replay" in stand_in and session.profile(1) is None
    assert len(outputs) == MOST_COPIES and outputs[0].shape == subject.kernel.outputs[0].shape
    assert not np.array_equal(outputs[0], outputs[1])
    again = read_fused(runtimes.load("torch-cuda").fuse(path, alone), "torch-cuda")
    assert {precision_of(node.operator) for node in again.nodes} == ({precision} - {"tf32"} or {"fp32"})
    session.close()


def test_kernels_rotate_through_more_than_the_caches_of_a_gpu(stand_in):
    large = Operator("", "MatMul", (), (Tensor((8, 1024), "float32"), Tensor((1024, 8192), "float32", constant=True)),
                     (Tensor((8, 8192), "float32"),))  # fmt: skip
    assert rotated_copies(large, "gpu") * 1024 * 8192 * 4 == 256 << 20 and rotated_copies(large) == FEWEST_COPIES


class Nvml:
    """NVML of one card: what is asked is kept, and nothing can be set."""

    NVML_CLOCK_SM, NVML_CLOCK_MEM, NVML_TEMPERATURE_GPU = 1, 2, 0

    class NVMLError(Exception):
        pass

    def __init__(self, bits=0, lacks=()):
        self.bits, self.lacks, self.asked = bits, lacks, []

    def __getattr__(self, name):
        answers = {
            "nvmlDeviceGetHandleByIndex": lambda place: place,
            "nvmlDeviceGetClockInfo": lambda card, kind: {1: 1980, 2: 3201}[kind],
            "nvmlDeviceGetTemperature": lambda card, sensor: 54,
            "nvmlDeviceGetCurrentClocksThrottleReasons": lambda card: self.bits,
        }
        if name not in answers or name in self.lacks:
            raise AttributeError(name)
        self.asked.append(name)
        return answers[name]


@pytest.mark.parametrize(
    ("bits", "reasons"),
    [
        (0x0, []),
        (0x1 | 0x2, []),
        (0x4, ["power cap"]),
        (0x68, ["hardware slowdown", "heat (software)", "heat (hardware)"]),
    ],
)
def test_clocks_and_what_lowers_them_are_read_and_never_set(bits, reasons, monkeypatch):
    library = Nvml(bits)
    monkeypatch.setattr(gpu, "_nvml", lambda: library)
    told = gpu.state()
    assert told == {"sm_mhz": 1980, "memory_mhz": 3201, "temperature_c": 54, "slowed_by": reasons}
    assert all(name.startswith("nvmlDeviceGet") for name in library.asked)
    monkeypatch.setattr(gpu, "_nvml", lambda: Nvml(bits, lacks=("nvmlDeviceGetCurrentClocksThrottleReasons",)))
    assert gpu.state()["slowed_by"] is None


def test_each_block_is_followed_by_the_state_of_the_device(tmp_path):
    """The fake device stands in, with a state."""

    class Told(type(runtimes.load("fake"))):
        def state(self):
            return {"sm_mhz": 1980, "slowed_by": []}

    lines = []
    (tmp_path / "one.onnx").write_bytes(convolution())
    job = Job(
        nonce="n", runtime="fake", candidates=(Candidate("one", "one.onnx"),), plan=JobPlan(rounds=3, seconds=1.0)
    )
    runtime = Told()
    worker = Worker(job, tmp_path, runtime, lambda event, **fields: lines.append((event, fields)))
    worker.load_all()
    worker.take_blocks(runtime.sentinels()["gemm"].run)
    events = [event for event, _ in lines if event in ("block", "clocks")]
    assert events and events == ["block", "clocks"] * (len(events) // 2)
    assert dict(lines)["clocks"].items() >= {"id": "one", "sm_mhz": 1980, "slowed_by": []}.items()


@pytest.mark.parametrize(
    ("reasons", "held"), [(["heat (hardware)"], {"hot"}), (["power cap"], set()), ([], set()), (None, set())]
)
def test_what_is_measured_while_the_device_is_slowed_down_is_degraded(reasons, held):
    own = Gpu("600.1", "9.0", "A CPU", "6.1", 1, (0,))
    facts = [{"event": "clocks", "id": "hot", "round": i, "slowed_by": reasons if i % 3 == 0 else []} for i in range(9)]
    facts += [{"event": "clocks", "id": "cool", "round": i, "slowed_by": reasons if i == 0 else []} for i in range(9)]
    store = SimpleNamespace(process_facts=lambda conditions: facts)
    assert _throttled(store, SimpleNamespace(own=own)) == held
    estimate = ProcessEstimate(1e6, 1e6, 9, 9)
    known = Settled({"hot": {1: estimate}, "cool": {1: estimate}}, {}, 1e5, frozenset(held)).latencies
    assert "throttled" not in known["cool"].causes and ("throttled" in known["hot"].causes) == bool(held)
    assert known["hot"].disturbed == bool(held)


def test_a_machine_without_a_gpu_says_so():
    if torch.version.cuda is not None:
        pytest.skip("this build of torch is for CUDA")
    with pytest.raises(DeviceError, match="for CPUs") as caught:
        runtimes.load("torch-cuda")
    assert "CUDA" in caught.value.hint


def test_precision_is_said_to_torch_and_never_left_to_it():
    """On the real module: torch takes TF32 for convolutions by itself."""
    libraries = (torch.backends.cuda.matmul, torch.backends.cudnn.conv, torch.backends.cudnn.rnn)
    before = [library.fp32_precision for library in libraries]
    try:
        for precision, wanted in (("tf32", "tf32"), ("fp32", "ieee"), ("fp16", "ieee")):
            gpu.set_precision(precision)
            assert {library.fp32_precision for library in libraries} == {wanted}
    finally:
        for library, value in zip(libraries, before, strict=True):
            library.fp32_precision = value
