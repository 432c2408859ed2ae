"""A run ends when too many of the most probable options are skips; its result is of before.

Source: Liang et al., "DARTS+: improved differentiable architecture search with early stopping", arXiv 1909.06035, 2019,
    section 3.2, criterion 1: two or more of the eight edges that a cell keeps.
"""

from __future__ import annotations

from collections.abc import Callable

from device_profiles.errors import UsageError
from nas.gradient.parts.protocol import Halt, Watch
from nas.spaces.protocol import Space

#: What spaces call an option that hands on what it reads, and the share of genes with one that may choose it.
_SKIPS, _SHARE = ("skip", "skip_connect"), 0.25
#: A choice counts if it is so many times as probable as all options are in the beginning, where the largest is noise.
_CHOSEN = 1.5


def skips(space: Space) -> Callable[[Watch], Halt | None]:
    """See `nas.gradient.parts.protocol.MakeStop`."""
    genes = enumerate(getattr(space, "genes", ()))
    places = {number: gene.options.index(name) for number, gene in genes for name in _SKIPS if name in gene.options}
    if not places:
        raise UsageError(
            f"space {space.name!r} has no option that is a skip, so none can be counted",
            hint="Use another stop, such as entropy.",
        )
    most = max(1, int(_SHARE * len(places)))

    def look(watch: Watch) -> Halt | None:
        rows = [(watch.probabilities[gene], option) for gene, option in places.items()]
        count = sum(int(row.argmax()) == option and row[option] > _CHOSEN / len(row) for row, option in rows)
        return Halt(f"{count} of {len(places)} are skips", back=1) if count > most else None

    return look


STOP = skips
