"""A space with fewer options: genes frozen, options pruned. It is a space again, with its own genomes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from device_profiles.errors import UsageError
from nas.arrays import Archs
from nas.spaces.product import Gene, Option, ProductSpace
from nas.spaces.protocol import SharesWeights, Space
from profiler.assembly import Assembly

if TYPE_CHECKING:
    from torch import Tensor, nn

#: Restricted spaces up to this size are enumerated, so that networks that are one by isomorphism have one genome.
ENUMERABLE = 100_000


@dataclass(frozen=True)
class Restricted(ProductSpace):
    """Some options of another space.

    Attributes:
        inner: the whole space.
        kept: for each gene the options that are left, ascending indices of the whole space.
    """

    inner: ProductSpace
    kept: tuple[tuple[int, ...], ...]

    def __post_init__(self) -> None:
        for gene, options, whole in zip(self.inner.genes, self.kept, self.inner.choices, strict=True):
            if not options or list(options) != sorted(set(options)) or not 0 <= options[0] <= options[-1] < whole:
                raise UsageError(
                    f"gene {gene.name} is restricted to options {options}; it needs at least one of 0..{whole - 1}"
                )

    @property
    def name(self) -> str:  # type: ignore[override]
        """Of the whole space."""
        return self.inner.name

    @property
    def spec(self) -> str:
        """The whole space's spec, and `@gene=option+option` for each gene that has fewer."""
        limits = [
            f"@{gene.name}={'+'.join(str(gene.options[option]) for option in options)}"
            for gene, options in zip(self.inner.genes, self.kept, strict=True)
            if len(options) < len(gene.options)
        ]
        return self.inner.spec + "".join(limits)

    @cached_property
    def genes(self) -> tuple[Gene, ...]:
        """Those of the whole space, with the options that are left."""
        return tuple(
            Gene(gene.name, tuple(gene.options[option] for option in options), gene.ordered)
            for gene, options in zip(self.inner.genes, self.kept, strict=True)
        )

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Of the whole space."""
        return self.inner.input_shape

    def widen(self, archs: Archs) -> Archs:
        """The same architectures as genomes of the whole space, `(n, d)`."""
        archs = self.checked(archs)
        columns = [np.array(options)[archs[:, gene]] for gene, options in enumerate(self.kept)]
        return np.stack(columns, axis=1).astype(np.int64)

    def narrow(self, archs: Archs) -> tuple[Archs, NDArray[np.bool_]]:
        """Genomes of the whole space as genomes of this one, `(n, d)`, and which of them are in it, `(n,)`."""
        inside = np.ones(len(archs), dtype=np.bool_)
        found = np.zeros(archs.shape, dtype=np.int64)
        for gene, options in enumerate(self.kept):
            place = np.searchsorted(options, archs[:, gene]).clip(max=len(options) - 1)
            inside &= np.array(options)[place] == archs[:, gene]
            found[:, gene] = place
        return found, inside

    def active(self, archs: Archs) -> NDArray[np.bool_]:
        """As in the whole space."""
        return self.inner.active(self.widen(archs))

    def canonical(self, archs: Archs) -> Archs:
        """One representative among the genomes that are left.

        Inactive genes are 0. Isomorphic networks have one row where the space has up to 100,000 genomes, or where
        their representative in the whole space is left; otherwise some keep their own.
        """
        archs = self.checked(archs)
        archs = np.asarray(np.where(self.active(archs), archs, 0))
        if not self._isomorphic:
            return archs
        whole = self.inner.canonical(self.widen(archs))
        if self.size <= ENUMERABLE:
            rows = [self._representatives[row.tobytes()] for row in whole]
            return np.array(rows, dtype=np.int64).reshape(archs.shape)
        found, inside = self.narrow(whole)
        return np.asarray(np.where(inside[:, None], found, archs))

    def is_valid(self, archs: Archs) -> NDArray[np.bool_]:
        """As in the whole space."""
        return self.inner.is_valid(self.widen(archs))

    def features(self, archs: Archs) -> NDArray[np.float64]:
        """Those of the whole space."""
        return self.inner.features(self.widen(archs))

    def format(self, arch: Archs) -> str:
        """The whole space's text."""
        return self.inner.format(self.widen(np.asarray(arch)[None])[0])

    def parse(self, text: str) -> Archs:
        """A genome `(d,)` from the whole space's text form, or from integers with commas of this one.

        Raises:
            UsageError: the text is neither, or an option is not left.
        """
        if re.fullmatch(r"[\d\s,]+", text):
            return self.parse_integers(text)
        found, inside = self.narrow(self.inner.parse(text)[None])
        if not inside[0]:
            raise UsageError(f"{text!r} has options that are not left in {self.spec}")
        row: Archs = found[0]
        return row

    def assembly(self, arch: Archs) -> Assembly:
        """The whole space's network."""
        return self.inner.assembly(self.widen(np.asarray(arch)[None])[0])

    def replaced(self, **options: Any) -> Restricted:
        """The restriction of the space with other options."""
        inner = self.inner.replaced(**options)
        if inner.choices != self.inner.choices:
            raise UsageError(
                f"{inner.spec} has other genes than {self.inner.spec}, so the restriction does not fit it",
                hint="Restrict the space with those options instead.",
            )
        return type(self)(inner, self.kept)

    @cached_property
    def _isomorphic(self) -> bool:
        """Whether the whole space knows of more than inactive genes."""
        return type(self.inner).canonical is not ProductSpace.canonical

    @cached_property
    def _representatives(self) -> dict[bytes, tuple[int, ...]]:
        """For each network its first genome."""
        rows = np.array(list(product(*map(range, self.choices))), dtype=np.int64)
        first: dict[bytes, tuple[int, ...]] = {}
        for whole, row in zip(self.inner.canonical(self.widen(rows)), rows, strict=True):
            first.setdefault(whole.tobytes(), tuple(int(gene) for gene in row))
        return first


