"""Commands whose time has not come; their names answer with an error that says so."""

from __future__ import annotations

from typing import Annotated

import typer

from device_profiles.errors import UsageError
from hwnas_cli.answer import Answer, Json, answers

Anything = Annotated[list[str] | None, typer.Argument(hidden=True)]


@answers("benchmark")
def benchmark(arguments: Anything = None, as_json: Json = False) -> Answer:
    """Run a benchmark file. Not part of this version."""
    raise UsageError("hwnas benchmark is not part of this version", hint="See the scripts in benchmarks/.")
