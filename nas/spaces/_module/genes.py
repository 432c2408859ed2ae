"""Which genes a factory has: its options, its choices, its repeats, and which of them matter where."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from device_profiles.errors import InvalidModel, UsageError
from nas.arrays import Archs
from nas.spaces.product import Gene, Option

if TYPE_CHECKING:
    from torch import nn

Factory = Callable[[], "nn.Module"]
#: A gene, and what it must be: an option, or a depth above a place.
Condition = tuple[str, str | int]
#: It matters where all conditions of one of these hold; always, if one has none.
Where = frozenset[tuple[Condition, ...]]


@dataclass(frozen=True)
class Genes:
    """What a factory has to choose.

    Attributes:
        genes: options in the order in which they are asked for, then choices and repeats from the input on.
        options: names of the genes that are values of constructors.
        where: of each gene, where it matters.
    """

    genes: tuple[Gene, ...]
    options: tuple[str, ...]
    where: Mapping[str, Where]

    def active(self, archs: Archs) -> NDArray[np.bool_]:
        """`(n, d)`: False where a gene of architectures `(n, d)` changes nothing."""
        archs = np.asarray(archs)
        found = np.zeros(archs.shape, dtype=np.bool_)
        place = {gene.name: at for at, gene in enumerate(self.genes)}
        for at, gene in enumerate(self.genes):
            for conditions in self.where[gene.name]:
                holds = np.ones(len(archs), dtype=np.bool_)
                for owner, wanted in conditions:
                    options = self.genes[place[owner]].options
                    right = [option > wanted if isinstance(wanted, int) else option == wanted for option in options]  # type: ignore[operator]
                    holds &= np.array(right)[archs[:, place[owner]]]
                found[:, at] |= holds
        return found


def build(factory: Factory, given: Mapping[str, Any]) -> tuple[nn.Module, Genes]:
    """Run a factory with these values of its options.

    Raises:
        InvalidModel: it fails, or makes no module.
        UsageError: two choices have one name, or something cannot be a gene.
    """
    from torch import nn

    from nas.nn import options

    with options.building(given) as made:
        module = _called(factory, given)
    if not isinstance(module, nn.Module):
        raise InvalidModel(
            f"the factory made {type(module).__name__}, and no torch module", hint="Return the module from it."
        )
    return module, _genes(module, made)


def _called(factory: Factory, given: Mapping[str, Any]) -> Any:
    from device_profiles.errors import HwnasError

    try:
        return factory()
    except HwnasError:
        raise
    except Exception as error:  # whatever code of the user raises
        said = f" with {_text(given)}" if given else ""
        raise InvalidModel(
            f"the factory failed{said}: {type(error).__name__}: {error}",
            hint="It takes no arguments; every value of its options must make a module.",
        ) from error


def _genes(module: nn.Module, made: Any) -> Genes:
    from nas.nn.choices import Repeat, found, name_of

    genes = {name: Gene(name, values, _graded(values)) for name, values in made.seen.items()}
    owners: dict[int, str] = {}
    names: dict[str, int] = {}
    where: dict[str, set[tuple[Condition, ...]]] = {name: set() for name in made.seen}
    for path, part in found(module):
        name = owners.setdefault(id(part), name_of(path, part))
        if names.setdefault(name, id(part)) != id(part) or name in made.seen:
            raise UsageError(f"two choices have the name {name!r}", hint="Give each name= of its own.")
        genes[name] = Gene(name, part.depths, True) if isinstance(part, Repeat) else Gene(name, tuple(part.options))
        where.setdefault(name, set()).add(_above(module, path, owners))
    for name, times in made.where.items():
        for parts in times:
            where[name].add(tuple((owners[id(owner)], part) for owner, part in parts if id(owner) in owners))
    if not genes:
        raise UsageError(
            "the factory's module has nothing to choose", hint="Put a nas.nn.Choice, Repeat or Option into it."
        )
    return Genes(tuple(genes.values()), tuple(made.seen), {name: frozenset(times) for name, times in where.items()})


def _above(module: nn.Module, path: str, owners: Mapping[int, str]) -> tuple[Condition, ...]:
    """What must be chosen for a part to be there: by its path, which leads through choices and repeats above it."""
    from nas.nn.choices import Choice, Repeat

    found: list[Condition] = []
    part = module
    for step, following in pairwise([*path.split("."), ""] if path else []):
        if isinstance(part, (Choice, Repeat)) and following:
            found.append((owners[id(part)], following if isinstance(part, Choice) else int(following)))
        part = part.get_submodule(step)
    return tuple(found)


def _graded(values: tuple[Option, ...]) -> bool:
    numbers = not any(isinstance(value, str) for value in values)
    return numbers and list(values) in (sorted(values), sorted(values, reverse=True))


def of_factory(factory: Factory, check: Callable[[nn.Module, str], None]) -> tuple[nn.Module, Genes]:
    """The genes, if all values of options have the same; each value is tried with the first ones of the others.

    Args:
        factory: makes the network.
        check: holds a network to what it must be; told it, and what it is made with.

    Returns:
        The network with the first options, and its genes.

    Raises:
        InvalidModel: see `build`, and what `check` raises.
        UsageError: see `build`; or a value changes what there is to choose.
    """
    first, genes = build(factory, {})
    check(first, "")
    for gene in genes.genes:
        for value in gene.options[1:] if gene.name in genes.options else ():
            module, others = build(factory, {gene.name: value})
            require_same(genes, others, {gene.name: value})
            check(module, _text({gene.name: value}))
    return first, genes


def require_same(genes: Genes, others: Genes, given: Mapping[str, Any]) -> None:
    """Refuse a factory whose genes depend on its options.

    Raises:
        UsageError: they do.
    """
    if genes == others:
        return
    mine, theirs = ({gene.name: gene.options for gene in one.genes} for one in (genes, others))
    changed = sorted(name for name in {*mine, *theirs} if mine.get(name) != theirs.get(name))
    raise UsageError(
        f"with {_text(given)} there is another thing to choose: {', '.join(changed) or 'at another place'}",
        hint="Say with nas.nn.Repeat how many blocks there are, and with nas.nn.Choice which.",
    )


def _text(given: Mapping[str, Any]) -> str:
    return " ".join(f"{name}={value}" for name, value in given.items())
