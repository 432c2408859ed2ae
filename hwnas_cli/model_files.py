"""Options that say how model files are run, and what is made of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hwnas_cli.options import count

if TYPE_CHECKING:
    from profiler.model_files import Asked

Shapes = Annotated[list[str] | None, typer.Option("--shape", help="INPUT=1x3x224x224; again for other inputs.")]
Dims = Annotated[list[str] | None, typer.Option("--dim", help="A free dimension by its name in the file, NAME=8.")]
#: Most inputs in one inference.
LARGEST_BATCH = 2**20
Batches = Annotated[str | None, typer.Option("--batch", help="Inputs in one inference: 8; 1,8,32 is a curve.")]
Batch = Annotated[int | None, count("For leading dimensions that are free.")]
Calibration = Annotated[
    Path | None, typer.Option(help="What int8 is calibrated on: .npz of stacked inputs by name, or a folder of images.")
]
Inputs = Annotated[Path | None, typer.Option(help="Inputs of your own, .npz by name; others are drawn.")]


def batches_of(text: str | None, usual: int) -> list[int]:
    """`8`, or `1,8,32`, as numbers; the usual one if there is none.

    Raises:
        UsageError: it is no list of numbers from 1, or one is in it twice.
    """
    from device_profiles.errors import UsageError

    if text is None:
        return [usual]
    parts = text.split(",")
    if not all(part.isascii() and part.isdigit() and 1 <= int(part) <= LARGEST_BATCH for part in parts):
        raise UsageError(f"--batch is 8, or 1,8,32, got {text[:60]!r}", hint="Numbers from 1, with commas between.")
    found = list(map(int, parts))
    if len(set(found)) < len(found):
        raise UsageError(f"--batch has a number twice: {text[:60]!r}", hint="Give each once.")
    return found


def asked_of(
    shapes: Sequence[str] | None,
    dims: Sequence[str] | None,
    batch: int | None,
    inputs: Path | None,
    models: Sequence[Path] | None,
    *,
    usual_batch: int = 1,
) -> Asked | None:
    """How files are to be run, from the options; None if they say nothing.

    Raises:
        UsageError: an option cannot be read, there is no file for it, or no file has what it names.
        InvalidData: the inputs cannot be read.
    """
    from device_profiles.errors import UsageError
    from profiler.free_dims import Wanted, parse_dim, parse_shape
    from profiler.model_files import Asked, read_inputs

    if not (shapes or dims or batch or inputs):
        return Asked(Wanted(batch=usual_batch, several=True)) if usual_batch > 1 else None
    if not models:
        raise UsageError("--shape, --dim, --batch and --inputs are for files", hint="Give them with --model FILE.onnx.")
    several = len(models) > 1
    batch = batch or (usual_batch if usual_batch > 1 else None)
    wanted = Wanted(dict(map(parse_shape, shapes or ())), dict(map(parse_dim, dims or ())), batch, several)
    asked = Asked(wanted, {} if inputs is None else read_inputs(inputs))
    _check_names(asked, models)
    return asked


def _check_names(asked: Asked, models: Sequence[Path]) -> None:
    """Every input and dimension that an option names is one of some file.

    Raises:
        UsageError: one is not; the hint lists what there is.
    """
    from device_profiles.errors import InvalidModel, UsageError
    from profiler.free_dims import names_of
    from profiler.onnx_check import parse

    inputs: dict[str, None] = {}
    symbols: dict[str, None] = {}
    for path in models:
        try:
            own, free = names_of(parse(path))
        except InvalidModel:  # it is told of when it is read
            return
        inputs |= dict.fromkeys(own)
        symbols |= dict.fromkeys(free)
    wanted = asked.wanted
    for what, given, known in (
        ("input", (*wanted.shapes, *asked.inputs), inputs),
        ("free dimension", wanted.dims, symbols),
    ):
        unknown = [name for name in given if name not in known]
        if unknown:
            raise UsageError(f"no model has {what} {unknown[0]!r}", hint=f"There is: {', '.join(known) or 'none'}.")
