//! `convolog projector`: one process that publishes events and keeps the read tables; several share the work.

use std::io::Write as _;
use std::net::SocketAddr;

use clap::Args;
use projector::{ProjectorSettings, RelaySettings};
use uuid::Uuid;

use super::serving::{self, OperatorSettings};
use super::{Exit, Failure};
use crate::attach::{Attached, PROJECTOR_CONNECTIONS, RELAY_CONNECTIONS, Role};
use crate::node::{Node, NodeDatabases, NodeSettings, WorkerSettings};
use crate::settings::ServiceSettings;

/// Shown below the help.
pub const EXAMPLES: &str = "It makes nothing: `convolog migrate` has been run. Where several run, the tenants are spread evenly over them; when
one dies, the others have taken over after 7 seconds.

Examples:
  CONVOLOG_PROJECTOR_DATABASE_URL=postgres://convolog_projector:…@db/convolog \\
  CONVOLOG_RELAY_DATABASE_URL=postgres://convolog_relay:…@db/convolog NATS_URL=nats://nats:4222 \\
  CONVOLOG_NATS_PROJECTOR_PASSWORD=… CONVOLOG_NATS_RELAY_PASSWORD=… \\
    convolog projector --projector-listen 0.0.0.0:8081
  convolog projector                       one more beside the `convolog dev` of this folder";

/// Settings of `convolog projector`.
#[derive(Clone, Debug, Args)]
pub struct Settings {
    /// Where it answers /health/live, /health/ready and /metrics; port 0 picks a free one. Nowhere when not set.
    #[arg(long, env = "CONVOLOG_PROJECTOR_LISTEN", value_name = "ADDRESS")]
    pub projector_listen: Option<SocketAddr>,
    /// What operators set.
    #[command(flatten)]
    pub operator: OperatorSettings,
    /// Where PostgreSQL and NATS are.
    #[command(flatten)]
    pub services: ServiceSettings,
}

/// Works until Ctrl-C or SIGTERM.
pub async fn run(settings: &Settings) -> Result<Exit, Failure> {
    let token = settings.operator.token()?;
    let start = Box::pin(async {
        let attached = Attached::find(&settings.services)?;
        // No other process ever has it, so whoever had leases before us keeps them until they end.
        let holder = Uuid::now_v7().to_string();
        let node = NodeSettings {
            databases: NodeDatabases {
                api: None,
                projector: Some(attached.database(Role::Projector, PROJECTOR_CONNECTIONS)?),
                relay: Some(attached.database(Role::Relay, RELAY_CONNECTIONS)?),
            },
            nats: attached.needed_nats()?,
            api: None,
            relay: Some(RelaySettings::named(&holder)),
            projector: Some(ProjectorSettings::named(&holder)),
            worker: settings.projector_listen.map(|listen| WorkerSettings { listen, token }),
        };
        let node = Box::pin(Node::start(node)).await?;
        let mut out = std::io::stdout().lock();
        match node.address() {
            Some(address) => writeln!(out, "convolog projector ready on http://{address}")?,
            None => writeln!(out, "convolog projector ready")?,
        }
        out.flush()?;
        Ok((node, ()))
    });
    serving::run(start, async |(), _| Ok(()), None).await
}
