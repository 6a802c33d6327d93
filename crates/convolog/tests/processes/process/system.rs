//! Convolog apart: the servers, and each process with only the settings that it needs.

use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use bus::User;
use convolog::secrets::{NatsPasswords, random_hex};
use local::{Nats, Postgres};
use sqlx::{Connection as _, PgConnection};

use super::servers::{Unusual, binaries, nats, postgres_and_nats};

/// PostgreSQL and NATS as somebody else runs them, and what the processes are told of them.
pub(crate) struct Servers {
    pub(crate) postgres: Postgres,
    pub(crate) nats: Nats,
    pub(crate) settings: Vec<(&'static str, String)>,
    passwords: NatsPasswords,
    /// Holds no secrets.
    folder: tempfile::TempDir,
}

impl Servers {
    pub(crate) async fn start() -> Self {
        Self::start_unusual(Unusual::default()).await
    }

    pub(crate) async fn start_unusual(unusual: Unusual) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let passwords = NatsPasswords::random().unwrap();
        let (postgres, nats) = postgres_and_nats(folder.path(), passwords.variables(), unusual).await;
        let url = |role: &str| {
            // A password that must be written otherwise in a URL.
            let password = format!("{}%40%2F", random_hex(8).unwrap());
            format!("postgres://{role}:{password}@127.0.0.1:{}/apart", postgres.port())
        };
        let settings = vec![
            ("DATABASE_URL", postgres.admin_url("apart")),
            ("CONVOLOG_API_DATABASE_URL", url("convolog_api")),
            ("CONVOLOG_PROJECTOR_DATABASE_URL", url("convolog_projector")),
            ("CONVOLOG_RELAY_DATABASE_URL", url("convolog_relay")),
            ("NATS_URL", nats.url()),
            ("CONVOLOG_NATS_API_PASSWORD", passwords.of(User::Api).to_owned()),
            ("CONVOLOG_NATS_RELAY_PASSWORD", passwords.of(User::Relay).to_owned()),
            ("CONVOLOG_NATS_PROJECTOR_PASSWORD", passwords.of(User::Projector).to_owned()),
            ("CONVOLOG_SIGNING_KEY", random_hex(32).unwrap()),
            // Tokens are good at each of them.
            ("CONVOLOG_PUBLIC_URL", "https://convolog.test".to_owned()),
        ];
        Self { postgres, nats, settings, passwords, folder }
    }

    /// Replaces NATS by one that is empty and stores what it is given.
    pub(crate) async fn replace_nats(&mut self) {
        self.nats.kill().await.unwrap();
        let of = |user: User| (user.password_variable().to_owned(), self.passwords.of(user).to_owned());
        let variables = User::ALL.iter().map(|user| of(*user)).collect();
        let (binaries, places) = binaries(self.folder.path()).await;
        self.nats = nats(&binaries, &places, variables, None, Some(self.nats.port())).await;
    }

    /// A subcommand that is told only what it needs.
    pub(crate) fn command(&self, arguments: &[&str], needs: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_convolog"));
        command.args(arguments).current_dir(self.folder.path()).stdin(Stdio::null());
        for (name, value) in self.settings.iter().filter(|(name, _)| needs.contains(name)) {
            command.env(name, value);
        }
        command
    }

    pub(crate) fn migrate(&self) -> Command {
        let mut command = self.command(&["migrate"], &["DATABASE_URL", API.0, PROJECTOR.0, PROJECTOR.1]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub(crate) fn api(&self) -> Command {
        self.command(
            &["api", "--listen", "127.0.0.1:0", "--rate-limits", "off"],
            &[API.0, API.1, "NATS_URL", "CONVOLOG_SIGNING_KEY", "CONVOLOG_PUBLIC_URL"],
        )
    }

    pub(crate) fn projector(&self) -> Command {
        let needs = [PROJECTOR.0, PROJECTOR.1, PROJECTOR.2, PROJECTOR.3, "NATS_URL"];
        self.command(&["projector", "--projector-listen", "127.0.0.1:0"], &needs)
    }

    pub(crate) async fn admin(&self) -> PgConnection {
        PgConnection::connect(&self.postgres.admin_url("apart")).await.unwrap()
    }

    /// How many shards each projector has.
    pub(crate) async fn shares(&self) -> Vec<i64> {
        let sql = "select count(*) from leases where work = 'read_model' and expires_at > clock_timestamp()
                   group by holder order by 1";
        sqlx::query_scalar(sql).fetch_all(&mut self.admin().await).await.unwrap()
    }
}

pub(crate) const API: (&str, &str) = ("CONVOLOG_API_DATABASE_URL", "CONVOLOG_NATS_API_PASSWORD");
pub(crate) const PROJECTOR: (&str, &str, &str, &str) = (
    "CONVOLOG_PROJECTOR_DATABASE_URL",
    "CONVOLOG_RELAY_DATABASE_URL",
    "CONVOLOG_NATS_PROJECTOR_PASSWORD",
    "CONVOLOG_NATS_RELAY_PASSWORD",
);

pub(crate) fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < Duration::from_secs(60), "{what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
