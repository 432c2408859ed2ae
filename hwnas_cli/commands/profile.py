"""`hwnas profile`."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hwnas_cli.answer import Answer, Json, answers, say
from hwnas_cli.model_files import Batches, Calibration, Dims, Inputs, Shapes, asked_of, batches_of
from hwnas_cli.options import Seed, count
from hwnas_cli.profiled import Alone, Name, answer_of

if TYPE_CHECKING:
    from device_profiles import Target
    from device_profiles.errors import HwnasError
    from hwnas_cli.progress import Live
    from predictors.active import Campaign
    from profiler import Budget, Store
    from profiler.model_files import Asked
    from profiler.subjects import Subject

#: Networks of a space that --until chooses from, if --samples does not say.
POOL = 200


@answers("profile")
def profile(
    target: Annotated[str, typer.Argument(help="A shipped target or a TOML file; see `hwnas devices list`.")],
    model: Annotated[list[Path] | None, typer.Option(help="ONNX files to measure.")] = None,
    space: Annotated[str | None, typer.Option(help="Space to sample networks from.")] = None,
    samples: Annotated[int | None, count("Networks to sample.")] = None,
    arch: Annotated[list[str] | None, typer.Option(help="Architectures, as text of the space or integers.")] = None,
    seed: Seed = 0,
    store: Annotated[str | None, typer.Option(help="Where measurements go; runs/TARGET.db if not given.")] = None,
    budget: Annotated[str | None, typer.Option(help="Device time, such as 60s.")] = None,
    spread: Annotated[str, typer.Option(help="Half-width of the interval that is good enough.")] = "2%",
    kernels: Annotated[bool, typer.Option("--kernels", help="Measure each distinct kernel alone as well.")] = False,
    probes: Annotated[int | None, count("Random networks of all common operators.")] = None,
    shape: Shapes = None,
    dim: Dims = None,
    batch: Batches = None,
    inputs: Inputs = None,
    calibration: Calibration = None,
    energy: Annotated[str | None, typer.Option(help="The meter of energy, in place of the target's.")] = None,
    retry: Annotated[bool, typer.Option("--retry", help="Try what failed before again, whatever the reason.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for others to finish measuring on the device.")] = False,
    until: Annotated[str | None, typer.Option(help="Choose what to measure until predictions are this good.")] = None,
    as_json: Json = False,
) -> Answer:
    """Measure latency, memory and, where there is a meter, energy of models.

    Kernels of runtimes that cannot time them in the graph are measured alone as well, without being asked.

    The same command again goes on where it stopped. With --until the networks are a pool to choose from: what the
    predictions know least about is measured next, until their error at networks held out is small enough.

    Examples:

        hwnas profile local-onnxruntime --space nasbench201 --samples 60 --budget 60s --store runs/a.db

        hwnas profile local-onnxruntime --space nasbench201 --until 3% --budget 120s --store runs/a.db

        hwnas profile local-onnxruntime --probes 80 --store runs/any-model.db

        hwnas profile local-onnxruntime --model mobilenet.onnx --spread 1%

        hwnas profile local-onnxruntime --model detector.onnx --shape images=1x3x320x320

        hwnas profile local-onnxruntime --model mobilenet.onnx --energy rapl
    """
    import device_profiles
    import profiler
    from device_profiles.units import parse_duration_s, parse_fraction
    from hwnas_cli.progress import Live
    from profiler import unmade

    wanted = None if until is None else parse_fraction(until)
    limits = profiler.Budget(
        spread=parse_fraction(spread), device_s=None if budget is None else parse_duration_s(budget)
    )
    chosen = _metered(device_profiles.load(target), energy)
    _require_quantised(calibration, chosen)
    batches = batches_of(batch, chosen.batch)
    chosen = chosen.model_copy(update={"batch": batches[0] if len(batches) == 1 else 1})
    asked = [
        asked_of(shape, dim, size if model and batch else None, inputs, model, usual_batch=size) for size in batches
    ]
    place = store or f"runs/{chosen.name}.db"
    with contextlib.suppress(profiler.NoStore):
        profiler.Store(place, create=False).close()  # a store that cannot be used is found before anything is built
    with Live() as live:
        if wanted is not None:
            from predictors.active import require_pool

            if space is not None and samples is None and not arch:
                samples = POOL
            require_pool(wanted, samples or probes or len(arch or model or ()))  # before anything is built
        found = [
            _subjects(how, size, model, space, samples, arch, probes, seed, live)
            for how, size in zip(asked, batches, strict=True)
        ]
        subjects = _calibrated([one for some, _ in found for one in some], calibration)
        refused = [one for _, some in found for one in some]
        active = None
        with unmade.if_refused(place) as made, profiler.Store(place) as opened:
            made.append(opened)
            if wanted is None:
                outcome = profiler.measure(
                    subjects,
                    target=chosen,
                    store=opened,
                    budget=limits,
                    seed=seed,
                    retry=retry,
                    wait=wait,
                    listener=live.campaign,
                )
            else:
                active = _until(wanted, subjects, chosen, opened, limits, seed, live, wait=wait)
                outcome = active.outcome
            place = opened.url  # without a password
            alone = (
                _kernels(chosen, opened, limits, seed, live, retry=retry, wait=wait)
                if outcome.measurements and (kernels or _only_alone(chosen))
                else None
            )
    answer = answer_of(chosen.name, place, outcome, refused, alone, limits)
    return answer if active is None or wanted is None else _with_rounds(answer, active, wanted)


def _metered(target: Target, energy: str | None) -> Target:
    """The target with another meter, if one is asked for."""
    from profiler import meters

    if energy is None:
        return target
    meters.require(energy)
    return target.model_copy(update={"energy": energy})


def _require_quantised(calibration: Path | None, target: Target) -> None:
    """Refuse calibration data where nothing is quantised."""
    from device_profiles.errors import UsageError

    if calibration is not None and target.runtime.precision != "int8":
        raise UsageError(
            f"{target.name} runs in {target.runtime.precision}: there is nothing to calibrate",
            hint='Take a target with precision = "int8".',
        )


def _calibrated(subjects: list[Subject], calibration: Path | None) -> list[Subject]:
    """The same with what they are calibrated on, which is read once for all that have the same inputs."""
    from profiler.calibration import read

    if calibration is None:
        return subjects
    graphs = {one.graph.inputs: one.graph for one in subjects}
    sets = {inputs: read(calibration, graph) for inputs, graph in graphs.items()}
    return [replace(one, calibration=sets[one.graph.inputs]) for one in subjects]


def _until(
    error: float,
    subjects: Sequence[Subject],
    target: Target,
    store: Store,
    limits: Budget,
    seed: int,
    live: Live,
    *,
    wait: bool,
) -> Campaign:
    from predictors import active

    def told(done: active.Round) -> None:
        say(f"{done.networks} networks, {done.device_s:.0f} s of device time: error {done.error:.1%}")

    return active.measure_until(
        subjects,
        error,
        target=target,
        store=store,
        budget=limits,
        seed=seed,
        wait=wait,
        listener=live.campaign,
        progress=told,
    )


def _with_rounds(answer: Answer, active: Campaign, wanted: float) -> Answer:
    """The answer with what the rounds came to; it is no where the error was not reached."""
    last = active.rounds[-1]
    data = {
        **answer.data,
        "until": {
            "wanted": wanted,
            "error": last.error,
            "reached": active.reached,
            "held_out": len(active.held),
            "rounds": [asdict(done) for done in active.rounds],
        },
    }
    text = (
        f"{answer.text}\nerror {last.error:.1%} at {len(active.held)} networks held out (wanted: {wanted:.1%}), "
        f"learned from {last.networks} networks"
    )
    if active.reached or answer.exit_code:
        return Answer(data, text, answer.exit_code, answer.error)
    return Answer(data, f"{text}: not reached; give more --budget or a larger pool", 1)


def _only_alone(target: Target) -> bool:
    """Whether the runtime times no kernels in the graph, but runs them alone: predictors have nothing else to learn."""
    from profiler import runtimes

    traits = runtimes.REGISTRY.get(target.runtime.name).traits
    option, value = traits.untimed
    return traits.replay and (not traits.times or target.runtime.options.get(option) == value)


def _kernels(target: Target, store: Store, limits: Budget, seed: int, live: Live, *, retry: bool, wait: bool) -> Alone:
    """Measure the kernels of every network in the store, each alone over rotated weights."""
    import profiler
    from profiler.kernels import kernel_subjects, measured_kernels

    conditions = store.require_conditions(target.name)
    graphs = [store.fused(row.id, conditions) for row in store.models().values() if row.kernel is None]
    nodes = [node for graph in graphs if graph is not None for node in graph.nodes]
    operators = dict.fromkeys(node.operator for node in nodes)
    subjects = kernel_subjects(operators, target, nodes)
    outcome = profiler.Outcome((), ())
    if subjects:
        outcome = profiler.measure(
            subjects,
            target=target,
            store=store,
            budget=limits,
            seed=seed,
            retry=retry,
            wait=wait,
            listener=live.campaign,
        )
    return Alone(measured_kernels(store, conditions), outcome.failures, len(operators) - len(subjects))


def _subjects(
    asked: Asked | None,
    batch: int,
    models: Sequence[Path] | None,
    space: str | None,
    samples: int | None,
    archs: Sequence[str] | None,
    probes: int | None,
    seed: int,
    live: Any,
) -> tuple[list[Subject], list[tuple[Name, HwnasError]]]:
    """What to measure, and the files that cannot be; all of them refused is an error."""
    import numpy as np

    from device_profiles.errors import UsageError
    from profiler import subjects

    if sum([bool(models), samples is not None, bool(archs), probes is not None]) != 1:
        raise UsageError(
            "say what to measure in one way",
            hint="Give --model FILE, or --space NAME --samples N, or --arch TEXT, or --probes N.",
        )
    if probes is not None:
        from profiler.probes import probes as drawn

        if batch > 1:
            raise UsageError("probes are of batch 1", hint="Leave --batch out, or take a target without it.")
        return drawn(probes, seed), []
    if models:
        found, refused = _accepted(
            [({"model": str(path)}, partial(subjects.from_file, path, asked)) for path in models]
        )
        for note in dict.fromkeys(note for subject in found for note in subject.notes):
            say(f"note: {note}")
        return found, refused
    import nas
    from nas.spaces.export import subject

    if samples is not None:
        if space is None:
            raise UsageError("--samples needs --space", hint=f"Spaces: {', '.join(nas.spaces.names())}.")
        opened = nas.spaces.load(space)
        genomes = opened.sample(samples, np.random.default_rng(seed))
    else:
        opened = nas.spaces.load(space) if space is not None else _space_of(archs or ())
        genomes = np.array([opened.parse(text) for text in archs or ()])
    return _accepted(
        [({"arch": opened.format(genome)}, partial(subject, opened, genome, batch=batch)) for genome in genomes],
        lambda done: live("building networks", done, len(genomes)),
    )


def _accepted(
    makers: Sequence[tuple[Name, Callable[[], Subject]]], progress: Callable[[int], None] = lambda done: None
) -> tuple[list[Subject], list[tuple[Name, HwnasError]]]:
    """What can be made, and what cannot be and why; all of it refused is an error."""
    from device_profiles.errors import HwnasError

    found: list[Subject] = []
    refused: list[tuple[Name, HwnasError]] = []
    for number, (name, make) in enumerate(makers):
        progress(number)
        try:
            found.append(make())
        except HwnasError as error:
            refused.append((name, error))
    progress(len(makers))
    if not found:
        for _, refusal in refused[:-1]:
            say(f"error: {refusal.message}")
        raise refused[-1][1]
    return found, refused


def _space_of(archs: Sequence[str]) -> Any:
    """The one space that reads all these texts."""
    import nas
    from device_profiles.errors import HwnasError, UsageError

    reading = []
    last: HwnasError | None = None
    for name in nas.spaces.names():
        space = nas.spaces.load(name)
        try:
            for text in archs:
                space.parse(text)
            reading.append(space)
        except HwnasError as error:
            last = error
    if len(reading) == 1:
        return reading[0]
    if not reading and last is not None:
        raise last
    raise UsageError("several spaces read these architectures", hint="Say which one with --space.")
