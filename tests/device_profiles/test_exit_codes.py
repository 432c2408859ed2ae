from __future__ import annotations

import pickle

import pytest

from device_profiles import errors


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("HwnasError", 3),
        ("InfeasibleBudget", 1),
        ("UsageError", 2),
        ("UnknownName", 2),
        ("DeviceError", 3),
        ("DeviceBusy", 3),
        ("RunBusy", 3),
        ("PluginError", 3),
        ("InvalidData", 4),
        ("InvalidModel", 4),
        ("UnsupportedOperator", 4),
        ("WrongPrecision", 4),
        ("ConstantNetwork", 4),
        ("InvalidTable", 4),
        ("SchemaMismatch", 4),
        ("MissingKernel", 4),
        ("ConditionMismatch", 4),
    ],
)
def test_every_error_has_its_exit_code(kind: str, code: int) -> None:
    error = getattr(errors, kind)
    assert issubclass(error, errors.HwnasError)
    assert error.exit_code == code


def test_no_error_is_without_an_exit_code_in_the_list_above() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    assert len(kinds) == 17


def test_an_error_says_what_happened_and_what_to_do() -> None:
    error = errors.DeviceError("the board is gone", hint="Plug it in.")
    assert (str(error), error.message, error.hint) == ("the board is gone", "the board is gone", "Plug it in.")
    assert errors.DeviceError("the board is gone").hint == ""


def test_an_unknown_name_lists_what_is_known() -> None:
    error = errors.UnknownName("space", "nasbench20", ["other", "nasbench201"])
    assert error.hint == "Did you mean 'nasbench201'? Known: nasbench201, other."
    assert errors.UnknownName("space", "x", []).hint == "Known: none."


def test_a_full_store_ends_like_a_device_that_failed() -> None:
    from profiler.store import StoreFull

    assert StoreFull.exit_code == 3


def test_errors_come_back_from_other_processes():
    for error in (
        errors.UnknownName("strategy", "nsga22", ["nsga2"]),
        errors.ConditionMismatch("no", expected={"a": 1}, got={"a": 2}, hint="do"),
        errors.UsageError("wrong", hint="right"),
    ):
        again = pickle.loads(pickle.dumps(error))
        assert type(again) is type(error) and str(again) == str(error) and again.hint == error.hint
    assert pickle.loads(pickle.dumps(errors.ConditionMismatch("no", expected={"a": 1}, got={"a": 2}))).got == {"a": 2}
