"""The tables of studies, in the database of a run or of a lab."""

from __future__ import annotations

import sqlalchemy as sa

#: Version of the tables below. 1: first (2026-11). 2: columns `seal` (2026-11). 3: `completed` and
#: `budgets` of trials (2026-11). 4: table `studies`, which the others refer to; `digest` of searches and `place` of
#: trials, for their keys (2026-11). Older versions are taken along (`nas.study.layout`).
STUDY_VERSION = 4
DATABASE = "run.db"
#: Name of the study of a run that has a database of its own.
OWN = "run"

METADATA = sa.MetaData()

#: The studies of this database. `place` is the folder of the run that began one, with its machine, for people.
STUDIES = sa.Table(
    "studies",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("name", sa.String(64), nullable=False, unique=True),
    sa.Column("place", sa.Text, nullable=False),
)

#: What a study is about, as JSON: `version`, `space`, `objectives`, `constraints`, `seed`, `data`, `target`,
#: `settings`; `reference`, fixed when the first batch was judged; and `reference_rule`, where it is widened if the
#: front goes beyond it; `asked`, what was asked of the run when.
STUDY = sa.Table(
    "study",
    METADATA,
    sa.Column("study", sa.ForeignKey("studies.id"), primary_key=True),
    sa.Column("key", sa.String(32), primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)

#: One search of a study: a strategy with its settings; `digest` is that of the settings.
SEARCHES = sa.Table(
    "searches",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("study", sa.ForeignKey("studies.id"), nullable=False),
    sa.Column("strategy", sa.String(64), nullable=False),
    sa.Column("settings", sa.Text, nullable=False),
    sa.Column("digest", sa.String(64), nullable=False),
    sa.UniqueConstraint("study", "strategy", "digest"),
)

#: One architecture that a search asked for, at a `place` of a batch, from 0; `result` is NULL until it is judged, then
#: `{objective: [value, low, high]}`; since 2026-11 the coverage of a predicted value stands behind them. `completed`
#: is its place in the order in which trials were judged, from 1; NULL in those that were judged before version 3, which
#: come first, in the order of their ids. `budgets` is `{objective: budget}` of what was not evaluated in full, or NULL.
TRIALS = sa.Table(
    "trials",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("study", sa.ForeignKey("studies.id"), nullable=False, index=True),
    sa.Column("search", sa.ForeignKey("searches.id"), nullable=False),
    sa.Column("batch", sa.Integer, nullable=False),
    sa.Column("place", sa.Integer, nullable=False),
    sa.Column("arch", sa.Text, nullable=False),
    sa.Column("note", sa.Text, nullable=False),
    sa.Column("result", sa.Text),
    sa.Column("completed", sa.Integer),
    sa.Column("budgets", sa.Text),
    sa.UniqueConstraint("search", "batch", "place"),
)

#: What became of an architecture that was chosen at the end, as JSON: `measured`, `onnx`, `test_accuracy` or
#: `test_perplexity`.
FINALISTS = sa.Table(
    "finalists",
    METADATA,
    sa.Column("study", sa.ForeignKey("studies.id"), primary_key=True),
    sa.Column("arch", sa.Text, primary_key=True),
    sa.Column("facts", sa.Text, nullable=False),
)

#: Why a trial has no value, for people; since 2026-11, in studies of version 1 too.
FAILURES = sa.Table(
    "trial_failures",
    METADATA,
    sa.Column("trial", sa.ForeignKey("trials.id"), primary_key=True),
    sa.Column("reason", sa.Text, nullable=False),
)

#: Single values of objectives that were evaluated more than once, from 0 on; NULL where an evaluation failed. Since
#: 2026-11, in studies of version 1 too.
REPLICATES = sa.Table(
    "trial_replicates",
    METADATA,
    sa.Column("trial", sa.ForeignKey("trials.id"), primary_key=True),
    sa.Column("objective", sa.String(64), primary_key=True),
    sa.Column("replicate", sa.Integer, primary_key=True),
    sa.Column("value", sa.Float),
)

for _table in METADATA.sorted_tables:
    _table.append_column(sa.Column("seal", sa.BigInteger, info={"least": 0}))
for _column in (STUDIES.c.name, SEARCHES.c.strategy, TRIALS.c.arch, FINALISTS.c.arch, REPLICATES.c.objective):
    _column.info["least"] = 1
for _column in (STUDIES.c.id, SEARCHES.c.id, TRIALS.c.id, TRIALS.c.batch, TRIALS.c.place, REPLICATES.c.replicate):
    _column.info["least"] = 0
TRIALS.c.completed.info["least"] = 1
