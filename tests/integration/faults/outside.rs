//! NATS as others see it, through a client that knows nothing of Convolog.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_nats::jetstream;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, PullConsumer, pull};
use futures_util::StreamExt as _;
use tests::World;
use uuid::Uuid;

/// Every `seq` per tenant, per generation.
pub(crate) type Published = BTreeMap<u64, BTreeMap<Uuid, BTreeSet<u64>>>;

/// Logs in as one of the users.
pub(crate) async fn client(world: &World, user: bus::User) -> async_nats::Client {
    let password = world.nats_access.passwords[&user].clone();
    async_nats::ConnectOptions::with_user_and_password(user.name().into(), password)
        .custom_inbox_prefix(format!("_INBOX_{}", user.name()))
        .retry_on_initial_connect()
        .connect(&world.nats_access.url)
        .await
        .unwrap()
}

/// The generation, tenant and seq that a message's headers tell.
pub(crate) fn message_id(headers: Option<&async_nats::HeaderMap>) -> (u64, Uuid, u64) {
    let id = headers.unwrap().get("Nats-Msg-Id").unwrap().as_str();
    let parts: Vec<&str> = id.split(':').collect();
    (parts[0].parse().unwrap(), parts[1].parse().unwrap(), parts[2].parse().unwrap())
}

/// All that the stream holds.
pub(crate) async fn stream_content(world: &World) -> Published {
    let context = jetstream::new(client(world, bus::User::Projector).await);
    let config =
        pull::Config { deliver_policy: DeliverPolicy::All, ack_policy: AckPolicy::None, ..pull::Config::default() };
    let consumer: PullConsumer = context.create_consumer_on_stream(config, "EVENTS").await.unwrap();
    let pending = usize::try_from(consumer.cached_info().num_pending).unwrap();
    let mut messages = consumer.messages().await.unwrap().take(pending);
    let mut published = Published::new();
    while let Some(message) = tokio::time::timeout(Duration::from_secs(20), messages.next()).await.unwrap() {
        let (generation, tenant, seq) = message_id(message.unwrap().headers.as_ref());
        published.entry(generation).or_default().entry(tenant).or_default().insert(seq);
    }
    published
}

/// Everything in all logs.
pub(crate) async fn logs(world: &World) -> BTreeMap<Uuid, BTreeSet<u64>> {
    let heads: Vec<(Uuid, i64)> =
        sqlx::query_as("select tenant_id, seq from tenant_heads").fetch_all(&world.database.admin).await.unwrap();
    heads.into_iter().map(|(tenant, head)| (tenant, (1..=head.cast_unsigned()).collect())).collect()
}

/// The relay's generation, as soon as all cursors belong to it.
pub(crate) async fn generation(world: &World) -> u64 {
    let generation: i64 =
        sqlx::query_scalar("select case when rewound = 64 then generation else generation - 1 end from relay_state")
            .fetch_one(&world.database.admin)
            .await
            .unwrap();
    generation.cast_unsigned()
}
