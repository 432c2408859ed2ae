"""Energy out of a store: windows of a meter in, `MeteredEnergy` out; and which models want more windows."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from device_profiles.conditions import Conditions
from device_profiles.facts import Unavailable
from profiler.measurement import CONFIDENCE, Measurement, MeteredEnergy
from profiler.meters.protocol import MODELLED, Energy
from profiler.store import Store

#: Where no meter is set, and what to do about it.
NOT_ASKED = Unavailable("no energy meter is set for this target: --energy METER, see `hwnas doctor` for those here")
#: Windows that failed, of one model in one campaign, after which no more are tried.
MOST_FAILED = 2
#: Fewest models that a rank correlation says something of, and the correlation above which energy says nothing new.
FEWEST, ALIKE = 8, 0.99


def of_store(
    store: Store, conditions: Conditions, facts: Iterable[Mapping[str, Any]]
) -> dict[str, MeteredEnergy | Unavailable]:
    """Energy of each model of which something is known, by its id: the value, or why the last window gave none."""
    found: dict[str, MeteredEnergy | Unavailable] = {}
    for fact in facts:
        if fact.get("event") == "energy":
            found[str(fact["id"])] = Unavailable(str(fact["unavailable"]))
    return found | {model: combine(windows) for model, windows in store.metered(conditions).items()}


def missing(facts: Iterable[Mapping[str, Any]]) -> Unavailable:
    """Why models of which nothing is known have no energy: the last word of a meter that could not be read."""
    reasons = [Unavailable(str(fact["unavailable"])) for fact in facts if fact.get("event") == "meter"]
    return reasons[-1] if reasons else NOT_ASKED


def combine(windows: Sequence[Energy]) -> MeteredEnergy:
    """One energy from windows of one sensor: their median, and what another measurement would show.

    The interval is that of the difference of two measurements of as many windows, by Student's t; with one window
    nothing is known of it.
    """
    net, gross = (np.array([getattr(one, name) for one in windows]) for name in ("net_mj", "gross_mj"))
    value, n = float(np.median(net)), len(windows)
    low = high = None
    if n > 1:
        from scipy.special import stdtrit

        half = float(stdtrit(n - 1, (1.0 + CONFIDENCE) / 2.0) * net.std(ddof=1) * np.sqrt(2.0 / n))
        low, high = max(value - half, 0.0), value + half
    last = windows[-1]
    modelled = last.sensor.startswith(MODELLED)
    return MeteredEnergy(value, low, high, float(np.median(gross)), last.sensor, last.update_ms, n, modelled)


class Wanted:
    """Which models want a window, in one campaign; a meter that cannot be read is not asked again.

    Args:
        windows: wanted of each.
        known: windows that the store has, by model.
    """

    def __init__(self, windows: int, known: Mapping[str, Sequence[Energy]]) -> None:
        self._windows = windows
        self._taken = Counter({model: len(taken) for model, taken in known.items()})
        self._failed: Counter[str] = Counter()
        self._sensors = {one.sensor for taken in known.values() for one in taken}
        self._given_up = False

    def most(self, models: Iterable[str]) -> int:
        """Windows that the one of these wants that wants most."""
        return max((self._wants(model) for model in models), default=0)

    def first(self, models: Iterable[str]) -> list[str]:
        """Those of these that want windows, those with fewest first."""
        return sorted((model for model in models if self._wants(model)), key=lambda model: self._taken[model])

    def told(self, line: dict[str, Any]) -> Energy | dict[str, Any]:
        """What a line of the agent says: a window to keep, or a fact; no windows of two sensors are mixed."""
        model = str(line["id"])
        if "unavailable" not in line:
            energy = Energy(*(line[name] for name in ("gross_mj", "net_mj", "sensor", "update_ms")))
            if not 0.0 < energy.net_mj <= energy.gross_mj < math.inf:
                line = {
                    "unavailable": f"the meter told what cannot be: net {energy.net_mj}, gross {energy.gross_mj} mJ"
                }
            elif self._sensors <= {energy.sensor}:
                self._sensors.add(energy.sensor)
                self._taken[model] += 1
                return energy
            else:
                other = min(self._sensors)
                mixed = f"the store has energy by {other}, and this is by {energy.sensor}: use another store"
                line = {"unavailable": mixed}
        self._failed[model] += 1
        return {"event": "energy", "id": model, "unavailable": str(line["unavailable"])}

    def give_up(self) -> None:
        """The meter cannot be read."""
        self._given_up = True

    def _wants(self, model: str) -> int:
        if self._given_up or self._failed[model] >= MOST_FAILED:
            return 0
        return max(self._windows - self._taken[model], 0)


def says_nothing_new(measurements: Sequence[Measurement]) -> float | None:
    """The rank correlation of energy with latency where it is above `ALIKE`, so that energy says nothing of its own.

    None where it is not, or fewer than `FEWEST` models have an energy. Noise lowers the correlation, and so may hide
    that two objectives are one; it does not make them look so.
    """
    from scipy.stats import spearmanr

    known = [(m.latency.value_ms, m.energy_mj.value_mj) for m in measurements if isinstance(m.energy_mj, MeteredEnergy)]
    if len(known) < FEWEST or len({round(ms, 12) for ms, _ in known}) < 2 or len({mj for _, mj in known}) < 2:
        return None
    rho = float(spearmanr(*np.array(known).T).statistic)
    return rho if rho > ALIKE else None
