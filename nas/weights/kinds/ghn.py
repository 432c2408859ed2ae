"""Weights by a graph hypernetwork: a gated graph network over a network's operators tells the weights of each.

Source: Zhang, Ren & Urtasun, "Graph hypernetworks for neural architecture search", ICLR 2019; Knyazev, Drozdzal, Taylor
    & Romero-Soriano, "Parameter prediction for unseen deep architectures" (GHN-2), NeurIPS 2021, sections 3 and 4.
"""

from __future__ import annotations

from typing import Any

from nas.spaces.protocol import Space
from nas.weights.kinds.protocol import trained_by

#: Of a node's state, as in both papers.
_WIDTH = 32


def ghn(space: Space, *, seed: int = 0) -> Any:
    """A `nas.weights.hyper.generated.GeneratedWeights` of the space."""
    from nas.weights.hyper.decoding import GraphHypernetwork
    from nas.weights.hyper.generated import generated
    from nas.weights.hyper.graph_network import GatedGraphNetwork

    return generated(space, "ghn", seed, lambda: GraphHypernetwork(GatedGraphNetwork(_WIDTH), _WIDTH))


WEIGHTS = trained_by(optimiser="adamw", rate=0.001)(ghn)
