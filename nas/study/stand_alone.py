"""What a study says of shared weights beside trainings alone."""

from __future__ import annotations

from typing import Any

from nas.study.study import Study

#: Under which name it is kept.
FACT = "stand_alone"


def sentence(study: Study) -> str | None:
    """How shared weights rank networks beside trainings alone, or that nobody knows; None without shared weights."""
    owner = next((o for o in study.objectives() if o.source == "shared"), None)
    if owner is None:
        return None
    known = read(study)
    if known is None:
        return (
            f"nobody knows how {owner.name} by shared weights ranks networks beside trainings alone: "
            "--set stand_alone=8 trains eight"
        )
    said = {name: "none" if value is None else f"{value:.2f}" for name, value in known["spearman"].items()}
    return (
        f"beside {len(known['networks'])} networks trained alone the rank correlation of {owner.name} by shared "
        f"weights is {said['shared']}, that of parameters {said['params']}, of MACs {said['macs']}"
    )


def read(study: Study) -> dict[str, Any] | None:
    """What was kept; None of nothing, and of what is not that."""
    plain = study.fact(FACT)
    if not isinstance(plain, dict) or not isinstance(plain.get("networks"), list):
        return None
    ranks = plain.get("spearman")
    if not isinstance(ranks, dict) or not {"shared", "params", "macs"} <= ranks.keys():
        return None
    if any(not (value is None or isinstance(value, (int, float))) for value in ranks.values()):
        return None
    return plain
