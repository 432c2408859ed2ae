"""Numbers that options take: each within bounds, so that what cannot be meant is refused before anything is written."""

from __future__ import annotations

from typing import Annotated

import typer

#: Seeds are numbers of 32 bits: they are added to, stored as 64 bits, and given to libraries that take no more.
LARGEST_SEED = 2**32 - 1
#: Networks, architectures, evaluations: a million takes days even where one takes a tenth of a second.
LARGEST_COUNT = 1_000_000
#: Processes of one machine.
LARGEST_WORKERS = 1024
#: Random splits of a comparison, each of which fits every predictor anew.
LARGEST_SPLITS = 1000

Seed = Annotated[int, typer.Option(min=0, max=LARGEST_SEED, help="Of everything random.")]


def count(text: str, *names: str, least: int = 1, most: int = LARGEST_COUNT) -> typer.models.OptionInfo:
    """An option that counts something.

    Args:
        text: help.
        *names: of the option, if not that of the parameter.
        least: that is allowed.
        most: that is allowed.
    """
    found: typer.models.OptionInfo = typer.Option(*names, min=least, max=most, help=text)
    return found
