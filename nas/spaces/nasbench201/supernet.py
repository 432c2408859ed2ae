"""All NAS-Bench-201 networks with shared weights."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cache
from typing import TYPE_CHECKING, Any

from nas.arrays import Archs
from nas.spaces.nasbench201 import blocks, entangled
from nas.spaces.nasbench201.algebra import CONV1, CONV3, EDGES, NONE, POOL, SKIP, live_edges

if TYPE_CHECKING:
    from torch import Tensor, nn

    Chosen = list[tuple[int, Tensor | None]]
    Options = dict[int, Chosen]

_EDGE = re.compile(r"s\d+c\d+e(\d)")


def supernet(space: Any, *, entangle: bool = False) -> Any:
    """A supernet with fresh weights for a `NasBench201` space.

    Args:
        space: whose networks.
        entangle: whether the 1x1 convolution of an edge is the centre of its 3x3 convolution; see `entangled`.
    """
    return _supernet_class()(space, entangle)


@cache
def _supernet_class() -> Any:
    import torch
    from torch import nn

    class NasBench201Supernet(nn.Module):
        """One set of weights for each stage, cell, edge and operator, or for both convolutions of an edge.

        Names are those of the stand-alone networks' blocks.
        """

        def __init__(self, space: Any, entangle: bool) -> None:
            super().__init__()
            self.shared: Any
            self.space = space
            self.entangle = entangle
            self.shared = nn.ModuleDict({"stem": blocks.stem(space.image_channels, space.channels)})
            self.pool = blocks.operator(POOL, space.channels)
            channels = space.channels
            for stage in range(3):
                if stage:
                    self.shared[f"reduction{stage}"] = blocks.reduction(channels)
                    channels *= 2
                for cell in range(space.cells):
                    for edge in range(len(EDGES)):
                        name = f"s{stage}c{cell}e{edge}"
                        if entangle:
                            self.shared[name] = entangled.convolutions(channels)
                            continue
                        for code in (CONV1, CONV3):
                            self.shared[f"{name}o{code}"] = blocks.operator(code, channels)
            self.shared["head"] = blocks.head(channels, space.classes)
            self.bypass: Callable[[Tensor, Tensor], Tensor] | None = None

        def pass_by(self, bypass: Callable[[Tensor, Tensor], Tensor]) -> None:
            """What an edge gives is `bypass` of what it read, and of what its operators make of that."""
            self.bypass = bypass

        def forward_path(self, images: Tensor, arch: Archs) -> Tensor:
            """Logits of one architecture."""
            cell = tuple(int(gene) for gene in arch)
            alive = frozenset(live_edges(cell))
            options: Options = {edge: [(cell[edge], None)] for edge in alive}
            return self._run(images, options)

        def forward_mixed(self, images: Tensor, gates: list[Tensor]) -> Tensor:
            """Logits with each option weighted by its gate; options whose gate is 0 are not run."""
            options: Options = {}
            for edge, gate in enumerate(gates):
                values = gate.detach().tolist()
                options[edge] = [(code, gate[code]) for code, value in enumerate(values) if value != 0.0]
            return self._run(images, options)

        def subnet(self, arch: Archs) -> nn.Module:
            """The stand-alone network with a copy of its weights."""
            network: nn.Module = self.space.to_module(arch)
            own = self.state_dict()
            cell = tuple(int(gene) for gene in arch)
            weights = {}
            for name in network.state_dict():
                _, block, *rest = name.split(".")
                edge = _EDGE.fullmatch(block)
                code = cell[int(edge.group(1))] if edge else None
                if code is not None and self.entangle:
                    weights[name] = self.shared[block].state_alone(code)[".".join(rest)]
                    continue
                shared = block if code is None else f"{block}o{code}"
                weights[name] = own[".".join(["shared", shared, *rest])]
            network.load_state_dict(weights)
            network.train(self.training)
            return network

        def _run(self, images: Tensor, options: Options) -> Tensor:
            x = self.shared["stem"](images)
            for stage in range(3):
                if stage:
                    x = self.shared[f"reduction{stage}"](x)
                for cell in range(self.space.cells):
                    x = self._cell(x, f"s{stage}c{cell}", options)
            logits: Tensor = self.shared["head"](x)
            return logits

        def _cell(self, x: Tensor, prefix: str, options: Options) -> Tensor:
            # A node that reads nothing is None: convolutions would make what their norms add of its zeros.
            nodes: list[Tensor | None] = [x, None, None, None]
            nothing = x.new_zeros(())
            for edge, (source, target) in enumerate(EDGES):
                value = nodes[source]
                made: Tensor | None = None
                chosen = options.get(edge, [])
                mixed = any(gate is not None for _, gate in chosen)
                for code, gate in chosen:
                    if code == NONE and gate is not None:
                        nothing = nothing + 0.0 * gate
                if value is not None:
                    for part in self._parts(value, f"{prefix}e{edge}", chosen):
                        made = self._added(made, part)
                if made is not None and value is not None:
                    passed = self.bypass(value, made) if mixed and self.bypass is not None else made
                    nodes[target] = self._added(nodes[target], passed)
            return (torch.zeros_like(x) if nodes[3] is None else nodes[3]) + nothing

        def _parts(self, x: Tensor, edge: str, chosen: Chosen) -> Iterator[Tensor]:
            """What each operator of an edge makes, by its gate; entangled convolutions are run as one."""
            gates = {code: gate for code, gate in chosen if code in (CONV1, CONV3)}
            together = self.entangle and len(gates) > 1
            if together:
                yield self.shared[edge].mixed(x, gates[CONV1], gates[CONV3])
            for code, gate in chosen:
                if code != NONE and not (together and code in gates):
                    result = self._operator(x, edge, code)
                    yield result if gate is None else result * gate

        def _operator(self, x: Tensor, edge: str, code: int) -> Tensor:
            if code == SKIP:
                return x
            result: Tensor
            if code == POOL:
                result = self.pool(x)
            elif self.entangle:
                result = self.shared[edge](x, code)
            else:
                result = self.shared[f"{edge}o{code}"](x)
            return result

        @staticmethod
        def _added(total: Tensor | None, value: Tensor) -> Tensor:
            return value if total is None else total + value

    return NasBench201Supernet
