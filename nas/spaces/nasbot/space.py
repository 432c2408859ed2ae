"""Whole networks as labelled graphs: each layer has a kind, a width, and reads any of the layers before it.

Source: Kandasamy, Neiswanger, Schneider, Póczos & Xing, "Neural architecture search with Bayesian optimisation and
    optimal transport", NeurIPS 2018, section 2 and appendix C. Its networks are lists of any length that are changed
    step by step; here a genome has room for a fixed number of layers, and those that are on no path are left out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from device_profiles.errors import ConstantNetwork, UsageError
from nas.arrays import Archs
from nas.spaces._parts import dag
from nas.spaces.nasbot import network
from nas.spaces.nasbot.network import KINDS, Columns, Graphs
from nas.spaces.nasbot.tally import Layers, Sizes, tally
from nas.spaces.product import Gene, ProductSpace
from profiler.assembly import Assembly

_FULL = (0, 4, 8, 16)
_LAYER = re.compile(r"^([a-z]+(?:\d|-pool)?)\*(\d+)\((\d+(?:\+\d+)*)?\)$")
_ENDS = re.compile(r"^out\((\d+(?:\+\d+)*)?\)$"), re.compile(r"^fc\((\d+)\+(\d+)\)$")


@dataclass(frozen=True)
class NasBot(ProductSpace):
    """Graphs of up to `layers` layers.

    A layer shrinks what it reads to the least of its resolutions (means of squares of pixels), brings it to its own
    width (a convolution of one pixel and batch norm, where the widths differ), and sums it. Pools halve a resolution
    that is even; those of an odd one are skips. What the output reads is averaged over all pixels, mapped to one width,
    and summed; up to two fully connected layers follow.

    Attributes:
        layers: that a network may have at most.
        width: of the narrowest layers.
        steps: of the width: each is twice the one before.
        resolution: of the square input.
        classes: that the network tells apart.
        image_channels: of the input.
    """

    layers: int = 10
    width: int = 16
    steps: int = 4
    resolution: int = 32
    classes: int = 10
    image_channels: int = 3

    name = "nasbot"

    @cached_property
    def genes(self) -> tuple[Gene, ...]:
        """For each layer its kind, its width, and a bit for each earlier layer that it may read; then the output's."""
        units = tuple(self.width * 2**step for step in range(self.steps))
        full = tuple(self.width * factor for factor in _FULL)
        found: list[Gene] = []
        for layer in range(1, self.layers + 1):
            found += [Gene(f"kind{layer}", KINDS), Gene(f"units{layer}", units, ordered=True)]
            found += [Gene(f"edge{source}_{layer}", (0, 1)) for source in range(layer)]
        found += [Gene(f"out{layer}", (0, 1)) for layer in range(1, self.layers + 1)]
        return (*found, Gene("fc1", full, ordered=True), Gene("fc2", full, ordered=True))

    @property
    def input_shape(self) -> tuple[int, ...]:
        """One image."""
        return (1, self.image_channels, self.resolution, self.resolution)

    def is_valid(self, archs: Archs) -> NDArray[np.bool_]:
        """`(n,)`: whether a path leads from the input to the output."""
        return np.asarray(dag.reached(self._edges(self.checked(archs)))[:, -1])

    def active(self, archs: Archs) -> NDArray[np.bool_]:
        """`(n, d)`: of layers that are on a path, and edges that could make or break one."""
        archs = self.checked(archs)
        edges = self._edges(archs)
        on = dag.live(edges)
        found = np.ones(archs.shape, dtype=np.bool_)
        found[:, self._columns.kinds] = found[:, self._columns.units] = on[:, 1:-1]
        found[:, self._columns.edges] = dag.settable(edges)[:, self._columns.sources, self._columns.targets]
        found[:, -2:] = on[:, -1:]
        found[:, -1] &= archs[:, -2] != 0
        return found

    def canonical(self, archs: Archs) -> Archs:
        """One genome for all graphs that differ in the order of their layers alone; see `_dag.canonical_order`.

        Layers on no path are taken out, live ones come first, pools that cannot halve are skips. Graphs that compute
        the same otherwise are kept apart: a skip that reads one layer of its own width is a wire, two pools of the same
        layers are one.
        """
        found: Archs = dag.in_chunks(self._canonical, self.checked(archs))
        return found

    def _canonical(self, archs: Archs) -> Archs:
        graphs = self._graphs(archs)
        labels = np.where(graphs.live, 1 + graphs.kinds + len(KINDS) * graphs.channels, 0)
        order = dag.canonical_order(labels, graphs.edges)
        rows = np.arange(len(archs))[:, None]
        edges = graphs.edges[rows[:, :, None], order[:, :, None], order[:, None, :]]
        units = np.zeros_like(order)
        units[:, 1:-1] = archs[:, self._columns.units] * graphs.live[:, 1:-1]
        found = np.zeros_like(archs)
        found[:, self._columns.kinds] = graphs.kinds[rows, order][:, 1:-1]
        found[:, self._columns.units] = units[rows, order][:, 1:-1]
        found[:, self._columns.edges] = edges[:, self._columns.sources, self._columns.targets]
        found[:, -2] = archs[:, -2] * graphs.live[:, -1]
        found[:, -1] = archs[:, -1] * (found[:, -2] != 0)
        return found

    def features(self, archs: Archs) -> NDArray[np.float64]:
        """The genes of the canonical genome, and what `_nasbot_network.structure` counts: `(n, f)`.

        Of each layer a column for each kind, and its place among the widths; each edge; the places of the fully
        connected layers among theirs.
        """
        found: NDArray[np.float64] = dag.in_chunks(self._features, self.checked(archs))
        return found

    def _features(self, archs: Archs) -> NDArray[np.float64]:
        archs = self._canonical(archs)
        graphs = self._graphs(archs)
        on = graphs.live[:, 1:-1]
        kinds = (archs[:, self._columns.kinds, None] == np.arange(len(KINDS))) & on[:, :, None]
        units = (archs[:, self._columns.units] + 1.0) / self.steps * on
        genes = [
            kinds.reshape(len(archs), self.layers * len(KINDS)),
            units,
            archs[:, self._columns.edges],
            archs[:, -2:] / (len(_FULL) - 1),
        ]
        return np.concatenate([*genes, network.structure(graphs)], axis=1).astype(np.float64)

    def format(self, arch: Archs) -> str:
        """For each layer `kind*units(layers that it reads)`, `out(...)` and `fc(units+units)`; 0 is the input."""
        edges = self._edges(self.checked_row(arch)[None])[0]
        reads = ["+".join(str(source) for source in np.flatnonzero(column)) for column in edges.T]
        values = self.values(arch)
        words = [f"{values[f'kind{n}']}*{values[f'units{n}']}({reads[n]})" for n in range(1, self.layers + 1)]
        return " ".join([*words, f"out({reads[-1]})", f"fc({values['fc1']}+{values['fc2']})"])

    def parse(self, text: str) -> Archs:
        """A genome `(d,)` from the form of `format`, or from integers with commas.

        Raises:
            UsageError: the text is neither, or an option is not one.
        """
        if "(" not in text:
            return self.parse_integers(text)
        words = text.split()
        matches = [_LAYER.match(word) for word in words[:-2]]
        ends = [pattern.match(word) for pattern, word in zip(_ENDS, words[-2:], strict=False)]
        if len(words) != self.layers + 2 or not all(matches) or not all(ends):
            raise UsageError(
                f"{text!r} is no network of {self.layers} layers", hint=f"Write it like {self._example()!r}."
            )
        wanted: dict[str, str] = {}
        for layer, match in enumerate(filter(None, matches), start=1):
            wanted |= {f"kind{layer}": match[1], f"units{layer}": match[2]}
            wanted |= self._bits(match[3], f"edge{{}}_{layer}")
        reads, full = filter(None, ends)
        wanted |= self._bits(reads[1], "out{}") | {"fc1": full[1], "fc2": full[2]}
        zeros = {gene.name: "0" for gene in self.genes if gene.options == (0, 1)}
        return super().parse(" ".join(f"{gene}={option}" for gene, option in (zeros | wanted).items()))

    @property
    def tallied(self) -> int:
        """How many parts `tally` tells apart."""
        return self._sizes.total

    def tally(self, archs: Archs) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Numbers `(slots, n)` of the parts of networks, and how often each is there; see `nas.spaces.nasbot.tally`."""
        columns, rows = self._columns, np.ascontiguousarray(archs.T)
        reads: dict[int, dict[int, NDArray[np.bool_]]] = {}
        for place, source, target in zip(columns.edges, columns.sources, columns.targets, strict=True):
            reads.setdefault(target, {})[source] = rows[place] != 0
        kinds, units = (dict(enumerate(rows[places], start=1)) for places in (columns.kinds, columns.units))
        return tally(Layers(kinds, units, reads, rows[-2], rows[-1]), self._sizes)

    def assembly(self, arch: Archs) -> Assembly:
        """The network as blocks, of the layers on a path.

        Raises:
            ConstantNetwork: no path leads from the input to the output.
        """
        row = self.checked(np.asarray(arch)[None])
        if not self.is_valid(row)[0]:
            raise ConstantNetwork(
                f"network {self.format(row[0])} has no path from its input to its output",
                hint="Choose another; a layer must read one that reads the input, and the output must read it.",
            )
        return network.assembly(self._graphs(row), self.input_shape, self.width << (self.steps - 1))

    @cached_property
    def _sizes(self) -> Sizes:
        halvings = (self.resolution & -self.resolution).bit_length() - 1
        return Sizes(self.steps, halvings + 1, len(_FULL))

    @cached_property
    def _columns(self) -> Columns:
        pairs = [(source, layer) for layer in range(1, self.layers + 1) for source in range(layer)]
        names = [f"edge{source}_{layer}" for source, layer in pairs] + [f"out{n}" for n in range(1, self.layers + 1)]
        pairs += [(layer, self.layers + 1) for layer in range(1, self.layers + 1)]
        return Columns(
            kinds=[self.place(f"kind{n}") for n in range(1, self.layers + 1)],
            units=[self.place(f"units{n}") for n in range(1, self.layers + 1)],
            edges=[self.place(name) for name in names],
            sources=[source for source, _ in pairs],
            targets=[target for _, target in pairs],
        )

    def _edges(self, archs: Archs) -> Archs:
        edges = np.zeros((len(archs), self.layers + 2, self.layers + 2), dtype=np.int64)
        edges[:, self._columns.sources, self._columns.targets] = archs[:, self._columns.edges]
        return edges

    def _graphs(self, archs: Archs) -> Graphs:
        """The graphs of genomes, without what is on no path, with pools that cannot halve as skips."""
        edges = self._edges(archs)
        on = dag.live(edges)
        edges = dag.pruned(edges)
        kinds = np.zeros(on.shape, dtype=np.int64)
        kinds[:, 1:-1] = archs[:, self._columns.kinds] * on[:, 1:-1]
        kinds, sides, gives = network.flow(edges, kinds, self.resolution)
        channels = np.zeros(on.shape, dtype=np.int64)
        channels[:, 0] = self.image_channels
        channels[:, 1:-1] = (self.width << archs[:, self._columns.units]) * on[:, 1:-1]
        full = np.array(_FULL)[archs[:, -2:]] * self.width
        return Graphs(edges, on, kinds, channels, sides, gives, full, self.classes)

    def _bits(self, text: str | None, name: str) -> dict[str, str]:
        sources = text.split("+") if text else []
        if len(set(sources)) < len(sources):
            raise UsageError(f"{text!r} names a layer twice", hint="Name each layer once.")
        return {name.format(source): "1" for source in sources}


SPACE = NasBot
