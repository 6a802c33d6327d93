//! `convolog keys`: which keys sign access tokens; the next one begins to, a former one is taken away.

use std::io::Write as _;
use std::time::Duration;

use anyhow::Context as _;
use api::master_secret::MasterSecret;
use api::signing_keys::{IN_USE, KEY_RELOAD, Refused, Rotated, derived, kid, retire, rotate};
use chrono::SecondsFormat;
use clap::{Args, Subcommand};
use store::{KeyChange, KeyState, StoredKey, change_signing_keys, signing_keys};

use super::{Exit, Failure};
use crate::attach::Attached;
use crate::settings::{ServiceSettings, SigningSecret};

/// Shown below the help.
pub const EXAMPLES: &str = "One key signs access tokens, the next one and former ones are believed too. The first process to start makes two; all
are derived from CONVOLOG_SIGNING_KEY, the database has their public halves alone. GET /.well-known/jwks.json shows them.
Works as the administrator: with DATABASE_URL, or beside the `convolog dev` of this folder.

Examples:
  convolog keys list
  convolog keys rotate                     the next key signs; nobody has to sign in again
  convolog keys retire kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k
                                           six minutes after the rotation no token of a former key is in use any more
  CONVOLOG_SIGNING_KEY=file:/run/secrets/new_signing_key convolog keys rotate
                                           that secret instead of the present one: then start the processes with it

Exit codes: 0 done, 1 `list` has found that a key was made with another CONVOLOG_SIGNING_KEY which is to sign, 2 bad usage, or the
rotation has to wait, 3 a service is unavailable.";

/// Settings of `convolog keys`.
#[derive(Clone, Debug, Args)]
pub struct Settings {
    /// What to do.
    #[command(subcommand)]
    pub what: What,
}

/// What to do with the keys.
#[derive(Clone, Debug, Subcommand)]
pub enum What {
    /// List the keys: which one signs, and since when.
    List(List),
    /// Let the next key sign and make another next one.
    Rotate(Rotate),
    /// Take a former key away: within half a minute its tokens are refused.
    Retire(Retire),
}

/// Settings of `convolog keys list`.
#[derive(Clone, Debug, Args)]
pub struct List {
    /// To tell whose keys they are.
    #[command(flatten)]
    pub secret: SigningSecret,
    /// Where PostgreSQL is.
    #[command(flatten)]
    pub services: ServiceSettings,
}

/// Settings of `convolog keys rotate`.
#[derive(Clone, Debug, Args)]
pub struct Rotate {
    /// Also when the next key is so new that a node may not know it: that node refuses tokens for half a minute.
    #[arg(long)]
    pub now: bool,
    /// What keys are derived from.
    #[command(flatten)]
    pub secret: SigningSecret,
    /// Where PostgreSQL is.
    #[command(flatten)]
    pub services: ServiceSettings,
}

/// Settings of `convolog keys retire`.
#[derive(Clone, Debug, Args)]
pub struct Retire {
    /// Which key, as `list` shows it.
    #[arg(allow_hyphen_values = true)]
    pub kid: String,
    /// Where PostgreSQL is.
    #[command(flatten)]
    pub services: ServiceSettings,
}

/// Does one of these things.
pub async fn run(settings: &Settings) -> Result<Exit, Failure> {
    match &settings.what {
        What::List(settings) => list(settings).await,
        What::Rotate(settings) => rotate_once(settings).await,
        What::Retire(settings) => retire_one(settings).await,
    }
}

async fn list(settings: &List) -> Result<Exit, Failure> {
    let attached = Attached::find(&settings.services)?;
    let master = attached.master_secret(settings.secret.signing_key.as_deref())?;
    let keys = signing_keys(&attached.administrator()?).await.context(UNUSABLE)?;
    let mut exit = Exit::Done;
    print(&format!("{:<43}  {:<7}  SINCE", "KID", "STATE"))?;
    for key in &keys {
        let foreign = match &master {
            Some(master) => derived(master, key)?.is_none(),
            None => false,
        };
        if foreign && key.state != KeyState::Former {
            exit = Exit::Found;
        }
        print(&line(key, foreign)?)?;
    }
    if keys.is_empty() {
        print("none: the first API to start makes two")?;
    }
    if master.is_none() {
        print("CONVOLOG_SIGNING_KEY is not set: whether they were made with it is not checked")?;
    }
    Ok(exit)
}

fn line(key: &StoredKey, foreign: bool) -> Result<String, Failure> {
    let since = key.since.to_rfc3339_opts(SecondsFormat::Secs, true);
    let whose = if foreign { "  made with another CONVOLOG_SIGNING_KEY" } else { "" };
    Ok(format!("{:<43}  {:<7}  {since}{whose}", kid(key)?, key.state.as_str()))
}

async fn rotate_once(settings: &Rotate) -> Result<Exit, Failure> {
    let attached = Attached::find(&settings.services)?;
    let master: MasterSecret = attached.needed_master_secret(settings.secret.signing_key.as_deref())?;
    let Rotated { signing, next, former, at_once } =
        change(&attached, |keys| rotate(&master, keys, settings.now)).await?;
    print(&format!("signing  {signing}"))?;
    print(&format!("next     {next}"))?;
    for former in former {
        let minutes = IN_USE.as_secs().div_ceil(60);
        print(&format!("former   {former}  in {minutes} minutes: convolog keys retire {former}"))?;
    }
    let seconds = KEY_RELOAD.as_secs();
    if at_once {
        print(&format!("a process that runs may refuse tokens of the new key for up to {seconds} s"))?;
    }
    Ok(Exit::Done)
}

async fn retire_one(settings: &Retire) -> Result<Exit, Failure> {
    let attached = Attached::find(&settings.services)?;
    let age = change(&attached, |keys| retire(keys, &settings.kid)).await?;
    print(&format!("{} is retired: its tokens are refused within {} s", settings.kid, KEY_RELOAD.as_secs()))?;
    let left = IN_USE.saturating_sub(age);
    if left > Duration::ZERO {
        print(&format!("some may have been in use for {} s more: their clients have to refresh", left.as_secs() + 1))?;
    }
    Ok(Exit::Done)
}

/// Said before what is wrong with the database.
const UNUSABLE: &str = "DATABASE_URL: the database cannot be used";

/// Does to the keys what is decided of them.
async fn change<T>(
    attached: &Attached,
    decide: impl FnOnce(&[StoredKey]) -> Result<(Vec<KeyChange>, T), Refused>,
) -> Result<T, Failure> {
    let decided = change_signing_keys(&attached.administrator()?, decide).await.context(UNUSABLE)?;
    decided.map_err(|refused| match refused {
        Refused::Key(error) => error.into(),
        Refused::TooNew(_) | Refused::Unknown(_) | Refused::Signs(_) | Refused::IsNext(_) => {
            Failure::usage(refused.to_string())
        }
    })
}

fn print(line: &str) -> Result<(), Failure> {
    writeln!(std::io::stdout(), "{line}")?;
    Ok(())
}
