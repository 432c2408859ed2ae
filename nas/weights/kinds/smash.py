"""Weights by a convolutional hypernetwork, from a binary image of the network: what it reads and writes, and how.

Source: Brock, Lim, Ritchie & Weston, "SMASH: one-shot model architecture search through hypernetworks", ICLR 2018.

There networks are one family: layers read some memory banks of channels and write others, the image has a place for so
many weights of each 1x1 convolution that reads a bank, and all other weights are trained and shared. Here networks are
those of any space. Each parameter has rows and columns of places, by groups of 16 channels that are written and read;
planes say which operator it is, which block of the network, what else the block has, how large it is, and how far back
the blocks stand that it reads, which are its memory banks; which group of their channels a place reads or writes is a
binary number. All weights are made, those of kernels and norms as well, and none is shared.
"""

from __future__ import annotations

from typing import Any

from nas.spaces.protocol import Space
from nas.weights.kinds.protocol import trained_by


def smash(space: Space, *, seed: int = 0) -> Any:
    """A `nas.weights.hyper.generated.GeneratedWeights` of the space."""
    from nas.weights.hyper.convolutional import ConvolutionalHypernetwork
    from nas.weights.hyper.generated import generated

    return generated(space, "smash", seed, ConvolutionalHypernetwork)


WEIGHTS = trained_by(optimiser="adamw", rate=0.001)(smash)
