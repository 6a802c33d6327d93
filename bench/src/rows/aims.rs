//! Bars and goals as the design sets them.

use crate::report::Aim;

pub(super) const COMMANDS_64: Aim = Aim {
    name: "commands-64",
    what: "commands/s over HTTP ÷ raw inserts/s of 32 clients, relay and projector paused, 64 connections",
    unit: "",
    bar: 1.0,
    goal: 1.6,
    more_is_better: true,
};

pub(super) const COMMANDS_256: Aim =
    Aim { name: "commands-256", what: "the same, 256 connections", bar: 1.3, goal: 2.0, ..COMMANDS_64 };

pub(super) const EVERYTHING: Aim = Aim {
    name: "everything-64",
    what: "the same with relay and projector running, 64 connections",
    bar: 0.4,
    goal: 0.8,
    ..COMMANDS_64
};

pub(super) const HOT_TENANT: Aim = Aim {
    name: "hot-tenant",
    what: "commands/s into one tenant ÷ into 1,000, 64 connections",
    bar: 1.0,
    goal: 1.2,
    ..COMMANDS_64
};

pub(super) const HOT_STREAM: Aim =
    Aim { name: "hot-stream", what: "commands/s into one session ÷ into many", bar: 0.5, goal: 0.8, ..COMMANDS_64 };

pub(super) const ONE_CLIENT: Aim = Aim {
    name: "one-client",
    what: "p50 of one client over HTTP ÷ p50 of a raw insert",
    unit: "",
    bar: 2.5,
    goal: 1.5,
    more_is_better: false,
};

pub(super) const VISIBLE_P50: Aim = Aim {
    name: "visible-p50",
    what: "command → visible in the read table at 200 commands/s, p50",
    unit: " ms",
    bar: 5.0,
    goal: 3.0,
    more_is_better: false,
};

pub(super) const VISIBLE_P99: Aim = Aim {
    name: "visible-p99",
    what: "the same, p99 ÷ p99 of raw inserts at the same rate",
    unit: "",
    bar: 5.0,
    goal: 3.0,
    more_is_better: false,
};

pub(super) const OVERLOAD_COMMANDS: Aim = Aim {
    name: "overload",
    what: "commands/s answered within 2 s on ten times the saturating connections, none of which backs off ÷ peak",
    unit: "",
    bar: 0.6,
    goal: 0.8,
    more_is_better: true,
};

pub(super) const OVERLOAD_LOGINS: Aim = Aim {
    name: "overload-login",
    what: "log-ins/s at ten times the rate that can be done, with commands going on ÷ peak",
    ..OVERLOAD_COMMANDS
};

pub(super) const REBUILD: Aim = Aim {
    name: "rebuild",
    what: "events/s of `convolog replay` with 2 workers ÷ rows/s of a superuser's COPY of the resulting rows into the same tables",
    unit: "",
    bar: 0.5,
    goal: 0.8,
    more_is_better: true,
};

pub(super) const REBUILD_EMPTY: Aim =
    Aim { name: "rebuild-empty", what: "the same into tables that were empty, as a new version fills them", ..REBUILD };

pub(super) const REBUILD_APPEND: Aim = Aim {
    name: "rebuild-append",
    what: "p50 of commands at 200/s while `convolog replay` rebuilds all tenants, with as many workers as it has when nothing is said ÷ without",
    unit: "",
    bar: 1.5,
    goal: 1.2,
    more_is_better: false,
};

pub(super) const MEMORY: Aim = Aim {
    name: "memory",
    what: "peak memory of API, relay and projector at full load",
    unit: " MB",
    bar: 150.0,
    goal: 80.0,
    more_is_better: false,
};

pub(super) const START: Aim = Aim {
    name: "start",
    what: "start to ready, services up",
    unit: " ms",
    bar: 500.0,
    goal: 200.0,
    more_is_better: false,
};

pub(super) const NEVER_PROJECTED: Aim = Aim {
    name: "never-projected",
    what: "rows that differ from the log after concurrent appends, with all connections of relay and projector lost again and again",
    unit: "",
    bar: 0.0,
    goal: 0.0,
    more_is_better: false,
};

pub(super) const READS_LIST: Aim = Aim {
    name: "reads-list",
    what: "pages of messages per second under row-level security ÷ the same statements and round trips by a superuser",
    unit: "",
    bar: 0.95,
    goal: 1.0,
    more_is_better: true,
};

pub(super) const READS_POINT: Aim = Aim { name: "reads-point", what: "the same, reads of one session", ..READS_LIST };

pub(super) const SCALE_EVENTS: Aim = Aim {
    name: "scale-events",
    what: "p50 of one client's commands, pages and reads with 100 × the events ÷ without; the worst of the three",
    unit: "",
    bar: 1.2,
    goal: 1.1,
    more_is_better: false,
};

pub(super) const SCALE_TENANTS: Aim =
    Aim { name: "scale-tenants", what: "the same with 100 × the tenants", ..SCALE_EVENTS };
