"""What `hwnas profile` says: its answer as data, and as text of a length that people read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hwnas_cli.answer import Answer, table

if TYPE_CHECKING:
    from device_profiles.errors import HwnasError
    from device_profiles.facts import Unavailable
    from profiler import Budget, Failure, Latency, Measurement, Outcome
    from profiler.fleet import Device
    from profiler.measurement import MeteredEnergy
    from profiler.operators import Operator

#: Rows of a table, and lines of one kind, that people are shown.
MOST_ROWS = 20
#: Closures that people are told the causes of, one by one.
MOST_CLOSURES = 5

#: Device time that is more than the budget by this factor and by these seconds is told of, and why.
OVER, OVER_S = 1.5, 10.0

#: What a model is called in the answer: `{"model": path}` or `{"arch": text}`.
Name = dict[str, str]


@dataclass(frozen=True)
class Alone:
    """Kernels that were measured alone, those that failed, and how many cannot be: they hold graphs or tensors."""

    measured: Mapping[Operator, Latency]
    failed: Sequence[Failure]
    not_replayed: int


def answer_of(
    target: str,
    store: str,
    outcome: Outcome,
    refused: Sequence[tuple[Name, HwnasError]],
    alone: Alone | None,
    limits: Budget,
) -> Answer:
    """What was measured, what could not be and why, and what to know of it; an error where nothing could be."""
    from device_profiles.errors import InvalidData
    from profiler.measurement import Deviation, MeteredEnergy

    measurements, failures = outcome.measurements, outcome.failures

    def named(row: Any) -> dict[str, Any]:
        return {"arch": row.arch} if row.arch else {"model": row.name}

    failed = [
        *({**named(f), "type": f.kind, "reason": f.reason, "hint": f.hint} for f in failures),
        *({**name, "type": type(e).__name__, "reason": e.message, "hint": e.hint} for name, e in refused),
    ]
    degraded = [m for m in measurements if m.latency.state != "stable"]
    data = {
        "target": target,
        "store": store,
        "measurements": [{**named(m), **m.to_plain()} for m in measurements],
        "failed": failed,
        "needs_attention": bool(failed or degraded),
    }
    data |= _circumstances(outcome)
    if alone is not None:
        data |= _kernels_plain(alone)
    rows = [
        [
            m.arch or m.name,
            f"{m.latency.value_ms:.4g}",
            f"{m.latency.low_ms:.4g} to {m.latency.high_ms:.4g}",
            m.latency.state,
            str(m.latency.processes),
            "-" if m.closure is None else f"{m.closure:+.0%}",
        ]
        for m in measurements
    ]
    heads = ["", "latency [ms]", "95 % interval", "state", "processes", "closure"]
    if any(m.throughput_per_s for m in measurements):
        heads += ["batch", "inputs a second"]
        for row, m in zip(rows, measurements, strict=True):
            rate = m.throughput_per_s or {"value": 1e3 / m.latency.value_ms}
            row += [str(m.batch or "?"), f"{rate['value']:.4g}"]
    if any(m.deviation for m in measurements):
        heads.append("from fp32")
        for row, m in zip(rows, measurements, strict=True):
            row.append(f"{m.deviation.mean:.2%}" if isinstance(m.deviation, Deviation) else "?")
    if any(isinstance(m.energy_mj, MeteredEnergy) for m in measurements):
        heads += ["energy [mJ]", "95 % interval"]
        rows = [[*row, *_energy(m.energy_mj)] for row, m in zip(rows, measurements, strict=True)]
    lines = _shown(heads, rows)
    if alone is not None:
        lines += _of_kernels(alone)
    lines += _first([f"failed: {row.get('arch') or row.get('model')}: {row['reason']}" for row in failed])
    lines.append(f"{len(rows)} measured, {len(failed)} failed; store {store}")
    lines += [*_of_devices(outcome.devices), *_of_others(outcome.others_cpus), *_of_time(outcome, limits)]
    lines += _remarks(measurements, limits)
    error = None
    if failed and not measurements:
        first = failed[0]
        error = InvalidData(f"nothing could be measured: {first['reason']}", hint=str(first["hint"]))
    return Answer(data, "\n".join(lines), 4 if error else 0, error)


def _circumstances(outcome: Outcome) -> dict[str, Any]:
    """Devices of a fleet, and what others computed meanwhile, where that is known."""
    found: dict[str, Any] = {"device_s": outcome.device_s, "budget_s": outcome.budget_s}
    if outcome.devices:
        found["devices"] = [_plain(device) for device in outcome.devices]
    return found if outcome.others_cpus is None else found | {"others_cpus": outcome.others_cpus}


def _plain(device: Device) -> dict[str, Any]:
    """One device of a fleet as data."""
    ratio = device.ratio
    beside = None if ratio is None else {"value": ratio.value, "low": ratio.low, "high": ratio.high}
    return {"address": device.address, "processes": device.processes, "ratio": beside, "aside": device.aside}


def _of_devices(devices: Sequence[Device]) -> list[str]:
    """How far the devices of a fleet are apart, and which take no part."""
    working = [one for one in devices if one.aside is None]
    lines = []
    for one in working:
        ratio = one.ratio
        beside = "" if ratio is None else f", {ratio.value:.3f} times the fleet ({ratio.low:.3f} to {ratio.high:.3f})"
        lines.append(f"{one.address}: {one.processes} processes{beside}")
    known = [one.ratio.value for one in working if one.ratio is not None]
    if len(known) > 1:
        lines.append(f"{len(known)} devices, {max(known) / min(known) - 1:.1%} apart")
    return [*lines, *(f"{one.address} takes no part: {one.aside}" for one in devices if one.aside is not None)]


def _of_others(cpus: float | None) -> list[str]:
    """What to know of other programs of the machine, where they used much of it."""
    from profiler.neighbours import WORTH_SAYING

    if cpus is None or cpus < WORTH_SAYING:
        return []
    return [
        f"other programs used {cpus:.1f} CPUs meanwhile and share caches and memory with what was measured: latencies "
        "may be some percent high, and differ from run to run by more than their intervals; run again on a calm machine"
    ]


def _of_time(outcome: Outcome, limits: Budget) -> list[str]:
    """Why it took much longer than it was given, where it did."""
    spent, given = outcome.device_s, outcome.budget_s
    if spent <= max(OVER * given, given + OVER_S):
        return []
    return [
        f"took {spent:.0f} s of device time where {given:.0f} s were given: {limits.min_processes} fresh processes are "
        "the least, and each loads, warms up and runs every model; measure fewer at once to stay within"
    ]


def _kernels_plain(alone: Alone) -> dict[str, Any]:
    """Kernels alone as data."""
    return {
        "kernels": [{"kernel": op.key, "latency_ms": x.to_plain()} for op, x in alone.measured.items()],
        "kernels_failed": [{"kernel": f.name, "type": f.kind, "reason": f.reason} for f in alone.failed],
        "kernels_not_replayed": alone.not_replayed,
    }


def _of_kernels(alone: Alone) -> list[str]:
    """What kernels take alone, the slowest first."""
    slowest = sorted(alone.measured.items(), key=lambda pair: -pair[1].value_ms)
    times = [
        [str(op), f"{1e3 * x.value_ms:.4g}", f"{1e3 * x.low_ms:.4g} to {1e3 * x.high_ms:.4g}"] for op, x in slowest
    ]
    return [
        *_shown(["kernel, alone", "latency [us]", "95 % interval"], times),
        *_first([f"kernel failed: {f.name}: {f.reason}" for f in alone.failed]),
        f"kernels alone: {len(alone.measured)} measured, {len(alone.failed)} failed, "
        f"{alone.not_replayed} cannot be replayed",
    ]


def _remarks(measurements: Sequence[Measurement], limits: Budget) -> list[str]:
    """What to know of the measurements, and what to do about it."""
    from profiler.measurement import CAUSES

    lines = []
    for cause, advice in CAUSES.items():
        count = sum(m.latency.state != "stable" and cause in m.latency.causes for m in measurements)
        if count:
            lines.append(f"{count} degraded ({cause}): {advice}")
    lines += _closures(measurements)
    lines += _energies(measurements)
    same = [f"{m.arch or m.name}: measured as {m.same_as}, which is equal to it" for m in measurements if m.same_as]
    lines += _first(same)
    wide = [m for m in measurements if m.latency.spread > limits.spread]
    if wide:
        more = any(m.latency.processes < limits.max_processes for m in wide)
        advice = "run again to go on, with more --budget" if more else "this machine allows no narrower ones now"
        lines.append(f"{len(wide)} have wider intervals than +-{limits.spread:.1%}: {advice}")
    return lines


def _energy(energy: MeteredEnergy | Unavailable) -> list[str]:
    """Two cells: the value, and its interval."""
    from device_profiles.facts import Unavailable

    if isinstance(energy, Unavailable):
        return ["-", ""]
    value = f"{energy.value_mj:.4g}" + (" modelled" if energy.modelled else "")
    known = energy.low_mj is not None
    return [value, f"{energy.low_mj:.4g} to {energy.high_mj:.4g}" if known else "one window: not known"]


def _energies(measurements: Sequence[Measurement]) -> list[str]:
    """Where energies come from, why some are missing, and whether they say more than latencies do."""
    from device_profiles.facts import Unavailable
    from profiler.energies import NOT_ASKED, says_nothing_new

    sensors = dict.fromkeys(m.energy_mj.sensor for m in measurements if not isinstance(m.energy_mj, Unavailable))
    lines = [f"energy, net of idling, by {sensor}" for sensor in sensors]
    absent = Counter(m.energy_mj.reason for m in measurements if isinstance(m.energy_mj, Unavailable))
    lines += [f"{count} without energy: {reason}" for reason, count in absent.items() if reason != NOT_ASKED.reason]
    rho = says_nothing_new(measurements)
    if rho is not None:
        lines.append(f"energy orders these models as latency does (rank correlation {rho:.3f}): it says nothing new")
    return lines


def _closures(measurements: Sequence[Measurement]) -> list[str]:
    """Closures beyond the usual with their causes: those that nobody knows first, the largest first among equals."""
    from profiler.closures import UNEXPLAINED

    known = [(m, m.closure) for m in measurements if m.closure is not None and m.closure_note]
    known.sort(key=lambda pair: (pair[0].closure_note != UNEXPLAINED, -abs(pair[1])))
    lines = [f"{m.arch or m.name}: closure {closure:+.0%}: {m.closure_note}" for m, closure in known[:MOST_CLOSURES]]
    others = [closure for _, closure in known[MOST_CLOSURES:]]
    if others:
        unexplained = sum(m.closure_note == UNEXPLAINED for m, _ in known[MOST_CLOSURES:])
        said = f", {unexplained} of them unexplained" if unexplained else ""
        lines.append(f"and {len(others)} more, closures {min(others):+.0%} to {max(others):+.0%}{said}; --json has all")
    return lines


def _shown(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table of the first rows, and how many there are besides."""
    return [table(heads, rows[:MOST_ROWS]), *_more(rows)] if rows else []


def _first(lines: Sequence[str]) -> list[str]:
    """The first lines of a kind, and how many there are besides."""
    return [*lines[:MOST_ROWS], *_more(lines)]


def _more(rows: Sequence[Any]) -> list[str]:
    return [f"... and {len(rows) - MOST_ROWS} more; --json has all"] if len(rows) > MOST_ROWS else []
