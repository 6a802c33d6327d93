//! The write side of a tool: it appends through a writer of its own process, to the services that it has attached to.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use api::Api;
use bus::{Bus, User};
use domain::TenantId;
use store::{ApiDatabase, Log, LogSettings, OnCommit};
use tokio::task::JoinHandle;

use crate::attach::{Attached, Role};
use crate::commands::Failure;

/// Connections beside the writer's: for streams that have to be looked up.
const CONNECTIONS: u32 = 4;
/// How long the end waits for NATS, only to tell the relay that there is something new.
const NATS_PATIENCE: Duration = Duration::from_secs(2);

/// Database, log and doorbell; end it with [`WriteSide::close`].
pub struct WriteSide {
    /// As the API's role.
    pub database: ApiDatabase,
    /// Its writer is this process' own.
    pub log: Log,
    /// The doorbell, if there is NATS.
    pub on_commit: OnCommit,
    writer: JoinHandle<()>,
    bus: Option<Bus>,
}

impl WriteSide {
    /// Connects; NATS in the background, and not at all when none is known.
    pub async fn attach(attached: &Attached) -> Result<Self, Failure> {
        let settings = attached.database(Role::Api, CONNECTIONS)?;
        let database = ApiDatabase::connect(settings).await.context("the database cannot be used")?;
        let bus = match attached.nats() {
            Some(nats) => Some(nats.connect(User::Api).await?),
            None => None,
        };
        let on_commit = bus.as_ref().map_or_else(|| Arc::new(|_: &_| {}) as OnCommit, Api::doorbell);
        // One tenant, and a tenant is in one commit at a time.
        let settings = LogSettings { connections: 1, ..LogSettings::default() };
        let (log, writer) = Log::start(&database, &settings, on_commit.clone());
        Ok(Self { database, log, on_commit, writer, bus })
    }

    /// Waits for the writer; clones of the log must be gone. Then tells the relay once more how far the log is, because
    /// what was rung before there was a connection has not been heard.
    pub async fn close(self, grown: Option<(TenantId, u64)>) -> anyhow::Result<()> {
        let Self { database, log, on_commit, writer, bus } = self;
        drop(log);
        writer.await?;
        if let (Some(bus), Some(grown)) = (bus, grown)
            && bus.ready(NATS_PATIENCE).await
        {
            on_commit(&[grown]);
            if let Err(error) = bus.flush().await {
                tracing::debug!(%error, "the relay was not told, and will find it by itself");
            }
        }
        database.close().await;
        Ok(())
    }
}
