"""Strategies of others, in processes of their own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas import strategies
from nas.arrays import Archs, Floats
from nas.isolation import checking
from nas.isolation.apart import call
from nas.isolation.frames import Channel, Header
from nas.isolation.sandbox import Sandbox
from nas.isolation.serving import serve
from nas.isolation.space_parts import Parts
from nas.spaces.protocol import Space

#: Stands for `Problem.excess` among the columns of known costs.
_EXCESS = -1


@dataclass
class ApartStrategy:
    """A strategy of others, in a worker: whatever it does wrong is an error of its name.

    Attributes:
        name: of the strategy.
        space: of the search.
        parts: its functions.
        settings: of the strategy.
        seed: of the search.
        seconds: for it to open, to ask, and to be told.
    """

    name: str
    space: Space
    parts: Parts
    settings: Mapping[str, Any]
    seed: int
    seconds: float
    known: Mapping[int, Callable[[Archs], Floats]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._sandbox = Sandbox(self._serve)

    def start(self) -> None:
        """Fork its keeper."""
        self._sandbox.start()

    def close(self) -> None:
        """End its processes."""
        self._sandbox.close()

    def open(
        self,
        objectives: int,
        known: Mapping[int, Callable[[Archs], Floats]],
        excess: Callable[[Archs], Floats] | None = None,
        *,
        tabular: bool,
        listed: Archs | None = None,
    ) -> None:
        """Make the strategy for a search; see `nas.strategies.create`.

        Args:
            objectives: how many.
            known: columns of the costs that are free to know.
            excess: by how much known costs break their bounds; None without such bounds.
            tabular: whether each genome is an architecture of its own.
            listed: `(k, d)`, the only genomes that there are; None for all.

        Raises:
            PluginError: it failed.
            UsageError: it does not take its settings.
        """
        self.known = {**known} if excess is None else {**known, _EXCESS: excess}
        header = {"do": "open", "objectives": objectives, "known": list(self.known), "tabular": tabular}
        header["listed"] = listed is not None
        self._call(header, b"" if listed is None else np.ascontiguousarray(listed).tobytes(), "made")

    def ask(self, n: int, pending: Archs | None = None) -> Archs:
        """Its next rows, checked; see `nas.operators.protocol.Strategy.ask`.

        Raises:
            PluginError: it failed, took too long, or asked for what is not in the space.
        """
        out = np.empty((0, len(self.space.choices)), dtype=np.int64) if pending is None else pending
        sent = np.ascontiguousarray(out, dtype=np.int64).tobytes()
        payload = self._call({"do": "ask", "n": n}, sent, f"asked for {n} architectures")[1]
        return _rows(payload, self.space)

    def tell(self, archs: Archs, costs: Floats, violations: Floats | None = None) -> None:
        """Tell it what they cost.

        Raises:
            PluginError: it failed, or took too long.
        """
        parts = [np.ascontiguousarray(archs, dtype=np.int64).tobytes(), np.ascontiguousarray(costs).tobytes()]
        if violations is not None:
            parts.append(np.ascontiguousarray(violations, dtype=np.float64).tobytes())
        header = {"do": "tell", "archs": archs.shape, "costs": costs.shape, "bounded": violations is not None}
        self._call(header, b"".join(parts), f"told of {len(archs)} architectures")

    def _call(self, header: Header, payload: bytes, doing: str) -> tuple[Header, bytes]:
        failed = f"strategy {self.name!r} failed when it was {doing}"
        return call(self._sandbox, header, payload, failed=failed, seconds=self.seconds, answer=self._answer)

    def _answer(self, header: Header, payload: bytes) -> tuple[Header, bytes]:
        """A known objective, or how much bounds on them are broken, which is evaluated in the search."""
        archs = _rows(payload, self.space)
        costs = np.asarray(self.known[int(header["column"])](archs), dtype=np.float64)
        return {"costs": len(costs)}, costs.tobytes()

    def _serve(self, channel: Channel) -> None:
        made: list[Any] = []

        def known(archs: Any, column: int) -> NDArray[np.float64]:
            channel.send({"ask": "known", "column": column}, np.ascontiguousarray(archs, dtype=np.int64).tobytes())
            found = channel.receive()
            assert isinstance(found, tuple)
            return np.frombuffer(found[1], dtype=np.float64).copy()

        def handle(header: Header, payload: bytes) -> tuple[Header, bytes]:
            if header["do"] == "open":
                space, parts = self.space, self.parts
                strategy = strategies.create(
                    self.name,
                    choices=space.choices,
                    objectives=header["objectives"],
                    seed=self.seed,
                    known={column: partial(known, column=column) for column in header["known"] if column >= 0},
                    excess=partial(known, column=_EXCESS) if _EXCESS in header["known"] else None,
                    features=parts.features,
                    canonical=None if header["tabular"] else parts.canonical,
                    valid=parts.is_valid,
                    ordered=space.ordered,
                    listed=_rows(payload, space) if header["listed"] else None,
                    **self.settings,
                )
                made[:] = [strategy]
                return {}, b""
            if header["do"] == "ask":
                out = _rows(payload, self.space) if payload else None
                asked = checking.rows(made[0].ask(header["n"], pending=out), self.space.choices, header["n"])
                return {}, asked.tobytes()
            count = int(np.prod(header["archs"])) * 8
            archs = np.frombuffer(payload[:count], dtype=np.int64).reshape(header["archs"]).copy()
            numbers = np.frombuffer(payload[count:], dtype=np.float64).copy()
            size = int(np.prod(header["costs"]))
            costs = numbers[:size].reshape(header["costs"])
            made[0].tell(archs, costs, numbers[size:] if header["bounded"] else None)
            return {}, b""

        serve(channel, handle)


def _rows(payload: bytes, space: Space) -> Archs:
    """Genomes as they were sent, `(n, d)`."""
    return np.frombuffer(payload, dtype=np.int64).reshape(-1, len(space.choices)).copy()
