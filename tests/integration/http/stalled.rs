//! A tenant whose log takes nothing, for as long as a test likes.

use sqlx::postgres::Postgres;
use sqlx::{Executor as _, Transaction};
use tests::{User, World, WorldSettings};
use uuid::Uuid;

/// A world whose API waits for locks as long as the test holds them, on the connections it opens from now on.
pub(crate) async fn patient(settings: WorldSettings) -> (World, User, Uuid) {
    waiting_for_locks("60s", settings).await
}

/// A world whose API waits for locks so long, on the connections it opens from now on.
pub(super) async fn waiting_for_locks(time: &str, settings: WorldSettings) -> (World, User, Uuid) {
    let world = World::with(settings).await;
    let_wait_for_locks(&world, "convolog_api", time).await;
    let user = world.tenant().await;
    let session = user.start_session().await;
    world.drain().await;
    (world, user, session)
}

/// Connections that the role opens from now on wait for locks so long.
pub(crate) async fn let_wait_for_locks(world: &World, role: &str, time: &str) {
    let database = "select current_database()";
    let database: String = sqlx::query_scalar(database).fetch_one(&world.database.admin).await.unwrap();
    for (limit, time) in [("lock_timeout", time), ("transaction_timeout", "60s")] {
        let sql = format!("alter role {role} in database {database} set {limit} = '{time}'");
        world.database.admin.execute(sqlx::AssertSqlSafe(sql)).await.unwrap();
    }
}

/// Nothing is appended to the tenant's log as long as this lives.
pub(crate) async fn hold_head(world: &World, user: &User) -> Transaction<'static, Postgres> {
    let mut lock = world.database.admin.begin().await.unwrap();
    let sql = "select from tenant_heads where tenant_id = $1 for update";
    sqlx::query(sql).bind(user.tenant).execute(&mut *lock).await.unwrap();
    lock
}
