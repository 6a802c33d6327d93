//! The connection: one per process and user, made in the background and made again for ever; it never makes a caller
//! wait for a server that is away.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_nats::jetstream::context::ContextBuilder;
use async_nats::{Client, ConnectOptions, Event, ServerAddr, jetstream};
use metrics::{Counter, Gauge, counter, describe_counter, describe_gauge, gauge};
use tokio::sync::watch;

use crate::subject::PerShard;
use crate::{ACK_TIMEOUT, Doorbell, Error, EventConsumer, EventFeed, EventStream, Result, User};

/// Longest pause between two attempts to connect.
const MAX_BACKOFF: Duration = Duration::from_secs(1);
/// Time for one attempt, TLS and log-in included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// A server that answers neither of two pings is taken for dead: 15 s after its last word at the latest.
const PING_INTERVAL: Duration = Duration::from_secs(5);
/// Commands to the server that wait to be written.
const SEND_QUEUE: usize = 1024;
/// Messages of one subscription that wait to be read; more are dropped.
const RECEIVE_QUEUE: usize = 8192;
/// Acks of published events that may be outstanding in the whole process.
const MAX_ACKS_IN_FLIGHT: usize = 4096;

/// What is known about the connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Connection {
    /// Whether there is one now.
    pub connected: bool,
    /// How often one has been made: when this grows, messages may have been missed and the server may be another.
    pub established: u64,
}

/// A connection to NATS as one user. Clones share it; it ends with the last clone and all that was made from it.
#[derive(Clone, Debug)]
pub struct Bus {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    client: Client,
    jetstream: jetstream::Context,
    connection: watch::Receiver<Connection>,
    doorbell: Arc<PerShard>,
    projected: Arc<PerShard>,
}

impl Bus {
    /// Starts to connect in the background and returns at once, whether or not a server is there; see [`Bus::ready`].
    ///
    /// `url` is one URL or several with commas between (`nats://` or `tls://`). With a password the log-in is
    /// `user`'s; without one it is what the first URL says (`nats://name:password@host`, taken as written, without
    /// percent-decoding), else none. A wrong password is logged and tried again like a server that is away.
    ///
    /// # Errors
    /// [`Error::Url`] only.
    pub async fn connect(url: &str, user: User, password: Option<&str>) -> Result<Self> {
        let servers = parse(url)?;
        let (sender, connection) = watch::channel(Connection::default());
        let warned = AtomicBool::new(false);
        let meters = Meters::register(user);
        let mut options = ConnectOptions::new()
            .name(format!("convolog {}", user.name()))
            .custom_inbox_prefix(user.inbox_prefix())
            .retry_on_initial_connect()
            .max_reconnects(None)
            .reconnect_delay_callback(backoff)
            .connection_timeout(CONNECT_TIMEOUT)
            .ping_interval(PING_INTERVAL)
            .request_timeout(Some(ACK_TIMEOUT))
            .client_capacity(SEND_QUEUE)
            .subscription_capacity(RECEIVE_QUEUE)
            .event_callback(move |event| {
                observe(&event, &sender, &warned, user);
                meters.observe(&event);
                std::future::ready(())
            });
        let in_url = servers.first().and_then(|server| Some((server.username()?, server.password()?)));
        let log_in = password.map(|password| (user.name(), password)).or(in_url);
        if let Some((name, password)) = log_in {
            options = options.user_and_password(name.to_owned(), password.to_owned());
        }
        let client = options.connect(servers.clone()).await.map_err(|error| Error::Url(error.into()))?;
        let jetstream = ContextBuilder::new()
            .timeout(ACK_TIMEOUT)
            .ack_timeout(ACK_TIMEOUT)
            .max_ack_inflight(MAX_ACKS_IN_FLIGHT)
            .backpressure_on_inflight(true)
            .build(client.clone());
        let (doorbell, projected) = (PerShard::new("doorbell").into(), PerShard::new("projected").into());
        Ok(Self { shared: Arc::new(Shared { client, jetstream, connection, doorbell, projected }) })
    }

    /// Whether there is a connection now.
    pub fn is_connected(&self) -> bool {
        self.shared.connection.borrow().connected
    }

    /// The connection's changes; the relay audits the stream when [`Connection::established`] has grown.
    pub fn connection(&self) -> watch::Receiver<Connection> {
        self.shared.connection.clone()
    }

    /// Waits until there is a connection; `false` when there is none after `within`.
    pub async fn ready(&self, within: Duration) -> bool {
        let mut connection = self.connection();
        tokio::time::timeout(within, connection.wait_for(|now| now.connected)).await.is_ok_and(|known| known.is_ok())
    }

    /// Waits until all that was rung, published and subscribed so far has been written to the server.
    ///
    /// # Errors
    /// [`Error::NotConnected`], [`Error::TimedOut`].
    pub async fn flush(&self) -> Result<()> {
        self.require_connection()?;
        let flushed =
            tokio::time::timeout(ACK_TIMEOUT, self.client().flush()).await.map_err(|_elapsed| Error::TimedOut)?;
        flushed.map_err(Error::client)
    }

    /// “This tenant's log has grown to seq”: rung by the API after a commit, heard by the relay.
    pub fn doorbell(&self) -> Doorbell {
        Doorbell::new(self.clone(), Arc::clone(&self.shared.doorbell))
    }

    /// “The read tables have this tenant's log up to seq”: rung by the projector, heard by the API.
    pub fn projected(&self) -> Doorbell {
        Doorbell::new(self.clone(), Arc::clone(&self.shared.projected))
    }

