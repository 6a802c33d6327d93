//! PostgreSQL as a child process, as `convolog dev` runs it.

use local::{Postgres, PostgresOptions, Storage, ThrowAwayDir};

use crate::cluster::binaries;

pub(crate) struct Server(Postgres);

impl Server {
    pub(crate) async fn start() -> Self {
        let (binaries, places) = binaries().await;
        let storage = Storage::ThrowAway(ThrowAwayDir::new(places).unwrap());
        Self(Postgres::start(binaries, PostgresOptions::new(storage)).await.unwrap())
    }

    /// A database's URL as the superuser.
    pub(crate) fn admin_url(&self, database: &str) -> String {
        self.0.admin_url(database)
    }

    /// Everything that it has logged.
    pub(crate) async fn log(&self) -> String {
        std::fs::read_to_string(self.0.log()).unwrap()
    }
}
