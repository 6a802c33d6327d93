//! A process does not start, and is not ready, where PostgreSQL would not keep tenants apart.

use std::time::Duration;

use api::Operations;
use convolog::node::Node;
use sqlx::{AssertSqlSafe, Executor as _};
use store::{ApiDatabase, ConnectionSettings, ProjectorDatabase, RelayDatabase};
use tests::{TestDatabase, World, WorldSettings, eventually};

/// What makes a role unsafe, what is then said about it, and how it is undone. `ROLE` and `DATABASE` are the test's own:
/// roles are shared with all other tests.
const UNSAFE: &[(&str, &str, &str)] = &[
    ("alter role ROLE superuser", "it is a superuser", "alter role ROLE nosuperuser"),
    ("alter role ROLE bypassrls", "it has BYPASSRLS", "alter role ROLE nobypassrls"),
    ("alter role ROLE createrole", "it may create roles", "alter role ROLE nocreaterole"),
    ("alter role ROLE createdb", "it may create databases", "alter role ROLE nocreatedb"),
    ("alter role ROLE replication", "it may replicate", "alter role ROLE noreplication"),
    ("grant convolog_append to ROLE", "it is a member of convolog_append", "revoke convolog_append from ROLE"),
    ("create table mine (id int); alter table mine owner to ROLE", "it owns mine", "drop table mine"),
    (
        "create function mine() returns int language sql return 1; alter function mine owner to ROLE",
        "it owns function mine()",
        "drop function mine",
    ),
    ("grant create on schema ddl to ROLE", "it may create in schema ddl", "revoke create on schema ddl from ROLE"),
    (
        "grant create on database DATABASE to ROLE",
        "it may create schemas",
        "revoke create on database DATABASE from ROLE",
    ),
    (
        "grant temporary on database DATABASE to ROLE",
        "it may create temporary tables",
        "revoke temporary on database DATABASE from ROLE",
    ),
    ("grant truncate on events to ROLE", "it may truncate events", "revoke truncate on events from ROLE"),
    (
        "create sequence numbers; grant select on numbers to ROLE",
        "it may read sequence numbers",
        "drop sequence numbers",
    ),
    (
        "alter role ROLE in database DATABASE set app.current_tenant_id = '00000000-0000-0000-0000-000000000001'",
        "row_security or the tenant has a default",
        "alter role ROLE in database DATABASE reset app.current_tenant_id",
    ),
    (
        "alter database DATABASE set app.current_tenant_ids = '{}'",
        "row_security or the tenant has a default",
        "alter database DATABASE reset app.current_tenant_ids",
    ),
    (
        "create policy more on sessions for select to ROLE using (true);
         create policy most on sessions for select to ROLE using (true)",
        "table sessions has several policies for one command",
        "drop policy more on sessions; drop policy most on sessions",
    ),
];

/// A log-in that may do nothing but log in.
async fn harmless_role(database: &TestDatabase) -> (String, ConnectionSettings) {
    let role = format!("test_{}", uuid::Uuid::now_v7().simple());
    let name = database.admin_url.rsplit('/').next().unwrap();
    let sql = format!(
        "create role {role} login password 'guess'; grant connect on database {name} to {role};
         grant usage on schema public to {role}; grant select on _sqlx_migrations to {role}"
    );
    database.admin.execute(AssertSqlSafe(sql)).await.unwrap();
    let settings = ConnectionSettings::from_url("DATABASE_URL", &database.admin_url, 1).unwrap();
    let settings = settings.as_role(&role, "guess", 1);
    (role, settings)
}

