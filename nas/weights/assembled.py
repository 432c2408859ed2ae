"""Shared weights for any space, from the blocks of its networks: one set of weights for each place and kind of block.

Source: one-shot models share the weights of an operator at a place among all networks that have it there, Bender et
    al., "Understanding and simplifying one-shot architecture search", ICML 2018, section 3.1. Here the place is the
    name of a block, and its kind the block's key. Where a block says so, its weights are cut out of those of a wider
    one, which many kinds at a place have in common (`nas.weights.cuts`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from device_profiles.errors import UsageError
from nas.arrays import Archs, Floats
from nas.spaces.mixture import Mixture, Place, Term, genes_of_shapes, one_hot
from nas.spaces.protocol import Space
from nas.streams import torch_seed
from nas.weights import mixing
from nas.weights.cuts import CutBlock
from nas.weights.devices import laid_out
from nas.weights.first_weights import fade_in
from profiler.assembly import INPUT, Assembly, Block

#: Most parameters of one supernet; in training each takes 12 bytes, with its gradient and momentum.
MOST_PARAMETERS = 400_000_000


class AssembledSupernet(nn.Module):
    """All networks of a space with shared weights, made when a network first needs them.

    Initial weights depend on the seed, the place and the kind of block alone, so it does not matter in which order
    networks are run. `grown` holds the genomes that brought new blocks; it is part of `state_dict`, and a supernet that
    takes a state makes the same blocks in the same order. The first gates that are not one-hot bring the blocks of all
    options at once; a genome of -1 stands for them.

    Args:
        space: whose networks; all it needs to say is `assembly`.
        seed: of the initial weights.
    """

    def __init__(self, space: Space, seed: int = 0) -> None:
        super().__init__()
        self.here: Tensor
        self.space = space
        self.seed = seed
        self.blocks = nn.ModuleDict()
        self.grown: list[tuple[int, ...]] = []
        self.bypass: Callable[[Tensor, Tensor], Tensor] | None = None
        self.register_buffer("here", torch.empty(0), persistent=False)  # moves as the supernet does, with no blocks too

    def forward_path(self, inputs: Tensor, arch: Archs) -> Tensor:
        """Outputs of one architecture `(d,)`, for inputs `(batch, ...)`."""
        values = {INPUT: inputs}
        assembly = self._grow(arch)
        for block in assembly.blocks:
            values[block.name] = self.blocks[_name(block)](*(values[name] for name in block.inputs))
        return values[assembly.blocks[-1].name]

    def forward_mixed(self, inputs: Tensor, gates: Sequence[Tensor]) -> Tensor:
        """Outputs where each gene's option is weighted by its gate; blocks whose weight is 0 are not run.

        Args:
            inputs: `(batch, ...)`.
            gates: per gene `(options,)`.

        Raises:
            UsageError: networks of the space cannot be mixed, or options with gates that are not 0 give different
                shapes.
        """
        gates = [gate.to(self.here.device) for gate in gates]
        numbers = _numbers(gates)
        form = mixing.of(self.space)
        arch = one_hot(numbers)
        row = None
        if arch is not None:
            assembly = self._grow(arch)
            if form.arranged is not None:
                gates = list(form.arranged(arch, gates))
                numbers = _numbers(gates)
            elif form.in_a_row:
                row = iter(assembly.blocks)
        else:
            self._grow_mixed(form)
        values = {INPUT: inputs}
        for place in form.places:
            found = []
            for term in place.terms:
                if term.share(numbers) != 0.0:
                    read = [values[name] for name in term.inputs]
                    block = term.block if term.block is None or row is None else self._same(term.block, next(row, None))
                    found.append((term, read[0] if block is None else self._module(block)(*read)))
            values[place.name] = self._summed(place, found, gates, numbers)
            if self.bypass is not None and len(place.terms) > 1:
                before = values[place.terms[0].inputs[0]]
                if before.shape == values[place.name].shape:
                    values[place.name] = self.bypass(before, values[place.name])
        return values[form.places[-1].name]

    def pass_by(self, bypass: Callable[[Tensor, Tensor], Tensor]) -> None:
        """What a place gives is `bypass` of what it read and of what is mixed there, both `(batch, ...)` and alike.

        Raises:
            UsageError: places of the space do not stand in a row, so what is mixed at one reads several.
        """
        if not mixing.of(self.space).in_a_row:
            raise UsageError(
                f"channels cannot pass by what is mixed in space {self.space.name!r}: it reads several places",
                hint="Use a strategy with channels=1, such as darts.",
            )
        self.bypass = bypass

    def subnet(self, arch: Archs) -> nn.Module:
        """The stand-alone network of an architecture `(d,)` with a copy of its weights.

        Blocks that nobody trained have the initial weights that they would have here; they are not kept.
        """
        assembly = self.space.assembly(np.asarray(arch))
        network = assembly.to_module().to(self.here.device)
        for block in assembly.blocks:
            module = self._module(block, keep=False)
            state = module.state_alone() if isinstance(module, CutBlock) else module.state_dict()
            network.blocks[block.name].load_state_dict(state)  # type: ignore[index, union-attr]
        return network.train(self.training)

    def get_extra_state(self) -> Tensor:
        """Genomes that brought new blocks, `(n, d)`, in order."""
        return torch.tensor(self.grown, dtype=torch.int64).reshape(-1, len(self.space.choices))

    def set_extra_state(self, state: Tensor) -> None:
        """Make the blocks of genomes `(n, d)`, in order; torch then fills in their weights."""
        for arch in state.tolist():
            if tuple(arch) == self._all:
                self._grow_mixed(mixing.of(self.space))
            else:
                self._grow(np.array(arch, dtype=np.int64))

    @property
    def _all(self) -> tuple[int, ...]:
        """What stands in `grown` for the blocks of all options."""
        return (-1,) * len(self.space.choices)

    def _grow_mixed(self, form: Mixture) -> None:
        """The blocks of all options; those that are new are made."""
        if self._all in self.grown:
            return
        for term in (term for place in form.places for term in place.terms):
            if term.block is not None:
                self._module(term.block)
        self.grown.append(self._all)

    def _grow(self, arch: Archs) -> Assembly:
        """The network's blocks; those that are new are made."""
        assembly = self.space.assembly(np.asarray(arch))
        before = len(self.blocks)
        for block in assembly.blocks:
            self._module(block)
        if len(self.blocks) > before:
            self.grown.append(tuple(int(gene) for gene in arch))
        return assembly

    def _module(self, block: Block, *, keep: bool = True) -> nn.Module:
        """The block's module; one that is new has initial weights, and is kept or not."""
        name = _name(block)
        if name in self.blocks:
            return self.blocks[name]
        made, cut = self._made(block), block.cut and block.cut()
        if cut and cut.key != block.key:
            wider = replace(block, key=cut.key, build=cut.build, cut=None)
            made = CutBlock(made, self._module(wider, keep=keep), cut.take).train(self.training)
        if keep:
            self._keep(name, made)
        return made

    def _keep(self, name: str, made: nn.Module) -> None:
        total = sum(parameter.numel() for one in (self, made) for parameter in one.parameters())
        if total > MOST_PARAMETERS:
            raise UsageError(
                f"shared weights of {self.space.spec} would be more than {MOST_PARAMETERS:,} parameters, with "
                f"{len(self.blocks)} blocks so far",
                hint="Use smaller options of the space, such as width, or restrict its genes.",
            )
        self.blocks[name] = made

    def _same(self, wanted: Block, block: Block | None) -> Block:
        """The block of the canonical network, if it is of the kind that the genes say."""
        if block is None or block.key != wanted.key:
            raise UsageError(
                f"a network of space {self.space.name!r} has another block than {wanted.key!r}, which its genes tell",
                hint="This is a fault of what was learned of the space: nas.testing.check_shared_weights looks for it.",
            )
        return block

    def _made(self, block: Block) -> nn.Module:
        """A module with initial weights of its own; torch's random numbers stay as they are."""
        place = hashlib.sha256(f"{block.name}\0{block.key}".encode()).digest()
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(
                torch_seed(self.seed, "weights.blocks", int.from_bytes(place[:8], "little"))
            )
            made: nn.Module = laid_out(fade_in(block.build())).train(self.training).to(self.here.device)
            return made

    def _summed(
        self, place: Place, found: list[tuple[Term, Tensor]], gates: Sequence[Tensor], numbers: Sequence[Floats]
    ) -> Tensor:
        """The weighted sum of what stands at a place."""
        shapes = [(term, tuple(value.shape)) for term, value in found]
        if not found or len({shape for _, shape in shapes}) > 1:
            genes = sorted(genes_of_shapes(shapes, numbers) or {gene for term in place.terms for gene in term.genes})
            names = ", ".join(_gene(self.space, gene) for gene in genes)
            raise UsageError(
                f"options of {names} cannot be mixed at {place.name!r}: "
                + ("they give different shapes" if found else "all gates are 0"),
                hint="Choose one option of these genes: gates of which one is not 0, as of gdas and proxyless-rl.",
            )
        total: Any = None
        for term, value in found:
            weight = term.weight(gates)
            part = value if weight is None else value * weight
            total = part if total is None else total + part
        result: Tensor = total
        return result


def _numbers(gates: Sequence[Tensor]) -> list[Floats]:
    return [gate.detach().cpu().double().numpy() for gate in gates]


def _name(block: Block) -> str:
    """Of its weights; keys have characters that names of modules may not have."""
    return f"{block.name}~{hashlib.sha256(block.key.encode()).hexdigest()[:12]}"


def _gene(space: Any, gene: int) -> str:
    genes = getattr(space, "genes", None)
    return f"gene {genes[gene].name}" if genes else f"gene {gene}"