    /// The stream of events, to publish to.
    pub fn events(&self) -> EventStream {
        EventStream::new(self.clone())
    }

    /// The stream of events, to receive from.
    pub fn consumer(&self) -> EventConsumer {
        EventConsumer::new(self.clone())
    }

    /// The events as they are published, to follow without a consumer.
    pub fn feed(&self) -> EventFeed {
        EventFeed::new(self.clone())
    }

    pub(crate) fn client(&self) -> &Client {
        &self.shared.client
    }

    pub(crate) fn jetstream(&self) -> &jetstream::Context {
        &self.shared.jetstream
    }

    /// So that nothing is queued for a server that is away.
    pub(crate) fn require_connection(&self) -> Result<()> {
        if self.is_connected() { Ok(()) } else { Err(Error::NotConnected) }
    }

    /// Resolves when the present connection is lost, even when another has taken its place since; at once when there
    /// is none.
    pub(crate) fn lost(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut connection = self.connection();
        let present = *connection.borrow_and_update();
        async move {
            // An error means that the client has ended.
            let _ = connection.wait_for(|now| !now.connected || now.established != present.established).await;
        }
    }
}

fn parse(urls: &str) -> Result<Vec<ServerAddr>> {
    let parse_one = |url: &str| {
        let server: ServerAddr = url.trim().parse().map_err(|error: std::io::Error| Error::Url(error.into()))?;
        let usable = !server.host().is_empty() && !server.is_websocket();
        if usable { Ok(server) } else { Err(Error::Url("there is no host in it, or it is a websocket's".into())) }
    };
    urls.split(',').map(parse_one).collect()
}

/// 0, 50, 100, 200, … ms before the first, second, … attempt.
fn backoff(attempts: usize) -> Duration {
    let doublings = u32::try_from(attempts.saturating_sub(2)).unwrap_or(u32::MAX).min(8);
    if attempts <= 1 { Duration::ZERO } else { MAX_BACKOFF.min(Duration::from_millis(50 << doublings)) }
}

/// The connection's gauges.
struct Meters {
    connected: Gauge,
    connections: Counter,
}

impl Meters {
    fn register(user: User) -> Self {
        describe_gauge!("convolog_nats_connected", "Whether there is a connection to NATS, by the user it is for");
        describe_counter!("convolog_nats_connections_total", "Connections to NATS made since the start, by user");
        let user = user.name();
        let connected = gauge!("convolog_nats_connected", "user" => user);
        connected.set(0);
        Self { connected, connections: counter!("convolog_nats_connections_total", "user" => user) }
    }

    fn observe(&self, event: &Event) {
        match event {
            Event::Connected => {
                self.connected.set(1);
                self.connections.increment(1);
            }
            Event::Disconnected | Event::Closed => self.connected.set(0),
            Event::ClientError(_)
            | Event::ServerError(_)
            | Event::SlowConsumer(_)
            | Event::LameDuckMode
            | Event::Draining => {}
        }
    }
}

/// Keeps the connection's state and logs what an operator should know, an absent server once and not at every attempt.
fn observe(event: &Event, connection: &watch::Sender<Connection>, warned: &AtomicBool, user: User) {
    let user = user.name();
    match event {
        Event::Connected => {
            warned.store(false, Ordering::Relaxed);
            connection.send_modify(|now| *now = Connection { connected: true, established: now.established + 1 });
            tracing::info!(user, "connected to NATS");
        }
        Event::Disconnected | Event::Closed => {
            connection.send_modify(|now| now.connected = false);
            tracing::warn!(user, "disconnected from NATS");
        }
        Event::ClientError(error) => {
            if warned.swap(true, Ordering::Relaxed) {
                tracing::debug!(user, %error, "still can't connect to NATS");
            } else {
                tracing::warn!(user, %error, "can't connect to NATS, trying again for ever");
            }
        }
        Event::ServerError(error) => tracing::warn!(user, %error, "NATS reports an error"),
        Event::SlowConsumer(_) => tracing::debug!(user, "a subscription is full, messages are dropped"),
        Event::LameDuckMode | Event::Draining => tracing::info!(user, %event, "NATS is about to close"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_between_attempts_grows_to_a_second() {
        let pauses: Vec<u128> = [1, 2, 3, 4, 6, 7, 8, 1000].map(|attempt| backoff(attempt).as_millis()).into();
        assert_eq!(pauses, [0, 50, 100, 200, 800, 1000, 1000, 1000]);
    }

    #[test]
    fn a_url_may_name_several_servers() {
        assert_eq!(parse("nats://a:1, tls://b:2").unwrap().len(), 2);
        assert_eq!(parse("127.0.0.1:4222").unwrap()[0].port(), 4222);
        for malformed in ["", "http://a", "ws://a", "nats://a,"] {
            assert!(matches!(parse(malformed), Err(Error::Url(_))), "{malformed}");
        }
    }

    #[test]
    fn a_reconnect_that_nobody_watched_is_still_seen() {
        let (sender, receiver) = watch::channel(Connection::default());
        let warned = AtomicBool::new(true);
        for event in [Event::Connected, Event::Disconnected, Event::Connected] {
            observe(&event, &sender, &warned, User::Relay);
        }
        assert_eq!(*receiver.borrow(), Connection { connected: true, established: 2 });
        assert!(!warned.load(Ordering::Relaxed));
    }
}
