//! `convolog api`: one process that serves HTTP; as many as are wanted, beside as many `convolog projector`.

use std::io::Write as _;

use api::passwords::Cost;
use api::signing_keys::KEY_RELOAD;
use clap::Args;
use store::LogSettings;

use super::serving::{self, HttpSettings};
use super::{Exit, Failure};
use crate::attach::{API_CONNECTIONS, Attached, Role};
use crate::node::{ApiSettings, Node, NodeDatabases, NodeSettings, system_clock};
use crate::settings::{ServiceSettings, SigningSecret};

/// Shown below the help.
pub const EXAMPLES: &str = "It makes nothing: `convolog migrate` has been run, `convolog projector` keeps what is read.
A secret may be the name of a file: file:/run/secrets/signing_key

Examples:
  CONVOLOG_API_DATABASE_URL=postgres://convolog_api:…@db/convolog NATS_URL=nats://api:…@nats:4222 \\
  CONVOLOG_SIGNING_KEY=file:/run/secrets/signing_key CONVOLOG_PUBLIC_URL=https://api.example.com \\
    convolog api --listen 0.0.0.0:8080
  convolog api --listen 127.0.0.1:8081     one more beside the `convolog dev` of this folder";

/// Settings of `convolog api`.
#[derive(Clone, Debug, Args)]
pub struct Settings {
    /// How HTTP is served.
    #[command(flatten)]
    pub http: HttpSettings,
    /// What signing keys are derived from.
    #[command(flatten)]
    pub secret: SigningSecret,
    /// Where PostgreSQL and NATS are.
    #[command(flatten)]
    pub services: ServiceSettings,
}

/// Serves until Ctrl-C or SIGTERM.
pub async fn run(settings: &Settings) -> Result<Exit, Failure> {
    let (operations, export) = settings.http.operations()?;
    let (rate_limits, allowed_origins) = (settings.http.rate_limits()?, settings.http.allowed_origins()?);
    serving::allow_open_files();
    let start = Box::pin(async {
        let attached = Attached::find(&settings.services)?;
        let node = NodeSettings {
            databases: NodeDatabases {
                api: Some(attached.database(Role::Api, API_CONNECTIONS)?),
                ..NodeDatabases::default()
            },
            nats: attached.needed_nats()?,
            api: Some(ApiSettings {
                listen: settings.http.listen,
                public_url: settings.http.public_url.clone(),
                master_secret: attached.needed_master_secret(settings.secret.signing_key.as_deref())?,
                key_reload: KEY_RELOAD,
                password_cost: Cost::default(),
                log: LogSettings::default(),
                operations,
                server: api::ServerSettings::default(),
                rate_limits,
                allowed_origins,
                clock: system_clock,
            }),
            relay: None,
            projector: None,
            worker: None,
        };
        let node = Box::pin(Node::start(node)).await?;
        let mut out = std::io::stdout().lock();
        if let Some(address) = node.address() {
            writeln!(out, "convolog ready on http://{address}")?;
        }
        out.flush()?;
        Ok((node, ()))
    });
    serving::run(start, async |(), _| Ok(()), export).await
}
