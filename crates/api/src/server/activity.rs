//! What a connection is doing and since when, so that it can be told when it has taken too long.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use http_body::{Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::ServerSettings;

/// What a connection has taken too long for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overdue {
    /// To send the rest of a request's head.
    Head,
    /// To send a request at all.
    Silent,
    /// To read an answer.
    Stalled,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    /// Connected, nothing received yet.
    New,
    /// Part of a head has been received.
    Head,
    /// A request is being answered; its own limits apply.
    Serving,
    /// Everything is answered.
    Idle,
}

/// Shared by the connection's socket, its requests and its clock.
#[derive(Clone)]
pub(super) struct Activity(Arc<Mutex<State>>);

struct State {
    phase: Phase,
    since: Instant,
    /// Since when the socket takes no more bytes.
    stalled: Option<Instant>,
}

impl Activity {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(State { phase: Phase::New, since: Instant::now(), stalled: None })))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change is complete in itself.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request's head is complete; the guard is dropped when its answer is handed over.
    pub(super) fn begin(&self) -> Serving {
        self.lock().phase = Phase::Serving;
        Serving(self.clone())
    }

    fn received(&self) {
        let mut state = self.lock();
        match state.phase {
            Phase::New | Phase::Idle => {
                state.phase = Phase::Head;
                state.since = Instant::now();
            }
            Phase::Head | Phase::Serving => {}
        }
    }

    fn sent(&self, progress: bool) {
        let mut state = self.lock();
        state.stalled = match progress {
            true => None,
            false => state.stalled.or_else(|| Some(Instant::now())),
        };
    }

    /// What the connection has taken too long for, if anything.
    pub(super) fn overdue(&self, settings: &ServerSettings) -> Option<Overdue> {
        let state = self.lock();
        let over = |since: Instant, limit: Duration| since.elapsed() >= limit;
        if state.stalled.is_some_and(|since| over(since, settings.stall_timeout)) {
            return Some(Overdue::Stalled);
        }
        match state.phase {
            Phase::New if over(state.since, settings.head_timeout) => Some(Overdue::Silent),
            Phase::Head if over(state.since, settings.head_timeout) => Some(Overdue::Head),
            Phase::Idle if over(state.since, settings.idle_timeout) => Some(Overdue::Silent),
            Phase::New | Phase::Head | Phase::Idle | Phase::Serving => None,
        }
    }
}

/// A request that is being answered.
pub(super) struct Serving(Activity);

impl Drop for Serving {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.phase = Phase::Idle;
        state.since = Instant::now();
    }
}

/// The socket, which tells what it does.
pub(super) struct Watched {
    pub(super) stream: TcpStream,
    pub(super) activity: Activity,
}

impl AsyncRead for Watched {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            this.activity.received();
        }
        read
    }
}

impl AsyncWrite for Watched {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(cx, bytes);
        this.activity.sent(written.is_ready());
        written
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write_vectored(cx, bytes);
        this.activity.sent(written.is_ready());
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

/// An answer's body; the request is being served as long as it lasts.
pub(super) struct Answer {
    pub(super) body: Body,
    pub(super) _serving: Serving,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.get_mut().body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
