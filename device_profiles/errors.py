"""The errors of the toolkit: what, got, allowed, do this. Each type has the exit code that the command ends with."""

from __future__ import annotations

import difflib
import traceback
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePath
from typing import Any, ClassVar

#: Characters of a name that are shown and compared with known ones.
_LONGEST_NAME = 100
#: Characters of a message and of a hint.
_LONGEST_TEXT = 1500


class HwnasError(Exception):
    """Something the user can mend.

    Args:
        message: what happened, with what was got and what is allowed.
        hint: what to do next; empty if there is nothing to add.

    By itself it is a part that failed, 3: 1 is left to answers that are no.
    """

    exit_code: ClassVar[int] = 3

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(_cut(message))
        self.message = _cut(message)
        self.hint = _cut(hint)

    def __reduce__(self) -> tuple[Any, ...]:
        """As it is, whatever its constructor asks for: errors come back from worker processes."""
        return _restored, (type(self), self.args, self.__dict__)


def _cut(text: str) -> str:
    """A text of a length that people read: whatever others wrote stands in messages, and may be of any."""
    half = _LONGEST_TEXT // 2
    return text if len(text) <= _LONGEST_TEXT else f"{text[:half]} ... {text[-half:]}"


def _restored(kind: type[HwnasError], arguments: tuple[Any, ...], state: dict[str, Any]) -> HwnasError:
    error = kind.__new__(kind, *arguments)
    error.__dict__.update(state)
    return error


class UsageError(HwnasError):
    """The request itself is wrong: an unknown name, a malformed value, options that exclude each other."""

    exit_code = 2


class UnknownName(UsageError):
    """A name that no registry entry has; the hint says which one was probably meant."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        names = sorted(known)
        name = name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}..."
        close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
        guess = f"Did you mean {close[0]!r}? " if close else ""
        super().__init__(f"unknown {kind} {name!r}", hint=f"{guess}Known: {', '.join(names) or 'none'}.")


class DeviceError(HwnasError):
    """A device, its runtime, or a package is missing, busy, or failed."""

    exit_code = 3


class DeviceBusy(DeviceError):
    """Another process is measuring on this device."""


class RunBusy(DeviceError):
    """Another process is searching in this folder, or in this study of a lab."""


class PluginError(DeviceError):
    """A plug-in (an evaluator, a strategy, a space of others) broke its protocol, failed, or took too long."""


class InvalidData(HwnasError):
    """A file, a table or a model holds what cannot be used."""

    exit_code = 4


class InvalidModel(InvalidData):
    """A model file cannot be measured as it is (not ONNX, dynamic shapes, external data elsewhere ...)."""


class UnsupportedOperator(InvalidModel):
    """The runtime of the target lacks an operator of the model."""


class WrongPrecision(InvalidModel):
    """Kernels of a model ran in another precision, or on another provider, than the target asks for."""


class ConstantNetwork(InvalidModel):
    """The output does not depend on the input: a runtime deletes such a network, and its latency means nothing."""


class InvalidTable(InvalidData):
    """A table of costs holds negative, constant, duplicated or missing values."""


class SchemaMismatch(InvalidData):
    """A file was written by a version of the format that this version does not read, or was cut short."""


class MissingKernel(InvalidData):
    """A predictor has no value for a kernel, and was not asked to fall back."""


class InfeasibleBudget(HwnasError):
    """No architecture met the constraints; the message says how far off the best one was."""

    exit_code = 1


class ConditionMismatch(InvalidData):
    """Two sets of numbers were taken under different conditions.

    Args:
        message: what was refused.
        expected: the conditions that were asked for, only where they differ.
        got: the conditions that were found, only where they differ.
        hint: what to do next.
        differences: each in words; made of `expected` and `got` if None.
    """

    def __init__(
        self,
        message: str,
        *,
        expected: Mapping[str, Any],
        got: Mapping[str, Any],
        hint: str = "",
        differences: Sequence[str] | None = None,
    ) -> None:
        if differences is None:
            differences = [f"{name}: expected {expected.get(name)!r}, got {got.get(name)!r}" for name in expected]
        super().__init__(f"{message}: {', '.join(differences)}", hint=hint)
        self.expected = dict(expected)
        self.got = dict(got)


def fault_of(error: BaseException, words: str) -> str:
    """What is said of an error that nobody foresaw: a fault of the toolkit, with the place that raised it.

    Args:
        error: as it was caught.
        words: of it.
    """
    last = traceback.extract_tb(error.__traceback__)[-1:]
    where = f" ({PurePath(last[0].filename).name}:{last[0].lineno})" if last else ""
    return f"a fault of hwnas: {type(error).__name__}: {words}{where}"