async fn drop_role(database: &TestDatabase, role: &str) {
    database.admin.execute(AssertSqlSafe(format!("drop owned by {role}; drop role {role}"))).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn no_process_works_as_a_role_that_may_do_too_much() {
    let database = tests::database().await;
    let name = database.admin_url.rsplit('/').next().unwrap();
    let (role, settings) = harmless_role(&database).await;
    ApiDatabase::connect(settings.clone()).await.unwrap().close().await;
    for (unsafe_now, reason, undo) in UNSAFE {
        let sql = |text: &str| AssertSqlSafe(text.replace("ROLE", &role).replace("DATABASE", name));
        database.admin.execute(sql(unsafe_now)).await.unwrap();
        let refused = [
            ApiDatabase::connect(settings.clone()).await.map(|_| ()),
            ProjectorDatabase::connect(settings.clone()).await.map(|_| ()),
            RelayDatabase::connect(settings.clone()).await.map(|_| ()),
        ];
        for connected in refused {
            let error = connected.expect_err(unsafe_now).to_string();
            // A superuser may do everything else too: the first reason is enough.
            assert!(error.contains(reason), "{unsafe_now}: {error}");
            assert!(error.contains(&role), "{error}");
        }
        database.admin.execute(sql(undo)).await.unwrap();
    }
    ApiDatabase::connect(settings).await.unwrap().close().await;
    drop_role(&database, &role).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_does_not_start_as_a_role_that_bypasses_row_level_security() {
    let settings = WorldSettings { apis: 0, ..WorldSettings::default() };
    let world = World::with(settings.clone()).await;
    let (role, connection) = harmless_role(&world.database).await;
    world.database.admin.execute(AssertSqlSafe(format!("alter role {role} bypassrls"))).await.unwrap();
    let parts: [fn(&mut convolog::node::NodeSettings, ConnectionSettings); 3] = [
        |node, connection| node.databases.api = Some(connection),
        |node, connection| node.databases.projector = Some(connection),
        |node, connection| node.databases.relay = Some(connection),
    ];
    for part in parts {
        let mut node = world.node_settings(&settings, true);
        part(&mut node, connection.clone());
        let error = format!("{:#}", Node::start(node).await.err().expect("it must not start"));
        assert!(error.contains("it has BYPASSRLS"), "{error}");
    }
    drop_role(&world.database, &role).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_does_not_start_where_commits_do_not_wait_for_the_disk() {
    let settings = WorldSettings { apis: 0, ..WorldSettings::default() };
    let world = World::with(settings.clone()).await;
    let name = world.database.admin_url.rsplit('/').next().unwrap();
    let sql = |what: &str| AssertSqlSafe(format!("alter database {name} {what}"));
    world.database.admin.execute(sql("set synchronous_commit = off")).await.unwrap();
    let started = Node::start(world.node_settings(&settings, true)).await;
    let error = format!("{:#}", started.err().expect("it must not start"));
    assert!(error.contains("its commits do not wait for the disk"), "{error}");
    world.database.admin.execute(sql("set synchronous_commit = local")).await.unwrap();
    Node::start(world.node_settings(&settings, true)).await.unwrap().stop().await.unwrap();
}

/// What opens the schema under a running node, and how it is undone.
const OPENED: &[(&str, &str)] = &[
    ("alter table events no force row level security", "alter table events force row level security"),
    ("alter table messages disable row level security", "alter table messages enable row level security"),
    (
        "create policy more on sessions for select to convolog_api using (status = 'open')",
        "drop policy more on sessions",
    ),
    ("create policy more on messages for select using (true)", "drop policy more on messages"),
    (
        "alter policy select_convolog_api on messages using (true)",
        "alter policy select_convolog_api on messages using (tenant_id = (select get_current_tenant_id()))",
    ),
    ("alter function get_current_tenant_id immutable", "alter function get_current_tenant_id stable"),
    ("grant truncate on users to convolog_api", "revoke truncate on users from convolog_api"),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_not_ready_while_the_schema_is_open() {
    let operations = Operations { self_check_lifetime: Duration::from_millis(20), ..Operations::default() };
    let settings = WorldSettings { relay: false, projector: false, operations, ..WorldSettings::default() };
    let world = World::with(settings.clone()).await;
    let user = world.tenant().await;
    let ready = async || user.get("/health/ready").await;
    assert_eq!(ready().await.status, 200);
    for (open, close) in OPENED {
        world.database.admin.execute(*open).await.unwrap();
        eventually(open, async || ready().await.status == 503).await;
        let reply = ready().await;
        // Why is for the log, not for whoever asks.
        let told = reply.body.to_string();
        assert!(
            ["polic", "table", "events", "messages", "convolog_"].iter().all(|word| !told.contains(word)),
            "{told}"
        );
        let refused = Node::start(world.node_settings(&settings, false)).await;
        assert!(refused.is_err(), "a node started in spite of: {open}");
        world.database.admin.execute(*close).await.unwrap();
        eventually(close, async || ready().await.status == 200).await;
    }
}
