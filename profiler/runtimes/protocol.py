"""What a runtime is: it loads what travelled to the device, runs it, and says what kernels it made of it.

A runtime does not time, repeat or judge. It is the device's half; the host's half, which makes of ONNX what travels, is
`profiler.compilers`. Its file imports the standard library, numpy and the runtime's own package alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

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


@dataclass(frozen=True)
class Sentinel:
    """A small fixed workload whose time shows the state of the machine.

    Attributes:
        run: does it once.
        operations: floating-point operations of one run; 0 if it is not made of such.
        bytes: that one run reads and writes; 0 if that is not what takes its time.
    """

    run: Callable[[], None]
    operations: float = 0.0
    bytes: float = 0.0


@dataclass(frozen=True)
class Traits:
    """What a runtime gives, for people and for the conformance kit.

    Attributes:
        packages: the distributions of the device's half, as pip names them.
        extra: the extra of this project that installs both halves; empty if they are always there.
        precisions: what `RuntimeOptions.precision` may be.
        kernels: where its fused kernels come from; empty if it runs the nodes of the model as they are.
        times: how kernels are timed inside of their network; empty if they cannot be.
        untimed: an option and its value with which kernels are not timed all the same.
        replay: whether one kernel can be run alone.
        allocator: whether its profile tells what its allocator handed out at most.
        calls_cost: whether a call costs time of its own.
        simulated: nothing runs: it has no outputs, and takes files that are no models.
        patience_s: how long it may take to compile one model.
        device: `cpu` or `gpu`, what models run on.
        folds: whether it puts each batch norm into the convolution before it, in fp32, unless optimisation is `none`.
        keeps: whether what it compiles is kept on disk for other processes, so that many may be compiled side by side.
    """

    packages: tuple[str, ...] = ()
    extra: str = ""
    precisions: tuple[str, ...] = ("fp32",)
    kernels: str = ""
    times: str = ""
    untimed: tuple[str, str] = ("", "")
    replay: bool = False
    allocator: bool = False
    calls_cost: bool = True
    simulated: bool = False
    patience_s: float = 120.0
    device: str = "cpu"
    folds: bool = False
    keeps: bool = False


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

    traits: ClassVar[Traits]

    @property
    def version(self) -> str:
        """Version of the runtime, part of the conditions."""

    @property
    def clock(self) -> Callable[[], int]:
        """Nanoseconds, monotonic: `time.perf_counter_ns` for everything real."""

    # Where models do not run on the CPU there is also `facts(self) -> Mapping[str, Any]`: the `device`, its `driver`
    # and its `capability`. And there may be `state(self) -> Mapping[str, Any]`, asked after each block: what the device
    # says of its clocks, and `slowed_by`, names of what makes it slower than it can be, or None. And `forks`, whether a
    # process that is forked from this one can use it; it can where nothing is said.

    def sentinels(self) -> Mapping[str, Sentinel] | None:
        """Workloads that show the machine's state, by name, or None for those of `profiler.agent.sentinel`.

        `gemm` guards, so there must be one of that name; `gemm` and `memory` state their work, from which the speed of
        the device follows.
        """

    def load(self, model: Path, options: RuntimeOptions, inputs: Mapping[str, Any] | None = None) -> Session:
        """Load a model and fill its inputs.

        Args:
            model: what `profiler.compilers.protocol.Compiler.compile` made.
            options: how it is run.
            inputs: numpy arrays by name. None: drawn in order from `numpy.random.default_rng(0)`, normal floats, or 0
                and 1.

        Raises:
            InvalidModel: the file cannot be read.
            UnsupportedOperator: the runtime lacks an operator.
        """

    def fuse(self, model: Path, options: RuntimeOptions) -> bytes | None:
        """What the runtime made of a model; None means that it runs the nodes as they are.

        Args:
            model: as for `load`.
            options: how it is run.

        Returns:
            The optimised model as ONNX, or the fused kernels as the JSON of `profiler.operators.OperatorGraph`. Kernels
            are of the runtime's own domain (`openvino`, `ncnn`); their types and attributes are those of ONNX wherever
            an ONNX operator is their core, so that work can be counted, and `fused` names what runs with it.
        """


class MakeRuntime(Protocol):
    """A module's `RUNTIME`: the class of the runtime, whose traits can be asked where its package is missing."""

    @property
    def traits(self) -> Traits:
        """See `Traits`."""

    def __call__(self) -> Runtime:
        """The runtime.

        Raises:
            DeviceError: its package is not installed; the hint names it.
        """


@dataclass(frozen=True)
class Option:
    """An option of a runtime.

    Attributes:
        allowed: what it may be, for people.
        takes: whether it may be this value.
    """

    allowed: str
    takes: Callable[[Any], bool]


def require_precision(runtime: str, traits: Traits, precision: str) -> None:
    """Refuse a precision that a runtime does not have.

    Raises:
        UsageError: it has not.
    """
    if precision not in traits.precisions:
        raise UsageError(
            f"the runtime {runtime} runs {', '.join(traits.precisions)}, got the precision {precision[:40]!r}",
            hint="Change precision in the target's [runtime].",
        )


def require_level(runtime: str, levels: Sequence[str], level: str, more: str = "") -> None:
    """Refuse a level of optimisation that a runtime does not have.

    Args:
        runtime: its name.
        levels: those that it has.
        level: what is asked for.
        more: what else to know, after the levels in the hint.

    Raises:
        UsageError: it has not.
    """
    if level not in levels:
        raise UsageError(
            f"the runtime {runtime} has no optimisation level {level!r}", hint=f"One of: {', '.join(levels)}{more}."
        )


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
