"""What a runtime is: it compiles a model into its own kernels, runs it, and says what it made of it.

A runtime does not time, repeat or judge. Runtimes run on the device, so their files import the standard library, numpy
and the runtime's own package alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from device_profiles.errors import UsageError


@dataclass(frozen=True)
class RuntimeOptions:
    """How a model is to be run; part of the conditions of every number.

    Attributes:
        threads: intra-operator threads, at least 1.
        precision: `fp32`, or what else the runtime offers.
        optimisation: `all`, `basic` or `none`.
        options: the runtime's own settings.
    """

    threads: int = 1
    precision: str = "fp32"
    optimisation: str = "all"
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class KernelTime:
    """Time of one kernel inside its network, under the runtime's own profiler.

    Attributes:
        node: the node's name in the fused model.
        op_type: its operator.
        mean_ns: mean over runs; profilers that count whole microseconds are unbiased only in the mean.
        runs: how many.
    """

    node: str
    op_type: str
    mean_ns: float
    runs: int


@dataclass(frozen=True)
class Profile:
    """What the runtime's profiler saw.

    Attributes:
        kernels: one entry for each kernel of the fused model, in the order they ran.
        allocator_peak_bytes: largest sum of live buffers that the runtime's allocator reported, or None if it reports
            none.
        run_ns: mean of a whole inference under the profiler, or None: what the profiler itself costs shows in it.
    """

    kernels: tuple[KernelTime, ...]
    allocator_peak_bytes: int | None
    run_ns: float | None = None


class Session(Protocol):
    """A compiled model with inputs in place."""

    def run(self) -> None:
        """One inference, finished when it returns.

        Raises:
            InvalidModel: the runtime cannot run it, with the runtime's words.
        """

    @property
    def call(self) -> Callable[[], object]:
        """One inference, in the way that costs least: what is timed."""

    def outputs(self) -> list[Any]:
        """The outputs of one inference, as numpy arrays."""

    def profile(self, runs: int) -> Profile | None:
        """Kernel times over `runs` inferences, or None if the runtime cannot time kernels in the graph."""

    def close(self) -> None:
        """Give back what it holds."""


class Runtime(Protocol):
    """One way of running models on a device."""

    @property
    def version(self) -> str:
        """Version of the runtime, part of the conditions."""

    @property
    def clock(self) -> Callable[[], int]:
        """Nanoseconds, monotonic: `time.perf_counter_ns` for everything real."""

    def sentinels(self) -> Mapping[str, Callable[[], None]] | None:
        """Workloads that show the machine's state, by name, or None for those of `profiler.agent.sentinel`."""

    def load(self, model: Path, options: RuntimeOptions, inputs: Mapping[str, Any] | None = None) -> Session:
        """Compile a model and fill its inputs.

        Args:
            model: an ONNX file.
            options: how it is run.
            inputs: numpy arrays by name. None: drawn in order from `numpy.random.default_rng(0)`, normal floats, or 0
                and 1.

        Raises:
            InvalidModel: the file cannot be read.
            UnsupportedOperator: the runtime lacks an operator.
        """

    def fuse(self, model: Path, options: RuntimeOptions) -> bytes | None:
        """The model as the runtime optimised it, as ONNX; None means that it runs the nodes as they are."""

    def empty_model(self) -> bytes | None:
        """The smallest ONNX model that the runtime runs: its time is what a call costs. None if calls cost nothing."""

    def kernel_model(self, operator: list[Any], copies: int, values: Mapping[int, Any] | None = None) -> bytes | None:
        """An ONNX model that runs one fused kernel `copies` times over rotated weights, or None if it cannot.

        Args:
            operator: the kernel as `profiler.operators.operator_to_plain` writes it.
            copies: sets of weights to rotate through, so that weights are as cold as in a network.
            values: numbers of constant inputs that decide what it does, by position.
        """


MakeRuntime = Callable[[], Runtime]


@dataclass(frozen=True)
class Option:
    """An option of a runtime.

    Attributes:
        allowed: what it may be, for people.
        takes: whether it may be this value.
    """

    allowed: str
    takes: Callable[[Any], bool]


def require_options(runtime: str, given: Mapping[str, Any], known: Mapping[str, Option]) -> None:
    """Refuse options that a runtime does not have or that are out of range: a misspelt one would do nothing.

    Raises:
        UsageError: one is.
    """
    for name, value in given.items():
        if name not in known:
            raise UsageError(
                f"the runtime {runtime} has no option {name[:60]!r}; it has {', '.join(known) or 'none'}",
                hint="Remove it from the target's [runtime.options].",
            )
        if not known[name].takes(value):
            raise UsageError(
                f"{name} of the runtime {runtime} must be {known[name].allowed}, got {str(value)[:60]!r}",
                hint="Change it in the target's [runtime.options].",
            )
