//! What a command's closure sees: states to decide on, streams to append to, claims to take.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use domain::{Aggregate, Category, EventData, EventType, MAX_ENCODED_EVENT, MessageId, TenantId, envelope};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::cache::{Known, States, StreamKey};
use super::load::Fold;
use crate::Error;

/// Why a command's closure ends early; made by `?` on what [`Unit`] answers, or by [`Stop::reject`].
pub struct Stop<E>(pub(super) StopKind<E>);

pub(super) enum StopKind<E> {
    /// A stream has to be loaded; the closure will run again.
    Load,
    Rejected(E),
    /// A claim is known to be taken without looking.
    Claimed(String),
    Failed(Error),
}

impl<E> Stop<E> {
    /// The decision is no.
    pub fn reject(rejection: E) -> Self {
        Self(StopKind::Rejected(rejection))
    }
}

/// An event that has no numbers yet.
pub(super) struct NewEvent {
    pub(super) stream: Uuid,
    pub(super) category: &'static str,
    pub(super) event_type: EventType,
    pub(super) id: Uuid,
    pub(super) data: Box<RawValue>,
    /// When it happened; `None`: when the command did.
    pub(super) occurred_at: Option<DateTime<Utc>>,
}

/// Something that is taken once, and by which event.
pub(crate) struct Claim {
    pub(crate) name: String,
    /// Place of the event in its command.
    pub(crate) event: usize,
}

/// An event of a stream that accumulates.
pub struct Posting<'a, D> {
    /// Its id.
    pub id: Uuid,
    /// When it happened; microseconds.
    pub occurred_at: DateTime<Utc>,
    /// What happened.
    pub event: &'a D,
}

/// A stream that a command has looked at or appended to.
pub(super) struct Touched {
    pub(super) key: StreamKey,
    /// The version it must have when the first event is appended; `None`: any.
    pub(super) expected: Option<u64>,
    /// Whether it has that version for certain when the tenant's head is as this process has left it.
    pub(super) vouched_for: bool,
    /// Its state after the command; `None` for streams without state.
    pub(super) after: Option<(Known, Fold)>,
    pub(super) appended: bool,
}

/// What a command has come to so far.
#[derive(Default)]
pub(super) struct Work {
    pub(super) touched: Vec<Touched>,
    pub(super) events: Vec<NewEvent>,
    pub(super) claims: Vec<Claim>,
    /// Decided on events that are not durable yet.
    pub(super) provisional: bool,
    /// The stream to load before trying again.
    pub(super) missing: Option<(StreamKey, Fold)>,
}

/// One command in the making: its closure decides through it, on one or several streams of its tenant, all or none.
pub struct Unit<'a> {
    pub(super) states: &'a mut States,
    pub(super) tenant: TenantId,
    pub(super) must_load: bool,
    pub(super) work: Work,
}

