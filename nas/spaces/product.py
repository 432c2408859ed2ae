"""What is the same in most spaces: genes with named options, masks, sampling, text. A space of your own starts here.

Example:
    >>> from nas.spaces.product import Gene
    >>> Gene("kernel", (3, 5, 7), ordered=True)
    Gene(name='kernel', options=(3, 5, 7), ordered=True)
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import cached_property
from math import prod
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from device_profiles.errors import UnknownName, UsageError
from nas.arrays import Archs
from nas.spaces.protocol import Space
from predictors.genes import numbered, whole
from profiler.assembly import Assembly

if TYPE_CHECKING:
    from torch import nn

Option = int | float | str

#: Spaces up to this size are enumerated where random draws find too few distinct networks.
ENUMERABLE = 1_000_000
#: Rounds of random draws before that.
_ROUNDS = 50


@dataclass(frozen=True)
class Gene:
    """One choice.

    Attributes:
        name: unique in the space, without spaces, commas, `=`, `+` and `@`.
        options: distinct values, at least one; a genome holds the index of one.
        ordered: whether near options are alike, as widths are.
    """

    name: str
    options: tuple[Option, ...]
    ordered: bool = False

    def __post_init__(self) -> None:
        texts = [str(option) for option in self.options]
        if not texts or len(set(texts)) < len(texts) or re.search(r"[\s,=+@]", "".join([self.name, *texts])):
            raise UsageError(
                f"gene {self.name!r} has options {self.options}; it needs distinct ones, and texts without spaces, "
                "commas, '=', '+' and '@'"
            )


class ProductSpace(ABC):
    """A space whose genes have names; see `nas.spaces.protocol.Space` for what its members mean.

    A subclass is a frozen dataclass whose fields are its options (whole numbers of at least 1, with defaults). It
    states `name`, `genes`, `input_shape` and `assembly`; where some genes do not matter it says so in `active`, and
    where genomes are no networks in `is_valid`. All the rest follows, and may be replaced.
    """

    name: ClassVar[str]
    #: `nas.spaces.restricted.restrict`, which gives it to this class: what it makes is such a space itself.
    _restricted: ClassVar[Any]

    @cached_property
    @abstractmethod
    def genes(self) -> tuple[Gene, ...]:
        """The choices, in order."""

    @property
    @abstractmethod
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input with batch 1."""

    @abstractmethod
    def assembly(self, arch: Archs) -> Assembly:
        """The network as blocks."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.__repr__ = ProductSpace.__repr__  # type: ignore[method-assign]  # dataclasses would make one of every field

    def __repr__(self) -> str:
        return f"nas.spaces.load({self.spec!r})"

    def __post_init__(self) -> None:
        for option, value in self._options().items():
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise UsageError(f"space option {option} must be a whole number of at least 1, got {value!r}")

    @property
    def spec(self) -> str:
        """The name, and options that differ from the defaults."""
        assert is_dataclass(self)
        changed = [f"{o.name}={getattr(self, o.name)}" for o in fields(self) if getattr(self, o.name) != o.default]
        return self.name + (":" + ",".join(changed) if changed else "")

    @cached_property
    def choices(self) -> tuple[int, ...]:
        """Options per gene."""
        return tuple(len(gene.options) for gene in self.genes)

    @cached_property
    def ordered(self) -> tuple[bool, ...]:
        """Per gene, whether near options are alike."""
        return tuple(gene.ordered for gene in self.genes)

    @property
    def size(self) -> int:
        """Number of genomes."""
        return prod(self.choices)

    def value(self, arch: Archs, gene: str) -> Any:
        """The option that an architecture `(d,)` has for a gene.

        Raises:
            UnknownName: the space has no such gene.
        """
        place = self.place(gene)
        return self.genes[place].options[int(self.checked_row(arch)[place])]

    def values(self, arch: Archs) -> dict[str, Any]:
        """All options of an architecture `(d,)` by the names of their genes."""
        return {
            gene.name: gene.options[index]
            for gene, index in zip(self.genes, self.checked_row(arch).tolist(), strict=True)
        }

    def place(self, gene: str) -> int:
        """The column of a gene.

        Raises:
            UnknownName: the space has no such gene.
        """
        if gene not in self._places:
            raise UnknownName(f"gene of space {self.name}", gene, self._places)
        return self._places[gene]

    def active(self, archs: Archs) -> NDArray[np.bool_]:
        """`(n, d)`: False for genes that change nothing in their genome, such as the kernel of a layer left out."""
        return np.ones(np.asarray(archs).shape, dtype=np.bool_)

    def canonical(self, archs: Archs) -> Archs:
        """Genes that change nothing are 0."""
        archs = self.checked(archs)
        return np.asarray(np.where(self.active(archs), archs, 0))

    def is_valid(self, archs: Archs) -> NDArray[np.bool_]:
        """All genomes are networks."""
        return np.ones(len(self.checked(archs)), dtype=np.bool_)

    def sample(self, n: int, rng: np.random.Generator) -> Archs:
        """`n` valid genomes, `(n, d)`, distinct networks as long as there are that many."""
        found = np.empty((0, len(self.choices)), dtype=np.int64)
        for _ in range(_ROUNDS):
            if len(found) >= n:
                return found[:n]
            drawn = rng.integers(0, self.choices, size=(2 * (n - len(found)) + 8, len(self.choices)))
            found = self._distinct(np.concatenate([found, drawn[self.is_valid(drawn)]]))
        if len(found) < n and self.size <= ENUMERABLE:
            everything = numbered(rng.permutation(self.size), self.choices)
            found = self._distinct(np.concatenate([found, everything[self.is_valid(everything)]]))
        if len(found) == 0:
            raise UsageError(f"no network was found in {self.spec}", hint="Loosen its restrictions.")
        more = found[rng.integers(0, len(found), size=max(n - len(found), 0))]
        return np.concatenate([found, more])[:n]

    def neighbours(self, arch: Archs) -> Archs:
        """All genomes that differ from `arch` `(d,)` in one gene."""
        near = [(g, o) for g, options in enumerate(self.choices) for o in range(options) if o != arch[g]]
        found = np.repeat(np.asarray(arch, dtype=np.int64)[None], len(near), axis=0)
        for row, (gene, option) in zip(found, near, strict=True):
            row[gene] = option
        return found

    def features(self, archs: Archs) -> NDArray[np.float64]:
        """Of each ordered gene its place in 0..1, of each other one a column for each option; inactive ones are 0."""
        archs = self.canonical(archs)
        active = self.active(archs)
        columns = []
        for gene, options in enumerate(self.choices):
            here = archs[:, gene, None]
            column = (here + 1.0) / options if self.ordered[gene] else here == np.arange(options)
            columns.append(column * active[:, gene, None])
        return np.concatenate(columns, axis=1).astype(np.float64)

    def format(self, arch: Archs) -> str:
        """`gene=option` for each gene, with spaces between."""
        return " ".join(f"{name}={value}" for name, value in self.values(arch).items())

    def parse(self, text: str) -> Archs:
        """A genome `(d,)` from `gene=option ...` in any order, or from integers with commas.

        Raises:
            UsageError: the text is neither, or an option is not one.
        """
        if "=" not in text:
            return self.parse_integers(text)
        found: dict[str, int] = {}
        for word in text.split():
            name, _, option = word.partition("=")
            texts = [str(one) for one in self.genes[self.place(name)].options]
            if option not in texts or name in found:
                raise UsageError(f"{word!r} is no option of gene {name}, or not the first", hint=" ".join(texts))
            found[name] = texts.index(option)
        missing = [gene.name for gene in self.genes if gene.name not in found]
        if missing:
            raise UsageError(f"{text!r} says nothing of {', '.join(missing)}", hint="Give every gene.")
        return np.array([found[gene.name] for gene in self.genes], dtype=np.int64)

    def parse_integers(self, text: str) -> Archs:
        """A genome `(d,)` from integers with commas.

        Raises:
            UsageError: it is no such text, or a gene is out of range.
        """
        parts = text.strip().split(",")
        if not all(re.fullmatch(r"\s*\d{1,9}\s*", part) for part in parts):
            raise UsageError(f"{text!r} is no architecture of {self.name}", hint=f"Such as {self._example()!r}.")
        genes = [int(part) for part in parts]
        if len(genes) != len(self.choices) or any(g >= n for g, n in zip(genes, self.choices, strict=True)):
            raise UsageError(
                f"{text!r} has {len(genes)} genes up to {max(genes)}; the space {self.name} has {len(self.choices)}",
                hint=f"Options per gene: {', '.join(map(str, self.choices))}; of {self.genes[0].name} in order: "
                f"{', '.join(map(str, self.genes[0].options))}.",
            )
        return np.array(genes, dtype=np.int64)

    def checked(self, archs: Archs) -> Archs:
        """The rows, if they are in the space.

        Raises:
            UsageError: they are not `(n, d)`, or a gene is out of range.
        """
        archs = np.asarray(archs)
        if archs.ndim != 2 or archs.shape[1] != len(self.choices):
            raise UsageError(f"architectures must be a matrix (n, {len(self.choices)}), got shape {archs.shape}")
        archs = whole(archs, [gene.name for gene in self.genes])
        outside = (archs < 0) | (archs >= np.array(self.choices))
        if outside.any():
            row, gene = np.argwhere(outside)[0]
            raise UsageError(
                f"gene {self.genes[gene].name} is {archs[row, gene]}, outside of 0..{self.choices[gene] - 1}"
            )
        return archs

    def checked_row(self, arch: Archs) -> Archs:
        """One row `(d,)`, if it is in the space.

        Raises:
            UsageError: see `checked`.
        """
        row: Archs = self.checked(np.asarray(arch)[None])[0]
        return row

    def to_module(self, arch: Archs, **options: Any) -> nn.Module:
        """The network as a torch module, with fresh weights; options are those of the space and replace its own."""
        return self.replaced(**options).assembly(arch).to_module()

    def replaced(self, **options: Any) -> Self:
        """The space with other options.

        Raises:
            UnknownName: it has no such option.
        """
        for option in options:
            if option not in self._options():
                raise UnknownName(f"option of space {self.name}", option, self._options())
        return replace(self, **options) if options else self  # type: ignore[type-var]

    def restrict(self, kept: Mapping[str | int, Iterable[Option] | Option]) -> Space:
        """The space with fewer options: `space.restrict({"kernel": (3, 5), "width": 16})`; see `restricted`."""
        space: Space = self._restricted(self, kept)
        return space

    @cached_property
    def _places(self) -> dict[str, int]:
        return {gene.name: place for place, gene in enumerate(self.genes)}

    def _options(self) -> dict[str, Any]:
        assert is_dataclass(self)
        return {option.name: getattr(self, option.name) for option in fields(self)}

    def _distinct(self, archs: Archs) -> Archs:
        _, first = np.unique(self.canonical(archs), axis=0, return_index=True)
        return archs[np.sort(first)]

    def _example(self) -> str:
        return self.format(np.zeros(len(self.choices), dtype=np.int64))
