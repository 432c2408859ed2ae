"""The command `hwnas`: its subcommands, how it reads options, and how it ends."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import cache
from typing import Annotated, Any

import typer
from typer.main import get_command

from device_profiles.errors import UsageError
from hwnas_cli import interrupts
from hwnas_cli.answer import Answer, Ended, captured, end, refusal, say
from hwnas_cli.commands import (
    benchmark,
    compare,
    completion,
    devices,
    doctor,
    evaluate,
    fit,
    importing,
    predict,
    profile,
    registered,
    report,
    runs,
    search,
)
from hwnas_cli.help import FilledCommand

#: What typer raises for options that cannot be read; its base is click's own or a copy of it, by typer's version.
_Unreadable: type[Any] = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")

_JSON = "--json"

app = typer.Typer(
    name="hwnas",
    help="Hardware-aware neural architecture search: measure a device, learn its cost, search with it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
app.command()(doctor.doctor)
app.add_typer(devices.devices, name="devices")
app.command()(profile.profile)
app.command()(compare.compare)
app.command()(fit.fit)
app.command()(evaluate.evaluate)
app.command()(predict.predict)
app.command(cls=FilledCommand)(search.search)
app.command()(runs.runs)
app.command()(runs.status)
app.command()(report.report)
app.command()(benchmark.benchmark)
app.command("import", cls=FilledCommand)(importing.import_)
app.command("lint", cls=FilledCommand)(importing.lint)
app.command()(registered.spaces)
app.command()(registered.strategies)
app.command()(registered.predictors)
app.command()(completion.completion)


class _Version(Exception):
    """`--version` was given."""


def _version(wanted: bool) -> None:
    if wanted:
        raise _Version


@app.callback()
def hwnas(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Hardware-aware neural architecture search: measure a device, learn its cost, search with it."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    # Wherever it stands it means the same; taken out, no option can swallow it as its value.
    as_json = any(word.partition("=")[0] == _JSON for word in given)
    words = [word for word in given if word != _JSON]
    name = words[0] if words and words[0] in command().commands else "hwnas"
    try:
        try:
            interrupts.raise_from_here()
            ended = _run(words, name, as_json=as_json)
        finally:
            interrupts.no_more()
    except (Exception, KeyboardInterrupt) as error:  # outside of a command, too, nothing may end with 1
        ended = Ended(name, refusal(error))
    sys.exit(end(ended, as_json=as_json))


@cache
def command() -> Any:
    """The tree of commands, as click has it."""
    return get_command(app)


def _run(words: list[str], name: str, *, as_json: bool) -> Ended:
    """Run a command; options that cannot be read, help and the version are answers, too."""
    _require_text(words)
    try:
        with captured() as printed:
            ended = command().main(args=spread(words), prog_name="hwnas", standalone_mode=False)
    except _Version:
        from device_profiles.version import version

        number = version()
        return Ended("version", Answer({"version": number}, f"hwnas {number}"))
    except _Unreadable as error:
        return Ended(name, _unreadable(error))
    if isinstance(ended, Ended):
        return ended
    if ended == interrupts.INTERRUPTED:  # typer's word for an interrupt between the parts of a command
        raise KeyboardInterrupt
    text = printed.getvalue().rstrip("\n")
    return Ended(name, Answer({"help": text}, text))


def _unreadable(error: Any) -> Answer:
    """What typer says of options, as an error of this project."""
    context = getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError":
        say(error.format_message())
        message, hint = "no command was given", "hwnas --help"
    else:
        message = error.format_message()
        hint = f"{context.command_path if context is not None else 'hwnas'} --help"
        if context is not None:
            say(context.get_usage())
    found = UsageError(message, hint=hint)
    return Answer({}, "", found.exit_code, found)


def _require_text(words: Sequence[str]) -> None:
    """Refuse what is no text: it could be a name of a file, but not one in a store, an answer or a log.

    Raises:
        UsageError: a word holds bytes that are no UTF-8, or a NUL.
    """
    for word in words:
        try:
            bad = "\0" in word or not word.encode()
        except UnicodeEncodeError:
            bad = True
        if bad and word:
            raise UsageError(
                f"{ascii(word)[:80]} is not a text of UTF-8", hint="Rename the file, or set a UTF-8 locale."
            )


def spread(arguments: list[str]) -> list[str]:
    """`--model a b` as `--model a --model b`, so that both ways of writing mean the same.

    A command whose own argument did not come yet keeps the values that follow an option as its arguments.
    """
    known = command().commands.get(arguments[0]) if arguments else None
    options = [] if known is None else [p for p in known.params if p.param_type_name == "option"]
    several = {name for option in options if option.multiple for name in option.opts}
    flags = {_JSON} | {name for option in options if option.is_flag for name in option.opts}
    takes_argument = 0 if known is None else sum(p.param_type_name == "argument" for p in known.params)
    result: list[str] = []
    option, values, positional = "", 0, 0
    for index, argument in enumerate(arguments):
        if argument.startswith("-") and not argument.lstrip("-").replace(".", "").replace(",", "").isdigit():
            option, values = "" if argument in flags else argument, 0
        elif index > 0 and option in several:
            values += 1
            if values > 1 and positional >= takes_argument:
                result.append(option)
        elif index > 0 and not option:
            positional += 1
        else:
            option = ""
        result.append(argument)
    return result
