"""A supernet whose networks all have weights that a hypernetwork gives them."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from device_profiles.errors import UsageError
from nas.arrays import Archs
from nas.spaces.protocol import Space
from nas.streams import torch_seed
from nas.weights.hyper.graphs import Graph, joined
from nas.weights.hyper.tracing import Traced, trace
from profiler.assembly import INPUT, Assembly, Block

#: Graphs and blocks that are kept: a graph of 1500 nodes has 18 MB, a block without weights some 50 KB.
_GRAPHS, _BLOCKS = 64, 4096

_Key = TypeVar("_Key")
_Made = TypeVar("_Made")


class GeneratedWeights(nn.Module):
    """All networks of a space with weights that are made from what each network is.

    A network has no weights of its own, and no statistics either: batch norms take those of the batch, in training and
    in eval mode alike. `subnet` is the network as any other, to which `nas.weights.training.inherit` gives statistics.

    Source: batch norms evaluated on the batch, Knyazev et al., "Parameter prediction for unseen deep architectures",
        NeurIPS 2021, section 5.

    Args:
        space: whose networks; all it needs to say is `assembly`.
        hypernetwork: from a `Graph`, weights of each of its slots.
        kind: of weights, for messages.
    """

    def __init__(self, space: Space, hypernetwork: nn.Module, kind: str) -> None:
        super().__init__()
        self.here: Tensor
        self.space = space
        self.kind = kind
        self.hypernetwork = hypernetwork
        self.register_buffer("here", torch.empty(0), persistent=False)  # moves as the hypernetwork does
        self._graphs: OrderedDict[str, Graph] = OrderedDict()
        self._blocks: OrderedDict[tuple[str, int, str], tuple[nn.Module, Traced]] = OrderedDict()

    def forward_path(self, inputs: Tensor, arch: Archs) -> Tensor:
        """Outputs of one architecture `(d,)`, for inputs `(batch, ...)`; gradients reach the hypernetwork alone."""
        assembly = self.space.assembly(np.asarray(arch))
        weights = self.weights(assembly)
        values = {INPUT: inputs}
        for block, own in zip(assembly.blocks, weights, strict=True):
            module = self._block(block)[0].train(self.training)
            read = tuple(values[name] for name in block.inputs)
            values[block.name] = torch.func.functional_call(module, own, read) if own else module(*read)
        return values[assembly.blocks[-1].name]

    def forward_mixed(self, inputs: Tensor, gates: Sequence[Tensor]) -> Tensor:
        """Not what generated weights are for.

        Raises:
            UsageError: always; inputs `(batch, ...)` and gates `(options,)` are not looked at.
        """
        raise UsageError(
            f"networks with weights of kind {self.kind!r} cannot be mixed by gates: each has weights of its own",
            hint="Use a strategy that runs one network at a time, or --set weights=shared.",
        )

    def subnet(self, arch: Archs) -> nn.Module:
        """The stand-alone network of an architecture `(d,)` with a copy of its weights."""
        assembly = self.space.assembly(np.asarray(arch))
        with torch.no_grad():
            weights = self.weights(assembly)
        network = assembly.to_module().to(self.here.device)
        with torch.no_grad():
            for block, own in zip(assembly.blocks, weights, strict=True):
                module: Any = network.blocks[block.name]  # type: ignore[index]
                for name, tensor in own.items():
                    module.get_parameter(name).copy_(tensor)
        return network.train(self.training)

    def weights(self, assembly: Assembly) -> list[dict[str, Tensor]]:
        """For each block the weights of its parameters, by name."""
        graph = self.graph(assembly)
        found: list[dict[str, Tensor]] = [{} for _ in assembly.blocks]
        for slot, tensor in zip(graph.slots, self.hypernetwork(graph), strict=True):
            found[slot.block][slot.name] = tensor
        return found

    def graph(self, assembly: Assembly) -> Graph:
        """The graph of a network; equal structures have one."""
        key = assembly.key
        return _kept(
            self._graphs, key, _GRAPHS, lambda: joined(assembly, [self._block(one)[1] for one in assembly.blocks])
        )

    def _block(self, block: Block) -> tuple[nn.Module, Traced]:
        """A block's module without weights, and what was traced of it."""
        place = self.here.device

        def made() -> tuple[nn.Module, Traced]:
            with torch.random.fork_rng(devices=[]):  # torch's random numbers stay as they are
                module = block.build().to(place)
            traced = trace(module, len(block.inputs))
            return _bare(module), traced

        return _kept(self._blocks, (block.key, len(block.inputs), str(place)), _BLOCKS, made)

    def __deepcopy__(self, memo: dict[int, Any]) -> GeneratedWeights:
        """What is kept can be made again, and is not copied."""
        other = GeneratedWeights(self.space, copy.deepcopy(self.hypernetwork, memo), self.kind)
        return other.to(self.here.device).train(self.training)


def _kept(store: OrderedDict[_Key, _Made], key: _Key, most: int, make: Callable[[], _Made]) -> _Made:
    """What is in a store, or is made and put there; of too many the one that was longest not asked for goes."""
    if key in store:
        store.move_to_end(key)
        return store[key]
    store[key] = found = make()
    if len(store) > most:
        store.popitem(last=False)
    return found


def _bare(module: nn.Module) -> nn.Module:
    """A module whose parameters take no memory and hold nothing, and whose norms take statistics of the batch."""
    for part in module.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            part.running_mean = part.running_var = part.num_batches_tracked = None
            part.track_running_stats = False
        for name, parameter in list(part.named_parameters(recurse=False)):
            bare = nn.Parameter(torch.empty_like(parameter, device="meta"), requires_grad=False)
            setattr(part, name, bare)
    return module


def generated(space: Space, kind: str, seed: int, make: Callable[[], nn.Module]) -> GeneratedWeights:
    """Networks of a space with weights by a hypernetwork whose own first weights follow from the seed.

    Raises:
        UsageError: the space says of no network what blocks it has.
    """
    if not hasattr(space, "assembly"):
        raise UsageError(
            f"networks of space {space.name!r} cannot have generated weights: it does not say what they are made of",
            hint="Search with a table instead.",
        )
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(torch_seed(seed, "weights.hypernetwork"))
        return GeneratedWeights(space, make(), kind)
