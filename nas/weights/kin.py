"""Which genes of a space are of one kind, by their names."""

from __future__ import annotations

import re

from nas.spaces.protocol import Space

_WORD = re.compile(r"[A-Za-z]+")
#: Words of names that say what a gene is; of two kinds the first counts.
_KINDS = {"resolution": ("resolution",), "kernel": ("kernel",), "depth": ("depth", "layers")}


def stems(space: Space) -> tuple[str, ...]:
    """Of each gene what its name is without numbers: `kernel` of `kernel2_1`.

    Genes without names are `gene0`, `gene1`, ...: each of a kind of its own.
    """
    genes = getattr(space, "genes", None)
    if genes is None:
        return tuple(f"gene{number}" for number in range(len(space.choices)))
    return tuple("_".join(_WORD.findall(gene.name)) or gene.name for gene in genes)


def kinds(space: Space) -> tuple[str, ...]:
    """Of each gene `resolution`, `kernel`, `depth`, or `width` for other ordered ones; `` for those without an order.

    A space of which no name says that a gene is a kernel or a depth tells nothing of its others either: there, each
    ordered gene is of its own kind, `gene0`, `gene1`, ..., but for resolutions.
    """
    named = [_kind(stem) if ordered else "" for stem, ordered in zip(stems(space), space.ordered, strict=True)]
    if not {"kernel", "depth"} & set(named):
        named = [f"gene{number}" if kind == "width" else kind for number, kind in enumerate(named)]
    return tuple(named)


def _kind(stem: str) -> str:
    words = stem.lower().split("_")
    return next((kind for kind, marks in _KINDS.items() if set(words) & set(marks)), "width")