impl Unit<'_> {
    /// Decides `command` on the stream `id` of aggregate `A`; the stream must not change until the events are stored.
    pub fn run<A: Aggregate, E: From<A::Rejection>>(&mut self, id: Uuid, command: A::Command) -> Result<(), Stop<E>> {
        let at = self.touch::<A, E>(id, false)?;
        self.decide_at::<A, E>(at, command)
    }

    /// As [`Unit::run`], for a stream that is expected to be new: saves loading it. When it is not, it is loaded
    /// and the closure runs again.
    pub fn start<A: Aggregate, E: From<A::Rejection>>(&mut self, id: Uuid, command: A::Command) -> Result<(), Stop<E>> {
        let at = self.touch::<A, E>(id, true)?;
        self.decide_at::<A, E>(at, command)
    }

    /// Appends an event to a stream that accumulates: whatever its version is.
    pub fn record<D: EventData, E>(
        &mut self,
        category: Category,
        id: Uuid,
        posting: &Posting<'_, D>,
    ) -> Result<(), Stop<E>> {
        let key = StreamKey { tenant: self.tenant, stream: id };
        if !self.work.touched.iter().any(|touched| touched.key == key) {
            self.work.touched.push(Touched { key, expected: None, vouched_for: false, after: None, appended: true });
        }
        let data = encode(posting.event).map_err(|error| Stop(StopKind::Failed(error)))?;
        let new = NewEvent::new(category, id, posting.event.event_type(), data);
        self.work.events.push(NewEvent { id: posting.id, occurred_at: Some(posting.occurred_at), ..new });
        Ok(())
    }

    /// Takes an id that a client has chosen for a message, for the next event. One that was made for the tenant is taken.
    /// Two messages of one id would stop the projector.
    pub fn choose<E>(&mut self, id: MessageId) -> Result<(), Stop<E>> {
        let name = format!("message/{id}");
        if id.was_made_for(self.tenant) {
            return Err(Stop(StopKind::Claimed(name)));
        }
        self.claim(name);
        Ok(())
    }

    /// Takes something that may be taken once per tenant, for example `cost/<id>`, for the next event.
    pub fn claim(&mut self, name: String) {
        self.work.claims.push(Claim { name, event: self.work.events.len() });
    }

    fn decide_at<A: Aggregate, E: From<A::Rejection>>(
        &mut self,
        at: usize,
        command: A::Command,
    ) -> Result<(), Stop<E>> {
        let Touched { key, after: Some((known, _)), .. } = &self.work.touched[at] else {
            return Err(Stop(StopKind::Failed(Error::OtherCategory)));
        };
        let (stream, mut version) = (key.stream, known.version);
        let Some(state) = known.state.downcast_ref::<A::State>() else {
            return Err(Stop(StopKind::Failed(Error::OtherCategory)));
        };
        let events = A::decide(state, command).map_err(|rejection| Stop::reject(E::from(rejection)))?;
        if events.is_empty() {
            return Ok(());
        }
        let mut state = state.clone();
        for event in &events {
            version += 1;
            A::evolve(&mut state, version, event);
            self.push(A::CATEGORY, stream, event)?;
        }
        let touched = &mut self.work.touched[at];
        touched.appended = true;
        touched.after = Some((
            Known { version, as_of: None, category: Some(A::CATEGORY), state: Arc::new(state) },
            Fold::of::<A>(),
        ));
        Ok(())
    }

    /// The place of the stream in `touched`, with its state there.
    fn touch<A: Aggregate, E>(&mut self, id: Uuid, new: bool) -> Result<usize, Stop<E>> {
        let key = StreamKey { tenant: self.tenant, stream: id };
        if let Some(at) = self.work.touched.iter().position(|touched| touched.key == key) {
            return Ok(at);
        }
        let known = match self.states.get(&key) {
            Some((known, uncommitted)) => {
                self.states.meters.cache_hits.increment(1);
                self.work.provisional |= uncommitted;
                known
            }
            None if new && !self.must_load => {
                Known { version: 0, as_of: None, category: None, state: Arc::new(A::State::default()) }
            }
            None => {
                self.states.meters.cache_misses.increment(1);
                self.work.missing = Some((key, Fold::of::<A>()));
                return Err(Stop(StopKind::Load));
            }
        };
        if known.version > 0 && known.category != Some(A::CATEGORY) {
            return Err(Stop(StopKind::Failed(Error::OtherCategory)));
        }
        let expected = Some(known.version);
        let vouched_for = self.states.head(self.tenant).is_some_and(|head| head.vouches_for(&known));
        let after = Some((known, Fold::of::<A>()));
        self.work.touched.push(Touched { key, expected, vouched_for, after, appended: false });
        Ok(self.work.touched.len() - 1)
    }

    fn push<D: EventData, E>(&mut self, category: Category, stream: Uuid, event: &D) -> Result<(), Stop<E>> {
        let data = encode(event).map_err(|error| Stop(StopKind::Failed(error)))?;
        self.work.events.push(NewEvent::new(category, stream, event.event_type(), data));
        Ok(())
    }
}

impl NewEvent {
    pub(super) fn new(category: Category, stream: Uuid, event_type: EventType, data: Box<RawValue>) -> Self {
        Self { stream, category: category.as_str(), event_type, id: Uuid::now_v7(), data, occurred_at: None }
    }
}

/// An event's data as JSON, refused when its envelope would be too large.
pub(super) fn encode<D: EventData>(event: &D) -> Result<Box<RawValue>, Error> {
    let data = event.encode().map_err(Error::Encode)?;
    let bytes = data.get().len();
    if bytes + envelope::MAX_OVERHEAD > MAX_ENCODED_EVENT {
        return Err(Error::EventTooLarge { bytes });
    }
    Ok(data)
}
