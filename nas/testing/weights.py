"""The conformance kit for shared weights."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from nas import spaces
from nas.arrays import Archs
from nas.spaces.protocol import Space
from nas.testing.rules import close, inputs_of, require, rounding, shapes
from nas.weights import kinds, supernets


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
            lost = rounding(subnet, inputs, alone)
        require(close(path, alone, lost), "forward_path", f"{arch.tolist()} differs from its subnet")
        if mixed:
            gates = [torch.nn.functional.one_hot(torch.tensor(g), n).float() for g, n in _genes(space, arch)]
            for gate in gates:
                gate.requires_grad_()
            sample = supernet.forward_mixed(inputs, gates)
            require(
                close(sample, path, lost), "forward_mixed", f"one-hot gates of {arch.tolist()} differ from its path"
            )
            sample.square().sum().backward()
            reached = sum(float(gate.grad.abs().sum()) for gate in gates if gate.grad is not None)
            require(reached > 0, "forward_mixed", f"no gradient reaches the gates of {arch.tolist()}")
        with torch.no_grad():
            for parameter in subnet.parameters():
                parameter.zero_()
            require(
                torch.equal(supernet.forward_path(inputs, arch), path), "subnet", "its weights are no copy: both change"
            )


def check_weights(kind: str, space: Space | str) -> None:
    """Hold a kind of weights to `nas.weights.kinds.protocol.MakeWeights`, on a space whose networks can have them.

    Args:
        kind: a registered one.
        space: a space, or its spec; small options make the check fast.

    Raises:
        AssertionError: it breaks a rule; the message says which one, and how.
    """
    import torch

    space = spaces.load(space) if isinstance(space, str) else space
    make = kinds.REGISTRY.get(kind)
    archs = space.sample(3, np.random.default_rng(5))
    inputs = [torch.cat([inputs_of(space.assembly(arch), seed) for seed in (1, 2, 3)]) for arch in archs]
    with torch.random.fork_rng(devices=[]):  # a supernet that a space brings itself takes torch's numbers
        torch.default_generator.manual_seed(7)
        supernet = make(space, seed=3)
        require(supernet.training, "made in training mode", "it is in eval mode")
        with torch.no_grad():
            before = [supernet.forward_path(*one) for one in zip(inputs, archs, strict=True)]
        torch.default_generator.manual_seed(7)
        again = make(space, seed=3)
        torch.default_generator.manual_seed(8)
        other = make(space, seed=4)
    for place in reversed(range(len(archs))):
        with torch.no_grad():
            outputs = again.forward_path(inputs[place], archs[place])
            require(torch.equal(outputs, before[place]), "equal seeds", "give other networks, or the order counts")
            away = other.forward_path(inputs[place], archs[place])
            require(not torch.equal(away, before[place]), "other seeds", "give the same networks")
    for one in zip(inputs, archs, strict=True):
        _check_own(supernet, *one)
    _check_learns(supernet, other, inputs, archs)


def _check_own(supernet: Any, inputs: Any, arch: Archs) -> None:
    """A network alone has a copy of all of its weights, and gives what its path gives."""
    import torch

    torch_state = torch.random.get_rng_state()
    path = supernet.forward_path(inputs, arch)
    require(
        torch.equal(torch.random.get_rng_state(), torch_state) or _drops(supernet, arch),
        "forward_path",
        "it takes torch's random numbers, though the network drops nothing",
    )
    alone, twin = supernet.subnet(arch), supernet.subnet(arch)
    require(alone.training == supernet.training, "subnet", "it is in another mode")
    require(close(path, alone(inputs)), "subnet", f"{arch.tolist()} alone differs from its path, in training mode")
    pairs = zip(alone.named_parameters(), twin.parameters(), strict=True)
    left = [name for (name, one), two in pairs if not torch.equal(one, two)]
    require(not left, "subnet", f"weights of {arch.tolist()} are not those of the supernet: {', '.join(left)}")
    with torch.no_grad():
        for parameter in alone.parameters():
            parameter.zero_()
    require(close(supernet.forward_path(inputs, arch), path), "subnet", "its weights are no copy: both change")


def _drops(supernet: Any, arch: Archs) -> bool:
    import torch

    return any(isinstance(one, torch.nn.modules.dropout._DropoutNd) for one in supernet.subnet(arch).modules())


def _check_learns(supernet: Any, fresh: Any, inputs: Any, archs: Archs) -> None:
    """Gradients reach what is trained; its state, loaded, gives the same networks."""
    import torch

    for one in zip(inputs, archs, strict=True):
        loss = supernet.forward_path(*one).square().mean()
        require(loss.requires_grad, "gradients", "none reaches a parameter")
        loss.backward()
    reached = [one for one in supernet.parameters() if one.grad is not None and bool((one.grad != 0).any())]
    require(reached, "gradients", "none reaches a parameter")
    with torch.no_grad():
        for parameter in reached:
            parameter.sub_(0.01 * parameter.grad)
    state = {name: value.clone() for name, value in supernet.state_dict().items()}
    missing = fresh.load_state_dict(state, strict=False).missing_keys
    require(not missing, "state_dict", f"{', '.join(missing)} is not in it")
    for one in zip(inputs, archs, strict=True):
        with torch.no_grad():
            require(torch.equal(fresh.forward_path(*one), supernet.forward_path(*one)), "state_dict", "networks differ")


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
