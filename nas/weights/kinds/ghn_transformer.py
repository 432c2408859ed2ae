"""Weights by a graph hypernetwork that is a transformer over a network's operators.

Source: Knyazev, Hwang & Lacoste-Julien, "Can we scale transformers to predict parameters of diverse ImageNet models?"
    (GHN-3), ICML 2023; the smallest of theirs, of 3 layers with 8 heads, has states of 64 numbers, as here.
"""

from __future__ import annotations

from typing import Any

from nas.spaces.protocol import Space
from nas.weights.kinds.protocol import trained_by

#: Of a node's state.
_WIDTH = 64


def ghn_transformer(space: Space, *, seed: int = 0) -> Any:
    """A `nas.weights.hyper.generated.GeneratedWeights` of the space."""
    from nas.weights.hyper.decoding import GraphHypernetwork
    from nas.weights.hyper.generated import generated
    from nas.weights.hyper.transformer import GraphTransformer

    return generated(space, "ghn-transformer", seed, lambda: GraphHypernetwork(GraphTransformer(_WIDTH), _WIDTH))


WEIGHTS = trained_by(optimiser="adamw", rate=0.001)(ghn_transformer)
