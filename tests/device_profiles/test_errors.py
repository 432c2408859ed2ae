"""What errors say."""

import pickle

import pytest

from device_profiles.errors import HwnasError, InvalidModel, UsageError


@pytest.mark.parametrize("kind", [HwnasError, InvalidModel, UsageError])
def test_what_others_wrote_is_cut_where_it_is_long(kind):
    error = kind(f"got {'x' * 100_000} instead of y", hint="z" * 100_000)
    assert len(error.message) < 1600 and error.message.startswith("got xxx") and error.message.endswith("instead of y")
    assert len(error.hint) < 1600 and str(error) == error.message
    again = pickle.loads(pickle.dumps(error))
    assert (again.message, again.hint) == (error.message, error.hint)
    assert kind("short", hint="and clear").message == "short"
