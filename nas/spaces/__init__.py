"""Search spaces: products of categorical choices and the networks they stand for.

Example:
    >>> import nas
    >>> space = nas.spaces.load("nasbench201")
    >>> space.choices
    (5, 5, 5, 5, 5, 5)

A space is one file here that defines `SPACE(**options)` (see `protocol.Space`); `nas.testing.check_space` is its
conformance kit. This package does not evaluate or search.
"""

from __future__ import annotations

import inspect
import re
from typing import Any

from device_profiles.errors import UnknownName, UsageError
from nas.arrays import Archs
from nas.spaces import live
from nas.spaces._module.space import ModuleSpace, from_module
from nas.spaces._parts.slices import front_slices
from nas.spaces.product import Gene, ProductSpace
from nas.spaces.protocol import Mixes, SharesWeights, Space, Supernet
from nas.spaces.registry import REGISTRY
from nas.spaces.restricted import Restricted
from nas.spaces.table import from_choices
from predictors import searched

__all__ = [
    "REGISTRY",
    "Archs",
    "Gene",
    "Mixes",
    "ModuleSpace",
    "ProductSpace",
    "Restricted",
    "SharesWeights",
    "Space",
    "Supernet",
    "from_choices",
    "from_module",
    "front_slices",
    "load",
    "names",
]


def names() -> tuple[str, ...]:
    """All registered spaces."""
    return REGISTRY.names()


def load(spec: str, **options: Any) -> Space:
    """Make a space, or find one that `from_module` made in this process.

    Args:
        spec: a name, or a name with options such as `nasbench201:cells=1,channels=8`; integers are read as such.
            `@GENE=OPTION+OPTION` behind it restricts a gene, such as `nasbench201@edge01=none+skip_connect`.
        **options: more options; they win over those in `spec`.

    Raises:
        UnknownName: no space has that name.
        UsageError: an option is malformed, unknown, or out of its range; or it is the space of a torch module, which
            nobody made in this process.
    """
    base, *limits = spec.split("@")
    space = live.find(base)
    if space is None:
        space = _made(base, options)
    elif options:
        raise UnknownName(f"option of space {space.name}", next(iter(options)), ())
    for limit in limits:
        gene, equals, kept = limit.partition("=")
        if not equals:
            raise UsageError(
                f"restriction {limit!r} names no options", hint=f"Write {base.partition(':')[0]}@GENE=OPTION+OPTION."
            )
        space = space.restrict({gene.strip(): kept.strip().split("+")})
    return space


def _made(spec: str, options: dict[str, Any]) -> Space:
    name, _, tail = spec.partition(":")
    given: dict[str, Any] = {}
    for item in filter(None, (part.strip() for part in tail.split(","))):
        key, equals, value = item.partition("=")
        if not equals:
            raise UsageError(f"space option {item!r} has no value", hint=f"Write {name}:{key}=VALUE.")
        given[key.strip()] = int(value) if re.fullmatch(r"\s*-?[0-9]+\s*", value) else value.strip()
    make = REGISTRY.get(name)
    known = inspect.signature(make).parameters
    for option in (*given, *options):
        if option not in known:
            raise UnknownName(f"option of space {name}", option, known)
    return make(**{**given, **options})


searched.register(load)
