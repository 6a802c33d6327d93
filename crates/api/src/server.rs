//! The server loop: accepts connections, bounds how many there are and how long each may take, ends them in order.
//! What a request means is the router's business.

mod activity;
mod connection;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::worker::{self, Worker};
use crate::{router, state::Api};

pub(crate) use connection::Arrived;

/// Connections of one process. Each may take [`MAX_HEAD`] twice, so this bounds memory too.
pub const MAX_CONNECTIONS: usize = 4096;
/// Connections beyond that which still hear something: `/health` is answered, everything else is 503. When these are
/// taken too, new ones wait in the kernel's queue.
pub const RESERVED_CONNECTIONS: usize = 64;
/// How long a request's head may take to arrive, and a new connection to begin with one.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection may stay open between two requests.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(75);
/// How long a client may read nothing of an answer that is ready.
pub const STALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest time until an answer begins. Everything that a request waits for has a shorter limit of its own.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// How long requests under way may go on after shutdown has begun; then their connections are cut.
pub const SHUTDOWN_GRACE: Duration = Duration::from_secs(5);
/// Bytes of a request's head (and of a connection's buffers) beyond which it is not even read to its end.
pub const MAX_HEAD: usize = 32 * 1024;
/// Pause after connections could not be accepted, for example because no file may be opened any more.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How much a server takes on; the defaults are the constants of this module.
#[derive(Clone, Debug)]
pub struct ServerSettings {
    /// See [`MAX_CONNECTIONS`].
    pub max_connections: usize,
    /// See [`HEAD_TIMEOUT`].
    pub head_timeout: Duration,
    /// See [`IDLE_TIMEOUT`].
    pub idle_timeout: Duration,
    /// See [`STALL_TIMEOUT`].
    pub stall_timeout: Duration,
    /// See [`REQUEST_TIMEOUT`].
    pub request_timeout: Duration,
    /// See [`SHUTDOWN_GRACE`].
    pub shutdown_grace: Duration,
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self {
            max_connections: MAX_CONNECTIONS,
            head_timeout: HEAD_TIMEOUT,
            idle_timeout: IDLE_TIMEOUT,
            stall_timeout: STALL_TIMEOUT,
            request_timeout: REQUEST_TIMEOUT,
            shutdown_grace: SHUTDOWN_GRACE,
        }
    }
}

/// Serves until `stop`; then streams are told to end, requests under way are finished, and whatever still lasts after
/// the grace is cut.
pub async fn serve(
    listener: TcpListener,
    api: Api,
    settings: ServerSettings,
    stop: CancellationToken,
) -> io::Result<()> {
    let server = Server::new(router(api.clone()), settings, stop);
    server.accept_until_stopped(&listener).await;
    drop(listener);
    api.inner.closing.cancel();
    server.finish().await;
    Ok(())
}

/// The same for the few routes of a process without the API.
pub async fn serve_worker(
    listener: TcpListener,
    worker: Worker,
    settings: ServerSettings,
    stop: CancellationToken,
) -> io::Result<()> {
    let server = Server::new(worker::router(worker), settings, stop);
    server.accept_until_stopped(&listener).await;
    drop(listener);
    server.finish().await;
    Ok(())
}

struct Server {
    slots: Slots,
    router: Router,
    settings: Arc<ServerSettings>,
    stop: CancellationToken,
    /// Ends connections at once.
    cut: CancellationToken,
    connections: TaskTracker,
}

impl Server {
    fn new(router: Router, settings: ServerSettings, stop: CancellationToken) -> Self {
        Self {
            slots: Slots::new(settings.max_connections),
            router,
            settings: Arc::new(settings),
            stop,
            cut: CancellationToken::new(),
            connections: TaskTracker::new(),
        }
    }

    async fn accept_until_stopped(&self, listener: &TcpListener) {
        loop {
            let next = async {
                let slot = self.slots.take().await;
                (slot, accept(listener).await)
            };
            let (slot, (stream, peer)) = tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                next = next => next,
            };
            let connection = connection::Connection {
                peer,
                over_limit: slot.over_limit,
                router: self.router.clone(),
                settings: self.settings.clone(),
                stop: self.stop.clone(),
                cut: self.cut.clone(),
            };
            let task = async move {
                connection.serve(stream).await;
                drop(slot);
            };
            store::spawn("connection", self.connections.track_future(task));
        }
    }

    async fn finish(&self) {
        self.connections.close();
        if tokio::time::timeout(self.settings.shutdown_grace, self.connections.wait()).await.is_err() {
            tracing::warn!(connections = self.connections.len(), "cutting connections whose requests do not end");
            self.cut.cancel();
            self.connections.wait().await;
        }
    }
}

async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            // That client has gone again; the next one may be fine.
            Err(error) if is_the_clients(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "no connection can be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn is_the_clients(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
    )
}

/// Who may be connected.
struct Slots {
    regular: Arc<Semaphore>,
    reserved: Arc<Semaphore>,
}

/// Permission for one connection, returned when dropped.
struct Slot {
    over_limit: bool,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Slots {
    fn new(max_connections: usize) -> Self {
        let regular = Arc::new(Semaphore::new(max_connections.min(Semaphore::MAX_PERMITS)));
        Self { regular, reserved: Arc::new(Semaphore::new(RESERVED_CONNECTIONS)) }
    }

    /// A regular slot if there is one, else a reserved one, else the first that becomes free.
    async fn take(&self) -> Slot {
        let (regular, reserved) = (self.regular.clone(), self.reserved.clone());
        let (over_limit, permit) = tokio::select! {
            biased;
            permit = regular.acquire_owned() => (false, permit),
            permit = reserved.acquire_owned() => (true, permit),
        };
        // Nobody closes these semaphores.
        Slot { over_limit, _permit: permit.ok() }
    }
}
