"""The command `hwnas`: its subcommands, and how it reads options of several values."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click
import typer

from hwnas_cli.answer import print_json
from hwnas_cli.commands import (
    benchmark,
    compare,
    devices,
    doctor,
    evaluate,
    fit,
    importing,
    predict,
    profile,
    report,
    search,
)

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
app.command()(search.search)
app.command()(report.report)
app.command()(benchmark.benchmark)
app.command("import")(importing.import_)
app.command("lint")(importing.lint)

#: Options that take several values after one name: `--model a.onnx b.onnx`.
FLAGS = ("--json",)
SEVERAL = ("--model", "--arch", "--objective", "--constraint", "--strategy")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if "--json" not in given:
        app(args=spread(given), prog_name="hwnas")
        return
    try:
        code = app(args=spread(given), prog_name="hwnas", standalone_mode=False)
    except click.ClickException as error:  # options that cannot be read: the answer is one object all the same
        error.show()
        fields = {"type": "UsageError", "message": error.format_message(), "hint": "hwnas --help"}
        print_json(next((word for word in given if not word.startswith("-")), "hwnas"), {"error": fields})
        sys.exit(error.exit_code)
    sys.exit(code if isinstance(code, int) else 0)


def spread(arguments: list[str]) -> list[str]:
    """`--model a b` as `--model a --model b`, so that both ways of writing mean the same.

    A command whose own argument did not come yet keeps the values that follow an option as its arguments.
    """
    takes_argument = {"profile": 1, "predict": 1}.get(arguments[0] if arguments else "", 0)
    result: list[str] = []
    option, values, positional = "", 0, 0
    for index, argument in enumerate(arguments):
        if argument.startswith("-") and not argument.lstrip("-").replace(".", "").replace(",", "").isdigit():
            option, values = "" if argument in FLAGS else argument, 0
        elif index > 0 and option in SEVERAL:
            values += 1
            if values > 1 and positional >= takes_argument:
                result.append(option)
        elif index > 0 and not option:
            positional += 1
        else:
            option = ""
        result.append(argument)
    return result
