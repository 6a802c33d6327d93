//! One projector per shard; whoever wrongly believes to hold a lease writes nothing.

use convolog::node::Node;
use domain::TenantId;
use tests::{User, World, WorldSettings, eventually};
use uuid::Uuid;

use super::load::{Load, assert_all_are_read};
use super::oracle::assert_rows_are_those_of_the_log;

/// A node that only projects, and the name in which it takes leases.
async fn another_projector(world: &World) -> (Node, String) {
    let mut settings = world.node_settings(&WorldSettings { relay: false, ..WorldSettings::default() }, true);
    settings.api = None;
    let holder = settings.projector.as_ref().unwrap().holder.clone();
    (Node::start(settings).await.unwrap(), holder)
}

/// How many shards each holder has, the largest number first.
async fn holders(world: &World) -> Vec<(String, i64)> {
    sqlx::query_as(
        "select holder, count(*) from leases where work = 'read_model' and expires_at > clock_timestamp()
         group by holder order by 2 desc",
    )
    .fetch_all(&world.database.admin)
    .await
    .unwrap()
}

/// Whether all shards are held by so many, who differ by one at most.
async fn evenly_by(world: &World, projectors: usize) -> bool {
    let now: Vec<i64> = holders(world).await.into_iter().map(|(_, shards)| shards).collect();
    now.len() == projectors && now.iter().sum::<i64>() == 64 && now[0] - now[projectors - 1] <= 1
}

