//! The SQL of the reads that are asked for most, where the handlers and the benchmarks find it.
//!
//! `$1` is the tenant in all of them.

use crate::costs;

/// Up to which number of the log the rows of the group `$2` reflect it, how many streams are parked, whether it is paused.
pub const CHECKPOINT: &str = "select seq, parked, paused is not null from projection_checkpoints
                              where tenant_id = $1 and group_name = $2";

/// The session `$2`.
pub fn session() -> String {
    format!("select {} from sessions s where s.tenant_id = $1 and s.id = $2", session_columns())
}

/// What is answered of a session `s`.
pub(crate) fn session_columns() -> String {
    let cost = costs::column("session_costs", "session_id = s.id");
    format!(
        "s.id, s.status, s.mode, s.widget_id, s.meeting_id, s.personality_id, s.metadata::text as metadata,
         s.message_count, s.started_at, s.ended_at, s.last_message_at, s.version, s.seq, {cost}"
    )
}

/// At most `$4` messages of the session `$2` beyond the version `$3`: the oldest or the newest first.
pub fn messages(newest_first: bool) -> String {
    let (order, comparison) = if newest_first { ("desc", "<") } else { ("asc", ">") };
    let cost = costs::column("message_costs", "message_id = m.id");
    format!(
        "select id, session_id, role, content, attachments::text as attachments, metadata::text as metadata,
                posted_at, version, {cost}
         from messages m where tenant_id = $1 and session_id = $2 and version {comparison} $3
         order by version {order} limit $4"
    )
}
