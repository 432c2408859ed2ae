"""The macro space of NSGA-Net: phases whose nodes are joined at will, between fixed reductions.

Source: Xie & Yuille, "Genetic CNN", ICCV 2017, section 3.1; with the bit of a skip connection, Lu, Whalen, Boddeti,
    Dhebar, Deb, Goodman & Banzhaf, "NSGA-Net: neural architecture search using multi-objective genetic algorithm",
    GECCO 2019, section 3.1.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
from numpy.typing import NDArray

from device_profiles.errors import UsageError
from nas.arrays import Archs
from nas.spaces.nsganet_macro import blocks
from nas.spaces.nsganet_macro import phases as phase_graphs
from nas.spaces.product import Gene, ProductSpace
from profiler.assembly import INPUT, Assembly, Block

_PHASE = re.compile(r"^([01]+(?:-[01]+)*):([01])$")


@dataclass(frozen=True)
class NsganetMacro(ProductSpace):
    """Phases of up to `nodes` nodes, with a maximum pool between two phases.

    A node is a 3x3 convolution, batch norm and ReLU. Nodes that read no other read the phase's input, those that no
    other reads are the phase's output; a node without any edge is left out. Several inputs are concatenated and brought
    to the phase's width by a 1x1 convolution. The skip bit joins the phase's input to its output. A phase without an
    edge is one node, and has no skip.

    Attributes:
        phases: in a row.
        nodes: of each phase, at most; 2 to 7.
        channels: of the first phase.
        growth: by which each phase is wider than the one before.
        resolution: of the square input.
        classes: that the network tells apart.
        image_channels: of the input.
    """

    phases: int = 3
    nodes: int = 6
    channels: int = 24
    growth: int = 2
    resolution: int = 32
    classes: int = 10
    image_channels: int = 3

    name = "nsganet-macro"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 2 <= self.nodes <= phase_graphs.MOST_NODES or self.resolution < 2 ** (self.phases - 1):
            raise UsageError(
                f"space {self.name} needs 2 to {phase_graphs.MOST_NODES} nodes and a resolution of "
                f"{2 ** (self.phases - 1)} or more for {self.phases} phases, got nodes={self.nodes} and "
                f"resolution={self.resolution}",
                hint=f"Such as {self.name}:nodes=6,resolution=32.",
            )

    @cached_property
    def genes(self) -> tuple[Gene, ...]:
        """For each phase a bit for each pair of nodes, ordered as in the paper, and the bit of the skip."""
        found = []
        for phase in range(1, self.phases + 1):
            joined = [f"phase{phase}_{source + 1}-{target + 1}" for source, target in phase_graphs.pairs(self.nodes)]
            found += [Gene(name, (0, 1)) for name in (*joined, f"phase{phase}_skip")]
        return tuple(found)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """One image."""
        return (1, self.image_channels, self.resolution, self.resolution)

    def active(self, archs: Archs) -> NDArray[np.bool_]:
        """`(n, d)`: False for the skip of a phase without an edge."""
        codes, _ = self._split(self.checked(archs))
        found = np.ones((len(codes), self.phases, len(self.choices) // self.phases), dtype=np.bool_)
        found[:, :, -1] = codes != 0
        return found.reshape(len(codes), len(self.choices))

    def canonical(self, archs: Archs) -> Archs:
        """The genome with each phase's nodes in one order; see `phase_graphs.representatives`."""
        codes, skips = self._representatives(archs)
        bits = phase_graphs.bits(codes, self.nodes)
        return np.concatenate([bits, skips[:, :, None]], axis=2).reshape(len(codes), len(self.choices))

    def features(self, archs: Archs) -> NDArray[np.float64]:
        """The bits of the canonical genome, then counts of its phases, `(n, f)`.

        Of each phase `phase_graphs.structure`; then nodes and the longest path of the whole network, and the decimal
        logarithms of multiply-accumulates and parameters, both exact.
        """
        codes, skips = self._representatives(archs)
        distinct, places = np.unique(codes, return_inverse=True)
        counted = phase_graphs.structure(distinct, self.nodes)[places.reshape(codes.shape)]
        work = np.log10(np.stack(self._work(codes, skips, counted), axis=1))
        whole = counted[:, :, [0, 6]].sum(axis=1)
        rows = counted.reshape(len(codes), self.phases * phase_graphs.STRUCTURE)
        bits = phase_graphs.bits(codes, self.nodes).reshape(len(codes), len(self.choices) - self.phases)
        return np.concatenate([bits, skips, rows, whole, work], axis=1).astype(np.float64)

    def format(self, arch: Archs) -> str:
        """For each phase the bits of nodes 2, 3, ... with dashes between, and `:` with the bit of the skip."""
        words = []
        for *bits, skip in self.checked_row(arch).reshape(self.phases, -1).tolist():
            text = "".join(map(str, bits))
            nodes = [text[n * (n - 1) // 2 : n * (n + 1) // 2] for n in range(1, self.nodes)]
            words.append(f"{'-'.join(nodes)}:{skip}")
        return " ".join(words)

    def parse(self, text: str) -> Archs:
        """A genome `(d,)` from the form of `format`, or from integers with commas.

        Raises:
            UsageError: the text is neither.
        """
        if ":" not in text:
            return self.parse_integers(text)
        matches = [_PHASE.match(word) for word in text.split()]
        shapes = [[len(node) for node in match[1].split("-")] for match in matches if match]
        if shapes != [list(range(1, self.nodes))] * self.phases or not all(matches):
            raise UsageError(
                f"{text!r} is no network of {self.phases} phases with {self.nodes} nodes",
                hint=f"Write it like {self._example()!r}.",
            )
        bits = "".join(match[1].replace("-", "") + match[2] for match in matches if match)
        return np.array([int(bit) for bit in bits], dtype=np.int64)

    def assembly(self, arch: Archs) -> Assembly:
        """The network of the canonical genome as blocks; so isomorphic genomes are one network, channel by channel."""
        codes, skips = self._representatives(np.asarray(arch)[None])
        parts: list[Block] = []
        current, width = INPUT, self.image_channels
        for phase, (code, skip) in enumerate(zip(codes[0], skips[0], strict=True)):
            channels, prefix = self._width(phase), f"p{phase + 1}"
            if phase:
                parts.append(Block(f"{prefix}pool", "nsganet pool", (current,), blocks.pool))
                current = parts[-1].name
            if phase == 0 or channels != width:
                kernel = 1 if phase else 3
                build = partial(blocks.entry, width, channels, kernel)
                parts.append(Block(f"{prefix}in", f"nsganet entry{kernel} {width}->{channels}", (current,), build))
                current, width = parts[-1].name, channels
            added = _phase(phase_graphs.edges(np.array([code]), self.nodes)[0], bool(skip), current, prefix, channels)
            parts += added
            current = parts[-1].name
        build = partial(blocks.head, width, self.classes)
        parts.append(Block("head", f"nsganet head {width}->{self.classes}", (current,), build))
        return Assembly(tuple(parts), self.input_shape)

    def _width(self, phase: int) -> int:
        return self.channels * int(self.growth**phase)

    def _split(self, archs: Archs) -> tuple[Archs, Archs]:
        """Codes and skips of the phases, each `(n, phases)`."""
        genes = archs.reshape(len(archs), self.phases, len(self.choices) // self.phases)
        return phase_graphs.codes(genes[:, :, :-1]), genes[:, :, -1]

    def _representatives(self, archs: Archs) -> tuple[Archs, Archs]:
        codes, skips = self._split(self.checked(archs))
        found = phase_graphs.representatives(self.nodes)[codes].astype(np.int64)
        return found, np.where(codes != 0, skips, 0)

    def _work(
        self, codes: Archs, skips: Archs, counted: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Multiply-accumulates of one image and parameters, each `(n,)`; `counted` is `(n, phases, 8)`."""
        macs = np.zeros(len(codes))
        parameters = np.zeros(len(codes))
        before = self.image_channels
        for phase in range(self.phases):
            width, pixels = self._width(phase), (self.resolution >> phase) ** 2
            nodes, _, _, ends, _, merged = counted[:, phase, :6].T
            ends = ends + skips[:, phase]
            entry = (9 if phase == 0 else int(width != before)) * before * width
            weights = entry + (9 * nodes + merged + np.where(ends > 1, ends, 0)) * width**2
            macs += pixels * weights
            parameters += weights + 2 * width * (nodes + (codes[:, phase] != 0))
            before = width
        return macs + before * self.classes, parameters + before * self.classes + self.classes


SPACE = NsganetMacro


def _phase(joined: NDArray[np.bool_], skip: bool, entry: str, prefix: str, channels: int) -> list[Block]:
    """Blocks of one phase; `joined` is `(nodes, nodes)`."""
    if not joined.any():
        return [Block(f"{prefix}n1", f"nsganet node {channels}", (entry,), partial(blocks.node, channels))]
    parts: list[Block] = []

    def merged(inputs: list[str], name: str) -> str:
        if len(inputs) == 1:
            return inputs[0]
        build = partial(blocks.merge, len(inputs), channels)
        parts.append(Block(name, f"nsganet merge {len(inputs)}x{channels}", tuple(inputs), build))
        return name

    for node in np.flatnonzero(joined.any(axis=0) | joined.any(axis=1)):
        reads = [f"{prefix}n{source + 1}" for source in np.flatnonzero(joined[:, node])] or [entry]
        name = f"{prefix}n{node + 1}"
        inner = (merged(reads, f"{name}merge"),)
        parts.append(Block(name, f"nsganet node {channels}", inner, partial(blocks.node, channels)))
    ends = [f"{prefix}n{node + 1}" for node in np.flatnonzero(joined.any(axis=0) & ~joined.any(axis=1))]
    last = merged(([entry] if skip else []) + ends, f"{prefix}merge")
    parts.append(Block(f"{prefix}out", f"nsganet out {channels}", (last,), partial(blocks.out, channels)))
    return parts
