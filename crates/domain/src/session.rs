//! A session: one AI conversation, from its start through its messages to its end.

use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use uuid::Uuid;

use crate::{Aggregate, Category, DecodeError, EventData, EventType, JsonObject, MessageId};

/// Longest content of a message in bytes of UTF-8.
pub const MAX_CONTENT: usize = 256 * 1024;
/// Most attachments of a message.
pub const MAX_ATTACHMENTS: usize = 20;
/// Largest metadata of a session or message in bytes of JSON.
pub const MAX_METADATA: usize = 16 * 1024;

/// The aggregate.
pub struct Session;

/// What can be asked of a session.
#[derive(Clone, Debug)]
pub enum Command {
    /// Begin the conversation.
    Start(Started),
    /// Add a message to an open conversation.
    PostMessage(Posted),
    /// Close the conversation; it takes no message from then on.
    End {
        /// The version of the session's own last change that the caller has seen, when it insists on it.
        if_version: Option<u64>,
    },
}

/// What happened to a session.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(test, derive(strum::VariantNames), strum(serialize_all = "snake_case"))]
pub enum Event {
    /// The conversation began.
    SessionStarted(Started),
    /// Somebody said something.
    MessagePosted(Posted),
    /// The conversation is over.
    SessionEnded,
}

/// How a session is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Written messages.
    Text,
    /// A meeting with voice or video.
    Meeting,
}

impl Mode {
    /// Its name in JSON and in the read tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Meeting => "meeting",
        }
    }
}

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The person.
    User,
    /// The AI.
    Assistant,
    /// Instructions to the AI.
    System,
}

impl Role {
    /// Its name in JSON and in the read tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Assistant => "assistant",
            Self::System => "system",
        }
    }
}

/// The beginning of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    /// Written or spoken.
    pub mode: Mode,
    /// The widget it was opened in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub widget_id: Option<Uuid>,
    /// The meeting it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meeting_id: Option<Uuid>,
    /// The AI personality that speaks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub personality_id: Option<Uuid>,
    /// Free-form, at most [`MAX_METADATA`] bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<JsonObject>,
}

/// One message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Posted {
    /// Its id.
    pub message_id: MessageId,
    /// Who speaks.
    pub role: Role,
    /// What is said, at most [`MAX_CONTENT`] bytes.
    pub content: String,
    /// Files that go with it, at most [`MAX_ATTACHMENTS`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attachments: Vec<Attachment>,
    /// Free-form, for example model and latency; at most [`MAX_METADATA`] bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<JsonObject>,
}

/// A file that goes with a message; Convolog keeps the reference, not the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// What it is, for example `image`, `audio`, `file`.
    pub kind: String,
    /// Where it is.
    pub url: String,
    /// Its file name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its media type, for example `image/png`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// Its size in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
}

/// The phase a session is in. `own_version` is the version of the last event that changed the session itself, not
/// its messages: what the session's `ETag` says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "snake_case", deny_unknown_fields)]
pub enum State {
    /// Nothing has happened.
    #[default]
    NotStarted,
    /// It takes messages.
    Open {
        /// See [`State`].
        own_version: u64,
    },
    /// It is over.
    Ended {
        /// See [`State`].
        own_version: u64,
    },
}

/// Why a session does not do as it is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// There is no such session.
    NotFound,
    /// There already is a session of this id.
    AlreadyStarted,
    /// It is over.
    Ended,
    /// The caller insisted on another version of the session's own fields.
    VersionMismatch {
        /// The version it has.
        current: u64,
    },
}

impl Aggregate for Session {
    const CATEGORY: Category = Category::Session;
    const STATE_SHAPE: &'static str = "session.1";
    type State = State;
    type Command = Command;
    type Event = Event;
    type Rejection = Rejection;

    fn decide(state: &State, command: Command) -> Result<Vec<Event>, Rejection> {
        match (state, command) {
            (State::NotStarted, Command::Start(started)) => Ok(vec![Event::SessionStarted(started)]),
            (State::Open { .. } | State::Ended { .. }, Command::Start(_)) => Err(Rejection::AlreadyStarted),
            (State::NotStarted, Command::PostMessage(_) | Command::End { .. }) => Err(Rejection::NotFound),
            (State::Open { .. }, Command::PostMessage(posted)) => Ok(vec![Event::MessagePosted(posted)]),
            (State::Open { own_version } | State::Ended { own_version }, Command::End { if_version: Some(seen) })
                if seen != *own_version =>
            {
                Err(Rejection::VersionMismatch { current: *own_version })
            }
            (State::Open { .. }, Command::End { .. }) => Ok(vec![Event::SessionEnded]),
            (State::Ended { .. }, Command::PostMessage(_) | Command::End { .. }) => Err(Rejection::Ended),
        }
    }

