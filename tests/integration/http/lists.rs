//! Lists come in pages that neither repeat nor lose a row, and a cursor is good for the list that gave it out.

use serde_json::{Value, json};
use tests::{User, World};
use uuid::Uuid;

use super::assert_problem;

fn ids(rows: &[Value]) -> Vec<Uuid> {
    rows.iter().map(|row| row["id"].as_str().unwrap().parse().unwrap()).collect()
}

async fn page(user: &User, path: &str) -> (Vec<Uuid>, Option<String>) {
    let reply = user.get(path).await;
    assert_eq!(reply.status, 200, "{}", reply.body);
    let next = reply.body["next_cursor"].as_str().map(str::to_owned);
    assert!(next.is_some() || reply.body["next_cursor"].is_null());
    (ids(reply.body["data"].as_array().unwrap()), next)
}

/// Starts sessions of both modes in turn and ends every third; answers id, mode and status, newest first.
async fn sessions(user: &User, count: usize) -> Vec<(Uuid, &'static str, &'static str)> {
    let mut sessions = Vec::new();
    for n in 0..count {
        let mode = ["text", "meeting"][n % 2];
        let id = user.post("/v1/sessions", &json!({"mode": mode})).await.id();
        let status = if n % 3 == 0 { "ended" } else { "open" };
        if status == "ended" {
            user.post(&format!("/v1/sessions/{id}/end"), &json!({})).await;
        }
        sessions.insert(0, (id, mode, status));
    }
    sessions
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_sessions_hold_every_row_once_while_rows_are_added() {
    let world = World::start().await;
    let user = world.tenant().await;
    let all = sessions(&user, 13).await;
    world.drain().await;
    type Fits = fn(&(Uuid, &'static str, &'static str)) -> bool;
    let filters: [(&str, Fits); 5] = [
        ("", |_| true),
        ("&status=open", |(_, _, status)| *status == "open"),
        ("&status=ended", |(_, _, status)| *status == "ended"),
        ("&mode=meeting", |(_, mode, _)| *mode == "meeting"),
        ("&mode=text&status=open", |(_, mode, status)| (*mode, *status) == ("text", "open")),
    ];
    let mut newer = Vec::new();
    for (filter, fits) in filters {
        let expected: Vec<Uuid> =
            newer.iter().chain(&all).filter(|session| fits(session)).map(|(id, _, _)| *id).collect();
        let mut seen = Vec::new();
        let mut cursor = String::new();
        loop {
            let (rows, next) = page(&user, &format!("/v1/sessions?limit=2{filter}{cursor}")).await;
            assert!(rows.len() <= 2);
            seen.extend(rows);
            // A row in front of the first page, of each kind.
            let added = sessions(&user, 1).await;
            world.drain().await;
            newer.splice(0..0, added);
            match next {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        assert_eq!(seen, expected, "{filter}");
    }
    let (default, _) = page(&user, "/v1/sessions").await;
    assert_eq!(default.len(), 50.min(newer.len() + all.len()));
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_are_paged_oldest_first_or_newest_first_while_more_are_said() {
    let world = World::start().await;
    let user = world.tenant().await;
    let session = user.start_session().await;
    let mut said = Vec::new();
    for n in 0..7 {
        said.push(user.say(session, &format!("{n}")).await.id());
    }
    world.drain().await;
    let path = format!("/v1/sessions/{session}/messages?limit=3");
    let (first, next) = page(&user, &path).await;
    let (newest, before) = page(&user, &format!("{path}&order=desc")).await;
    said.push(user.say(session, "one more").await.id());
    world.drain().await;
    let mut rest = first;
    let mut cursor = next;
    while let Some(next) = cursor {
        let (rows, next) = page(&user, &format!("{path}&order=asc&cursor={next}")).await;
        rest.extend(rows);
        cursor = next;
    }
    assert_eq!(rest, said);

    let mut back = newest;
    let mut cursor = before;
    while let Some(next) = cursor {
        let (rows, next) = page(&user, &format!("{path}&order=desc&cursor={next}")).await;
        back.extend(rows);
        cursor = next;
    }
    assert_eq!(back, said[..7].iter().rev().copied().collect::<Vec<_>>());
    let (none, next) = page(&user, &format!("/v1/sessions/{}/messages", user.start_and_drain(&world).await)).await;
    assert!(none.is_empty() && next.is_none());
}

trait StartAndDrain {
    async fn start_and_drain(&self, world: &World) -> Uuid;
}

impl StartAndDrain for User {
    async fn start_and_drain(&self, world: &World) -> Uuid {
        let session = self.start_session().await;
        world.drain().await;
        session
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_is_good_for_nobody_elses_list_and_for_no_other_filter() {
    let world = World::start().await;
    let (ada, eve) = (world.tenant().await, world.tenant().await);
    sessions(&eve, 4).await;
    let rows = sessions(&ada, 9).await;
    let (one, other) = (rows[0].0, rows[1].0);
    for session in [one, other] {
        for _ in 0..3 {
            ada.say(session, "Hello").await;
        }
    }
    world.drain().await;
    let messages = |session: Uuid| format!("/v1/sessions/{session}/messages");
    let lists = [
        "/v1/sessions?limit=1".to_owned(),
        "/v1/sessions?limit=1&status=open".into(),
        "/v1/sessions?limit=1&status=ended".into(),
        "/v1/sessions?limit=1&mode=text".into(),
        "/v1/sessions?limit=1&mode=text&status=open".into(),
        format!("{}?limit=1", messages(one)),
        format!("{}?limit=1&order=desc", messages(one)),
        format!("{}?limit=1", messages(other)),
    ];
    for list in &lists {
        let cursor = page(&ada, list).await.1.unwrap_or_else(|| panic!("{list} has one page"));
        for used in &lists {
            let reply = ada.get(&format!("{used}&cursor={cursor}")).await;
            if used == list {
                assert_eq!(reply.status, 200, "{}", reply.body);
                // The size of the page is no filter.
                let wider = list.replace("limit=1", "limit=2");
                assert_eq!(ada.get(&format!("{wider}&cursor={cursor}")).await.status, 200);
            } else {
                assert_problem(&reply, 400, "cursor_mismatch");
            }
        }
        if list.starts_with("/v1/sessions?") {
            assert_problem(&eve.get(&format!("{list}&cursor={cursor}")).await, 400, "cursor_mismatch");
        }
        let reversed: String = cursor.chars().rev().collect();
        for tampered in [
            &cursor[1..],
            &format!("{cursor}A"),
            &format!("{cursor}=="),
            "AAAAAAAAAAAAAAAAAAAAAA",
            "",
            "%00x",
            &reversed,
        ] {
            let reply = ada.get(&format!("{list}&cursor={tampered}")).await;
            match tampered {
                "%00x" => assert_problem(&reply, 422, "nul_character"),
                _ => assert_problem(&reply, 400, "cursor_mismatch"),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parameter_that_is_unknown_doubled_or_out_of_range_is_named() {
    let world = World::start().await;
    let user = world.tenant().await;
    let session = user.start_and_drain(&world).await;
    let (messages, one) = (format!("/v1/sessions/{session}/messages"), format!("/v1/sessions/{session}"));
    for path in ["/v1/sessions", &messages, &one, "/v1/events", "/v1/auth/me"] {
        let mut bad =
            vec![("x=1", "x"), ("min_seq=-1", "min_seq"), ("min_seq=1&min_seq=1", "min_seq"), ("Min_Seq=1", "Min_Seq")];
        if path.ends_with('s') {
            bad.extend([("limit=0", "limit"), ("limit=201", "limit"), ("limit=x", "limit"), ("limit=", "limit")]);
            bad.extend([
                ("limit=1&limit=1", "limit"),
                ("min_seq=18446744073709551616", "min_seq"),
                ("offset=5", "offset"),
            ]);
        }
        match path {
            "/v1/sessions" => bad.extend([("status=closed", "status"), ("mode=", "mode"), ("order=desc", "order")]),
            "/v1/events" => bad.extend([
                ("after=-1", "after"),
                ("category=cost", "category"),
                ("after=9223372036854775808", "after"),
            ]),
            path if path == messages => bad.extend([("order=up", "order"), ("status=open", "status")]),
            _ => {}
        }
        for (query, parameter) in bad {
            let reply = user.get(&format!("{path}?{query}")).await;
            assert_problem(&reply, 422, "validation_failed");
            assert_eq!(reply.body["errors"][0]["parameter"], parameter, "{path}?{query}");
        }
    }
}
