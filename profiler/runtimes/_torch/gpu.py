"""All that is asked of an NVIDIA GPU; a stand-in replaces this module where there is none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from device_profiles.errors import DeviceError

#: Where tensors lie.
DEVICE = "cuda"
#: Reasons of NVML for lower clocks, by their bit (`nvml.h`, nvmlClocksEventReason*), that are told: that it is idle, or
#: that somebody set its clocks, slows nothing down.
SLOWED_BY = {
    0x04: "power cap", 0x08: "hardware slowdown", 0x20: "heat (software)", 0x40: "heat (hardware)", 0x80: "power brake",
}  # fmt: skip
#: Runs on a stream of their own before a graph is captured: libraries choose their algorithms in the first ones.
WARM_RUNS = 3


def require() -> None:
    """Refuse a machine without a GPU that torch can use; the GPU is not touched, so that processes may be forked.

    Raises:
        DeviceError: the build of torch is for CPUs, or there is no driver or no device.
    """
    import torch

    if torch.version.cuda is None:
        raise DeviceError("this build of torch is for CPUs", hint="Install a build of torch for CUDA.")
    _nvml()


def facts() -> dict[str, Any]:
    """Name, driver and compute capability of the first GPU, by NVML."""
    nvml = _nvml()
    handle = nvml.nvmlDeviceGetHandleByIndex(0)
    major, minor = nvml.nvmlDeviceGetCudaComputeCapability(handle)
    return {
        "device": _text(nvml.nvmlDeviceGetName(handle)),
        "driver": _text(nvml.nvmlSystemGetDriverVersion()),
        "capability": f"{major}.{minor}",
    }


def state() -> dict[str, Any]:
    """Clocks in MHz, temperature, and why the first GPU runs slower than it could, as NVML tells now; nothing is set.

    What a card does not tell is None.
    """
    nvml = _nvml()
    handle = nvml.nvmlDeviceGetHandleByIndex(0)

    def asked(name: str, *more: Any) -> Any:
        try:
            return getattr(nvml, name)(handle, *more)
        except (nvml.NVMLError, AttributeError):  # older drivers, or older bindings
            return None

    bits = asked("nvmlDeviceGetCurrentClocksThrottleReasons")
    return {
        "sm_mhz": asked("nvmlDeviceGetClockInfo", nvml.NVML_CLOCK_SM),
        "memory_mhz": asked("nvmlDeviceGetClockInfo", nvml.NVML_CLOCK_MEM),
        "temperature_c": asked("nvmlDeviceGetTemperature", nvml.NVML_TEMPERATURE_GPU),
        "slowed_by": None if bits is None else [name for bit, name in SLOWED_BY.items() if bits & bit],
    }


def synchronise() -> None:
    """Wait until all that was started is done."""
    import torch

    torch.cuda.synchronize()


def set_precision(precision: str) -> None:
    """Say how matrix products and convolutions of fp32 are computed: in TF32 if that is asked for, never by itself."""
    import torch

    backends: Any = torch.backends  # whose annotations do not know these
    for library in (backends.cuda.matmul, backends.cudnn.conv, backends.cudnn.rnn):
        library.fp32_precision = "tf32" if precision == "tf32" else "ieee"


def captured(run: Callable[[], Any]) -> tuple[Callable[[], None], Any]:
    """One run as a CUDA graph: what replays it, and what it returned, whose memory each replay fills.

    Raises:
        RuntimeError: it does what a graph cannot hold.
    """
    import torch

    cuda: Any = torch.cuda  # as above
    stream = cuda.Stream()
    stream.wait_stream(cuda.current_stream())
    with cuda.stream(stream):
        for _ in range(WARM_RUNS):
            run()
    cuda.current_stream().wait_stream(stream)
    graph = cuda.CUDAGraph()
    with cuda.graph(graph):
        made = run()
    return graph.replay, made


def peak_bytes(run: Callable[[], Any]) -> int:
    """Largest sum of tensors that torch's allocator held during a run."""
    import torch

    torch.cuda.reset_peak_memory_stats()
    run()
    torch.cuda.synchronize()
    return int(torch.cuda.max_memory_allocated())


def _nvml() -> Any:
    """NVML, begun.

    Raises:
        DeviceError: there is no driver, or no GPU.
    """
    hint = "Is there an NVIDIA GPU, and its driver? nvidia-smi shows it."
    try:
        import pynvml

        pynvml.nvmlInit()
        count = pynvml.nvmlDeviceGetCount()
    except Exception as error:  # NVML raises types of its own, and OSError where its library is missing
        raise DeviceError(f"no NVIDIA GPU can be asked: {error}", hint=hint) from error
    if not count:
        raise DeviceError("NVML knows no GPU", hint=hint)
    return pynvml


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
