"""Evaluators: tabular, weight sharing, predictor, measured, counted. One file each; each claims the specs it can open.

Example:
    >>> from nas import evaluators
    >>> evaluators.split("latency=table:costs.csv:ms")
    ('latency', 'table:costs.csv:ms')
"""

from __future__ import annotations

import re

from device_profiles.errors import UsageError
from device_profiles.registry import Registry
from nas.evaluators.protocol import Context, Evaluator, EvaluatorKind

__all__ = ["REGISTRY", "Context", "Evaluator", "open_objective", "split"]

REGISTRY: Registry[EvaluatorKind] = Registry("evaluator", "nas.evaluators", attribute="EVALUATOR")

_NAMED = re.compile(r"^([A-Za-z_][\w.\-]*)=(.+)$")


def split(text: str) -> tuple[str, str]:
    """Name and spec of `NAME=SPEC` or `SPEC`; the name is "" where none is given."""
    match = _NAMED.match(text)
    return (match.group(1), match.group(2)) if match else ("", text)


def open_objective(text: str, context: Context) -> Evaluator:
    """Open the evaluator of an `--objective`.

    Raises:
        UsageError: no evaluator takes the spec.
    """
    name, spec = split(text)
    forms = []
    for _, kind in REGISTRY:
        forms.append(kind.forms)
        if kind.claims(spec):
            return kind.open(name or kind.default_name(spec), spec, context)
    raise UsageError(
        f"no evaluator takes the objective {spec!r}", hint=f"Objectives: {' · '.join(forms)}; each may be NAME=SPEC."
    )