    fn evolve(state: &mut State, version: u64, event: &Event) {
        match event {
            Event::SessionStarted(_) => *state = State::Open { own_version: version },
            Event::MessagePosted(_) => {}
            Event::SessionEnded => *state = State::Ended { own_version: version },
        }
    }
}

impl EventData for Event {
    fn event_type(&self) -> EventType {
        let name = match self {
            Self::SessionStarted(_) => "session_started",
            Self::MessagePosted(_) => "message_posted",
            Self::SessionEnded => "session_ended",
        };
        EventType { name, schema: 1 }
    }

    fn encode(&self) -> Result<Box<RawValue>, serde_json::Error> {
        match self {
            Self::SessionStarted(started) => to_raw_value(started),
            Self::MessagePosted(posted) => to_raw_value(posted),
            Self::SessionEnded => to_raw_value(&serde_json::Map::new()),
        }
    }

    fn decode(name: &str, schema: u16, data: &RawValue) -> Result<Self, DecodeError> {
        let malformed = |source| DecodeError::malformed(name, schema, source);
        match (name, schema) {
            ("session_started", 1) => serde_json::from_str(data.get()).map(Self::SessionStarted).map_err(malformed),
            ("message_posted", 1) => serde_json::from_str(data.get()).map(Self::MessagePosted).map_err(malformed),
            ("session_ended", 1) => Ok(Self::SessionEnded),
            _ => Err(DecodeError::newer(name, schema)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn started() -> Event {
        Event::SessionStarted(Started {
            mode: Mode::Text,
            widget_id: None,
            meeting_id: None,
            personality_id: None,
            metadata: None,
        })
    }

    fn post() -> Posted {
        Posted {
            message_id: MessageId(Uuid::from_u128(7)),
            role: Role::User,
            content: "Hello".into(),
            attachments: vec![],
            metadata: None,
        }
    }

    fn given(events: &[Event]) -> State {
        let mut state = State::default();
        for (version, event) in (1..).zip(events) {
            Session::evolve(&mut state, version, event);
        }
        state
    }

    #[test]
    fn an_open_session_takes_a_message() {
        let decided = Session::decide(&given(&[started()]), Command::PostMessage(post()));
        assert_eq!(decided, Ok(vec![Event::MessagePosted(post())]));
    }

    #[test]
    fn a_closed_session_takes_no_message() {
        let state = given(&[started(), Event::SessionEnded]);
        assert_eq!(Session::decide(&state, Command::PostMessage(post())), Err(Rejection::Ended));
        assert_eq!(Session::decide(&state, Command::End { if_version: None }), Err(Rejection::Ended));
    }

    #[test]
    fn a_session_that_never_began_is_not_found() {
        let state = State::NotStarted;
        assert_eq!(Session::decide(&state, Command::PostMessage(post())), Err(Rejection::NotFound));
        assert_eq!(Session::decide(&state, Command::End { if_version: Some(1) }), Err(Rejection::NotFound));
    }

    #[test]
    fn a_message_does_not_change_the_version_that_end_may_insist_on() {
        let state = given(&[started(), Event::MessagePosted(post()), Event::MessagePosted(post())]);
        assert_eq!(Session::decide(&state, Command::End { if_version: Some(1) }), Ok(vec![Event::SessionEnded]));
        assert_eq!(
            Session::decide(&state, Command::End { if_version: Some(3) }),
            Err(Rejection::VersionMismatch { current: 1 })
        );
    }

    #[test]
    fn a_second_start_is_refused() {
        let Event::SessionStarted(again) = started() else { unreachable!() };
        assert_eq!(Session::decide(&given(&[started()]), Command::Start(again)), Err(Rejection::AlreadyStarted));
    }

    #[test]
    fn the_snapshot_of_a_state_keeps_the_shape_it_is_named_after() {
        let states = [State::NotStarted, State::Open { own_version: 1 }, State::Ended { own_version: 9 }];
        let text = serde_json::to_string(&states).unwrap();
        assert_eq!(
            (Session::STATE_SHAPE, text.as_str()),
            (
                "session.1",
                r#"[{"phase":"not_started"},{"phase":"open","own_version":1},{"phase":"ended","own_version":9}]"#
            )
        );
        assert_eq!(serde_json::from_str::<[State; 3]>(&text).unwrap(), states);
    }
}
