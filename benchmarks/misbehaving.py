# ruff: noqa: D102, D103  (each deed is named in the tables below)
"""Plug-ins that misbehave, each in one way; `benchmarks.robustness_plugins` says what becomes of them.

Registers the space `acts`, whose single gene is what the evaluator `acts` does, and the space, strategies and evaluator
kinds that are broken as a whole.
"""

from __future__ import annotations

import ctypes
import faulthandler
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from device_profiles.errors import InvalidModel
from nas import evaluators, spaces, strategies
from nas.evaluators.protocol import Repeatable
from nas.objectives import Objective, Values
from nas.spaces import Gene, ProductSpace


class Own(BaseException):
    """No `Exception`."""


class Mute(Exception):
    """Its text cannot be had."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


class Sly:
    """No array."""

    def __array__(self, *arguments: Any, **options: Any) -> Any:
        raise RuntimeError("no array")


def stubborn(archs: Any) -> None:
    while True:
        try:
            while True:
                pass
        except BaseException:
            pass


def endless(archs: Any) -> Any:
    return endless(archs)


def raising(error: BaseException) -> Callable[[Any], Any]:
    def act(archs: Any) -> Any:
        raise error

    return act


def giving(*parts: Any) -> Callable[[Any], Any]:
    return lambda archs: Values(*parts)


def hang_in_c(archs: Any) -> None:
    ctypes.CDLL(None).pause()
    ctypes.PyDLL(None).sleep(3600)


def faults(archs: Any) -> None:
    faulthandler.disable()  # its report would be noise
    ctypes.string_at(0)


def grows(archs: Any) -> None:
    kept = []
    while True:
        kept.append(np.empty(1 << 29, dtype=np.uint8))  # taken, and not touched: other programs need theirs


def forks(archs: Any) -> Any:
    """The child goes on as if it were the worker."""
    os.fork()
    return Values(np.full(len(archs), 7.0))


def leaves_children(archs: Any) -> Any:
    """Children that left the group, and one that holds all that is open."""
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"], start_new_session=True)
    if os.fork() == 0:
        os.setsid()
        time.sleep(3600)
    os._exit(4)


def closes(archs: Any) -> Any:
    sys.stdout.close()
    os.close(1)
    return Values(np.full(len(archs), 7.0))


def closes_all(archs: Any) -> Any:
    os.closerange(0, 1024)
    return Values(np.full(len(archs), 7.0))


def prints(archs: Any) -> Any:
    print("noise")
    os.write(1, b"noise\n")
    sys.stdout.flush()
    return Values(np.full(len(archs), 7.0))


def moves(archs: Any) -> Any:
    os.chdir("/")
    return Values(np.full(len(archs), 7.0))


def ignores_signals(archs: Any) -> None:
    for number in (signal.SIGALRM, signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    while True:
        time.sleep(1)


def leaves_a_thread(archs: Any) -> Any:
    threading.Thread(target=stubborn, args=(archs,), daemon=True).start()
    return Values(np.full(len(archs), 7.0))


def exits_later(archs: Any) -> Any:
    threading.Thread(target=lambda: (time.sleep(0.05), os._exit(6))).start()
    time.sleep(3600)


#: What the evaluator does: its name, the deed, and what the reason must say; "" where the value counts.
ACTS: tuple[tuple[str, Callable[[Any], Any], str], ...] = (
    ("two values for one", giving(np.zeros(2)), "shape"),
    ("no values", giving(np.zeros(0)), "shape"),
    ("a matrix", giving(np.zeros((1, 1))), "shape"),
    ("a scalar", giving(np.float64(1)), "shape"),
    ("None as value", giving(None), "numbers"),
    ("None", lambda archs: None, "NoneType"),
    ("a bare array", lambda archs: np.zeros(1), "ndarray"),
    ("text", giving(np.array(["fast"])), "numbers"),
    ("texts in a list", giving(["1.0"]), "numbers"),
    ("objects", giving(np.array([object()])), "numbers"),
    ("complex", giving(np.array([1j])), "numbers"),
    ("dates", giving(np.array(["2026-01-01"], dtype="datetime64[D]")), "numbers"),
    ("ragged", giving([[1], [1, 2]]), "inhomogeneous"),
    ("no array", giving(Sly()), "no array"),
    ("NaN", giving(np.array([np.nan])), "no finite value"),
    ("infinity", giving(np.array([np.inf])), "no finite value"),
    ("low above high", giving(np.array([2.0]), np.array([3.0]), np.array([1.0])), "ends before it begins"),
    ("outside", giving(np.array([9.0]), np.array([1.0]), np.array([2.0])), "outside"),
    ("one end", giving(np.array([1.0]), np.array([1.0])), "both ends"),
    ("half an end", giving(np.array([1.0]), np.array([np.nan]), np.array([1.0])), "one end only"),
    ("an error", raising(ValueError("no")), "ValueError: no"),
    ("a stop", raising(StopIteration()), "StopIteration"),
    ("an exit of a generator", raising(GeneratorExit()), "GeneratorExit"),
    ("an exit", raising(SystemExit(3)), "SystemExit: 3"),
    ("an interrupt of its own", raising(KeyboardInterrupt()), "KeyboardInterrupt"),
    ("no exception", raising(Own("own")), "Own: own"),
    ("a mute error", raising(Mute()), "Mute"),
    ("a network that cannot be", raising(InvalidModel("no network")), "InvalidModel: no network"),
    ("deep recursion", endless, "RecursionError"),
    ("the process ends", lambda archs: os._exit(3), "code 3"),
    ("the process ends well", lambda archs: os._exit(0), "code 0"),
    ("a segmentation fault", faults, "SIGSEGV"),
    ("a kill", lambda archs: os.kill(os.getpid(), signal.SIGKILL), "SIGKILL"),
    ("its keeper is killed", lambda archs: (os.kill(os.getppid(), signal.SIGKILL), time.sleep(9)), "lost"),
    ("a stopped process", lambda archs: os.kill(os.getpid(), signal.SIGSTOP), "EvaluationTimeout"),
    ("all memory at once", lambda archs: np.ones(1 << 44), "MemoryError"),
    ("all memory", grows, "MemoryError"),
    ("a hang", lambda archs: time.sleep(3600), "EvaluationTimeout"),
    ("a hang in C", hang_in_c, "EvaluationTimeout"),
    ("a hang that catches all", stubborn, "EvaluationTimeout"),
    ("a hang without signals", ignores_signals, "EvaluationTimeout"),
    ("a thread that exits", exits_later, "code 6"),
    ("children that stay", leaves_children, "code 4"),
    ("everything closed", closes_all, "process"),
    ("a fork", forks, ""),
    ("standard output closed", closes, ""),
    ("noise", prints, ""),
    ("another folder", moves, ""),
    ("a thread that stays", leaves_a_thread, ""),
    ("whole numbers", giving([7]), ""),
    ("an interval", giving(np.array([7.0]), np.array([6.0]), np.array([8.0])), ""),
    ("all is well", giving(np.array([7.0])), ""),
)


@dataclass(frozen=True)
class Acts(ProductSpace):
    """One genome for each deed."""

    name = "acts"
    input_shape = (1, 3, 4, 4)

    @cached_property
    def genes(self) -> tuple[Gene, ...]:
        return (Gene("act", tuple(range(len(ACTS)))),)

    def assembly(self, arch: Any) -> Any:
        if self.value(arch, "act") % 2:
            os._exit(9)
        raise OSError("cannot be built")


@dataclass(frozen=True)
class Actor(Repeatable):
    """Does what the gene says, or one thing always."""

    objective: Objective
    free: bool = False
    identity: str = ""
    always: Callable[[Any], Any] | None = None

    def evaluate(self, archs: Any) -> Any:
        if self.always is not None:
            return self.always(archs)
        if len(archs) > 1:
            parts = [ACTS[row[0]][1](row[None]) for row in archs]
            return Values(np.concatenate([np.asarray(part.value) for part in parts]))
        return ACTS[archs[0, 0]][1](archs)

    def again(self, archs: Any, replicate: int) -> Any:
        return self.evaluate(archs)


class Kind:
    """`acts`; `acts:free`, whose values cost nothing; `acts:stubborn`, which hangs and catches everything."""

    forms, settings = "acts · acts:free · acts:stubborn", ()

    def claims(self, spec: str) -> bool:
        return spec in ("acts", "acts:free", "acts:stubborn")

    def default_name(self, spec: str) -> str:
        return "acts"

    def open(self, name: str, spec: str, context: Any) -> Actor:
        always = stubborn if spec == "acts:stubborn" else None
        return Actor(Objective(name, "", False, "counted", spec), free=spec == "acts:free", always=always)


def opens(deed: Callable[[], Any], spec: str) -> Any:
    """A kind whose `open` does something else."""

    class Broken(Kind):
        def claims(self, given: str) -> bool:
            return given == spec

        def open(self, name: str, spec: str, context: Any) -> Any:
            return deed()

    return Broken()


def _leave(*arguments: Any) -> Any:
    raise SystemExit(5)


#: Kinds that cannot be opened: what `open` does.
OPENS: dict[str, Callable[[], Any]] = {
    "open-none": lambda: None,
    "open-raises": lambda: 1 / 0,
    "open-leaves": _leave,
    "open-ends": lambda: os._exit(2),
    "open-hangs": lambda: stubborn(None),
    "open-text": lambda: Actor("text"),  # type: ignore[arg-type]
    "open-source": lambda: Actor(Objective("x", "", False, "a guess", "x")),
    "open-free": lambda: Actor(Objective("x", "", False, "counted", "x"), free="no"),  # type: ignore[arg-type]
}


def asks(ask: Callable[[Any, int], Any], tell: Callable[..., None] | None = None) -> Any:
    """A strategy that asks for what `ask(choices, n)` gives."""

    class Asking:
        def __init__(self, problem: Any, *, seed: int) -> None:
            self.choices = problem.choices

        def ask(self, n: int) -> Any:
            return ask(self.choices, n)

        def tell(self, archs: Any, costs: Any, violations: Any = None) -> None:
            if tell is not None:
                tell(archs)

    return Asking


def _make_raises(problem: Any, *, seed: int) -> Any:
    raise Own("made of nothing")


def _zeros(choices: Any, n: int) -> Any:
    return np.zeros((n, len(choices)), dtype=np.int64)


#: Strategies, and what the error says.
STRATEGIES: dict[str, tuple[Any, str]] = {
    "one-row-flat": (asks(lambda choices, n: np.zeros(len(choices) + 1, dtype=np.int64)), "shape"),
    "too-wide": (asks(lambda choices, n: np.zeros((n, len(choices) + 1), dtype=np.int64)), "shape"),
    "outside": (asks(lambda choices, n: _zeros(choices, n) + 999), "outside"),
    "below": (asks(lambda choices, n: _zeros(choices, n) - 1), "outside"),
    "floats": (asks(lambda choices, n: _zeros(choices, n) + 0.5), "whole numbers"),
    "bools": (asks(lambda choices, n: _zeros(choices, n) > 0), "whole numbers"),
    "objects": (asks(lambda choices, n: np.array([[None]] * n)), "whole numbers"),
    "texts": (asks(lambda choices, n: [["0"]] * n), "whole numbers"),
    "too-many": (asks(lambda choices, n: _zeros(choices, n + 1)), "were wanted"),
    "nothing": (asks(lambda choices, n: _zeros(choices, 0)), "asked for nothing"),
    "nothing-list": (asks(lambda choices, n: []), "asked for nothing"),
    "none": (asks(lambda choices, n: None), "whole numbers"),
    "no-array": (asks(lambda choices, n: Sly()), "no array"),
    "raises": (asks(lambda choices, n: 1 / 0), "ZeroDivisionError"),
    "leaves": (asks(_leave), "SystemExit"),
    "ends": (asks(lambda choices, n: os._exit(2)), "code 2"),
    "faults": (asks(lambda choices, n: faults(None)), "SIGSEGV"),
    "hangs": (asks(lambda choices, n: stubborn(None)), "took longer"),
    "tell-raises": (asks(_zeros, raising(Own("deaf"))), "Own: deaf"),
    "tell-hangs": (asks(_zeros, stubborn), "took longer"),
    "made-raises": (_make_raises, "Own"),
    "no-ask": (lambda problem, *, seed: object(), "ask"),
}


def parts(**members: Any) -> Any:
    """A space of 3 x 3 of which some parts are replaced."""

    @dataclass(frozen=True)
    class Odd(ProductSpace):
        name = "loud"
        input_shape = (1, 3, 4, 4)

        @cached_property
        def genes(self) -> tuple[Gene, ...]:
            return (Gene("first", (0, 1, 2)), Gene("second", (0, 1, 2)))

        def assembly(self, arch: Any) -> Any:
            raise OSError("cannot be built")

    for name, member in members.items():
        setattr(Odd, name, member)
    return Odd


def _makes_none() -> Any:
    return None


#: Spaces, and what the error says.
SPACES: dict[str, tuple[Any, str]] = {
    "choices-none": (parts(choices=property(lambda self: None)), "choices"),
    "choices-zero": (parts(choices=(3, 0)), "choices"),
    "choices-text": (parts(choices=("3", "3")), "choices"),
    "size-wrong": (parts(size=10), "size"),
    "ordered-short": (parts(ordered=(True,)), "ordered"),
    "shape-none": (parts(input_shape=None), "input_shape"),
    "spec-of-another": (parts(spec="nasbench201"), "spec"),
    "spec-of-none": (parts(spec="nobody"), "spec"),
    "sample-short": (parts(sample=lambda self, n, rng: np.zeros((1, 2), dtype=np.int64)), "sample"),
    "sample-outside": (parts(sample=lambda self, n, rng: np.full((n, 2), 7)), "outside"),
    "sample-floats": (parts(sample=lambda self, n, rng: np.zeros((n, 2))), "float64"),
    "sample-raises": (parts(sample=lambda self, n, rng: 1 / 0), "ZeroDivisionError"),
    "sample-hangs": (parts(sample=lambda self, n, rng: time.sleep(3600)), "took longer"),
    "canonical-flat": (parts(canonical=lambda self, archs: archs[0]), "canonical"),
    "canonical-raises": (parts(canonical=lambda self, archs: _leave()), "SystemExit"),
    "valid-numbers": (parts(is_valid=lambda self, archs: np.ones(len(archs))), "is_valid"),
    "valid-none": (parts(is_valid=lambda self, archs: None), "is_valid"),
    "features-text": (parts(features=lambda self, archs: np.array([["a"]] * len(archs))), "features"),
    "makes-none": (_makes_none, "None"),
    "makes-raises": (lambda: 1 / 0, "ZeroDivisionError"),
    "no-callable": (7, "7"),
}


def register() -> None:
    """Register everything in this process."""
    spaces.REGISTRY.register("acts", Acts)
    evaluators.REGISTRY.register("acts", Kind())
    for spec, deed in OPENS.items():
        evaluators.REGISTRY.register(spec, opens(deed, spec))
    for name, (strategy, _) in STRATEGIES.items():
        strategies.REGISTRY.register(name, strategy)
    for name, (space, _) in SPACES.items():
        spaces.REGISTRY.register(name, space)


def loud() -> Any:
    """A space that prints, and closes standard output, in the process of the search."""

    def sample(self: Any, n: int, rng: np.random.Generator) -> Any:
        if not sys.stdout.closed:
            print("noise")
        os.write(1, b"noise\n")
        return np.stack([rng.permutation(9)[: max(n, 0)] // 3, rng.permutation(9)[: max(n, 0)] % 3], axis=1)

    def features(self: Any, archs: Any) -> Any:
        sys.stdout.close()
        return np.zeros((len(archs), 1))

    return parts(sample=sample, features=features)
