"""The structure of modules as text: equal texts build equal graphs, whatever the weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nas.sources import describe, digest

if TYPE_CHECKING:
    from torch import nn

#: Attributes that say nothing of a module's structure; of what chooses, what it is called and what is chosen as well.
_UNSAID = ("training",)
_UNSAID_OF_CHOICES = (*_UNSAID, "name", "chosen", "depth")


def key(module: nn.Module, *more: str) -> str:
    """Of a block: what its class is called, and a digest of its structure and of `more`."""
    return f"module {type(module).__name__} {digest(text(module), *more)}"


def text(module: nn.Module) -> str:
    """All of a module but its weights: classes with their sources, attributes, shapes, constants."""
    from nas.nn.choices import Choice, Repeat

    lines = []
    for path, part in module.named_modules(remove_duplicate=False):
        lines.append(f"{path}: {describe(type(part))} {part.extra_repr()}")
        unsaid = _UNSAID_OF_CHOICES if isinstance(part, (Choice, Repeat)) else _UNSAID
        own = {name: value for name, value in vars(part).items() if not name.startswith("_") and name not in unsaid}
        lines += [f"  {name} = {describe(value)}" for name, value in sorted(own.items())]
        lines += [f"  {name} : {one.dtype} {tuple(one.shape)}" for name, one in part.named_parameters(recurse=False)]
        for name, one in part.named_buffers(recurse=False):
            lost = name in part._non_persistent_buffers_set  # it is a constant of the graph, not a weight
            lines.append(f"  {name} : {describe(one) if lost else f'{one.dtype} {tuple(one.shape)}'}")
    tied: dict[int, str] = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        if tied.setdefault(id(parameter), name) != name:
            lines.append(f"{name} is {tied[id(parameter)]}")
    return "\n".join(lines)
