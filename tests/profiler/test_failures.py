"""Which failures are tried again by themselves, and what a store forgets."""

from __future__ import annotations

import builtins
import errno
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.pace import CONDITIONS, fill
from device_profiles.errors import DeviceError, HwnasError, InvalidData
from profiler import Store
from profiler.failures import OWN_SIGNALS, TRANSIENT, is_transient, why_transient
from profiler.summary import settled

CRASH = "the runtime crashed while loading it: the agent ended with code {}: no message"


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        *((kind, "") for kind in TRANSIENT),
        ("FileNotFoundError", "m.onnx"),
        ("ConnectionResetError", ""),
        ("RuntimeCrash", CRASH.format(-int(signal.SIGKILL))),
        ("RuntimeCrash", CRASH.format(-int(signal.SIGTERM))),
        ("RuntimeCrash", CRASH.format(1)),
        ("RuntimeCrash", "the runtime crashed while loading it: the agent was stopped after 60 s"),
        ("InvalidModel", f"ONNX Runtime cannot load m.onnx: {os.strerror(errno.ENOSPC)}"),
        ("RuntimeError", f"[Errno 12] {os.strerror(errno.ENOMEM)}"),
        ("Fail", "[ONNXRuntimeError] : 3 : NO_SUCHFILE : Load model from m.onnx failed"),
    ],
)
def test_what_the_machine_did_is_tried_again_and_has_a_reason(kind: str, reason: str) -> None:
    assert is_transient(kind, reason)
    assert why_transient(kind, reason)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("InvalidModel", "it is not ONNX"),
        ("UnsupportedOperator", "no Sigmoid"),
        ("ConstantNetwork", ""),
        ("RuntimeError", "not today"),
        ("ValueError", ""),
        ("KeyError", "'x'"),
        ("AType OfNobody", "whatever"),
        ("print", "a name of Python that is no type"),
        *(("RuntimeCrash", CRASH.format(-number)) for number in sorted(OWN_SIGNALS)),
    ],
)
def test_what_the_model_did_is_kept(kind: str, reason: str) -> None:
    assert not is_transient(kind, reason)


def test_every_error_of_the_system_and_of_the_device_is_decided() -> None:
    system = [kind for kind in vars(builtins).values() if isinstance(kind, type) and issubclass(kind, OSError)]
    assert len(system) > 10 and all(is_transient(kind.__name__, "") for kind in system)
    import profiler.database
    import profiler.reader  # noqa: F401 - both define errors

    def every(kind: type[HwnasError]) -> Iterator[type[HwnasError]]:
        yield kind
        for child in kind.__subclasses__():
            yield from every(child)

    own = ("device_profiles.", "profiler.")
    devices = [kind.__name__ for kind in every(DeviceError) if kind.__module__.startswith(own)]
    assert {"DeviceError", "DeviceBusy", "StoreFull", "BrokenProtocol"} <= set(devices)
    assert all(is_transient(name, "") for name in devices), "an error of the device has a line in the table"
    models = [kind.__name__ for kind in every(InvalidData) if kind.__module__.startswith(own)]
    assert not any(is_transient(name, "") for name in models)


@pytest.fixture
def failed(tmp_path: Path) -> Iterator[Store]:
    """Models `m0` to `m3`: the first two may pass, the others stay."""
    kinds = ("OSError", "StoreFull", "InvalidModel", "UnsupportedOperator")
    with Store(tmp_path / "a.db") as store:
        for model, kind in zip(fill(store, models=4, processes=1, blocks=1), kinds, strict=True):
            store.add_failure(model, CONDITIONS, kind=kind, reason="for a reason", hint="")
        yield store


def test_transient_failures_are_forgotten_and_the_others_on_request(failed: Store) -> None:
    assert failed.forget_failures(CONDITIONS) == ("m0", "m1")
    assert set(failed.failures(CONDITIONS)) == {"m2", "m3"}
    assert failed.forget_failures(CONDITIONS) == ()
    assert failed.forget_failures(CONDITIONS, ["m3"], only_transient=False) == ("m3",)
    assert failed.forget_failures(CONDITIONS, [], only_transient=False) == ()
    assert failed.forget_failures(CONDITIONS, only_transient=False) == ("m2",)
    assert failed.failures(CONDITIONS) == {}


def test_failures_of_other_models_and_conditions_stay(failed: Store) -> None:

    other = CONDITIONS.changed(threads=2)
    failed.bind("another", "{}", other)
    failed.add_failure("m0", other, kind="OSError", reason="", hint="")
    assert failed.forget_failures(CONDITIONS, ["m1", "m2", "unknown"]) == ("m1",)
    assert set(failed.failures(CONDITIONS)) == {"m0", "m2", "m3"} and set(failed.failures(other)) == {"m0"}


@pytest.mark.parametrize(("blocks", "counts"), [(1, False), (2, False), (3, True)])
def test_processes_that_ended_with_a_model_in_hand_do_not_make_it_measured(
    tmp_path: Path, blocks: int, counts: bool
) -> None:
    with Store(tmp_path / "a.db") as store:
        fill(store, models=2, processes=3, blocks=blocks)
        store.add_failure("m1", CONDITIONS, kind="RuntimeCrash", reason="it died again and again", hint="")
        found = settled(store, CONDITIONS)
    assert ("m1" in found.latencies, "m1" in found.failures) == (counts, not counts)
    assert "m0" in found.latencies, "what never failed counts as it is"
