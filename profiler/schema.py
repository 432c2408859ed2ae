"""Tables of the measurement store, and their version.

History of the version:
    1 (2026-11): first.
    2 (2026-11): table `energy`. Stores of older versions are taken along when they are opened.
    3 (2026-11): columns `cpu_ns` and `switches` of `blocks`, and `run_ns` of `profiles`, empty in rows of before;
       columns `seal`, and `graph_seal` of models: checksums of rows (`profiler.row_checks`).
    4 (2026-11): table `invocations`; column `number` of `energy`, empty in rows of before; blocks are unique by
       process, model, round and retry, windows of energy by process, model and number.
    5 (2026-11): the state `aside` of processes: what they measured is kept, and counts for nothing.
"""

from __future__ import annotations

import sqlalchemy as sa

SCHEMA_VERSION = 5

METADATA = sa.MetaData()

#: State of a process that counts for nothing.
ASIDE = "aside"

#: What the file is: `schema_version`, `written_by`.
META = sa.Table(
    "meta", METADATA, sa.Column("key", sa.String(64), primary_key=True), sa.Column("value", sa.Text, nullable=False)
)

#: Facts that numbers of one table share.
CONDITIONS = sa.Table(
    "conditions",
    METADATA,
    sa.Column("id", sa.String(16), primary_key=True),
    sa.Column("facts", sa.Text, nullable=False),
)

#: Under which conditions a target was measured in this store.
TARGETS = sa.Table(
    "targets",
    METADATA,
    sa.Column("name", sa.String(200), primary_key=True),
    sa.Column("conditions", sa.ForeignKey("conditions.id"), nullable=False),
    sa.Column("profile", sa.Text, nullable=False),
)

#: What was measured: `id` is the digest of the captured graph; `kernel` is the operator that it replays `copies` times,
#: as JSON, or NULL for a network.
MODELS = sa.Table(
    "models",
    METADATA,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("space", sa.Text),
    sa.Column("arch", sa.Text),
    sa.Column("graph", sa.Text, nullable=False),
    sa.Column("kernel", sa.Text),
    sa.Column("copies", sa.Integer, nullable=False),
)

#: What a runtime made of a model, under conditions.
FUSED = sa.Table(
    "fused",
    METADATA,
    sa.Column("model", sa.ForeignKey("models.id"), primary_key=True),
    sa.Column("conditions", sa.ForeignKey("conditions.id"), primary_key=True),
    sa.Column("graph", sa.Text, nullable=False),
)

