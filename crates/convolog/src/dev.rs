//! `convolog dev`: everything in one process, from an empty machine to the ready line and back.

use std::io::Write as _;
use std::path::Path;

use api::Operations;
use api::passwords::Cost;
use projector::{ProjectorSettings, RelaySettings};
use store::LogSettings;
use tokio::signal::unix::{SignalKind, signal};

use crate::node::{ApiSettings, Node, NodeSettings};
use crate::secrets::Secrets;
use crate::seed::{self, seed};
use crate::services::{Services, places};
use crate::settings::DevSettings;

/// Runs until Ctrl-C or SIGTERM. `home` and `xdg_cache_home` are the variables, for the cache of local services.
pub async fn run(settings: &DevSettings, home: Option<&Path>, xdg_cache_home: Option<&Path>) -> anyhow::Result<()> {
    // First of all: a signal during the start must not leave a half-started service behind.
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let start = async {
        let places = places(home, xdg_cache_home, &settings.data_dir)?;
        let secrets = Secrets::load_or_make(&places.data)?;
        let services = Services::start(settings, &places, &secrets).await?;
        let node = start_node(settings, &services, &secrets).await?;
        Ok::<_, anyhow::Error>((services, node))
    };
    let (services, node) = tokio::select! {
        started = start => started?,
        _ = terminate.recv() => return Ok(()),
        _ = interrupt.recv() => return Ok(()),
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping");
    node.stop().await?;
    services.stop().await
}

async fn start_node(settings: &DevSettings, services: &Services, secrets: &Secrets) -> anyhow::Result<Node> {
    let node = Node::start(NodeSettings {
        databases: services.databases.clone(),
        nats: services.nats_access.clone(),
        api: Some(ApiSettings {
            listen: settings.listen,
            public_url: settings.public_url.clone(),
            signing_seed: secrets.signing_seed()?,
            password_cost: Cost::default(),
            log: LogSettings::default(),
            operations: Operations::default(),
        }),
        relay: Some(RelaySettings::named(&services.holder)),
        projector: Some(ProjectorSettings::named(&services.holder)),
    })
    .await?;
    if let Some(write_side) = node.write_side() {
        seed(write_side, &secrets.demo_password, Cost::default()).await?;
    }
    let mut out = std::io::stdout().lock();
    for line in &services.lines {
        writeln!(out, "{line}")?;
    }
    writeln!(out, "Demo log-in  {} / {}", seed::EMAIL, secrets.demo_password)?;
    if let Some(address) = node.address() {
        writeln!(out, "convolog ready on http://{address}")?;
    }
    out.flush()?;
    Ok(node)
}
