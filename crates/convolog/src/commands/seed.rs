//! `convolog seed`: the demo tenant, into a database that is already there.

use std::io::Write as _;

use api::passwords::Cost;
use chrono::{SubsecRound as _, Utc};
use clap::Args;

use super::{Exit, Failure};
use crate::attach::Attached;
use crate::secrets::random_hex;
use crate::seed::{self, Demo, seed};
use crate::settings::ServiceSettings;
use crate::write_side::WriteSide;

/// Shown below the help.
pub const EXAMPLES: &str = "What is there already is left as it is.

Examples:
  convolog seed                            the demo of the `convolog dev` that runs here, if it is not there
  convolog seed --email ada@example.com --tenant-name 'Demo of Ada'
                                           one more demo, with a password that is printed
  CONVOLOG_API_DATABASE_URL=postgres://… NATS_URL=nats://… convolog seed
                                           into a database that is migrated";

/// Settings of `convolog seed`.
#[derive(Clone, Debug, Args)]
pub struct Settings {
    /// The address of the demo's owner.
    #[arg(long, default_value = seed::EMAIL)]
    pub email: String,
    /// The owner's password, at least 12 characters; when not set, the one that `convolog dev` prints, else a new one.
    #[arg(long)]
    pub password: Option<String>,
    /// The demo's tenant. A demo is there when its owner has a tenant of this name.
    #[arg(long, default_value = seed::TENANT, value_name = "NAME")]
    pub tenant_name: String,
    /// Where PostgreSQL and NATS are.
    #[command(flatten)]
    pub services: ServiceSettings,
}

/// Makes what is missing and prints the log-in.
pub async fn run(settings: &Settings) -> Result<Exit, Failure> {
    let attached = Attached::find(&settings.services)?;
    let of_dev = attached.demo_password().filter(|_| settings.email == seed::EMAIL).map(str::to_owned);
    let known = settings.password.clone().or(of_dev);
    let password = known.clone().map_or_else(|| random_hex(8), Ok)?;
    let Settings { email, tenant_name, .. } = settings.clone();
    let demo = Demo { email, password, tenant_name };
    #[expect(clippy::disallowed_methods, reason = "the demo's conversations were yesterday")]
    let now = Utc::now().trunc_subsecs(6);

    let write_side = WriteSide::attach(&attached).await?;
    let parts = (&write_side.database, &write_side.log, &write_side.on_commit);
    let seeded = seed(parts, &demo, Cost::default(), now).await;
    let grown = seeded.as_ref().ok().filter(|seeded| seeded.recorded > 0).map(|seeded| (seeded.tenant, seeded.seq));
    write_side.close(grown).await?;
    let seeded = seeded?;

    let mut out = std::io::stdout().lock();
    let Demo { email, password, tenant_name } = demo;
    match seeded.recorded {
        0 => writeln!(out, "{tenant_name} ({}): everything is there already", seeded.tenant)?,
        recorded => writeln!(out, "{tenant_name} ({}): {recorded} sessions recorded", seeded.tenant)?,
    }
    match (seeded.founded, known) {
        (false, None) => writeln!(out, "Demo log-in  {email} / the password that it was made with")?,
        _ => writeln!(out, "Demo log-in  {email} / {password}")?,
    }
    Ok(Exit::Done)
}
