"""Modules that are one of several, and blocks in a row of which some are left out."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from torch import nn

from device_profiles.errors import UnknownName, UsageError
from nas.nn.options import inside

Network = TypeVar("Network", bound=nn.Module)


class Choice(nn.Module):
    """One of several modules of equal inputs and outputs.

    Args:
        options: by name a module, or a function that makes it, such as `nn.Identity`; at least one.
        name: of the gene; where the module stands in the network if None, such as `body.2`.

    Raises:
        UsageError: there is no option, or one is no module.
    """

    def __init__(self, options: Mapping[str, nn.Module | Callable[[], nn.Module]], name: str | None = None) -> None:
        super().__init__()
        self.name = name
        self.options = nn.ModuleDict()
        if not isinstance(options, Mapping) or not options:
            raise UsageError(f"choice {name!r} needs options by name, got {options!r}", hint='{"k3": module, ...}')
        for option, given in options.items():
            with inside(self, option):
                made = given() if callable(given) and not isinstance(given, nn.Module) else given
            if not isinstance(made, nn.Module):
                raise UsageError(
                    f"option {option!r} of choice {name!r} is {type(made).__name__}, and no module",
                    hint="Of values, make a nas.nn.Option.",
                )
            self.options[option] = made
        self.chosen = next(iter(options))

    def forward(self, *inputs: Any, **named: Any) -> Any:
        """What the chosen module gives."""
        return self.options[self.chosen](*inputs, **named)


class Repeat(nn.Module):
    """Blocks in a row, of which the first so many are run.

    Args:
        block: makes the block at a place, 0 first; or a module, of which each place has a copy.
        depths: how many there may be, ascending whole numbers.
        name: of the gene; where the module stands in the network if None.

    Raises:
        UsageError: a depth is no number of blocks, or what is made is no module.
    """

    def __init__(
        self, block: nn.Module | Callable[[int], nn.Module], depths: Sequence[int], name: str | None = None
    ) -> None:
        super().__init__()
        self.name = name
        self.depths = tuple(depths)
        whole = all(isinstance(depth, int) and not isinstance(depth, bool) and depth >= 0 for depth in self.depths)
        if not self.depths or not whole or list(self.depths) != sorted(set(self.depths)):
            raise UsageError(f"repeat {name!r} needs depths that ascend, such as (1, 2, 3), got {depths!r}")
        self.blocks = nn.ModuleList()
        for place in range(self.depths[-1]):
            with inside(self, place):
                made = copy.deepcopy(block) if isinstance(block, nn.Module) else block(place)
            if not isinstance(made, nn.Module):
                raise UsageError(f"block {place} of repeat {name!r} is {type(made).__name__}, and no module")
            self.blocks.append(made)
        self.depth = self.depths[0]

    def forward(self, x: Any) -> Any:
        """What the last of the blocks that are left gives."""
        for block in list(self.blocks)[: self.depth]:
            x = block(x)
        return x


def found(module: nn.Module) -> Iterator[tuple[str, Choice | Repeat]]:
    """All that chooses in a network, by where it stands; what stands at several places is found at each."""
    for path, part in module.named_modules(remove_duplicate=False):
        if isinstance(part, (Choice, Repeat)):
            yield path, part


def name_of(path: str, part: Choice | Repeat) -> str:
    """Of its gene."""
    return part.name or path or type(part).__name__.lower()


def choose(module: Network, values: Mapping[str, Any]) -> Network:
    """Set choices and depths of a network by the names of their genes, in place; `nas.nn.Option`s are not changed.

    Raises:
        UnknownName: there is no such gene, or no such option.
    """
    parts = {name_of(path, part): part for path, part in reversed(list(found(module)))}
    for name, value in values.items():
        if name not in parts:
            raise UnknownName("choice", name, parts)
        part = parts[name]
        known = part.depths if isinstance(part, Repeat) else tuple(part.options)
        if value not in known:
            raise UnknownName(f"option of {name}", str(value), map(str, known))
        if isinstance(part, Repeat):
            part.depth = value
        else:
            part.chosen = value
    return module


def plain(module: nn.Module) -> nn.Module:
    """The network as it is chosen, without choices: what is not chosen is gone; in place, but for the outermost."""
    while isinstance(module, Choice):
        module = module.options[module.chosen]
    if isinstance(module, Repeat):
        module = nn.Sequential(*list(module.blocks)[: module.depth])
    for name, child in list(module.named_children()):
        module._modules[name] = plain(child)
    return module
