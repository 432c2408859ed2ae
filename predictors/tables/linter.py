"""What is wrong with a table: rules that know how tables go wrong, and none that knows a table by its name.

The rules come from traps in published tables; `docs/reference/tables.md` lists them. Each looks at values and at what
the layout says of them, and answers in words with what to do. A rule that cannot tell is silent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from predictors.tables import _rules_pairs, _rules_profiles, _rules_rows, _rules_values
from predictors.tables.table import SEVERITIES, Finding, Table

Rule = Callable[[Table], Iterable[Finding]]

RULES: tuple[Rule, ...] = (
    _rules_values.missing,
    _rules_values.not_finite,
    _rules_values.out_of_range,
    _rules_values.not_positive,
    _rules_values.constant_column,
    _rules_values.sentinel,
    _rules_values.scales,
    _rules_values.quantised,
    _rules_values.deviations,
    _rules_values.repeats,
    _rules_pairs.power,
    _rules_pairs.same_columns,
    _rules_pairs.copied_entries,
    _rules_rows.duplicates,
    _rules_rows.constant_networks,
    _rules_rows.coverage,
    _rules_rows.additive,
    _rules_rows.kernels_only,
    _rules_rows.shared_features,
    _rules_rows.monotone,
    _rules_profiles.accelerator,
    _rules_profiles.fallback,
    _rules_profiles.equals_cpu,
    _rules_profiles.threads,
    _rules_profiles.throughput,
    _rules_profiles.clock,
    _rules_profiles.whole,
    _rules_profiles.conditions,
)


def lint(table: Table, against: Table | None = None) -> tuple[Finding, ...]:
    """All findings, errors first.

    Args:
        table: as an importer read it, or as it was loaded.
        against: another table of the same rows, whose columns may be the same device's.

    Returns:
        Findings in the order error, warning, note; among each, in the order of the rules and of the columns.

    Raises:
        UsageError: the two have no rows in common.
    """
    found = [finding for rule in RULES for finding in rule(table)]
    if against is not None:
        found += _rules_pairs.across(table, against)
    return tuple(sorted(found, key=lambda finding: SEVERITIES.index(finding.severity)))
