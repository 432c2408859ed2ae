"""The facts that two numbers must share to be put in one table."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from typing import Any

from device_profiles.errors import ConditionMismatch, SchemaMismatch


@dataclass(frozen=True)
class Cpu:
    """Facts of a device whose CPU runs the models.

    Attributes:
        machine: instruction set, such as `x86_64`.
        cpu_flags: digest of the CPU's flags: the same model may hide some of them from a guest.
        cores: CPUs of the system.
        kernel: release of the operating system's kernel.
        governor: of the CPU's frequency, or `unknown: <reason>`.
        numpy: version of numpy, which sentinels run on.
        threads: of the runtime.
        affinity: CPUs that workers are pinned to.
    """

    machine: str
    cpu_flags: str
    cores: int
    kernel: str
    governor: str
    numpy: str
    threads: int
    affinity: tuple[int, ...]


@dataclass(frozen=True)
class Gpu:
    """Facts of a device whose GPU runs the models.

    Attributes:
        driver: version of its driver.
        capability: what its instruction set is called, such as `9.0`.
        host: model of the CPU that starts kernels.
        kernel: release of the operating system's kernel.
        threads: of the runtime, on the host.
        affinity: CPUs that workers are pinned to.
    """

    driver: str
    capability: str
    host: str
    kernel: str
    threads: int
    affinity: tuple[int, ...]


#: Facts by the kind of device.
KINDS: Mapping[str, type[Cpu] | type[Gpu]] = {"cpu": Cpu, "gpu": Gpu}


@dataclass(frozen=True)
class Conditions:
    """What was true while something was measured: what every device has, and what its kind has.

    Attributes:
        device: model of the CPU or GPU.
        own: what its kind has.
        runtime: registered name.
        runtime_version: its version.
        precision: `fp32` ...
        optimisation: `all`, `basic`, `none`.
        cache_state: `network`: activations warm, weights as a whole network leaves them.
        options: the runtime's own settings, sorted.
        batch: 1; stores of before 2026-12 may say more. The batch is a dimension of each model now.
        protocol: version of the measuring protocol.
    """

    device: str
    own: Cpu | Gpu
    runtime: str
    runtime_version: str
    precision: str
    optimisation: str
    cache_state: str
    options: tuple[tuple[str, str], ...]
    batch: int
    protocol: int

    @cached_property
    def id(self) -> str:
        """16 hexadecimal digits: equal for equal conditions."""
        return hashlib.sha256(json.dumps(self.to_plain(), sort_keys=True).encode()).hexdigest()[:16]

    def to_plain(self) -> dict[str, Any]:
        """As JSON-ready data, flat; that of a CPU is what it was before there were others."""
        plain = asdict(self)
        own = plain.pop("own")
        kind = {} if isinstance(self.own, Cpu) else {"kind": "gpu"}
        options = [list(pair) for pair in self.options]
        return {**plain, **own, **kind, "affinity": list(self.own.affinity), "options": options}

    @staticmethod
    def from_plain(data: Mapping[str, Any]) -> Conditions:
        """Read what `to_plain` made.

        Raises:
            SchemaMismatch: a fact is missing or unknown.
        """
        given = dict(data)
        try:
            given["affinity"] = tuple(given["affinity"])
            given["options"] = tuple((name, value) for name, value in given["options"])
            kind = KINDS[given.pop("kind", "cpu")]
            own = kind(**{field.name: given.pop(field.name) for field in fields(kind)})
            return Conditions(own=own, **given)
        except (KeyError, TypeError, ValueError) as error:
            raise SchemaMismatch(f"cannot read conditions: {error}") from error

    def changed(self, **facts: Any) -> Conditions:
        """The same with other facts, of its kind or of every device."""
        mine = {field.name for field in fields(self.own)}
        own = {name: value for name, value in facts.items() if name in mine}
        return replace(self, own=replace(self.own, **own), **{n: v for n, v in facts.items() if n not in mine})

    def differences(self, other: Conditions) -> dict[str, tuple[Any, Any]]:
        """Facts that differ: name -> (mine, the other's)."""
        mine, others = self._facts(), other._facts()
        names = list(dict.fromkeys((*mine, *others)))
        pairs = {name: (mine.get(name), others.get(name)) for name in names}
        return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}

    def _facts(self) -> dict[str, Any]:
        """All facts by name."""
        common = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "own"}
        own = {field.name: getattr(self.own, field.name) for field in fields(self.own)}
        return {"device": self.device, "kind": type(self.own).__name__.lower(), **own, **common}

    def require_same(self, other: Conditions, *, what: str) -> None:
        """Refuse numbers of other conditions.

        Args:
            other: conditions of the numbers that are to be added or compared.
            what: what they were to be added to.

        Raises:
            ConditionMismatch: with the facts that differ.
        """
        found = self.differences(other)
        if found:
            names = ", ".join(found)
            raise ConditionMismatch(
                f"conditions of {what} differ",
                expected={name: pair[0] for name, pair in found.items()},
                got={name: pair[1] for name, pair in found.items()},
                hint=f"Measure again with the same {names}, or start a new store.",
            )
