//! Dead letters in words: a table, one with all that is known, JSON.

use chrono::{DateTime, Utc};
use projector::dead_letters::{Content, DeadLetter, Unparked};
use serde_json::json;

/// Characters of an error in the table; `show` has all of it.
const ERROR_WIDTH: usize = 100;

fn time(time: DateTime<Utc>) -> String {
    time.format("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// A line for each, under a line of names.
pub(super) fn table(letters: &[DeadLetter]) -> String {
    if letters.is_empty() {
        return "nothing is parked".to_owned();
    }
    let names = ["TENANT", "STREAM", "EVENT", "WAITING", "TRIED", "SINCE", "ERROR"].map(str::to_owned);
    let mut rows = vec![names];
    rows.extend(letters.iter().map(|letter| {
        let DeadLetter { tenant, category, stream, seq, name, waiting, attempts, .. } = letter;
        let error = match letter.discard_seq {
            Some(discard) => format!("discarded by event {discard}: goes on from there"),
            None => letter.error.chars().take(ERROR_WIDTH).collect(),
        };
        [
            tenant.to_string(),
            format!("{category}/{stream}"),
            format!("{seq} {name}"),
            waiting.to_string(),
            attempts.to_string(),
            time(letter.parked_at),
            error,
        ]
    }));
    let mut widths = [0; 7];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let line = |row: &[String; 7]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect::<Vec<_>>();
        cells.join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// All that is known of one.
pub(super) fn shown(letter: &DeadLetter, content: Option<&Content>) -> String {
    let DeadLetter { tenant, category, stream, seq, version, event_id, name, error, waiting, attempts, .. } = letter;
    let mut lines = vec![
        ("Tenant", tenant.to_string()),
        ("Stream", format!("{category}/{stream}")),
        ("Event", format!("{seq}, {name}, version {version} of the stream, id {event_id}")),
        ("Error", error.clone()),
        ("Parked", format!("{}, tried {attempts} times, last {}", time(letter.parked_at), time(letter.tried_at))),
        ("Waiting", format!("{waiting} events of the stream, this one included")),
    ];
    if let Some(discard) = letter.discard_seq {
        lines.push(("Discarded", format!("by event {discard}; what waits goes on when the rows are there")));
    }
    if let Some(Content { occurred_at, recorded_at, meta, data, schema }) = content {
        lines.push(("Occurred", format!("{}, recorded {}", time(*occurred_at), time(*recorded_at))));
        lines.push(("Metadata", meta.clone()));
        lines.push(("Data", format!("(schema {schema}) {data}")));
    }
    lines.iter().map(|(name, value)| format!("{name:<10}{value}")).collect::<Vec<_>>().join("\n")
}

/// One as JSON, in one line.
pub(super) fn json(letter: &DeadLetter) -> String {
    json!({
        "tenant": letter.tenant.0,
        "category": letter.category,
        "stream": letter.stream,
        "seq": letter.seq,
        "version": letter.version,
        "event_id": letter.event_id,
        "name": letter.name,
        "error": letter.error,
        "parked_at": time(letter.parked_at),
        "tried_at": time(letter.tried_at),
        "attempts": letter.attempts,
        "waiting": letter.waiting,
        "discard_seq": letter.discard_seq,
    })
    .to_string()
}

/// What became of one.
pub(super) fn outcome(unparked: &Unparked) -> String {
    match unparked {
        Unparked::Done(events) => format!("goes on, {events} events were projected"),
        Unparked::Failed { seq, error } => format!("still parked, at event {seq}: {error}"),
        Unparked::Pending => "its event is discarded; it goes on when the read tables have come to there".to_owned(),
        Unparked::NotParked => "is not parked any more".to_owned(),
        Unparked::OtherVersion => {
            "its rows are another version's: a projector of that version tries it again".to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::TenantId;
    use uuid::Uuid;

    fn letter() -> DeadLetter {
        let at = DateTime::UNIX_EPOCH;
        DeadLetter {
            tenant: TenantId(Uuid::from_u128(1)),
            category: "session".into(),
            stream: Uuid::from_u128(2),
            seq: 17,
            version: 3,
            event_id: Uuid::from_u128(3),
            name: "message_posted".into(),
            error: "x".repeat(500),
            parked_at: at,
            tried_at: at,
            attempts: 1,
            discard_seq: None,
            waiting: 6,
        }
    }

    #[test]
    fn a_table_is_aligned_and_its_errors_are_short() {
        let text = table(&[letter(), DeadLetter { seq: 1_000_000, error: "short".into(), ..letter() }]);
        let lines: Vec<&str> = text.lines().collect();
        let place = |line: &str, word: &str| line.find(word).unwrap();
        assert_eq!(lines.len(), 3);
        assert_eq!(place(lines[0], "SINCE"), place(lines[1], "1970-01-01T00:00:00Z"));
        assert_eq!(place(lines[1], "1970"), place(lines[2], "1970"));
        assert!(lines[1].ends_with(&format!("  {}", "x".repeat(ERROR_WIDTH))), "{text}");
        assert_eq!(table(&[]), "nothing is parked");
    }

    #[test]
    fn what_is_shown_has_the_whole_error() {
        assert!(shown(&letter(), None).contains(&"x".repeat(500)));
        assert!(json(&letter()).contains(r#""seq":17"#));
    }
}