#: Who is at work in this database, or was: a call of a campaign or of a search each (`kind`). `subject` is the id of
#: its conditions, or the name of its study. `seen_s` is kept up while it lives, by the clock of the database; `pid` is
#: a process within one `pid_space`. `state` is `running`, `finished` or `stopped`, as it said.
INVOCATIONS = sa.Table(
    "invocations",
    METADATA,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("subject", sa.String(64), nullable=False, index=True),
    sa.Column("host", sa.String(255), nullable=False),
    sa.Column("pid", sa.Integer, nullable=False),
    sa.Column("pid_space", sa.String(80), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("began_s", sa.Float, nullable=False),
    sa.Column("seen_s", sa.Float, nullable=False),
)

#: One fresh worker process each; `invocation` is the row of who started it, in rows since version 4. `state` is
#: `running`, `finished`, `stopped`; or `aside`, where its device of a fleet turned out to differ from the others.
PROCESSES = sa.Table(
    "processes",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("conditions", sa.ForeignKey("conditions.id"), nullable=False, index=True),
    sa.Column("invocation", sa.String(32), nullable=False),
    sa.Column("seed", sa.Integer, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("device_s", sa.Float),
    sa.Column("facts", sa.Text, nullable=False),
)

#: Raw blocks with the sentinels around them, CPU time of the calling thread, and involuntary switches.
BLOCKS = sa.Table(
    "blocks",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("process", sa.ForeignKey("processes.id"), nullable=False, index=True),
    sa.Column("model", sa.ForeignKey("models.id"), nullable=False, index=True),
    sa.Column("round", sa.Integer, nullable=False),
    sa.Column("retry", sa.Integer, nullable=False),
    sa.Column("calls", sa.Integer, nullable=False),
    sa.Column("ns", sa.BigInteger, nullable=False),
    sa.Column("sentinel_before_ns", sa.BigInteger, nullable=False),
    sa.Column("sentinel_after_ns", sa.BigInteger, nullable=False),
    sa.Column("cpu_ns", sa.BigInteger),
    sa.Column("switches", sa.Integer),
    sa.Index("one_block", "process", "model", "round", "retry", unique=True),
)

#: Kernel times under the runtime's profiler, as JSON: [[node, op_type, mean_ns, runs], ...]; its allocator's peak; the
#: guard sentinel around it; and a whole inference under it.
PROFILES = sa.Table(
    "profiles",
    METADATA,
    sa.Column("process", sa.ForeignKey("processes.id"), primary_key=True),
    sa.Column("model", sa.ForeignKey("models.id"), primary_key=True),
    sa.Column("kernels", sa.Text, nullable=False),
    sa.Column("allocator_peak_bytes", sa.BigInteger),
    sa.Column("sentinel_ns", sa.BigInteger, nullable=False),
    sa.Column("run_ns", sa.Float),
)

#: Peak of a process that loads and runs the model, or why there is none.
MEMORY = sa.Table(
    "memory",
    METADATA,
    sa.Column("process", sa.ForeignKey("processes.id"), primary_key=True),
    sa.Column("model", sa.ForeignKey("models.id"), primary_key=True),
    sa.Column("process_peak_bytes", sa.BigInteger),
    sa.Column("unavailable", sa.Text),
)

#: Energy of one inference: all that the sensor saw, and that less what the device takes when idle; `number` is that of
#: its window in the process, from 0.
ENERGY = sa.Table(
    "energy",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("process", sa.ForeignKey("processes.id"), nullable=False, index=True),
    sa.Column("model", sa.ForeignKey("models.id"), nullable=False, index=True),
    sa.Column("gross_mj", sa.Float, nullable=False),
    sa.Column("net_mj", sa.Float, nullable=False),
    sa.Column("sensor", sa.Text, nullable=False),
    sa.Column("update_ms", sa.Float, nullable=False),
    sa.Column("number", sa.Integer),
    sa.Index("one_window", "process", "model", "number", unique=True),
)

#: Models that could not be measured, and why.
FAILURES = sa.Table(
    "failures",
    METADATA,
    sa.Column("model", sa.ForeignKey("models.id"), primary_key=True),
    sa.Column("conditions", sa.ForeignKey("conditions.id"), primary_key=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("hint", sa.Text, nullable=False),
)

#: Every row carries the checksum of what was written.
for _table in METADATA.sorted_tables:
    _table.append_column(sa.Column("seal", sa.BigInteger, info={"least": 0}))
MODELS.append_column(sa.Column("graph_seal", sa.BigInteger, info={"least": 0}))

#: Least values of columns, or least lengths of texts: below them a row is damaged.
for _table, _least in (
    (CONDITIONS, {"id": 1}),
    (TARGETS, {"name": 1}),
    (MODELS, {"id": 1, "copies": 1}),
    (INVOCATIONS, {"id": 1, "subject": 1, "pid": 1, "began_s": 0, "seen_s": 0}),
    (PROCESSES, {"id": 1, "device_s": 0}),
    (BLOCKS, {"id": 1, "round": 0, "retry": 0, "calls": 1, "ns": 1, "sentinel_before_ns": 1, "sentinel_after_ns": 1}),
    (PROFILES, {"allocator_peak_bytes": 0, "sentinel_ns": 1}),
    (MEMORY, {"process_peak_bytes": 0}),
    (ENERGY, {"id": 1, "gross_mj": 0, "net_mj": 0, "update_ms": 0, "number": 0}),
):
    for _name, _value in _least.items():
        _table.c[_name].info["least"] = _value
