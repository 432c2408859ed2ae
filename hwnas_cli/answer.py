"""How commands answer: one JSON object or text on standard output, talk and errors on standard error, an exit code."""

from __future__ import annotations

import functools
import json
import math
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import typer

from device_profiles import plugins
from device_profiles.errors import HwnasError
from device_profiles.terminal import visible
from hwnas_cli.output import kept_for_the_answer

INTERRUPTED = 130

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else on standard output.")]


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


def answers(name: str) -> Callable[[Callable[..., Answer]], Callable[..., None]]:
    """Make a function that returns an `Answer` a command: it prints, and ends with the documented exit code.

    Args:
        name: of the command; its JSON says `hwnas.<name>/1`.
    """

    def decorate(function: Callable[..., Answer]) -> Callable[..., None]:
        @functools.wraps(function)
        def command(*arguments: Any, **options: Any) -> None:
            as_json = bool(options.get("as_json"))
            try:
                with plugins.blamed(), kept_for_the_answer(as_json):
                    answer = function(*arguments, **options)
            except HwnasError as error:
                say_error(error)
                if as_json:
                    print_json(name, {"error": error_fields(error)})
                raise typer.Exit(error.exit_code) from error
            except KeyboardInterrupt as error:
                # Interrupted inside of `exec` of a text (an import that makes a class), CPython would end by the signal
                # whatever the exit code; another `exec` that ends well has it forget that.
                exec("0")  # noqa: S102
                say("\ninterrupted: everything that was finished is kept; go on with")
                say(f"  {shlex.join(['hwnas', *sys.argv[1:]])}")
                if as_json:
                    print_json(name, {"error": {"type": "Interrupted", "message": "interrupted", "hint": ""}})
                raise typer.Exit(INTERRUPTED) from error
            if answer.error is not None:
                say_error(answer.error)
            if as_json:
                extra = {"error": error_fields(answer.error)} if answer.error is not None else {}
                print_json(name, {**answer.data, **extra})
            elif answer.text:
                print(visible(answer.text))
            if answer.exit_code:
                raise typer.Exit(answer.exit_code)

        return command

    return decorate


def print_json(name: str, data: Mapping[str, Any]) -> None:
    """One object on standard output; numbers that JSON does not have become null."""
    print(json.dumps({"schema": f"hwnas.{name}/1", **{key: _clean(value) for key, value in data.items()}}))


def error_fields(error: HwnasError) -> dict[str, str]:
    """An error as data."""
    return {"type": type(error).__name__, "message": error.message, "hint": error.hint}


def say(text: str) -> None:
    """Talk, on standard error."""
    print(visible(text), file=sys.stderr)


def say_error(error: HwnasError) -> None:
    """`error:` and `hint:`; further lines of them are set in, so that a name cannot pass for a line of ours."""
    for head, text in (("error", error.message), ("hint", error.hint)):
        if text:
            say(f"{head}: {text}".replace("\n", "\n  "))


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


def _clean(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _clean(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_clean(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
