"""All NAS-Bench-201 networks with shared weights."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

from nas.arrays import Archs
from nas.spaces.nasbench201 import blocks
from nas.spaces.nasbench201.algebra import CONV1, CONV3, EDGES, NONE, POOL, SKIP, live_edges

if TYPE_CHECKING:
    from torch import Tensor, nn

    Options = dict[int, list[tuple[int, Tensor | None]]]

_EDGE = re.compile(r"s\d+c\d+e(\d)")


def supernet(space: Any) -> Any:
    """A supernet with fresh weights for a `NasBench201` space."""
    return _supernet_class()(space)


@cache
def _supernet_class() -> Any:
    import torch
    from torch import nn

    class NasBench201Supernet(nn.Module):
        """One set of weights for each stage, cell, edge and operator.

        Names are those of the stand-alone networks' blocks.
        """

        def __init__(self, space: Any) -> None:
            super().__init__()
            self.space = space
            self.shared = nn.ModuleDict({"stem": blocks.stem(space.image_channels, space.channels)})
            self.pool = blocks.operator(POOL, space.channels)
            channels = space.channels
            for stage in range(3):
                if stage:
                    self.shared[f"reduction{stage}"] = blocks.reduction(channels)
                    channels *= 2
                for cell in range(space.cells):
                    for edge in range(len(EDGES)):
                        for code in (CONV1, CONV3):
                            self.shared[f"s{stage}c{cell}e{edge}o{code}"] = blocks.operator(code, channels)
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
                shared = f"{block}o{cell[int(edge.group(1))]}" if edge else block
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

        def _cell(self, x: Tensor, prefix: str, options: dict[int, list[tuple[int, Tensor | None]]]) -> Tensor:
            # A node that reads nothing is None: convolutions would make what their norms add of its zeros.
            nodes: list[Tensor | None] = [x, None, None, None]
            nothing = x.new_zeros(())
            for edge, (source, target) in enumerate(EDGES):
                value = nodes[source]
                made: Tensor | None = None
                mixed = False
                for code, gate in options.get(edge, ()):
                    if code == NONE:
                        nothing = nothing if gate is None else nothing + 0.0 * gate
                    elif value is not None:
                        result = self._operator(value, prefix, edge, code)
                        made = self._added(made, result if gate is None else result * gate)
                        mixed = gate is not None
                if made is not None and value is not None:
                    passed = self.bypass(value, made) if mixed and self.bypass is not None else made
                    nodes[target] = self._added(nodes[target], passed)
            return (torch.zeros_like(x) if nodes[3] is None else nodes[3]) + nothing

        def _operator(self, x: Tensor, prefix: str, edge: int, code: int) -> Tensor:
            if code == SKIP:
                return x
            module = self.pool if code == POOL else self.shared[f"{prefix}e{edge}o{code}"]
            result: Tensor = module(x)
            return result

        @staticmethod
        def _added(total: Tensor | None, value: Tensor) -> Tensor:
            return value if total is None else total + value

    return NasBench201Supernet
