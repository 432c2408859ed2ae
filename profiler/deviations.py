"""How far a model in fewer bits is from what ONNX defines: the device compares, on what it was calibrated on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from pathlib import Path
from typing import Any

from device_profiles.conditions import Conditions
from device_profiles.errors import HwnasError
from device_profiles.facts import Unavailable
from device_profiles.profile import Target
from profiler import calibration, runtimes, trial
from profiler.measurement import Deviation
from profiler.subjects import Subject

#: Sets of inputs that outputs are compared on, at most: the model is loaded anew for each. Of sets that nobody chose,
#: one is enough.
MOST_SETS = 4
#: Largest deviation of what runs in fp32; bf16 is beyond 3e-3.
OF_FP32 = 1e-3


def asked(subject: Subject, target: Target, folder: Path, known: Set[tuple[str, str]]) -> dict[str, Any]:
    """What a candidate of the agent says of the comparison; nothing where there is none to make.

    Nothing is compared in fp32, of kernels alone, and of modules that never were ONNX. But where a runtime does not
    tell in which precision its kernels run, as plug-in providers of ONNX Runtime do not, outputs must prove fp32.

    Args:
        subject: the model.
        target: in whose precision it runs.
        folder: of the job, where the model lies.
        known: models and calibrations that were compared before.
    """
    runtime = target.runtime
    network = subject.kernel is None and subject.suffix == ".onnx"
    if not _compares(runtime.precision, runtime.options) or not network:
        return {}
    if runtimes.REGISTRY.get(runtime.name).traits.simulated:
        return {}
    try:
        sets = _sets(subject, folder / f"{subject.id}.onnx")
    except HwnasError:  # it is told where the model is compiled
        return {}
    about = calibration.digest(sets)
    if not sets or (subject.id, about) in known:
        return {}
    compared = sets[: MOST_SETS if subject.calibration else 1]
    file = f"{subject.id}.expected.npz"
    if not trial.expected(folder / f"{subject.id}.onnx", compared, folder / file):
        return {}
    return {
        "expected": file,
        "expected_names": tuple(sets[0]),
        "sets": len(compared),
        "calibration": about,
        "allowed": OF_FP32 if runtime.precision == "fp32" else 0.0,
    }


def compared_in(conditions: Conditions) -> bool:
    """Whether outputs are compared under conditions."""
    return _compares(conditions.precision, dict(conditions.options))


def _compares(precision: str, options: Mapping[str, Any]) -> bool:
    """Whether outputs are compared in a precision: not in fp32, unless nothing but them proves it."""
    return precision != "fp32" or "provider_package" in options


def of_facts(facts: Iterable[Mapping[str, Any]]) -> dict[str, Deviation | Unavailable]:
    """The last comparison of each model, by its id, from what processes said."""
    found: dict[str, Deviation | Unavailable] = {}
    for fact in facts:
        if fact.get("event") != "deviation":
            continue
        if "unavailable" in fact:
            found[str(fact["id"])] = Unavailable(str(fact["unavailable"]))
        else:
            own = float(fact["largest"]), float(fact["mean"]), int(fact["sets"]), str(fact["calibration"])
            found[str(fact["id"])] = Deviation(*own)
    return found


def compared(facts: Iterable[Mapping[str, Any]]) -> set[tuple[str, str]]:
    """Models and calibrations that were compared."""
    return {(str(fact["id"]), str(fact["calibration"])) for fact in facts if fact.get("event") == "deviation"}


def _sets(subject: Subject, model: Path) -> list[Mapping[str, Any]]:
    from profiler.compilers import _quantised

    if subject.calibration:
        return list(subject.calibration)
    if subject.inputs is not None:
        return [subject.inputs]
    return list(_quantised.drawn(model))
