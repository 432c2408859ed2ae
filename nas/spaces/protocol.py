"""What a search space is: a product of categorical choices, and the networks its points stand for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from nas.arrays import Archs
from nas.spaces.mixture import Mixture
from profiler.assembly import Assembly

if TYPE_CHECKING:
    from torch import nn


@runtime_checkable
class Space(Protocol):
    """A product of categorical choices.

    An architecture is a row of integers, one gene per choice, `0 <= gene < choices[i]`.

    A space is immutable. It is made by its module's `SPACE(**options)`; `spec` holds the name and the options, so that
    `nas.spaces.load(spec)` makes an equal space anywhere.
    """

    @property
    def name(self) -> str:
        """The registered name."""

    @property
    def spec(self) -> str:
        """Name and options that differ from the defaults, such as `nasbench201:cells=1,channels=8`."""

    @property
    def choices(self) -> tuple[int, ...]:
        """Options per gene, `(d,)`."""

    @property
    def ordered(self) -> tuple[bool, ...]:
        """Per gene, `(d,)`, whether its options are in an order, so that near ones are alike."""

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input with batch 1, such as `(1, 3, 32, 32)`."""

    @property
    def size(self) -> int:
        """Number of genomes: the product of `choices`."""

    def sample(self, n: int, rng: np.random.Generator) -> Archs:
        """`n` genomes, `(n, d)`, uniform over genomes; all distinct under `canonical` where the space has that many.

        Architectures without a function (see `is_valid`) are not drawn.
        """

    def canonical(self, archs: Archs) -> Archs:
        """One representative for each network, `(n, d)`: equal rows of the result are the same network. Idempotent."""

    def is_valid(self, archs: Archs) -> NDArray[np.bool_]:
        """`(n,)`: False where the output does not depend on the input."""

    def neighbours(self, arch: Archs) -> Archs:
        """All genomes that differ from `arch` `(d,)` in one gene: `(sum(choices) - d, d)`."""

    def features(self, archs: Archs) -> NDArray[np.float64]:
        """What the space knows of its networks' structure, `(n, f)`, equal for equal `canonical` rows."""

    def parse(self, text: str) -> Archs:
        """A genome `(d,)` from the space's own text form or from integers with commas.

        Raises:
            UsageError: the text is neither, or a gene is out of range.
        """

    def format(self, arch: Archs) -> str:
        """The text form of one genome, `(d,)`; `parse` reads it back."""

    def assembly(self, arch: Archs) -> Assembly:
        """The network of one genome, `(d,)`, as blocks.

        Raises:
            ConstantNetwork: the output does not depend on the input.
        """

    def to_module(self, arch: Archs, **options: Any) -> nn.Module:
        """The network of one genome, `(d,)`, as a torch module, with fresh weights."""

    def restrict(self, kept: Mapping[str | int, Any]) -> Space:
        """The space with fewer options; by a gene's name the options that stay, by its number their indices."""


class Supernet(Protocol):
    """All networks of a space with shared weights. It is an `nn.Module` too."""

    def forward_path(self, images: Any, arch: Archs) -> Any:
        """Logits of one architecture `(d,)`, through the shared weights of its own operators only."""

    def forward_mixed(self, images: Any, gates: Any) -> Any:
        """Logits where each gene's option `o` is weighted by `gates[i][o]`.

        `gates` is one tensor `(choices[i],)` per gene. An option whose gate is exactly 0 is not run where all other
        gates of the gene but one are 0 too (a straight-through one-hot sample runs one path); gradients still reach the
        gate that is 1.
        """

    def subnet(self, arch: Archs) -> nn.Module:
        """The stand-alone network, equal to `space.to_module(arch)` in structure, with a copy of the shared weights."""


@runtime_checkable
class PassesBy(Protocol):
    """A supernet in whose mixed form some channels can pass by what is mixed."""

    def pass_by(self, bypass: Callable[[Any, Any], Any]) -> None:
        """From now on a place that mixes gives `bypass(read, made)`, where both are alike in shape.

        Raises:
            UsageError: there is no such place: what is mixed does not all read the same.
        """


@runtime_checkable
class SharesWeights(Protocol):
    """A space that brings a supernet of its own; for all others `nas.weights.supernets` makes one of their blocks."""

    def to_supernet(self, **options: Any) -> Any:
        """A `Supernet` with fresh weights."""


@runtime_checkable
class Entangles(SharesWeights, Protocol):
    """A space with a supernet of its own that has another form, where operators are parts of each other.

    Spaces without a supernet of their own say it of their blocks instead (`profiler.assembly.Block.cut`).
    """

    def to_entangled(self) -> Any:
        """That `Supernet`, with fresh weights."""


@runtime_checkable
class Mixes(Protocol):
    """A space that says how all its networks stand side by side.

    Only where it cannot be told from `assembly`: where each block reads the one before it, it can.
    """

    def mixture(self) -> Mixture:
        """Which blocks may stand where, and which gates weigh them."""


MakeSpace = Callable[..., Space]
