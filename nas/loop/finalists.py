"""The loop closes: a few architectures of the front get their weights exported, and are measured on the device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from device_profiles.errors import HwnasError, UsageError
from device_profiles.profile import Target
from nas.arrays import Flags
from nas.certainty import of_study, paired
from nas.evaluators.protocol import Context, Evaluator, OwnsNetworks
from nas.pareto import indicators
from nas.spaces.export import in_double, onnx_bytes
from nas.study import checked_bounds
from nas.study.as_measured import foretold
from nas.study.study import Study, costs_of
from nas.study.trial import Point
from profiler import campaign, subjects, turns
from profiler.store import Store
from profiler.subjects import Subject

#: Largest difference between a network in torch and its export, relative to its largest output.
TOLERANCE = 1e-4
#: And in multiples of what single precision loses, which is more in networks that hardly learned: a channel whose
#: variance is next to nothing is blown up.
ROUNDINGS = 10.0
#: Half-widths that two points are apart of which four of five pairs are told apart again, by other examples: the normal
#: quantiles of a level of .1, two-sided, and of .8, over that of the level.
_APART = 1.5


def settle(study: Study, context: Context, evaluators: tuple[Evaluator, ...], count: int) -> None:
    """Export the finalists with their trained weights, test them, and measure them on the target of the search.

    What was done before is not done again. Without an objective that owns weights nothing is exported; without a
    target nothing is measured.

    Args:
        study: of the search.
        context: of the search.
        evaluators: of its objectives.
        count: finalists, at most.
    """
    owner = require(context, evaluators)
    front = study.front()
    rights = rights_of(owner, front, context) if len(front) > count else None
    chosen = choose(study, front, count, rights, measured=context.target is not None)
    wanted = []
    for done, point in enumerate(chosen):
        context.progress("exporting finalists", done, len(chosen))
        arch = np.array(point.arch, dtype=np.int64)
        known = study.finalists().get(point.arch, {})
        path = context.folder / str(known["onnx"]) if known.get("onnx") else None
        if owner is not None and (path is None or not path.is_file()):
            path = export(context, owner, arch)
            facts = {"onnx": str(path.relative_to(context.folder)), **owner.tested(arch), **_right(owner, arch)}
            study.set_finalist(point.arch, facts)
        if context.target is not None and "measured" not in known:
            text = context.space.format(arch)
            batch = context.target.batch  # what is exported is of batch 1
            onnx = (
                path.read_bytes() if path is not None and batch == 1 else onnx_bytes(context.space, arch, batch=batch)
            )
            subject = subjects.from_bytes(onnx, name=text, space=context.space.spec, arch=text)
            if owner is not None and batch == 1:
                subject = replace(subject, calibration=_judged_on(owner, subject))
            wanted.append((point, subject))
    if not wanted or context.target is None:
        return
    context.progress("measuring finalists", 0, len(wanted))
    outcome = campaign.measure(
        [subject for _, subject in wanted],
        target=context.target,
        store=context.store,
        budget=campaign.Budget(min_processes=3, max_processes=8),
        seed=context.seed,
        wait=context.wait,
    )
    found = {one.model: one for one in outcome.measurements}
    for point, subject in wanted:
        if subject.id in found:
            study.set_finalist(point.arch, {"model": subject.id, "measured": found[subject.id].to_plain()})
    _keep_ratios(study, context.store, context.target)
    context.progress("measuring finalists", len(wanted), len(wanted))


def _keep_ratios(study: Study, store: Store, target: Target) -> None:
    """What finalists that were measured in turns take relative to each other, for each of them."""
    conditions = store.conditions(target.name)
    models = {arch: str(facts["model"]) for arch, facts in study.finalists().items() if "model" in facts}
    if conditions is None:
        return
    known = turns.ratios(store, conditions, list(models.values()))
    for arch, model in models.items():
        mine = {second: [one.value, one.low, one.high] for (first, second), one in known.items() if first == model}
        if mine:
            study.set_finalist(arch, {"ratios": mine})


def rights_of(owner: OwnsNetworks | None, front: Sequence[Point], context: Context) -> dict[str, list[Flags]] | None:
    """Which of the examples that judged each point of the front gets right, by the objective that owns the networks."""
    objective, found = getattr(owner, "objective", None), []
    for done, point in enumerate(front if owner is not None and objective is not None else ()):
        context.progress("comparing the front", done, len(front))
        assert owner is not None
        right = owner.right(np.array(point.arch, dtype=np.int64))
        if right is None:
            return None
        found.append(right)
    return {objective.name: found} if objective is not None and found else None


def _right(owner: OwnsNetworks, arch: Any) -> dict[str, Any]:
    """Which examples that took no part in the search it gets right, by the objective: they tell finalists apart.

    Of those that judged, a network of the front may owe its place to chance: it is there because it was right on them.
    """
    found, objective = owner.right(arch, test=True), getattr(owner, "objective", None)
    return {} if found is None or objective is None else {"test_right": {objective.name: paired.kept(found)}}


def _judged_on(owner: OwnsNetworks, subject: Subject) -> tuple[dict[str, Any], ...]:
    """Inputs that the weights were judged on, for a target that quantises."""
    name = subject.graph.inputs[0][0]
    return tuple({name: example[None].numpy()} for example in owner.examples)


def require(context: Context, evaluators: tuple[Evaluator, ...]) -> OwnsNetworks | None:
    """The objective whose networks are exported, if there is one.

    Raises:
        UsageError: there is none, and no target: finalists would be neither exported nor measured.
    """
    owner = next((e for e in evaluators if isinstance(e, OwnsNetworks)), None)
    if owner is None and context.target is None:
        raise UsageError(
            "finalists can be exported with an objective that has weights, or measured on a target; there is neither",
            hint="Give --objective accuracy or accuracy:trained, or --target NAME.",
        )
    return owner


def choose(
    study: Study,
    front: Sequence[Point],
    count: int,
    rights: Mapping[str, Sequence[Flags]] | None = None,
    *,
    measured: bool = False,
) -> list[Point]:
    """Points of the front that together dominate most: each next one adds the largest hypervolume.

    Those come first whose intervals are within the bounds of the search: others may break one on the device. What a
    point adds counts for less where it is not clearly told apart from all that were chosen, by how far it is from that:
    of two that are not told apart, one may well dominate the other, and measuring both teaches less.

    Source: greedy subset selection, Guerreiro, Fonseca & Paquete, Evolutionary Computation 24(3), 2016.

    Args:
        study: of the search.
        front: its points.
        count: how many, at most.
        rights: by objective which examples each point of the front gets right, as far as that is known.
        measured: whether finalists are measured, in turns: their predicted latencies need not tell them apart.
    """
    reference = np.array(study.fact("reference"), dtype=np.float64)
    objectives, bounds = study.objectives(), study.constraints()
    costs = costs_of([p.result for p in front], objectives)
    apart = of_study.separation(front, objectives, rights, foretold(objectives) if measured else None)
    sure = [checked_bounds.surely_met(bounds, point) for point in front]
    kept: list[int] = []
    while len(kept) < min(count, len(front)):
        rest = [i for i in range(len(front)) if i not in kept]
        rest = [i for i in rest if sure[i]] or rest
        told = apart[:, kept].min(axis=1, initial=_APART)
        before = indicators.hypervolume(costs[kept], reference)
        gains = [(indicators.hypervolume(costs[[*kept, i]], reference) - before) * told[i] for i in rest]
        kept.append(rest[int(np.argmax(gains))])
    return [front[i] for i in sorted(kept)]


def export(context: Context, owner: OwnsNetworks, arch: Any) -> Path:
    """Write a network with its trained weights as ONNX, after checking that it computes the same.

    Raises:
        HwnasError: ONNX Runtime and torch disagree.
    """
    import onnxruntime
    import torch

    network = owner.network(arch)
    content = onnx_bytes(context.space, arch, module=network)
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    precise = in_double(network)
    worst = rounding = 0.0
    for example in owner.examples:
        with torch.no_grad():
            expected = network(example[None]).numpy()
            exact = precise(example[None]).numpy()
        got = session.run(None, {session.get_inputs()[0].name: example[None].numpy()})[0]
        size = max(float(np.abs(expected).max()), 1e-6)
        worst = max(worst, float(np.abs(got - expected).max()) / size)
        rounding = max(rounding, float(np.abs(exact - expected).max()) / size)
    allowed = max(TOLERANCE, ROUNDINGS * rounding)
    if not worst <= allowed:
        raise HwnasError(
            f"the export of {context.space.format(arch)} differs from torch by {worst:.1e}, at most {allowed:.1e} may "
            "be",
            hint="This is a fault of the exporter; please report it with the architecture.",
        )
    path = context.folder / "onnx" / f"{'-'.join(str(int(gene)) for gene in arch)}.onnx"
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".partial")
    temporary.write_bytes(content)
    temporary.replace(path)
    return path
