"""The facts that two numbers must share to be put in one table."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from typing import Any

from device_profiles.errors import ConditionMismatch, SchemaMismatch


@dataclass(frozen=True)
class Conditions:
    """What was true while something was measured.

    Attributes:
        device: model of the CPU or GPU.
        machine: instruction set, such as `x86_64`.
        cpu_flags: digest of the CPU's flags: the same model may hide some of them from a guest.
        cores: CPUs of the system.
        kernel: release of the operating system's kernel.
        governor: of the CPU's frequency, or `unknown: <reason>`.
        runtime: registered name.
        runtime_version: its version.
        numpy: version of numpy, which sentinels run on.
        threads: of the runtime.
        affinity: CPUs that workers are pinned to.
        precision: `fp32` ...
        optimisation: `all`, `basic`, `none`.
        batch: inputs in one inference.
        cache_state: `network`: activations warm, weights as a whole network leaves them.
        options: the runtime's own settings, sorted.
        protocol: version of the measuring protocol.
    """

    device: str
    machine: str
    cpu_flags: str
    cores: int
    kernel: str
    governor: str
    runtime: str
    runtime_version: str
    numpy: str
    threads: int
    affinity: tuple[int, ...]
    precision: str
    optimisation: str
    batch: int
    cache_state: str
    options: tuple[tuple[str, str], ...]
    protocol: int

    @cached_property
    def id(self) -> str:
        """16 hexadecimal digits: equal for equal conditions."""
        return hashlib.sha256(json.dumps(self.to_plain(), sort_keys=True).encode()).hexdigest()[:16]

    def to_plain(self) -> dict[str, Any]:
        """As JSON-ready data."""
        plain = asdict(self)
        plain["affinity"] = list(self.affinity)
        plain["options"] = [list(pair) for pair in self.options]
        return plain

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
            return Conditions(**given)
        except (KeyError, TypeError, ValueError) as error:
            raise SchemaMismatch(f"cannot read conditions: {error}") from error

    def differences(self, other: Conditions) -> dict[str, tuple[Any, Any]]:
        """Facts that differ: name -> (mine, the other's)."""
        pairs = {field.name: (getattr(self, field.name), getattr(other, field.name)) for field in fields(self)}
        return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}

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
