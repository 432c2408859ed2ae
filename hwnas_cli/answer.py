"""How commands answer: one JSON object or text on standard output, talk and errors on standard error, an exit code."""

from __future__ import annotations

import contextlib
import functools
import io
import json
import math
import os
import shlex
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, TextIO

import typer

from device_profiles import plugins
from device_profiles.errors import DeviceError, HwnasError, fault_of
from device_profiles.passwords import without_password
from device_profiles.system_errors import named
from device_profiles.terminal import visible
from hwnas_cli import interrupts
from hwnas_cli.interrupts import INTERRUPTED

#: Set, it has a fault of the toolkit itself print where it is.
TRACEBACK = "HWNAS_TRACEBACK"

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else on standard output.")]


class Interrupted(HwnasError):
    """The user ended it."""

    exit_code: ClassVar[int] = INTERRUPTED


class InternalError(DeviceError):
    """A fault of the toolkit itself."""


@dataclass(frozen=True)
class Answer:
    """What a command found.

    Attributes:
        data: fields of the JSON object, beside its schema.
        text: for people.
        exit_code: 0, or 1 where the answer is no.
        error: why the answer is no, if there is more to say.
    """

    data: Mapping[str, Any]
    text: str
    exit_code: int = 0
    error: HwnasError | None = field(default=None)


@dataclass(frozen=True)
class Ended:
    """A command that ended.

    Attributes:
        name: of the command; its JSON says `hwnas.<name>/1`.
        answer: what it found, or why it found nothing.
    """

    name: str
    answer: Answer


def answers(name: str) -> Callable[[Callable[..., Answer]], Callable[..., Ended]]:
    """Make a function that returns an `Answer` a command, which ends with one whatever happens.

    What it prints goes to standard error: standard output is the answer's.

    Args:
        name: of the command; its JSON says `hwnas.<name>/1`.
    """

    def decorate(function: Callable[..., Answer]) -> Callable[..., Ended]:
        @functools.wraps(function)
        def command(*arguments: Any, **options: Any) -> Ended:
            try:
                with contextlib.redirect_stdout(sys.stderr), plugins.blamed():
                    return Ended(name, function(*arguments, **options))
            except (Exception, KeyboardInterrupt, SystemExit) as error:  # whatever it is, it has a code that is not 1
                return Ended(name, refusal(error))

        return command

    return decorate


def refusal(error: BaseException) -> Answer:
    """The answer of a command that raised.

    An error of this project is itself. What the system says has a name (`device_profiles.system_errors`). Anything else
    is a fault of the toolkit, and is said to be one: 1 would be an answer.
    """
    if isinstance(error, KeyboardInterrupt) or interrupts.seen():
        # Interrupted inside of `exec` of a text (an import that makes a class), CPython would end by the signal
        # whatever the exit code; another `exec` that ends well has it forget that.
        exec("0")  # noqa: S102
        found: HwnasError = Interrupted("interrupted")
    else:
        found = named(error) or _fault(error)
    return Answer({}, "", found.exit_code, found)


def end(ended: Ended, *, as_json: bool) -> int:
    """Say an answer.

    Returns:
        The exit code: the answer's own, or 3 if it could not be written.
    """
    answer, error = ended.answer, ended.answer.error
    if isinstance(error, Interrupted):
        say("\ninterrupted: everything that was finished is kept; go on with")
        say(f"  {shlex.join(['hwnas', *map(without_password, sys.argv[1:])])}")
    elif error is not None:
        say_error(error)
    try:
        if as_json:
            extra = {"error": error_fields(error)} if error is not None else {}
            deliver(as_text(ended.name, {**answer.data, **extra}))
        elif answer.text:
            deliver(visible(answer.text))
    except DeviceError as failed:
        say_error(failed)
        return failed.exit_code
    return answer.exit_code


def as_text(name: str, data: Mapping[str, Any]) -> str:
    """One JSON object in one line; numbers that JSON does not have become null."""
    return json.dumps({"schema": f"hwnas.{name}/1", **{key: _clean(value) for key, value in data.items()}})


def deliver(text: str) -> None:
    """Write the answer to standard output. A reader that is gone has what it wanted.

    Raises:
        DeviceError: it cannot be written: the disk is full, say.
    """
    try:
        print(text)
        sys.stdout.flush()
    except BrokenPipeError:
        _abandon(sys.stdout)
    except (OSError, ValueError) as error:  # ValueError: it was closed
        _abandon(sys.stdout)
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise DeviceError(f"cannot write the answer: {reason}", hint="What was done is kept.") from error


def error_fields(error: HwnasError) -> dict[str, str]:
    """An error as data."""
    return {"type": type(error).__name__, "message": error.message, "hint": error.hint}


def say(text: str) -> None:
    """Talk, on standard error; that nobody listens is no reason to stop."""
    try:
        print(visible(text), file=sys.stderr, flush=True)
    except (OSError, ValueError):
        _abandon(sys.stderr)


def say_error(error: HwnasError) -> None:
    """`error:` and `hint:`; further lines of them are set in, so that a name cannot pass for a line of ours."""
    for head, text in (("error", error.message), ("hint", error.hint)):
        if text:
            say(f"{head}: {text}".replace("\n", "\n  "))


@contextlib.contextmanager
def captured() -> Iterator[io.StringIO]:
    """What is printed on standard output inside."""
    with contextlib.redirect_stdout(io.StringIO()) as text:
        yield text


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns of text: the first to the left, the others to the right."""
    heads = [visible(cell, keep="") for cell in heads]
    rows = [[visible(cell, keep="") for cell in row] for row in rows]
    widths = [max([len(heads[i]), *(len(row[i]) for row in rows)]) for i in range(len(heads))]

    def line(cells: Sequence[str]) -> str:
        first, *others = (
            c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(cells, widths, strict=True))
        )
        return "  ".join([first, *others]).rstrip()

    return "\n".join([line(heads), *(line(row) for row in rows)])


def _fault(error: BaseException) -> InternalError:
    """A fault of the toolkit: what it is and where."""
    if os.environ.get(TRACEBACK):
        say("".join(traceback.format_exception(error)))
    return InternalError(
        fault_of(error, str(error)),
        hint=f"Please report it with what the same command prints under {TRACEBACK}=1.",
    )


def _abandon(stream: TextIO) -> None:
    """Let what is still to be written to a stream that fails go nowhere; else Python ends with 120."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def _clean(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _clean(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_clean(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
