"""`hwnas import` and `hwnas lint`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hwnas_cli.answer import Answer, Json, answers

if TYPE_CHECKING:
    from predictors.tables import Finding, Table

Device = Annotated[str | None, typer.Option(help="Name of the device, where the file has none; else the file's name.")]
Part = Annotated[
    str | None, typer.Option(help="Which table of a file, or what it does not say, such as threads=4: see the layouts.")
]


@answers("import")
def import_(
    kind: Annotated[str, typer.Argument(help="Layout: {layouts}.")],
    file: Annotated[Path, typer.Argument(help="The table as it was published, gzipped or not.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder of the table; one that is there is replaced.")],
    device: Device = None,
    part: Part = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep what lint finds wrong, too.")] = False,
    as_json: Json = False,
) -> Answer:
    """Import a published table.

    Values are brought to ms, mJ and bytes by the units that the layout states. What lint finds wrong is left out, and
    said.

    Examples:

        hwnas import nasbench201 nasbench201.csv.gz -o runs/nasbench201

        hwnas import ofa mobile.yaml --device pixel1 -o runs/pixel1

        hwnas import onnxruntime profile.json --device board --part threads=4 -o runs/layers
    """
    from dataclasses import asdict, replace

    from predictors import folders, tables
    from predictors.tables._written import is_table

    _require_folder(output)
    folders.check(output, "a table", is_table)
    found = tables.read(file, kind, device=device, part=part)
    findings = tables.lint(found)
    made = replace(found, findings=findings) if keep else found.without_errors(findings)
    made.save(output)
    names = ("name", "cost", "unit", "stated_unit", "device", "workload")
    data = {
        "kind": made.kind,
        "file": str(file),
        "source": asdict(made.source),
        "space": made.space,
        "rows": len(made),
        "columns": [{name: getattr(column, name) for name in names} for column in made.columns],
        "left_out": {"rows": made.left_out.rows, "columns": list(made.left_out.columns)},
        "findings": [finding.to_plain() for finding in findings],
        "path": str(output),
    }
    return Answer(data, "\n".join(_said_of_import(found, made, findings, output, keep=keep)))


@answers("lint")
def lint(
    file: Annotated[Path, typer.Argument(help="A published table, or the folder of an imported one.")],
    kind: Annotated[str | None, typer.Option(help="Its layout, if the content does not tell: {layouts}.")] = None,
    device: Device = None,
    part: Part = None,
    against: Annotated[
        Path | None, typer.Option(help="Another table of the same rows, to compare columns with.")
    ] = None,
    as_json: Json = False,
) -> Answer:
    """Say what is wrong with a table of costs.

    Ends with 1 if there are errors, with 0 if there are only warnings and notes.

    Examples:

        hwnas lint nasbench201.csv.gz

        hwnas lint 1080ti.csv --kind plain --against i7.csv
    """
    from device_profiles.errors import UsageError
    from predictors import tables

    if file.is_dir() and (kind is not None or device is not None or part is not None):
        raise UsageError(f"{file} is an imported table", hint="Leave --kind, --device and --part away.")

    def opened(path: Path) -> Table:
        return tables.load(path) if path.is_dir() else tables.read(path, kind, device=device, part=part)

    found = opened(file)
    findings = tables.lint(found, None if against is None else opened(against))
    counts = {severity: _of(findings, severity) for severity in ("error", "warning", "note")}
    data = {
        "kind": found.kind,
        "file": str(file),
        "rows": len(found),
        "columns": len(found.columns),
        "left_out": {"rows": found.left_out.rows, "columns": list(found.left_out.columns)},
        "errors": len(counts["error"]),
        "warnings": len(counts["warning"]),
        "notes": len(counts["note"]),
        "findings": [finding.to_plain() for finding in findings],
    }
    lines = [_head(file, found)]
    if found.left_out.rows or found.left_out.columns:
        parts = [_counted(found.left_out.rows, "row"), *found.left_out.columns]
        lines.append(f"left out when it was imported: {', '.join(parts)}")
    for severity, some in counts.items():
        if some:
            lines += ["", _counted(len(some), severity)]
            lines += [line for finding in some for line in _said_of(finding)]
    if not findings:
        lines.append("nothing was found")
    return Answer(data, "\n".join(lines), 1 if counts["error"] else 0)


def _require_folder(output: Path) -> None:
    """A store holds measurements with their conditions; a published table has none."""
    from device_profiles.errors import UsageError

    if "://" in str(output) or ":/" in str(output) or output.suffix in (".db", ".sqlite") or output.is_file():
        raise UsageError(
            f"{output} is not a folder; a published table does not say its conditions, which a store needs",
            hint="Give a folder with -o.",
        )


def _of(findings: Sequence[Finding], severity: str) -> list[Finding]:
    return [finding for finding in findings if finding.severity == severity]


def _said_of(finding: Finding) -> list[str]:
    where = f" {finding.column}" if finding.column else ""
    lines = [f"  {finding.rule}{where}: {finding.text}"]
    if finding.sample:
        more = ", ..." if finding.count > len(finding.sample) else ""
        lines.append(f"    such as {', '.join(finding.sample)}{more}")
    lines.append(f"    {finding.advice}")
    return lines


def _said_of_import(found: Table, made: Table, findings: Sequence[Finding], output: Path, *, keep: bool) -> list[str]:
    lines = [_head(found.source.file, found)]
    labels: dict[str, list[str]] = {}
    for column in made.columns:
        stated = "" if column.stated_unit in (None, column.unit) else f", from {column.stated_unit}"
        labels.setdefault(f"{column.cost} [{column.unit or 'no unit'}{stated}]", []).append(column.label)
    for head, names in labels.items():
        lines.append(f"  {head}: {', '.join(names[:4])}{f' and {len(names) - 4} more' if len(names) > 4 else ''}")
    errors = _of(findings, "error")
    because = f"because of {_counted(len(errors), 'error')}"
    if keep and errors:
        lines += ["", f"kept in spite of {_counted(len(errors), 'error')}"]
    elif errors:
        left = [_counted(made.left_out.rows, "row")] if made.left_out.rows else []
        lines += ["", f"left out: {', '.join([*left, *made.left_out.columns])}, {because}"]
    lines += [line for finding in errors for line in _said_of(finding)]
    others = [_counted(len(some), word) for word in ("warning", "note") if (some := _of(findings, word))]
    if others:
        lines += ["", f"{' and '.join(others)}; `hwnas lint` shows them"]
    search = f"; search with table:{output / 'table.csv'}:COLUMN" if made.archs is not None else ""
    return [*lines, f"{_counted(len(made), 'row')} written to {output}{search}"]


def _head(name: object, of: Table) -> str:
    return f"{name}: {of.kind}, {_counted(len(of), 'row')}, {_counted(len(of.columns), 'column')}"


def _counted(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"
