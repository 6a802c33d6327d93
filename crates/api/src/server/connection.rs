//! One connection from its first byte to its last: HTTP/1.1, with a clock beside it.

use std::convert::Infallible;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::activity::{Activity, Answer, Overdue, Watched};
use super::{MAX_HEAD, ServerSettings};
use crate::{
    error::{Code, Error},
    problem,
};

/// How long a client that was refused may go on sending before its connection is gone: closing on unread bytes would
/// make the kernel drop the answer.
const LINGER: Duration = Duration::from_secs(1);

/// What a request's connection says of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrived {
    /// The connection is beyond the limit: only who looks after this process is answered, and it ends.
    pub(crate) over_limit: bool,
    /// Longest time until an answer begins.
    pub(crate) request_timeout: Duration,
}

pub(super) struct Connection {
    pub(super) peer: SocketAddr,
    pub(super) over_limit: bool,
    pub(super) router: Router,
    pub(super) settings: Arc<ServerSettings>,
    pub(super) stop: CancellationToken,
    pub(super) cut: CancellationToken,
}

impl Connection {
    pub(super) async fn serve(self, stream: TcpStream) {
        // An answer is written at once and whole: waiting for more would only delay it.
        let _ = stream.set_nodelay(true);
        let activity = Activity::new();
        let arrived = Arrived { over_limit: self.over_limit, request_timeout: self.settings.request_timeout };
        let service = service_fn(|mut request: Request<Incoming>| {
            let serving = activity.begin();
            request.extensions_mut().insert(ConnectInfo(self.peer));
            request.extensions_mut().insert(arrived);
            let answering = self.router.clone().oneshot(request.map(Body::new));
            Box::pin(async move {
                let response = answering.await?;
                Ok::<_, Infallible>(response.map(|body| Answer { body, _serving: serving }))
            })
        });
        let io = TokioIo::new(Watched { stream, activity: activity.clone() });
        // Time is kept here and not by hyper, which knows one limit for a head and for the time between two requests,
        // and answers nothing when it is over.
        let mut connection = http1::Builder::new()
            .header_read_timeout(None)
            .max_buf_size(MAX_HEAD)
            .max_header_size(MAX_HEAD)
            .serve_connection(io, service);
        // Often enough that no limit is exceeded by much, and seldom enough to cost nothing.
        let mut clock = tokio::time::interval(self.settings.head_timeout.max(Duration::from_millis(4)) / 4);
        let mut stopping = false;
        let overdue = loop {
            tokio::select! {
                ended = poll_fn(|cx| connection.poll_without_shutdown(cx)) => {
                    if let Err(error) = ended {
                        tracing::debug!(%error, peer = %self.peer, "a connection has failed");
                    }
                    break None;
                }
                () = self.cut.cancelled() => return,
                () = self.stop.cancelled(), if !stopping => {
                    stopping = true;
                    std::pin::Pin::new(&mut connection).graceful_shutdown();
                }
                _ = clock.tick() => {
                    let overdue = activity.overdue(&self.settings);
                    if overdue.is_some() {
                        break overdue;
                    }
                }
            }
        };
        let stream = connection.into_parts().io.into_inner().stream;
        tokio::select! {
            () = self.cut.cancelled() => {}
            () = end(stream, overdue) => {}
        }
    }
}

/// Says why, if there is something to say and somebody listens, and closes so that it arrives.
async fn end(mut stream: TcpStream, overdue: Option<Overdue>) {
    let farewell = async {
        match overdue {
            Some(Overdue::Stalled | Overdue::Silent) => return,
            Some(Overdue::Head) => {
                let late = Error::new(Code::RequestTimeout, "The head of the request did not arrive in time.");
                let _ = stream.write_all(&problem::last_words(&late)).await;
            }
            None => {}
        }
        let _ = stream.shutdown().await;
        let mut unread = [0; 1024];
        while stream.read(&mut unread).await.is_ok_and(|read| read > 0) {}
    };
    let _ = tokio::time::timeout(LINGER, farewell).await;
}
