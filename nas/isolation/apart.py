"""Evaluators of others, in processes of their own.

The toolkit's own evaluators run in the process of the search, as always. What others bring runs in a worker
(`nas.isolation.sandbox`), which is used again until it is lost: a process for each evaluation would make fast ones
slow, and would read their data each time. An evaluator whose kind says `in_process = True` runs in the search, and is
then trusted as the toolkit's own.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, astuple, dataclass, field, replace
from functools import cached_property, partial
from typing import Any

import numpy as np

from device_profiles.errors import PluginError
from device_profiles.plugins import is_foreign, text_of
from nas import evaluators
from nas.arrays import Archs, Flags
from nas.evaluators.protocol import (
    Budget,
    Context,
    Evaluator,
    OwnsNetworks,
    OwnsWeights,
    Repeatable,
    Traits,
    takes_budget,
    traits_of,
    within,
)
from nas.isolation import checking
from nas.isolation.deadline import EvaluationTimeout, deadline
from nas.isolation.frames import Channel, Header
from nas.isolation.sandbox import AVAILABLE, Lost, Sandbox
from nas.isolation.serving import raised, serve
from nas.objectives import Objective, Values, at_confidence
from nas.weights.data.protocol import Data
from nas.weights.images import Images

#: Seconds for a plug-in to open, to ask, or to be told, unless the setting `plugin_seconds` says otherwise.
PLUGIN_SECONDS = 600.0
#: Seconds that a worker has to end an evaluation itself, before it is ended.
_GRACE_S = 0.3
#: Columns of `Values`, in the order in which a worker sends those that there are.
_COLUMNS = ("value", "low", "high", "coverage")

Judge = Callable[[Archs], Values]
Answer = Callable[[Header, bytes], tuple[Header, bytes] | None]


class Failed(Exception):
    """Code of others failed; the text says how, and is the reason that is kept."""


@dataclass(frozen=True)
class Apart:
    """An evaluator of others; what it says of itself is known here, what it does happens in a worker.

    Attributes:
        objective: as it was opened.
        free: likewise.
        identity: likewise.
        sandbox: where it runs.
        seconds: for it to open.
        here_open: opens it in this process.
        progress: of the search.
        most_replicates: `Repeatable.most`.
        traits: likewise.
        budgeted: whether it takes a budget.
    """

    objective: Objective
    free: bool
    identity: str
    sandbox: Sandbox
    seconds: float
    here_open: Callable[[], Any]
    progress: Callable[[str, int, int], None]
    most_replicates: int | None = None
    traits: Traits = field(default_factory=Traits)
    budgeted: bool = False

    def evaluate(self, archs: Archs, budget: Budget | None = None) -> Values:
        """Values; rows that it got wrong are NaN.

        Raises:
            Failed: it raised, ended its process, or gave what are no values.
        """
        return self.ask(archs, None, budget=budget)[0]

    def ask(
        self, archs: Archs, seconds: float | None, replicate: int = 0, budget: Budget | None = None
    ) -> tuple[Values, dict[int, str]]:
        """Values within a time, and what is wrong with single rows.

        Raises:
            EvaluationTimeout: they took longer.
            Failed: it raised, ended its process, or gave what are no values.
        """
        if not self.sandbox.running:
            who = f"the evaluator of {self.objective.name!r}"
            _open(self.sandbox, who, self.seconds, self.progress)
        archs = np.ascontiguousarray(archs, dtype=np.int64)
        header = {"do": "evaluate", "shape": archs.shape, "replicate": replicate, "seconds": seconds}
        header["budget"] = "" if budget is None else budget.key
        return _values(self.sandbox, header, archs, seconds, _told(self.progress))


class ApartRepeatable(Apart, Repeatable):
    """One that can evaluate again."""

    @property
    def most(self) -> int | None:
        """As it was opened."""
        return self.most_replicates

    def again(self, archs: Archs, replicate: int, budget: Budget | None = None) -> Values:
        """As `evaluate`."""
        return self.ask(archs, None, replicate, budget)[0]


class ApartTrained(Apart, OwnsNetworks):
    """One whose networks have weights: they are trained in the worker, and in this process where they are exported."""

    @cached_property
    def here(self) -> Any:
        """The evaluator in this process."""
        return self.here_open()

    @property
    def examples(self) -> Any:
        """Of the evaluator."""
        return self.here.examples

    def network(self, arch: Archs) -> Any:
        """Of the evaluator, for `(d,)` genes."""
        return self.here.network(arch)

    def tested(self, arch: Archs) -> dict[str, float]:
        """Of the evaluator, for `(d,)` genes."""
        return {str(name): float(score) for name, score in self.here.tested(arch).items()}

    def right(self, arch: Archs, *, test: bool = False) -> Flags | None:
        """Of the evaluator, for `(d,)` genes."""
        found = self.here.right(arch, test=test)
        return None if found is None else np.asarray(found, dtype=np.bool_)


class ApartOwner(ApartTrained, OwnsWeights):
    """One whose networks share weights."""

    @property
    def images(self) -> Images | Data:
        """Of the evaluator."""
        found: Images | Data = self.here.images
        return found

    @property
    def supernet(self) -> Any:
        """Of the evaluator."""
        return self.here.supernet

    def require_mixed(self) -> None:
        """Of the evaluator."""
        self.here.require_mixed()


class ApartTrainedRepeatable(ApartRepeatable, ApartTrained):
    """Repeatable, with networks of its own."""


class ApartOwnerRepeatable(ApartRepeatable, ApartOwner):
    """Repeatable, with shared weights."""


#: By whether it is repeatable, and what it owns: nothing, networks, shared weights.
_CLASSES = {
    (False, 0): Apart,
    (True, 0): ApartRepeatable,
    (False, 1): ApartTrained,
    (True, 1): ApartTrainedRepeatable,
    (False, 2): ApartOwner,
    (True, 2): ApartOwnerRepeatable,
}


def open_objective(text: str, context: Context) -> Evaluator:
    """Open the evaluator of an `--objective`: in this process if it is of the toolkit, else in a worker.

    Networks of a space of others are counted in a worker, too, as counting builds them.

    Raises:
        PluginError: it is of others, and failed, or is not what the protocol says.
        UsageError: no evaluator takes the spec.
    """
    spec = evaluators.split(text)[1]
    kind = evaluators.claiming(spec)
    if not is_apart(kind) and not (AVAILABLE and is_foreign(context.space) and spec in ("params", "macs")):
        return evaluators.open_objective(text, context)
    seconds = float(context.settings.get("plugin_seconds", PLUGIN_SECONDS))
    who = f"the evaluator of {spec!r}"
    sandbox = Sandbox(partial(_serve_evaluator, text, context))
    sandbox.start()
    try:
        found = _open(sandbox, who, seconds, context.progress)
        make = _CLASSES[bool(found["repeatable"]), int(found["owns"])]
        objective = Objective(**found["objective"])
        here = partial(evaluators.open_objective, text, context)
        facts = objective, found["free"], found["identity"]
        more = found["most"], Traits(*found["traits"]), bool(found["budgeted"])
        return make(*facts, sandbox, seconds, here, context.progress, *more)
    except (KeyError, TypeError) as error:
        sandbox.close()
        raise PluginError(f"{who} cannot be read: {text_of(error)}") from error
    except BaseException:
        sandbox.close()
        raise


def is_apart(entry: Any) -> bool:
    """Whether a registered kind of evaluators, or a strategy, runs in a process of its own."""
    return AVAILABLE and is_foreign(entry) and not getattr(entry, "in_process", False)


def close(judges: tuple[Evaluator, ...]) -> None:
    """End the processes of evaluators; they start again when they are needed."""
    for judge in judges:
        if isinstance(judge, Apart):
            judge.sandbox.close()


def of(judge: Judge) -> Callable[[Archs, float | None], tuple[Values, dict[int, str]]] | None:
    """How to ask an evaluator of others for rows `(n, d)` within a time; None for one of the toolkit.

    Args:
        judge: `evaluate` of an evaluator, or `again` with its replicate.
    """
    inner, options = (judge.func, judge.keywords) if isinstance(judge, partial) else (judge, {})
    owner = getattr(inner, "__self__", None)
    if isinstance(owner, Apart):
        return partial(owner.ask, **options)
    return partial(_once, judge) if is_foreign(judge) else None


def _once(judge: Judge, archs: Archs, seconds: float | None) -> tuple[Values, dict[int, str]]:
    """Ask what was opened in this process; in one of its own if there is a limit, and here if there is none."""
    if seconds is None or not AVAILABLE:
        with deadline(seconds):
            found = judge(archs)
        return checking.values(found, len(archs))
    archs = np.ascontiguousarray(archs, dtype=np.int64)

    def work(channel: Channel) -> None:
        serve(channel, lambda header, payload: _evaluated(judge, header, payload))

    sandbox = Sandbox(work)
    try:
        return _values(sandbox, {"shape": archs.shape, "seconds": seconds}, archs, seconds)
    finally:
        sandbox.close()


def _values(
    sandbox: Sandbox, header: Header, archs: Archs, seconds: float | None, answer: Answer | None = None
) -> tuple[Values, dict[int, str]]:
    try:
        reply, payload = sandbox.call(
            header, archs.tobytes(), seconds=None if seconds is None else seconds + _GRACE_S, answer=answer
        )
    except Lost as lost:
        if lost.late:
            raise EvaluationTimeout(f"no value after {seconds:g} s") from lost
        raise Failed(str(lost)) from lost
    check_reply(sandbox, reply)
    columns = np.frombuffer(payload, dtype=np.float64)
    said, wrong = reply.get("columns"), reply.get("wrong")
    names = [name for name in _COLUMNS if isinstance(said, list) and name in said]
    if (
        names != said
        or names[:1] != ["value"]
        or columns.shape != (len(names) * len(archs),)
        or not isinstance(wrong, dict)
    ):
        sandbox.end()
        raise Failed("its process answered nonsense")
    parts = dict(zip(names, columns.reshape(len(names), -1).copy(), strict=True))
    values = Values(parts["value"], parts.get("low"), parts.get("high"), parts.get("coverage"))
    return values, {int(row): str(reason) for row, reason in wrong.items()}


def check_reply(sandbox: Sandbox, reply: Header) -> None:
    """Raise what a worker says went wrong.

    Raises:
        Failed: code of others failed.
        HwnasError: an error of the toolkit was raised in it.
    """
    if "raised" in reply:
        raise raised(reply["raised"])
    if "failed" in reply:
        if reply.get("spoiled"):
            sandbox.end()
        raise Failed(str(reply["failed"]))


def _told(progress: Callable[[str, int, int], None]) -> Answer:
    """What a worker says of its progress is shown."""

    def answer(header: Header, payload: bytes) -> None:
        with suppress(KeyError, TypeError, ValueError):
            what, done, total = header["said"]
            progress(str(what), int(done), int(total))

    return answer


def _open(sandbox: Sandbox, who: str, seconds: float, progress: Callable[[str, int, int], None]) -> Header:
    failed = f"{who} cannot be opened"
    return call(sandbox, {"do": "open"}, failed=failed, seconds=seconds, answer=_told(progress))[0]


def call(
    sandbox: Sandbox, header: Header, payload: bytes = b"", *, failed: str, seconds: float, answer: Answer
) -> tuple[Header, bytes]:
    """Have code of others do something, within `plugin_seconds`.

    Args:
        sandbox: where it runs.
        header: what to do.
        payload: of it.
        failed: what it is called in an error: `strategy 'x' failed when it was asked`.
        seconds: that it has.
        answer: see `Sandbox.call`.

    Raises:
        PluginError: it failed, or took too long.
    """
    try:
        found = sandbox.call(header, payload, seconds=seconds, answer=answer)
        check_reply(sandbox, found[0])
    except (Lost, Failed) as error:
        late = isinstance(error, Lost) and error.late
        said = f"it took longer than {seconds:g} s" if late else str(error)
        hint = "--set plugin_seconds=S gives it more time." if late else "This is a fault of the plug-in."
        raise PluginError(f"{failed}: {said}", hint=hint) from error
    return found


def _serve_evaluator(text: str, context: Context, channel: Channel) -> None:
    # Connections are of the process that opened them: new ones are made here, and the old ones are never closed.
    kept = context.store.engine.pool
    context.store.engine.dispose(close=False)
    judges: list[Any] = []

    def tell(what: str, done: int, total: int) -> None:
        channel.send({"ask": "progress", "said": [str(what), int(done), int(total)]})

    def handle(header: Header, payload: bytes) -> tuple[Header, bytes]:
        if header["do"] == "open":
            judge: Any = evaluators.open_objective(text, replace(context, progress=tell))
            objective = checking.opened(judge)
            judges[:] = [judge]
            again = isinstance(judge, Repeatable)
            most = judge.most if again else None
            return {
                "objective": asdict(objective),
                "free": judge.free,
                "identity": judge.identity,
                "repeatable": again,
                "most": None if most is None else int(most),
                "owns": isinstance(judge, OwnsNetworks) + isinstance(judge, OwnsWeights),
                "budgeted": takes_budget(judge),
                "traits": [bool(trait) for trait in astuple(traits_of(judge))],
            }, b""
        place = header["replicate"]
        asked = partial(judges[0].again, replicate=place) if place else judges[0].evaluate
        return _evaluated(within(asked, Budget.of(header["budget"])), header, payload)

    serve(channel, handle)
    del kept


def _evaluated(judge: Judge, header: Header, payload: bytes) -> tuple[Header, bytes]:
    archs = np.frombuffer(payload, dtype=np.int64).reshape(header["shape"]).copy()
    with deadline(header["seconds"]):
        values, wrong = checking.values(judge(archs), len(archs))
    values = at_confidence(values)
    columns = {name: column for name in _COLUMNS if (column := getattr(values, name)) is not None}
    return {"columns": list(columns), "wrong": wrong}, np.concatenate(list(columns.values())).tobytes()
