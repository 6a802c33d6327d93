//! W3C Trace Context: which trace a request belongs to. What is malformed is ignored, as the recommendation says.

use std::fmt;

use axum::extract::FromRequestParts;
use axum::http::{HeaderMap, HeaderName, request::Parts};
use uuid::Uuid;

use crate::error::Error;
use crate::openapi::{Operation, Part};
use crate::problem::RequestId;

/// The header.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// A valid `traceparent`: the caller's span in its trace. Written in version 00, whatever the caller's version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent {
    trace_id: [u8; 16],
    parent_id: [u8; 8],
    sampled: bool,
}

impl TraceParent {
    /// Reads the header of a request: `None` when there is none, several, or it is malformed.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(TRACEPARENT).iter();
        let (Some(value), None) = (values.next(), values.next()) else { return None };
        Self::parse(value.as_bytes())
    }

    /// `version-trace_id-parent_id-flags` in lower-case hex. Later versions may append `-…`; version `ff` and ids of
    /// nothing but zeros are not valid.
    fn parse(value: &[u8]) -> Option<Self> {
        let (head, rest) = value.split_at_checked(55)?;
        let [version] = hex(&head[..2])?;
        let whole = match version {
            0 => rest.is_empty(),
            0xff => false,
            _later => rest.is_empty() || rest[0] == b'-',
        };
        let dashes = [2, 35, 52].iter().all(|at| head[*at] == b'-');
        let (trace_id, parent_id, [flags]) = (hex(&head[3..35])?, hex(&head[36..52])?, hex(&head[53..])?);
        let named = trace_id != [0; 16] && parent_id != [0; 8];
        // Of the flags a version 00 means the first alone; the others are not passed on.
        (whole && dashes && named).then_some(Self { trace_id, parent_id, sampled: flags & 1 == 1 })
    }

    /// The caller's span.
    pub fn parent_id(&self) -> [u8; 8] {
        self.parent_id
    }

    /// Whether the caller records this trace.
    pub fn is_sampled(&self) -> bool {
        self.sampled
    }

    /// The trace's id.
    pub fn trace_id(&self) -> TraceId {
        TraceId(self.trace_id)
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (trace, parent) = (u128::from_be_bytes(self.trace_id), u64::from_be_bytes(self.parent_id));
        write!(f, "00-{trace:032x}-{parent:016x}-{:02x}", u8::from(self.sampled))
    }
}

/// The id of a trace, 32 lower-case hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceId([u8; 16]);

impl TraceId {
    /// Its 16 bytes.
    pub fn bytes(&self) -> [u8; 16] {
        self.0
    }
}

impl From<Uuid> for TraceId {
    /// The trace that a request begins has the request's id: a UUIDv7 is random where a trace's id must be, and what
    /// has the request's id, as all its events have in `correlation_id`, is found by it.
    fn from(request: Uuid) -> Self {
        Self(request.into_bytes())
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

fn hex<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    let (pairs, rest) = digits.as_chunks::<2>();
    if pairs.len() != N || !rest.is_empty() {
        return None;
    }
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(bytes)
}

/// What a command's events say of where it came from: the request and, when the caller traces, the caller's span.
///
/// Without a `traceparent` of the caller events have none: nobody records a span of ours that it could name, and its
/// flag would tell consumers not to record theirs. Their `correlation_id` is the trace's id then.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin {
    pub(crate) request: RequestId,
    pub(crate) traceparent: Option<TraceParent>,
}

impl Part for Origin {
    fn describe(_: &mut Operation<'_>) {}
}

impl Origin {
    /// The caller's trace, else the one that begins with this request.
    pub(crate) fn trace_id(&self) -> TraceId {
        self.traceparent.map_or(TraceId::from(self.request.0), |parent| parent.trace_id())
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Origin {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        parts.extensions.get().copied().ok_or_else(|| Error::internal("the request has not passed problem::answer"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn read(values: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(TRACEPARENT, value.parse().unwrap());
        }
        TraceParent::of(&headers).map(|parent| parent.to_string())
    }

    #[test]
    fn a_valid_one_is_passed_on_with_the_flag_that_version_00_knows() {
        assert_eq!(read(&[GOOD]).as_deref(), Some(GOOD));
        let with_flags = |flags: &str| format!("{}{flags}", &GOOD[..53]);
        for (sent, passed) in [("00", "00"), ("ff", "01"), ("02", "00"), ("03", "01")] {
            assert_eq!(read(&[&with_flags(sent)]), Some(with_flags(passed)));
        }
        assert_eq!(TraceParent::parse(GOOD.as_bytes()).unwrap().trace_id().to_string(), &GOOD[3..35]);
    }

    #[test]
    fn a_later_version_may_say_more() {
        for later in
            [GOOD.replacen("00-", "cc-", 1), format!("{}-what-the-future-holds", GOOD.replacen("00-", "01-", 1))]
        {
            assert_eq!(read(&[&later]).as_deref(), Some(GOOD), "{later}");
        }
    }

    #[test]
    fn what_is_malformed_is_ignored() {
        let zeros = "0".repeat(32);
        for bad in [
            "",
            "nonsense",
            &GOOD[..54],
            &format!("{GOOD}-more"),
            &format!("{GOOD}0"),
            &format!("{}.more", GOOD.replacen("00-", "01-", 1)),
            &GOOD.replacen("00-", "ff-", 1),
            &GOOD.replacen("00-", "0g-", 1),
            &GOOD.to_uppercase(),
            &GOOD.replace("0af7651916cd43dd8448eb211c80319c", &zeros),
            &GOOD.replace("b7ad6b7169203331", &zeros[..16]),
            &GOOD.replacen('-', "_", 2),
            &GOOD.replace("319c", "31 c"),
        ] {
            assert_eq!(read(&[bad]), None, "{bad}");
        }
        assert_eq!(read(&[]), None);
        assert_eq!(read(&[GOOD, GOOD]), None);
    }

    #[test]
    fn a_trace_that_begins_here_has_the_requests_id() {
        let request = Uuid::now_v7();
        assert_eq!(TraceId::from(request).to_string(), request.simple().to_string());
    }
}
