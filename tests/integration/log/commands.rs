//! What a command may be made of: several streams, claims, streams that accumulate; and what the writers keep of them.

use std::sync::Arc;

use chrono::DateTime;
use domain::session::{self, Mode, Posted, Role, Session, Started};
use domain::{Actor, ActorKind, Category, MessageId, TenantId};
use store::{
    CommandContext, ExecuteError, IdempotencyKey, Log, LogSettings, Outcome, Posting, Stop, TenantContext, Unit,
};
use tests::{User, World, WorldSettings, eventually};
use uuid::Uuid;

use crate::http::stalled::{hold_head, patient};
use crate::http::until_wait_for_locks;

fn context(user: &User, key: Option<&str>) -> CommandContext {
    let actor = Actor { kind: ActorKind::User, id: user.id };
    let caller = TenantContext::authenticated(TenantId(user.tenant), actor);
    CommandContext {
        caller,
        key: key.map(|key| IdempotencyKey { key: key.into(), request_hash: [0; 32] }),
        correlation_id: Uuid::now_v7(),
        causation_id: Uuid::now_v7(),
        traceparent: None,
        occurred_at: DateTime::UNIX_EPOCH,
        bytes: 0,
    }
}

fn start() -> session::Command {
    let (mode, widget_id, meeting_id, personality_id, metadata) = (Mode::Text, None, None, None, None);
    session::Command::Start(Started { mode, widget_id, meeting_id, personality_id, metadata })
}

fn posted(content: &str) -> Posted {
    let (message_id, content) = (MessageId(Uuid::now_v7()), content.to_owned());
    Posted { message_id, role: Role::User, content, attachments: vec![], metadata: None }
}

fn post(unit: &mut Unit<'_>, session: Uuid, content: &str) -> Result<(), Stop<session::Rejection>> {
    unit.run::<Session, _>(session, session::Command::PostMessage(posted(content)))
}

type Executed = Result<Outcome<Uuid>, ExecuteError<session::Rejection>>;

