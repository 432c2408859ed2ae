"""Evaluators: tabular, weight sharing, predictor, measured, counted. One file each; each claims the specs it can open.

Example:
    >>> from nas import evaluators
    >>> evaluators.split("latency=table:costs.csv:ms")
    ('latency', 'table:costs.csv:ms')
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from contextlib import suppress

from device_profiles.errors import HwnasError, PluginError, UsageError
from device_profiles.plugins import text_of
from device_profiles.registry import Registry
from nas.evaluators.protocol import Context, Evaluator, EvaluatorKind

__all__ = ["REGISTRY", "Context", "Evaluator", "claiming", "kinds", "open_objective", "split"]

REGISTRY: Registry[EvaluatorKind] = Registry("evaluator", "nas.evaluators", attribute="EVALUATOR")

_NAMED = re.compile(r"^([A-Za-z_][\w.\-]*)=(.+)$")


def split(text: str) -> tuple[str, str]:
    """Name and spec of `NAME=SPEC` or `SPEC`; the name is "" where none is given."""
    match = _NAMED.match(text)
    return (match.group(1), match.group(2)) if match else ("", text)


def kinds() -> Iterator[EvaluatorKind]:
    """All kinds that can be loaded; a broken distribution of others costs its own objectives, and no others."""
    for name in REGISTRY.names():
        with suppress(PluginError):
            yield REGISTRY.get(name)


def claiming(spec: str) -> EvaluatorKind:
    """The kind that takes a spec.

    Raises:
        PluginError: none does, and one that might cannot be asked.
        UsageError: none does.
    """
    forms, broken = [], None
    for name in REGISTRY.names():
        try:
            kind = REGISTRY.get(name)
            forms.append(str(kind.forms))
            if kind.claims(spec):
                return kind
        except PluginError as error:
            broken = broken or error
        except (HwnasError, KeyboardInterrupt):
            raise
        except BaseException as error:  # of a kind of others, which are asked in the process of the search
            broken = broken or PluginError(
                f"evaluator {name!r} cannot say whether it takes {spec!r}: {text_of(error)}",
                hint="Mend or remove the distribution that brings it.",
            )
    if broken is not None:
        raise broken
    raise UsageError(
        f"no evaluator takes the objective {spec!r}",
        hint=f"{_guess(spec, forms)}Objectives: {' · '.join(forms)}; each may be NAME=SPEC.",
    )


def _guess(spec: str, forms: list[str]) -> str:
    """What was probably meant, as a sentence; empty where nothing is near."""
    heads = [form.strip().partition(":")[0] for some in forms for form in some.split("·")]
    head = spec.partition(":")[0]
    close = difflib.get_close_matches(head, heads, n=1, cutoff=0.5)
    return f"Did you mean {close[0] + spec[len(head) :]!r}? " if close and close[0] != head else ""


def open_objective(text: str, context: Context) -> Evaluator:
    """Open the evaluator of an `--objective`, in this process.

    Raises:
        UsageError: no evaluator takes the spec.
    """
    name, spec = split(text)
    kind = claiming(spec)
    return kind.open(name or kind.default_name(spec), spec, context)
