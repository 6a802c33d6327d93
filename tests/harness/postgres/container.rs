//! PostgreSQL in a container, from the image that `compose.yaml` names.

use std::time::Duration;

use testcontainers::core::{Healthcheck, IntoContainerPort as _, WaitFor};
use testcontainers::runners::AsyncRunner as _;
use testcontainers::{ContainerAsync, GenericImage, ImageExt as _};

/// A test of the files for containers holds this against `compose.yaml`.
const IMAGE: (&str, &str) = ("pgvector/pgvector", "pg18");
const PORT: u16 = 5432;
/// For a server that is seen from this machine alone and gone in an hour.
const PASSWORD: &str = "of a test";
/// Nothing is told of the end of the tests, so the server ends by itself after so many seconds, and the container with it.
const LIFETIME: &str = "3600";
/// The settings of the child process that this stands for.
const SETTINGS: &[&str] = &[
    "fsync=off",
    "full_page_writes=off",
    "log_line_prefix=%m [%p] %q%u@%d ",
    "log_timezone=UTC",
    "max_connections=300",
    "max_wal_size=512MB",
    "shared_buffers=64MB",
    "shared_preload_libraries=pg_stat_statements",
    "timezone=UTC",
];
/// How long fetching the image and the first start may take.
const PATIENCE: Duration = Duration::from_secs(300);

pub(crate) struct Server {
    container: ContainerAsync<GenericImage>,
    host: String,
    port: u16,
}

impl Server {
    pub(crate) async fn start() -> Self {
        let mut command = vec!["timeout", "--signal=INT", LIFETIME, "docker-entrypoint.sh", "postgres"];
        command.extend(SETTINGS.iter().flat_map(|setting| ["-c", setting]));
        // While it makes its data, the image's server does not listen on TCP.
        let ready = Healthcheck::cmd(["pg_isready", "--username=postgres", "--host=127.0.0.1"])
            .with_interval(Duration::from_millis(250))
            .with_retries(1_200);
        let container = GenericImage::new(IMAGE.0, IMAGE.1)
            .with_exposed_port(PORT.tcp())
            .with_wait_for(WaitFor::healthcheck())
            .with_env_var("POSTGRES_PASSWORD", PASSWORD)
            .with_cmd(command)
            .with_health_check(ready)
            .with_startup_timeout(PATIENCE)
            .with_host_config_modifier(|host| host.auto_remove = Some(true))
            .start()
            .await
            .unwrap_or_else(|error| panic!("no PostgreSQL in a container: {error}"));
        let host = container.get_host().await.unwrap().to_string();
        let port = container.get_host_port_ipv4(PORT).await.unwrap();
        Self { container, host, port }
    }

    /// A database's URL as the superuser.
    pub(crate) fn admin_url(&self, database: &str) -> String {
        let password = PASSWORD.replace(' ', "%20");
        format!("postgres://postgres:{password}@{}:{}/{database}", self.host, self.port)
    }

    /// Everything that it has logged.
    pub(crate) async fn log(&self) -> String {
        String::from_utf8_lossy(&self.container.stderr_to_vec().await.unwrap()).into_owned()
    }
}