@dataclass(frozen=True)
class RestrictedSharing(Restricted):
    """Some options of a space whose networks can share weights; a class of its own, as `SharesWeights` asks types."""

    def to_supernet(self, **options: Any) -> Any:
        """The whole space's shared weights, of which only what is left is run."""
        assert isinstance(self.inner, SharesWeights)
        return narrowed(self, self.inner.to_supernet(**options))


def narrowed(space: Restricted, inner: Any) -> Any:
    """A supernet of the whole space by the genomes of a restricted one."""
    return _supernet_class()(space, inner)


def restrict(space: ProductSpace, kept: Mapping[str | int, Iterable[Option] | Option]) -> Space:
    """A space with fewer options.

    Args:
        space: the whole one, or one that was restricted before.
        kept: by the name of a gene the options that stay; by its number the indices of those. One option freezes it.

    Returns:
        A space; genes keep their places.

    Raises:
        UnknownName: there is no such gene.
        UsageError: there is no such option, or none is left.
    """
    inner, before = (space.inner, space.kept) if isinstance(space, Restricted) else (space, None)
    limits = list(before or (tuple(range(count)) for count in inner.choices))
    for gene, wanted in kept.items():
        options = list(wanted) if isinstance(wanted, Iterable) and not isinstance(wanted, str) else [wanted]
        place = space.place(gene) if isinstance(gene, str) else int(gene)
        if not 0 <= place < len(limits):
            raise UsageError(f"gene {gene} is outside of 0..{len(limits) - 1}")
        texts = [str(option) for option in space.genes[place].options]
        # By the number of a gene its options are numbers too; by its name they are what they are called.
        known = texts if isinstance(gene, str) else [str(index) for index in range(len(texts))]
        names = [str(option) for option in options]
        unknown = [name for name in names if name not in known]
        if unknown or not names:
            raise UsageError(
                f"gene {space.genes[place].name} has no option {', '.join(unknown) or 'left'}",
                hint=f"It has {', '.join(known)}.",
            )
        kept_here = {known.index(name) for name in names}
        limits[place] = tuple(option for index, option in enumerate(limits[place]) if index in kept_here)
    if all(len(options) == whole for options, whole in zip(limits, inner.choices, strict=True)):
        return inner
    make = RestrictedSharing if isinstance(inner, SharesWeights) else Restricted
    return make(inner, tuple(limits))


ProductSpace._restricted = staticmethod(restrict)  # a restricted space is a space of choices itself


@cache
def _supernet_class() -> Any:
    from torch import nn

    class RestrictedSupernet(nn.Module):
        """A supernet by the genomes of a restricted space."""

        def __init__(self, space: Restricted, inner: Any) -> None:
            super().__init__()
            self.space = space
            self.inner = inner

        def forward_path(self, images: Tensor, arch: Archs) -> Tensor:
            """Logits of one architecture."""
            logits: Tensor = self.inner.forward_path(images, self.space.widen(np.asarray(arch)[None])[0])
            return logits

        def forward_mixed(self, images: Tensor, gates: list[Tensor]) -> Tensor:
            """Logits with each option that is left weighted by its gate."""
            whole = [
                gate.new_zeros(count).index_put((gate.new_tensor(options).long(),), gate)
                for gate, options, count in zip(gates, self.space.kept, self.space.inner.choices, strict=True)
            ]
            logits: Tensor = self.inner.forward_mixed(images, whole)
            return logits

        def pass_by(self, bypass: Callable[[Tensor, Tensor], Tensor]) -> None:
            """As in the whole space."""
            self.inner.pass_by(bypass)

        def subnet(self, arch: Archs) -> nn.Module:
            """The stand-alone network with a copy of its weights."""
            network: nn.Module = self.inner.subnet(self.space.widen(np.asarray(arch)[None])[0])
            return network

    return RestrictedSupernet
