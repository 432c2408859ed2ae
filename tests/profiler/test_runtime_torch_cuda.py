"""PyTorch on a GPU, against a stand-in: the CPU takes the place of the GPU, and nothing else is different."""

import json

import numpy as np
import pytest
import torch

import device_profiles
from device_profiles.conditions import Gpu
from device_profiles.errors import DeviceError, InvalidModel, UsageError, WrongPrecision
from profiler import compilers, conditions, runtimes, transports
from profiler.agent import facts
from profiler.compilers.torch_cuda import in_precision
from profiler.fusing import read_fused
from profiler.onnx_graph import read_graph
from profiler.proofs import precision_of, require_precision
from profiler.runtimes._torch import gpu, profiling
from profiler.runtimes.protocol import RuntimeOptions
from profiler.runtimes.torch_cuda import MODES, TorchCuda
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
        (RuntimeOptions(optimisation="none"), "no optimisation level"),
    ],
)
def test_what_it_does_not_offer_is_refused(stand_in, model, options, words):
    with pytest.raises(UsageError, match=words):
        runtimes.load("torch-cuda").load(compiled(model, RuntimeOptions()), options)


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