async fn execute(
    log: &Log,
    context: CommandContext,
    decide: impl Fn(&mut Unit<'_>) -> Result<(), Stop<session::Rejection>> + Send + Sync + 'static,
) -> Executed {
    log.execute(context, move |unit| decide(unit).map(|()| Uuid::nil())).await
}

async fn stream(world: &World, user: &User, stream: Uuid) -> Vec<(i64, String)> {
    sqlx::query_as("select version, name from events where tenant_id = $1 and stream_id = $2 order by seq")
        .bind(user.tenant)
        .bind(stream)
        .fetch_all(&world.database.admin)
        .await
        .unwrap()
}

async fn seq_of(world: &World, user: &User, stream: Uuid, version: u64) -> u64 {
    let sql = "select seq from events where tenant_id = $1 and stream_id = $2 and version = $3";
    let query = sqlx::query_scalar::<_, i64>(sql).bind(user.tenant).bind(stream).bind(version.cast_signed());
    query.fetch_one(&world.database.admin).await.unwrap().cast_unsigned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_over_several_streams_is_stored_whole_or_not_at_all() {
    let world = World::start().await;
    let (user, log) = (world.tenant().await, world.nodes[0].write_side().unwrap().1.clone());
    let (open, ended) = (user.start_session().await, user.start_session().await);
    user.post(&format!("/v1/sessions/{ended}/end"), &serde_json::json!({})).await;
    let refused = execute(&log, context(&user, None), move |unit| {
        post(unit, open, "both")?;
        post(unit, ended, "both")
    });
    assert!(matches!(refused.await, Err(ExecuteError::Rejected(session::Rejection::Ended))));
    assert_eq!(stream(&world, &user, open).await.len(), 1);

    let (new, accumulating) = (Uuid::now_v7(), Uuid::now_v7());
    let stored = execute(&log, context(&user, None), move |unit| {
        unit.start::<Session, _>(new, start())?;
        post(unit, new, "first")?;
        post(unit, open, "second")?;
        let posting =
            Posting { id: Uuid::now_v7(), occurred_at: DateTime::UNIX_EPOCH, event: &session::Event::SessionEnded };
        unit.record(Category::Session, accumulating, &posting)
    });
    let stored = stored.await.unwrap();
    // Two events of the new stream, the version of its last; the numbers of the log go on over all four.
    assert_eq!(stored.version, 2);
    let names = |rows: Vec<(i64, String)>| rows.into_iter().map(|(v, n)| format!("{v} {n}")).collect::<Vec<_>>();
    assert_eq!(names(stream(&world, &user, new).await), ["1 session_started", "2 message_posted"]);
    assert_eq!(names(stream(&world, &user, open).await), ["1 session_started", "2 message_posted"]);
    assert_eq!(names(stream(&world, &user, accumulating).await), ["1 session_ended"]);
    let head: i64 = sqlx::query_scalar("select seq from tenant_heads where tenant_id = $1")
        .bind(user.tenant)
        .fetch_one(&world.database.admin)
        .await
        .unwrap();
    assert_eq!(stored.seq, head.cast_unsigned());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_was_taken_for_granted_wrongly_is_looked_up() {
    let world = World::start().await;
    let user = world.tenant().await;
    let (session, other) = (user.start_session().await, user.start_session().await);
    assert_eq!(user.say(session, "1").await.status, 201);
    // By hand, and so that the head looks untouched: nothing that appends leaves it so.
    sqlx::query(
        "with last as (select * from events where tenant_id = $1 and stream_id = $2 order by version desc limit 1),
              moved as (update tenant_heads set seq = seq + 1 where tenant_id = $1 returning seq)
         insert into events (tenant_id, seq, category, stream_id, version, event_id, name, schema, data, meta, occurred_at,
                             recorded_at)
         select l.tenant_id, m.seq, l.category, l.stream_id, l.version + 1, gen_random_uuid(), l.name, l.schema,
                replace(l.data::text, l.data ->> 'message_id', gen_random_uuid()::text)::json, l.meta, l.occurred_at,
                l.recorded_at
         from last l, moved m",
    )
    .bind(user.tenant)
    .bind(session)
    .execute(&world.database.admin)
    .await
    .unwrap();
    // Alone and beside others.
    assert_eq!(user.say(session, "3").await.status, 201);
    let beside = futures_util::future::join_all((0..20).map(|_| user.say(other, "beside")));
    let (said, beside) = tokio::join!(user.say(session, "4"), beside);
    assert!(said.status == 201 && beside.iter().all(|said| said.status == 201), "{}", said.body);
    world.drain().await;
    let versions: Vec<i64> =
        user.messages(session, 0).await.iter().map(|message| message["version"].as_i64().unwrap()).collect();
    assert_eq!(versions, [2, 3, 4, 5]);
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_over_shared_streams_of_two_processes_never_tear() {
    let world = World::with(WorldSettings { apis: 2, ..WorldSettings::default() }).await;
    let user = world.tenant().await;
    let mut sessions = Vec::new();
    for _ in 0..3 {
        sessions.push(user.start_session().await);
    }
    let mut commands = Vec::new();
    for n in 0..60_usize {
        let log = world.nodes[n % 2].write_side().unwrap().1.clone();
        let (a, b) = (sessions[n % 3], sessions[(n + 1) % 3]);
        let (context, content) = (context(&user, Some(&format!("key {n}"))), format!("{n}"));
        commands.push(tokio::spawn(async move {
            let decide = move |unit: &mut Unit<'_>| {
                post(unit, a, &content)?;
                post(unit, b, &content)
            };
            execute(&log, context, decide).await.unwrap()
        }));
    }
    for command in commands {
        command.await.unwrap();
    }
    let pairs: Vec<(String, i64, i64)> = sqlx::query_as(
        "select data ->> 'content', count(*), max(seq) - min(seq) from events
         where tenant_id = $1 and name = 'message_posted' group by 1",
    )
    .bind(user.tenant)
    .fetch_all(&world.database.admin)
    .await
    .unwrap();
    assert_eq!(pairs.len(), 60);
    // Both events of each command, next to each other.
    assert!(pairs.iter().all(|(_, count, distance)| (*count, *distance) == (2, 1)), "{pairs:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_is_taken_once_also_within_one_batch_and_from_two_processes() {
    let world = World::with(WorldSettings { apis: 2, ..WorldSettings::default() }).await;
    let user = world.tenant().await;
    let session = user.start_session().await;
    let mut commands = Vec::new();
    for n in 0..40_usize {
        let log = world.nodes[n % 2].write_side().unwrap().1.clone();
        let context = context(&user, None);
        commands.push(tokio::spawn(async move {
            let decide = move |unit: &mut Unit<'_>| {
                unit.claim(format!("thing/{}", n % 4));
                post(unit, session, &format!("{n}"))
            };
            execute(&log, context, decide).await
        }));
    }
    let (mut stored, mut claimed) = (0, 0);
    for command in commands {
        match command.await.unwrap() {
            Ok(_) => stored += 1,
            Err(ExecuteError::Claimed(_)) => claimed += 1,
            Err(other) => panic!("{other:?}"),
        }
    }
    assert_eq!((stored, claimed), (4, 36));
    assert_eq!(stream(&world, &user, session).await.len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_command_of_a_batch_is_told_what_is_in_its_own_way_and_the_others_are_stored() {
    let log = LogSettings { connections: 1, ..LogSettings::default() };
    let world = World::with(WorldSettings { apis: 2, log, ..WorldSettings::default() }).await;
    let (user, other) = (world.tenant().await, world.tenant().await);
    let [log, log_elsewhere] = [0, 1].map(|node| world.nodes[node].write_side().unwrap().1.clone());
    let (session, moving, others) =
        (user.start_session().await, user.start_session().await, other.start_session().await);
    let accumulating = Uuid::now_v7();
    for round in 0..20_u64 {
        let (used, taken) = (format!("used {round}"), format!("taken {round}"));
        let say = |session, content: &'static str| move |unit: &mut Unit<'_>| post(unit, session, content);
        let claiming = |claim: &str| {
            let claim = claim.to_owned();
            move |unit: &mut Unit<'_>| {
                unit.claim(claim.clone());
                post(unit, session, "claims")
            }
        };
        let keyed = execute(&log, context(&user, Some(&used)), say(session, "keyed")).await.unwrap();
        execute(&log, context(&user, None), claiming(&taken)).await.unwrap();
        // The writer knows the stream, and somebody else moves it on.
        execute(&log, context(&user, None), say(moving, "known")).await.unwrap();
        execute(&log_elsewhere, context(&user, None), say(moving, "moves")).await.unwrap();

        let record = move |unit: &mut Unit<'_>| {
            let (id, event) = (Uuid::now_v7(), &session::Event::SessionEnded);
            unit.record(Category::Session, accumulating, &Posting { id, occurred_at: DateTime::UNIX_EPOCH, event })
        };
        let mut reused = context(&user, Some(&used));
        reused.key.as_mut().unwrap().request_hash = [1; 32];
        // The first occupies the writer, so that the others come together.
        let new = format!("new {round}");
        let (first, replayed, reused, claimed, moved, second, recorded, third, elsewhere) = tokio::join!(
            execute(&log, context(&user, None), say(session, "first")),
            execute(&log, context(&user, Some(&used)), say(others, "not even a session")),
            execute(&log, reused, say(session, "another request")),
            execute(&log, context(&user, None), claiming(&taken)),
            execute(&log, context(&user, None), say(moving, "has moved")),
            execute(&log, context(&user, None), say(session, "second")),
            execute(&log, context(&user, None), record),
            execute(&log, context(&user, Some(&new)), say(session, "third")),
            execute(&log, context(&other, None), say(others, "another tenant")),
        );
        assert!(matches!(replayed, Ok(outcome) if outcome == Outcome { replayed: true, ..keyed }));
        assert!(matches!(reused, Err(ExecuteError::KeyReused)), "{reused:?}");
        assert!(matches!(&claimed, Err(ExecuteError::Claimed(claim)) if *claim == taken), "{claimed:?}");
        // Each round says five things in the session, three in the one that moves, one elsewhere.
        let stored = [
            (&user, session, first.unwrap(), 4 + 5 * round),
            (&user, session, second.unwrap(), 5 + 5 * round),
            (&user, session, third.unwrap(), 6 + 5 * round),
            (&user, moving, moved.unwrap(), 4 + 3 * round),
            (&user, accumulating, recorded.unwrap(), 1 + round),
            (&other, others, elsewhere.unwrap(), 2 + round),
        ];
        for (user, in_stream, outcome, version) in &stored {
            let seq = seq_of(&world, user, *in_stream, *version).await;
            assert_eq!((outcome.version, outcome.seq), (*version, seq));
        }
        // What is remembered of a key is the same.
        let again = execute(&log, context(&user, Some(&new)), say(others, "whatever")).await.unwrap();
        assert_eq!(again, Outcome { replayed: true, ..stored[2].2 });
    }
    let heads = async |user: &User| -> (i64, i64) {
        let sql = "select h.seq, (select count(*) from events e where e.tenant_id = h.tenant_id) from tenant_heads h
                   where h.tenant_id = $1";
        sqlx::query_as(sql).bind(user.tenant).fetch_one(&world.database.admin).await.unwrap()
    };
    // A tenant is founded with three events.
    assert_eq!(heads(&user).await, (3 + 2 + 20 * 9, 3 + 2 + 20 * 9));
    assert_eq!(heads(&other).await, (3 + 1 + 20, 3 + 1 + 20));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_decided_again_goes_before_what_came_later() {
    let settings = LogSettings { connections: 1, ..LogSettings::default() };
    let (world, user, session) = patient(WorldSettings { log: settings, ..WorldSettings::default() }).await;
    let other = world.tenant().await;
    let others = other.start_session().await;
    let log = world.nodes[0].write_side().unwrap().1.clone();
    let claiming = move |unit: &mut Unit<'_>| {
        unit.claim("taken".into());
        post(unit, session, "claims")
    };
    execute(&log, context(&user, None), claiming).await.unwrap();
    let say = |user: &User, session, content: &'static str| {
        let (log, context) = (log.clone(), context(user, None));
        tokio::spawn(async move { execute(&log, context, move |unit| post(unit, session, content)).await })
    };
    let wait = async |count| eventually("they wait", async || log.waiting().0 == count).await;

    // Two gather while the only connection is taken: what is in the way of one is in the way of both.
    let (held, others_held) = (hold_head(&world, &user).await, hold_head(&world, &other).await);
    let occupies = say(&other, others, "occupies");
    until_wait_for_locks(&world, 1).await;
    let claims = tokio::spawn({
        let (log, context) = (log.clone(), context(&user, None));
        async move { execute(&log, context, claiming).await }
    });
    wait(2).await;
    let earlier = say(&user, session, "earlier");
    wait(3).await;
    others_held.rollback().await.unwrap();
    occupies.await.unwrap().unwrap();
    until_wait_for_locks(&world, 1).await;
    let later = say(&user, session, "later");
    wait(3).await;
    held.rollback().await.unwrap();
    assert!(matches!(claims.await.unwrap(), Err(ExecuteError::Claimed(_))));
    let (earlier, later) = (earlier.await.unwrap().unwrap(), later.await.unwrap().unwrap());
    assert_eq!((earlier.version, later.version), (3, 4));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_decided_on_a_command_that_was_not_stored_is_decided_again() {
    let world = World::start().await;
    let (user, log) = (world.tenant().await, world.nodes[0].write_side().unwrap().1.clone());
    let open = user.start_session().await;
    execute(&log, context(&user, None), |unit| {
        unit.claim("taken".into());
        Ok(())
    })
    .await
    .unwrap();
    for _ in 0..30 {
        let new = Uuid::now_v7();
        // Both pairs are sent at once, so that each lands in one batch.
        let (started, posted, ended, posted_too) = tokio::join!(
            execute(&log, context(&user, None), move |unit| {
                unit.claim("taken".into());
                unit.start::<Session, _>(new, start())
            }),
            execute(&log, context(&user, None), move |unit| post(unit, new, "nowhere")),
            execute(&log, context(&user, None), move |unit| {
                unit.claim("taken".into());
                unit.run::<Session, _>(open, session::Command::End { if_version: None })
            }),
            execute(&log, context(&user, None), move |unit| post(unit, open, "still open")),
        );
        assert!(matches!(started, Err(ExecuteError::Claimed(_))));
        assert!(matches!(posted, Err(ExecuteError::Rejected(session::Rejection::NotFound))), "{posted:?}");
        assert!(matches!(ended, Err(ExecuteError::Claimed(_))));
        assert!(posted_too.is_ok(), "{posted_too:?}");
        assert_eq!(stream(&world, &user, new).await, []);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_postgresql_refuses_spoils_nobody_elses() {
    let world = World::start().await;
    let (user, log) = (world.tenant().await, world.nodes[0].write_side().unwrap().1.clone());
    let session = user.start_session().await;
    let mut commands = Vec::new();
    for n in 0..40 {
        // PostgreSQL stores no NUL, so the whole batch fails that this key is in; over HTTP it would not get here.
        let key = if n % 10 == 0 { format!("bad\0{n}") } else { format!("good {n}") };
        let (log, context) = (log.clone(), context(&user, Some(&key)));
        let decide = move |unit: &mut Unit<'_>| post(unit, session, &format!("{n}"));
        commands.push(tokio::spawn(async move { (n, execute(&log, context, decide).await) }));
    }
    for command in commands {
        let answered = tokio::time::timeout(std::time::Duration::from_secs(30), command).await;
        match answered.expect("the writer tries the same batch for ever").unwrap() {
            (n, Ok(_)) => assert_ne!(n % 10, 0),
            (n, Err(ExecuteError::Store(store::Error::Database(_)))) => assert_eq!(n % 10, 0),
            (n, other) => panic!("{n}: {other:?}"),
        }
    }
    assert_eq!(stream(&world, &user, session).await.len(), 1 + 36);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_stream_is_loaded_from_its_snapshot() {
    let settings = WorldSettings {
        log: LogSettings { snapshot_every: 10, cached_streams: 1, ..LogSettings::default() },
        ..WorldSettings::default()
    };
    let world = Arc::new(World::with(settings).await);
    let user = world.tenant().await;
    let session = user.start_session().await;
    for n in 0..25 {
        assert_eq!(user.say(session, &format!("{n}")).await.status, 201);
    }
    let admin = world.database.admin.clone();
    eventually("the snapshot of version 20 is stored", async || {
        let version: Option<i64> = sqlx::query_scalar("select version from snapshots where stream_id = $1")
            .bind(session)
            .fetch_optional(&admin)
            .await
            .unwrap();
        version.is_some_and(|version| version >= 20)
    })
    .await;
    // The snapshot says that it has ended, the events do not: whoever loads it believes the snapshot.
    let sql = "update snapshots set state = '{\"phase\":\"ended\",\"own_version\":1}' where stream_id = $1";
    sqlx::query(sql).bind(session).execute(&admin).await.unwrap();
    // The cache keeps one stream per writer: another one pushes this out.
    user.start_session().await;
    user.start_session().await;
    let mut said = user.say(session, "loaded").await;
    for _ in 0..4 {
        user.start_session().await;
        said = user.say(session, "loaded").await;
    }
    assert_eq!(said.code(), "session_ended");
    // One of another shape is not believed.
    sqlx::query("update snapshots set shape = 'session.0'").execute(&admin).await.unwrap();
    user.start_session().await;
    user.start_session().await;
    let said = user.say(session, "folded from the events").await;
    assert_eq!(said.status, 201, "{}", said.body);
}
