"""What of good genomes belongs together: a Bayesian network over genes, learned and sampled."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from device_profiles.errors import UsageError
from nas.arrays import Archs, Floats


@dataclass(frozen=True)
class BayesianNetwork:
    """A forest over genes: each depends on one other at most.

    Attributes:
        order: genes, each after the one that it depends on.
        parents: per gene the one that it depends on, -1 for none.
        tables: per gene `(options of its parent, options)`, or `(1, options)` without one; rows sum to 1.
    """

    order: tuple[int, ...]
    parents: tuple[int, ...]
    tables: tuple[Floats, ...]

    def sample(self, count: int, rng: np.random.Generator) -> Archs:
        """Genomes drawn from the network, parents before their children, `(count, d)`."""
        found = np.zeros((count, len(self.parents)), dtype=np.int64)
        for gene in self.order:
            steps = np.cumsum(self.tables[gene][self._given(found, gene)], axis=1)
            draws = rng.random((count, 1)) * steps[:, -1:]
            found[:, gene] = (draws >= steps).sum(axis=1)
        return found

    def log_probability(self, archs: Archs) -> Floats:
        """Natural logarithm of the probability of each genome, `(n, d)` to `(n,)`."""
        total = np.zeros(len(archs))
        with np.errstate(divide="ignore"):
            for gene, table in enumerate(self.tables):
                total += np.log(table[self._given(archs, gene), archs[:, gene]])
        return total

    def _given(self, archs: Archs, gene: int) -> NDArray[np.int64]:
        """The row of a gene's table for each genome."""
        parent = self.parents[gene]
        return archs[:, parent] if parent >= 0 else np.zeros(len(archs), dtype=np.int64)


def mutual_information(archs: Archs, choices: tuple[int, ...]) -> Floats:
    """Of each pair of genes, in nats, `(n, d)` to `(d, d)`; 0 on the diagonal, and for no genomes.

    Source: Cover & Thomas, "Elements of information theory", 2006, section 2.3, of the relative frequencies.
    """
    found = np.zeros((len(choices), len(choices)))
    for left in range(len(choices)):
        for right in range(left + 1, len(choices)):
            joint = _counts(archs, left, right, choices) / max(len(archs), 1)
            independent = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
            seen = joint > 0
            value = float((joint[seen] * np.log(joint[seen] / independent[seen])).sum())
            found[left, right] = found[right, left] = value
    return found


def learn(archs: Archs, choices: tuple[int, ...], *, smoothing: float = 1.0, tree: bool = False) -> BayesianNetwork:
    """The network of the largest likelihood among forests, less what its parameters cost.

    Of all trees, the maximum spanning tree of mutual information has the largest likelihood. With few genomes most of
    that information is chance: an edge is kept only if it gains more likelihood than the Bayesian information criterion
    charges for its `(a - 1) (b - 1)` parameters, so that genes without a proven dependence stay independent.

    Source: Chow & Liu, "Approximating discrete probability distributions with dependence trees", IEEE Transactions on
        Information Theory 14(3), 1968; forests by a charge on edges: Friedman, Geiger & Goldszmidt, "Bayesian network
        classifiers", Machine Learning 29, 1997, section 2, for the criterion. NSGA-Net (Lu et al., GECCO 2019, section
        3.3) learns a chain over the phases of a network.

    Args:
        archs: `(n, d)`; n may be 0.
        choices: options per gene.
        smoothing: genomes that are added for each cell of a table (Laplace), above 0.
        tree: keep every edge of the spanning tree that carries any information.

    Raises:
        UsageError: `smoothing` is not above 0, or `archs` does not fit `choices`.
    """
    _check(archs, choices, smoothing)
    gains = len(archs) * mutual_information(archs, choices)
    if not tree:
        free = np.array(choices) - 1.0
        gains = gains - 0.5 * np.log(max(len(archs), 1)) * np.outer(free, free)
    parents, order = _rooted(_spanning(gains), len(choices))
    return _filled(archs, choices, parents, order, smoothing)


def independent(archs: Archs, choices: tuple[int, ...], *, smoothing: float = 1.0) -> BayesianNetwork:
    """The network without edges: a distribution over the options of each gene by itself.

    Source: Lu et al., "Neural architecture transfer", IEEE TPAMI 43(9), 2021, section 3.4, where sub-networks to train
        are drawn from it.

    Args:
        archs: `(n, d)`; n may be 0, which makes all options equally likely.
        choices: options per gene.
        smoothing: genomes that are added for each option (Laplace), above 0.

    Raises:
        UsageError: as `learn`.
    """
    _check(archs, choices, smoothing)
    return _filled(archs, choices, (-1,) * len(choices), tuple(range(len(choices))), smoothing)


def _check(archs: Archs, choices: tuple[int, ...], smoothing: float) -> None:
    if not smoothing > 0 or archs.ndim != 2 or archs.shape[1] != len(choices):
        raise UsageError(
            f"a Bayesian network needs smoothing > 0 and genomes (n, {len(choices)}), got {smoothing} and {archs.shape}"
        )


def _filled(
    archs: Archs, choices: tuple[int, ...], parents: tuple[int, ...], order: tuple[int, ...], smoothing: float
) -> BayesianNetwork:
    """A forest with its tables."""
    tables = []
    for gene, parent in enumerate(parents):
        if parent >= 0:
            counts = _counts(archs, parent, gene, choices)
        else:
            counts = np.bincount(archs[:, gene], minlength=choices[gene])[None].astype(np.float64)
        counts = counts + smoothing
        tables.append(counts / counts.sum(axis=1, keepdims=True))
    return BayesianNetwork(order, parents, tuple(tables))


def _counts(archs: Archs, left: int, right: int, choices: tuple[int, ...]) -> Floats:
    """How often each pair of options occurs, `(options of left, options of right)`."""
    cells = archs[:, left] * choices[right] + archs[:, right]
    counts = np.bincount(cells, minlength=choices[left] * choices[right])
    return counts.reshape(choices[left], choices[right]).astype(np.float64)


def _spanning(gains: Floats) -> list[tuple[int, int]]:
    """Edges of the forest with the largest sum of positive gains (Kruskal 1956)."""
    genes = len(gains)
    group = list(range(genes))
    left, right = np.triu_indices(genes, 1)
    edges: list[tuple[int, int]] = []
    for index in np.argsort(-gains[left, right], kind="stable"):
        a, b = int(left[index]), int(right[index])
        if gains[a, b] <= 1e-12:
            break
        if group[a] != group[b]:
            edges.append((a, b))
            old, new = group[b], group[a]
            group = [new if one == old else one for one in group]
    return edges


def _rooted(edges: list[tuple[int, int]], genes: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Parents and an order, each tree hanging from its first gene."""
    near: list[list[int]] = [[] for _ in range(genes)]
    for a, b in edges:
        near[a].append(b)
        near[b].append(a)
    parents, order = [-1] * genes, list[int]()
    for root in range(genes):
        waiting = [] if root in order else [root]
        while waiting:
            gene = waiting.pop(0)
            order.append(gene)
            for child in sorted(near[gene]):
                if child != parents[gene]:
                    parents[child] = gene
                    waiting.append(child)
    return tuple(parents), tuple(order)
