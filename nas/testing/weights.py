"""The conformance kit for shared weights."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from nas import spaces
from nas.arrays import Archs
from nas.spaces.protocol import Space
from nas.testing.rules import close, inputs_of, require, shapes
from nas.weights import supernets


def check_shared_weights(space: Space | str, *, mixed: bool = True, kind: str = supernets.SHARED) -> None:
    """Hold the supernet of a space, its own or that of its blocks, to `nas.spaces.protocol.Supernet`.

    Args:
        space: a space, or its spec; small options make the check fast.
        mixed: whether its networks can be mixed by gates.
        kind: of weights, one of `nas.weights.kinds`.

    Raises:
        AssertionError: one path of the shared weights is not the stand-alone network, a one-hot sample is not one path,
            or gradients do not reach the gates; the message says which.
    """
    import torch

    space = spaces.load(space) if isinstance(space, str) else space
    supernet = supernets.of(space, kind=kind).eval()
    for arch in space.sample(6, np.random.default_rng(3)):
        inputs = torch.cat([inputs_of(space.assembly(arch), seed) for seed in (1, 2, 3)])
        awaken(supernet, inputs, arch)
        subnet = supernet.subnet(arch).eval()
        require(shapes(subnet) == shapes(space.to_module(arch)), "subnet", f"{arch.tolist()} is another network alone")
        with torch.no_grad():
            path, alone = supernet.forward_path(inputs, arch), subnet(inputs)
        require(close(path, alone), "forward_path", f"{arch.tolist()} differs from its subnet")
        if mixed:
            gates = [torch.nn.functional.one_hot(torch.tensor(g), n).float() for g, n in _genes(space, arch)]
            for gate in gates:
                gate.requires_grad_()
            sample = supernet.forward_mixed(inputs, gates)
            require(close(sample, path), "forward_mixed", f"one-hot gates of {arch.tolist()} differ from its path")
            sample.square().sum().backward()
            reached = sum(float(gate.grad.abs().sum()) for gate in gates if gate.grad is not None)
            require(reached > 0, "forward_mixed", f"no gradient reaches the gates of {arch.tolist()}")
        with torch.no_grad():
            for parameter in subnet.parameters():
                parameter.zero_()
            require(
                torch.equal(supernet.forward_path(inputs, arch), path), "subnet", "its weights are no copy: both change"
            )


def awaken(supernet: Any, inputs: Any, arch: Archs) -> None:
    """Give batch norms of a network the weight 1, and statistics: residuals begin faint, and would not be seen.

    Args:
        supernet: in eval mode, and left in it.
        inputs: `(batch, ...)`.
        arch: genes, `(d,)`.
    """
    import torch

    with torch.no_grad():
        supernet.forward_path(inputs, arch)
        for module in supernet.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = None  # an average over all that was run
                if module.weight is not None:
                    module.weight.fill_(1.0)
        supernet.train().forward_path(inputs, arch)
        supernet.eval()


def _genes(space: Space, arch: Archs) -> Iterator[tuple[int, int]]:
    return zip((int(gene) for gene in arch), space.choices, strict=True)
