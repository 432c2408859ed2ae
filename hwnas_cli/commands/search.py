"""`hwnas search`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hwnas_cli.answer import Answer, Json, answers, table
from hwnas_cli.options import Seed, count

if TYPE_CHECKING:
    from nas.loop.loop import SearchResult
    from nas.objectives import Objective
    from nas.pareto.noise import Neighbours
    from nas.spaces.protocol import Space
    from nas.study.as_measured import AsMeasured
    from nas.study.checked_bounds import CheckedBound
    from nas.study.study import Study
    from nas.study.trial import Point

#: A setting is a word or a number.
LONGEST_VALUE = 200
#: No setting needs a number so large; beyond, whole numbers do not fit a database, nor a clock.
LARGEST_NUMBER = 1e15


@answers("search")
def search(
    space: Annotated[str, typer.Option(help="Space to search.")],
    objective: Annotated[list[str], typer.Option(help="NAME, SPEC or NAME=SPEC; give it once for each objective.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder of the run.")],
    strategy: Annotated[list[str], typer.Option(help="One or several; all end on one front.")] = ["auto"],  # noqa: B006
    evaluations: Annotated[int, count("Architectures that each strategy has judged.")] = 200,
    constraint: Annotated[list[str] | None, typer.Option(help='A bound, such as "latency <= 2 ms".')] = None,
    seed: Seed = 0,
    data: Annotated[
        str | None,
        typer.Option(help="digits, a folder or .tar of images, FILE.npz, text, text:FILE, pairs, pairs:FILE.tsv."),
    ] = None,
    target: Annotated[str | None, typer.Option(help="Device of measured objectives and finalists.")] = None,
    again: Annotated[int, count("Further evaluations, of what makes the front most certain.", least=0)] = 0,
    finalists: Annotated[int, count("Architectures of the front to export and measure.", least=0)] = 0,
    then: Annotated[
        str | None, typer.Option(help="A strategy that goes on where --strategy ended, with half of the evaluations.")
    ] = None,
    store: Annotated[str | None, typer.Option(help="Where measurements go; the run itself if not given.")] = None,
    lab: Annotated[
        str | None, typer.Option(help="A database that holds many runs; trials go there, weights and ONNX to -o.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="Where weights are trained: cpu, cuda or auto.")] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", help="train_steps=200, gdas.steps=30 ...")] = None,
    restrict_from: Annotated[
        Path | None, typer.Option(help="A run whose proposed restrictions of the space are applied.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for another search in the folder to end.")] = False,
    as_json: Json = False,
) -> Answer:
    """Search for architectures by several objectives.

    The same command again goes on where it stopped.

    Objectives: {objectives}.

    Examples:

        hwnas search --space nasbench201 --objective accuracy --objective latency:runs/latency --data digits -o runs/s

        hwnas search --space nasbench201 --objective err=table:t.csv:error --objective macs --evaluations 500 -o runs/t
    """
    import device_profiles
    import nas
    from device_profiles.errors import InfeasibleBudget
    from hwnas_cli.progress import Live

    space = restricted(space, restrict_from)
    error = None
    chosen = None if target is None else device_profiles.load(target)
    with Live() as live:
        try:
            result = nas.search(
                space,
                objectives=objective,
                folder=output,
                strategy=strategy,
                evaluations=evaluations,
                constraints=constraint or (),
                seed=seed,
                data=data,
                target=chosen,
                settings=read_settings(settings or (), device),
                again=again,
                finalists=finalists,
                then=then,
                store=store,
                lab=lab,
                wait=wait,
                progress=live,
            )
        except InfeasibleBudget as infeasible:
            error = infeasible
    if error is not None:
        from nas.study.study import open_study

        study = open_study(output, in_lab=lab)
        with study.store:
            judged = sum(trial.result is not None for trial in study.trials())
        named = strategy if then is None else [*strategy, then]
        empty = {"space": space, "strategy": ",".join(named), "seed": seed, "evaluations": judged, "front": []}
        nothing: dict[str, Any] = {"resolved": [], "effective_dimension": None, "alike": []}
        nothing |= {"as_measured": None, "warnings": []}
        return Answer({**empty, "hypervolume": 0.0, "reference": None, **nothing}, "", error.exit_code, error)
    with result.study.store:
        data_fields = fields(result)
        return Answer(data_fields, text(result, data_fields))


def restricted(space: str, run: Path | None) -> str:
    """The spec of a space with the restrictions that a run proposes, if one is given."""
    if run is None:
        return space
    import nas
    from nas.certainty import restriction
    from nas.study.study import open_study

    earlier = open_study(run, as_copy=True)
    with earlier.store:
        return restriction.apply(nas.spaces.load(space), restriction.of_study(earlier)).spec


def read_settings(given: Sequence[str], device: str | None) -> dict[str, Any]:
    """Settings of `--set`, and that of `--device`.

    Raises:
        UnknownName: there is no such device.
        UsageError: one cannot be read, or the device is said in both ways.
    """
    from device_profiles.errors import UnknownName, UsageError
    from nas.weights.devices import NAMES

    found = dict(_setting(text) for text in given)
    if device is None:
        return found
    if device not in NAMES:
        raise UnknownName("device", device, NAMES)
    if "device" in found:
        raise UsageError("the device is said twice", hint="Give --device or --set device=, not both.")
    return {**found, "device": device}


def fields(result: SearchResult) -> dict[str, Any]:
    """The JSON fields of a search."""
    import numpy as np

    from nas.certainty import of_study
    from nas.report import trust
    from nas.study import as_measured, checked_bounds, stand_alone
    from nas.study.summary import states

    study, space = result.study, result.context.space
    objectives = study.objectives()
    known = study.finalists()
    points, front = result.front, []
    sure = of_study.of_study(study, points)
    again = as_measured.judge_again(study)
    stays = {} if again is None else {p.arch: p in again.stay for p in (*again.stay, *again.leave)}
    for place, point in enumerate(points):
        facts = known.get(point.arch, {})
        apart = as_measured.difference(point, as_measured.timed(objectives), facts)
        front.append(
            {
                "arch": list(point.arch),
                "text": space.format(np.array(point.arch)),
                "objectives": {objective.name: _value(point, objective) for objective in objectives},
                "measured": facts.get("measured"),
                "difference": None if apart is None else asdict(apart),
                "stays": stays.get(point.arch),
                "test_accuracy": facts.get("test_accuracy"),
                "test_perplexity": facts.get("test_perplexity"),
                "found_by": list(point.found_by),
                "onnx": str(result.folder / facts["onnx"]) if facts.get("onnx") else None,
                "membership": sure.membership[place] if sure.membership else None,
            }
        )
    reference = study.fact("reference")
    return {
        "space": space.spec,
        "strategy": ",".join(result.plan.named),
        "seed": result.plan.seed,
        "evaluations": result.evaluations,
        "failed": len(result.failures),
        "states": states(study.trials()),
        "not_compared": study.not_compared,
        "evaluated_again": study.evaluated_again,
        "front": front,
        "hypervolume": result.hypervolume,
        "reference": None
        if reference is None
        else {o.name: float(o.value(np.array(r))) for o, r in zip(objectives, reference, strict=True)},
        "resolved": [_pair(pair, objectives) for pair in sure.neighbours],
        "effective_dimension": sure.effective_dimension,
        "alike": [{"first": one, "second": two, "spearman": value} for one, two, value in sure.alike],
        "as_measured": None if again is None else _as_measured(study, again, space),
        "bounds": [_bound(one, space) for one in checked_bounds.checked(study)],
        "stand_alone": stand_alone.read(study),
        "warnings": trust.warnings(study, points),
        "path": str(result.folder),
    }


def _value(point: Point, objective: Objective) -> dict[str, Any]:
    """What is known of a point in one objective."""
    value, low, high = point.result[objective.name]
    about = {"unit": objective.unit, "source": objective.source, "coverage": point.coverage.get(objective.name)}
    return {"value": value, "low": low, "high": high, **about}


def _as_measured(study: Study, again: AsMeasured, space: Space) -> dict[str, Any]:
    """The front with what was measured in place of predictions, by the text of its architectures."""
    import numpy as np

    from nas.certainty import of_study

    parts = {"front": again.front, "stay": again.stay, "leave": again.leave, "enter": again.enter}
    named = {name: [space.format(np.array(point.arch)) for point in points] for name, points in parts.items()}
    factor = None if again.factor is None else asdict(again.factor)
    return {**named, "factor": factor, "text": of_study.sentence(again, space, study.objectives(), study.finalists())}


def _bound(one: CheckedBound, space: Space) -> dict[str, Any]:
    """What was asked of a finalist, what was predicted, and what was measured."""
    import numpy as np

    ends = ("value", "low", "high")
    return {
        "asked": str(one.bound),
        "unit": one.unit,
        "text": space.format(np.array(one.arch)),
        "predicted": dict(zip(ends, one.believed, strict=True)),
        "measured": None if one.measured is None else dict(zip(ends, one.measured, strict=True)),
        "verdict": one.verdict,
    }


def _pair(pair: Neighbours, objectives: tuple[Objective, ...]) -> dict[str, Any]:
    """Two neighbours by their places in the front, and in which objectives it is open which of them is better."""
    unresolved = [o.name for o, known in zip(objectives, pair.resolved, strict=True) if not known]
    verdict = "not resolved" if unresolved else "resolved"
    return {"first": pair.first, "second": pair.second, "unresolved": unresolved, "verdict": verdict}


def text(result: SearchResult, data: dict[str, Any]) -> str:
    """The front for people."""
    from nas.study import groups, stand_alone
    from nas.study.summary import not_compared

    objectives, front = result.study.objectives(), result.front
    places = {point.trial: place for place, point in enumerate(front)}
    heads = ["", *(f"{o.name}{f' [{o.unit}]' if o.unit else ''}" for o in objectives)]
    tested = "perplexity" if any(o.spec.startswith("perplexity") for o in objectives) else "accuracy"
    heads += ["measured [ms]", f"test {tested}", "found by"]
    rows = []
    for points in groups.of_equals(front, objectives, result.study.finalists()):
        point = data["front"][places[points[0].trial]]
        name = point["text"] if len(points) == 1 else f"{len(points)} architectures, first {point['text']}"
        cells = [name, *(f"{point['objectives'][o.name]['value']:.4g}" for o in objectives)]
        latency = (point["measured"] or {}).get("latency_ms")
        cells.append("-" if latency is None else f"{latency['value']:.4g}")
        score = point[f"test_{tested}"]
        cells.append("-" if score is None else f"{score:.3f}")
        rows.append([*cells, ", ".join(groups.finders(points))])
    lines = [table(heads, rows)]
    sources = ", ".join(f"{o.name} is {o.source}" for o in objectives)
    again = f" and {data['evaluated_again']} further ones" if data["evaluated_again"] else ""
    lines.append(f"{len(data['front'])} on the front of {data['evaluations']} evaluations{again}; {sources}")
    lines.append(f"hypervolume {data['hypervolume']:.4g}; run {data['path']}")
    if result.failures:
        arch, reason = next(iter(result.failures.items()))
        lines.append(f"{data['failed']} architectures have no value; the first, {','.join(map(str, arch))}: {reason}")
    lines += [said] if (said := not_compared(data["not_compared"])) else []
    lines += [f"warning: {line}" for line in data["warnings"]]
    lines += _certainty(data)
    if data["as_measured"] is not None:
        lines.append(data["as_measured"]["text"])
    lines += _bounds(data)
    lines += [shared] if (shared := stand_alone.sentence(result.study)) else []
    lines += _proposals(result)
    exported = [point["onnx"] for point in data["front"] if point["onnx"]]
    if exported:
        lines.append(f"{len(exported)} networks with their weights in {Path(exported[0]).parent}")
    lines.append(f"a page of it: hwnas report {data['path']} -o front.html")
    return "\n".join(lines)


def _bounds(data: dict[str, Any]) -> list[str]:
    """Asked, predicted, measured: a line for each bound on each finalist."""
    return [
        f"asked {one['asked']}, predicted {one['predicted']['value']:.4g}, "
        + ("not measured" if one["measured"] is None else f"measured {one['measured']['value']:.4g}")
        + f": {one['verdict']}; {one['text']}"
        for one in data["bounds"]
    ]


def _proposals(result: SearchResult) -> list[str]:
    """What the search has taught of its space, if it has."""
    from nas.certainty import restriction

    found = restriction.of_study(result.study)
    if not found:
        return []
    words = ", ".join(f"{proposal.action} {proposal.gene}" for proposal in found[:4])
    more = f" and {len(found) - 4} more" if len(found) > 4 else ""
    return [f"options that the best lack: {words}{more}; a search without them: --restrict-from {result.folder}"]


def _certainty(data: dict[str, Any]) -> list[str]:
    """At most two lines: how sure the front is, and whether two objectives are one."""
    from nas.certainty import of_study

    lines = []
    shares = [point["membership"] for point in data["front"] if point["membership"] is not None]
    if shares:
        likely = sum(share >= 0.9 for share in shares)
        told = sum(pair["verdict"] == "resolved" for pair in data["resolved"])
        lines.append(
            f"{likely} of {len(shares)} are on the front with 90 % probability; "
            f"{told} of {len(data['resolved'])} neighbours are told apart"
        )
    if data["alike"]:
        lines.append(of_study.warning(tuple(data["alike"][0].values())))
    return lines


def _setting(text: str) -> tuple[str, Any]:
    from device_profiles.errors import UsageError

    name, equals, value = text.partition("=")
    if not equals or not name:
        raise UsageError(f"cannot read --set {text!r}", hint="Write NAME=VALUE, such as train_steps=200.")
    if len(value) > LONGEST_VALUE:
        raise UsageError(f"the value of --set {name} has {len(value)} characters, at most {LONGEST_VALUE} are read")
    for kind in (int, float):
        try:
            number = kind(value)
        except ValueError:
            continue
        if abs(number) >= LARGEST_NUMBER or number != number:
            raise UsageError(f"setting {name} must be a finite number below {LARGEST_NUMBER:.0e}, got {value!r}")
        return name, number
    return name, value
