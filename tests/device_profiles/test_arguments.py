"""Arguments of code that a name stands for are looked at before it is called."""

import numpy as np
import pytest

from device_profiles.arguments import check_arguments
from device_profiles.errors import UsageError


def typed(first, *, size: int = 3, share: float = 0.5, names: tuple[str, ...] = (), kind: str | None = None): ...


def bare(first, *, size=3, share=0.5, flag=True, what="x", hint="y", needed): ...


def unresolved(first, *, size: "int | NoSuch.type" = 3, share: "1 / 0" = 0.5): ...  # noqa: F821


@pytest.mark.parametrize(
    ("make", "settings"),
    [
        (typed, {"size": np.int64(4), "share": 1, "names": ["a"], "kind": None}),
        (bare, {"size": 4, "share": 1, "flag": "no", "what": 1, "hint": 2, "needed": object()}),
        (unresolved, {"size": "anything", "share": None}),
        (dict, {"anything": 1}),
        (typed, {"names": "ab"}),  # a text is a sequence of texts
    ],
)
def test_what_fits_passes(make, settings):
    check_arguments("it", make, [] if make is dict else [None], settings)


@pytest.mark.parametrize(
    ("make", "settings", "words"),
    [
        (typed, {"size": 2.0}, "size must be a whole number, got 2.0"),
        (typed, {"size": True}, "size must be a whole number, got True"),
        (typed, {"share": "1"}, "share must be a number, got '1'"),
        (typed, {"share": float("inf")}, "share must be a number, got inf"),
        (typed, {"share": float("nan")}, "share must be a number, got nan"),
        (typed, {"names": [1]}, "names must be of type"),
        (typed, {"kind": 1}, "kind must be of type"),
        (typed, {"other": 1}, "unexpected keyword argument 'other'"),
        (bare, {"needed": 1, "size": 2.0}, "size must be a whole number"),
        (bare, {"needed": 1, "share": "much"}, "share must be a number"),
        (bare, {}, "missing a required argument: 'needed'"),
    ],
)
def test_what_does_not_fit_is_refused(make, settings, words):
    with pytest.raises(UsageError) as caught:
        check_arguments("it", make, [None], settings, hint="Look here.")
    assert words in caught.value.message and caught.value.message.startswith("it: ")
    assert caught.value.hint == "Look here."
