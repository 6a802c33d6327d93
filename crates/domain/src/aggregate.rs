//! What every aggregate is made of: a pure decision over a state that is folded from events.

use serde::{Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use crate::Category;

/// A consistency boundary: one stream of events whose state decides which commands are accepted.
///
/// `decide` and `evolve` are pure and take microseconds, because a writer runs them for a whole batch of commands
/// between two round trips to the database, and runs them again when another process was faster.
pub trait Aggregate: 'static {
    /// The category of its streams.
    const CATEGORY: Category;

    /// Changes whenever the serialised form of [`Aggregate::State`] does, and whenever the aggregate has a new event type
    /// or version. So no old snapshot is ever read as a new one, and none that newer code has folded hides from older
    /// code that the stream holds events it does not know.
    const STATE_SHAPE: &'static str;

    /// What decisions need to know of the past; small and bounded, whatever the stream's length.
    type State: Clone + Default + Send + Sync + Serialize + DeserializeOwned + 'static;
    /// A wish, in the imperative.
    type Command;
    /// A fact, in the past tense.
    type Event: EventData;
    /// Why a wish is not granted; carries values, not sentences.
    type Rejection;

    /// Which facts follow from a command. An empty list is "nothing to do" and is success.
    fn decide(state: &Self::State, command: Self::Command) -> Result<Vec<Self::Event>, Self::Rejection>;

    /// Folds one fact into the state; total. `version` is the event's number in the stream.
    fn evolve(state: &mut Self::State, version: u64, event: &Self::Event);
}

/// Name and schema version of an event type: the stable part of its CloudEvents `type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EventType {
    /// For example `message_posted`.
    pub name: &'static str,
    /// Version of the data's schema, from 1.
    pub schema: u16,
}

/// The events of one aggregate: how they are named, written and read.
pub trait EventData: Sized + Send {
    /// The type under which this event is written today.
    fn event_type(&self) -> EventType;

    /// Its data as JSON.
    fn encode(&self) -> Result<Box<RawValue>, serde_json::Error>;

    /// Reads any version ever written; an older one is brought up to today's form.
    fn decode(name: &str, schema: u16, data: &RawValue) -> Result<Self, DecodeError>;
}

/// Why a stored event can't be read.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Written by newer code than this: wait for an upgrade, never skip it.
    #[error("event type {name}.v{schema} is newer than this version of Convolog")]
    Newer {
        /// Its name.
        name: String,
        /// Its schema version.
        schema: u16,
    },
    /// The data does not have the form that its type says.
    #[error("event data of type {name}.v{schema} is malformed")]
    Malformed {
        /// Its name.
        name: String,
        /// Its schema version.
        schema: u16,
        /// What is wrong.
        source: serde_json::Error,
    },
}

impl DecodeError {
    pub(crate) fn newer(name: &str, schema: u16) -> Self {
        Self::Newer { name: name.to_owned(), schema }
    }

    pub(crate) fn malformed(name: &str, schema: u16, source: serde_json::Error) -> Self {
        Self::Malformed { name: name.to_owned(), schema, source }
    }
}