#[tokio::test(flavor = "multi_thread")]
async fn shards_are_spread_evenly_over_those_who_come_and_handed_over_by_those_who_go() {
    let mut world = World::with(WorldSettings { apis: 2, projector: false, ..WorldSettings::default() }).await;
    let (first, first_name) = another_projector(&world).await;
    let user = world.tenant().await;
    let load = Load::start(&[user], 2).await;
    load.goes_on(20).await;
    assert_eq!(holders(&world).await, [(first_name.clone(), 64)]);
    let (second, _) = another_projector(&world).await;
    eventually("two share the work", async || evenly_by(&world, 2).await).await;
    load.goes_on(20).await;
    let (third, third_name) = another_projector(&world).await;
    eventually("three share the work", async || evenly_by(&world, 3).await).await;
    load.goes_on(20).await;

    first.stop().await.unwrap();
    assert!(holders(&world).await.iter().all(|(name, _)| *name != first_name), "what is given back is nobody's");
    eventually("the others take over", async || evenly_by(&world, 2).await).await;
    second.stop().await.unwrap();
    eventually("the last one takes all", async || holders(&world).await == [(third_name.clone(), 64)]).await;
    load.goes_on(20).await;
    let acks = load.stop().await;
    assert_rows_are_those_of_the_log(&world).await;
    assert_all_are_read(&world, &acks).await;
    third.stop().await.unwrap();
    world.stop_nodes().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shards_of_one_who_is_gone_without_a_word_are_taken_when_its_leases_have_ended() {
    let world = World::with(WorldSettings { projector: false, ..WorldSettings::default() }).await;
    // As kill -9 leaves it.
    sqlx::raw_sql(
        "insert into lease_holders (work, holder, expires_at) values ('read_model', 'gone', clock_timestamp() + interval '3 s');
         update leases set holder = 'gone', epoch = 7, expires_at = clock_timestamp() + interval '3 s' where work = 'read_model'",
    )
    .execute(&world.database.admin)
    .await
    .unwrap();
    let (projector, name) = another_projector(&world).await;
    assert_eq!(holders(&world).await, [("gone".to_owned(), 64)], "who may live is left alone");
    eventually("all are taken over", async || holders(&world).await == [(name.clone(), 64)]).await;
    let epochs: Vec<i64> = sqlx::query_scalar("select distinct epoch from leases where work = 'read_model'")
        .fetch_all(&world.database.admin)
        .await
        .unwrap();
    assert_eq!(epochs, [8]);
    projector.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn two_projectors_that_both_believe_to_hold_the_leases_double_nothing() {
    let world = World::with(WorldSettings { projector: false, ..WorldSettings::default() }).await;
    let (first, first_name) = another_projector(&world).await;
    let (second, second_name) = another_projector(&world).await;
    let users = [world.tenant().await, world.tenant().await, world.tenant().await];
    let load = Load::start(&users, 2).await;
    load.goes_on(10).await;
    for _ in 0..2 {
        // The second takes them over under the same epoch, and as soon as it knows, the first has them again: until its
        // next renewal the second believes what the first believes too.
        give_all(&world, &second_name).await;
        eventually("the second has renewed", async || are_renewed(&world).await).await;
        give_all(&world, &first_name).await;
        load.goes_on(100).await;
        eventually("the first has renewed", async || are_renewed(&world).await).await;
    }
    let acks = load.stop().await;
    assert_rows_are_those_of_the_log(&world).await;
    assert_all_are_read(&world, &acks).await;
    first.stop().await.unwrap();
    second.stop().await.unwrap();
}

/// Makes this one the holder of all leases, under the epochs that they have.
async fn give_all(world: &World, holder: &str) {
    sqlx::query(
        "update leases set holder = $1, expires_at = clock_timestamp() + interval '1 hour' where work = 'read_model'",
    )
    .bind(holder)
    .execute(&world.database.admin)
    .await
    .unwrap();
}

/// Whether the holder has renewed what it was given: for seconds, not for an hour.
async fn are_renewed(world: &World) -> bool {
    let given: i64 = sqlx::query_scalar(
        "select count(*) from leases where work = 'read_model' and expires_at > clock_timestamp() + interval '1 minute'",
    )
    .fetch_one(&world.database.admin)
    .await
    .unwrap();
    given == 0
}

/// Two tenants of different shards.
async fn of_two_shards(world: &World) -> (User, User) {
    let one = world.tenant().await;
    loop {
        let other = world.tenant().await;
        if TenantId(other.tenant).shard() != TenantId(one.tenant).shard() {
            return (one, other);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_with_an_old_epoch_writes_nothing() {
    let world = World::start().await;
    let (fenced, free) = of_two_shards(&world).await;
    let (fenced_session, free_session) = (fenced.start_session().await, free.start_session().await);
    world.drain().await;
    let checkpoint = checkpoint_of(&world, fenced.tenant).await;
    // Somebody else has taken this one shard; our projector does not know it before its next renewal.
    sqlx::query(
        "update leases set holder = 'somebody else', epoch = epoch + 1, expires_at = 'infinity'
         where work = 'read_model' and shard = $1",
    )
    .bind(i16::from(TenantId(fenced.tenant).shard().number()))
    .execute(&world.database.admin)
    .await
    .unwrap();
    // The messages of both go through the same subscription in turn: when the later one is projected, the earlier one
    // was seen.
    for _ in 0..10 {
        fenced.say(fenced_session, "not to be projected by us").await;
        let seq = free.say(free_session, "to be projected").await.seq();
        free.messages(free_session, seq).await;
    }
    assert_eq!(checkpoint_of(&world, fenced.tenant).await, checkpoint);
    let rows: i64 = sqlx::query_scalar("select count(*) from messages where tenant_id = $1")
        .bind(fenced.tenant)
        .fetch_one(&world.database.admin)
        .await
        .unwrap();
    assert_eq!(rows, 0);

    sqlx::query("update leases set expires_at = '-infinity' where holder = 'somebody else'")
        .execute(&world.database.admin)
        .await
        .unwrap();
    assert_rows_are_those_of_the_log(&world).await;
}

async fn checkpoint_of(world: &World, tenant: Uuid) -> (i64, i64) {
    sqlx::query_as("select seq, epoch from projection_checkpoints where tenant_id = $1")
        .bind(tenant)
        .fetch_one(&world.database.admin)
        .await
        .unwrap()
}
