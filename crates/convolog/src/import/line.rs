//! One line of an import file: bytes in, a conversation or what is wrong with it out. It knows no tenant and no clock.

mod content;
mod fields;
mod left_out;

pub use left_out::LeftOut;

use api::body::{Object, checked, violation};
use api::violation::Violation;
use chrono::{DateTime, Utc};
use domain::session::{Attachment, MAX_ATTACHMENTS, MAX_CONTENT, MAX_METADATA, Mode, Posted, Role};
use domain::{EventData as _, JsonObject, MAX_ENCODED_EVENT, MessageId, envelope, session};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use fields::{Line, LineMessage, Speaker};

/// Longest line in bytes, without its end.
pub const MAX_LINE: usize = 8 * 1024 * 1024;
/// Longest `id` of a line and longest name of a model, in characters.
pub const MAX_NAME: usize = 200;

/// A conversation as a line tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conversation {
    /// By what the same conversation is known when it comes again: the line's `id`, else its bytes.
    pub identity: String,
    /// When it began.
    pub created: Option<DateTime<Utc>>,
    /// When it ended; it stays open without.
    pub ended: Option<DateTime<Utc>>,
    /// How it was held.
    pub mode: Mode,
    /// The widget it was opened in.
    pub widget_id: Option<Uuid>,
    /// The meeting it belongs to.
    pub meeting_id: Option<Uuid>,
    /// The AI personality that speaks.
    pub personality_id: Option<Uuid>,
    /// Of the session.
    pub metadata: Option<JsonObject>,
    /// At least one.
    pub messages: Vec<Message>,
    /// What the line says and Convolog has no place for.
    pub left_out: LeftOut,
}

/// A message of a [`Conversation`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said.
    pub content: String,
    /// When, if the line says so.
    pub created: Option<DateTime<Utc>>,
    /// Files that go with it.
    pub attachments: Vec<Attachment>,
    /// With the line's model in it, when the assistant speaks.
    pub metadata: Option<JsonObject>,
}

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{detail}", if pointer.is_empty() { String::new() } else { format!("{pointer}: ") })]
pub struct LineError {
    /// A name for programs, those of the API where it has one.
    pub code: &'static str,
    /// RFC 6901, to the value that is wrong; empty for the line as a whole.
    pub pointer: String,
    /// In a few words.
    pub detail: String,
}

impl LineError {
    /// An error of the line as a whole.
    pub fn whole(code: &'static str, detail: impl Into<String>) -> Self {
        Self { code, pointer: String::new(), detail: detail.into() }
    }

    fn at(pointer: String, code: &'static str, detail: String) -> Self {
        Self { code, pointer, detail }
    }

    fn of(violation: &Violation) -> Self {
        let pointer = violation.pointer().unwrap_or_default().to_owned();
        Self { code: violation.code(), pointer, detail: violation.detail().to_owned() }
    }
}

/// Reads one line, without its line feed.
pub fn parse(line: &[u8]) -> Result<Conversation, LineError> {
    let line = line.trim_ascii();
    if line.len() > MAX_LINE {
        return Err(too_long());
    }
    if line.is_empty() {
        return Err(LineError::whole("empty_line", "the line is empty"));
    }
    if line.starts_with(b"\xef\xbb\xbf") {
        return Err(LineError::whole("invalid_json", "the line begins with a byte order mark (U+FEFF)"));
    }
    let text = checked(line).map_err(|error| {
        // There is but one line, and its number is known outside.
        LineError::whole(error.code().as_str(), error.detail().replace(" at line 1 column ", " at byte "))
    })?;
    let (fields, mut left_out) = read(text)?;
    let mut messages = Vec::with_capacity(fields.messages.len());
    for (at, Object(message)) in fields.messages.into_iter().enumerate() {
        messages.extend(message_of(at, message, fields.model.as_deref(), &mut left_out)?);
    }
    if messages.is_empty() {
        return Err(LineError::at("/messages".into(), "no_messages", "there is no message to import".into()));
    }
    at_most("/metadata", fields.metadata.as_ref().map_or(0, |json| json.as_str().len()), MAX_METADATA, "bytes")?;
    Ok(Conversation {
        identity: identity(fields.id.map(|id| id.0), line)?,
        created: fields.created.map(|time| time.0),
        ended: fields.ended.map(|time| time.0),
        mode: fields.mode.map_or(Mode::Text, |word| word.0),
        widget_id: fields.widget_id,
        meeting_id: fields.meeting_id,
        personality_id: fields.personality_id,
        metadata: fields.metadata,
        messages,
        left_out,
    })
}

/// A line beyond [`MAX_LINE`].
pub fn too_long() -> LineError {
    LineError::whole("line_too_long", format!("the line has more than {MAX_LINE} bytes"))
}

fn read(text: &str) -> Result<(Line, LeftOut), LineError> {
    let mut left_out = LeftOut::default();
    let mut json = serde_json::Deserializer::from_str(text);
    let mut track = serde_path_to_error::Track::new();
    let json = serde_path_to_error::Deserializer::new(&mut json, &mut track);
    let read: Result<Object<Line>, _> = serde_ignored::deserialize(json, |path| left_out.add(&left_out::name(&path)));
    match read {
        Ok(Object(line)) => Ok((line, left_out)),
        Err(error) => Err(LineError::of(&violation(&serde_path_to_error::Error::new(track.path(), error)))),
    }
}

fn identity(id: Option<String>, line: &[u8]) -> Result<String, LineError> {
    let Some(id) = id else {
        let digest = Sha256::digest(line);
        return Ok(format!("line/{}", digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>()));
    };
    at_most("/id", id.chars().count(), MAX_NAME, "characters")?;
    if id.is_empty() {
        return Err(LineError::at("/id".into(), "too_short", "must not be empty".into()));
    }
    Ok(format!("id/{id}"))
}

/// The message, or `None` when there is nothing in it that somebody has said.
fn message_of(
    at: usize,
    message: LineMessage,
    model: Option<&str>,
    left_out: &mut LeftOut,
) -> Result<Option<Message>, LineError> {
    let place = |member: &str| format!("/messages/{at}/{member}");
    let role = match message.role.0 {
        Speaker::User => Role::User,
        Speaker::Assistant => Role::Assistant,
        // The newer name for the same thing.
        Speaker::System | Speaker::Developer => Role::System,
        // What the assistant's tools answer is between it and them.
        Speaker::Tool | Speaker::Function => {
            left_out.add("messages of tools");
            return Ok(None);
        }
    };
    let Some((content, images)) = message.content.and_then(|content| content.into_text(left_out)) else {
        left_out.add("messages without content");
        return Ok(None);
    };
    let mut attachments: Vec<Attachment> = message.attachments.into_iter().map(|Object(file)| file.into()).collect();
    attachments.extend(images);
    let metadata = match (role, model) {
        (Role::Assistant, Some(model)) => {
            at_most("/model", model.chars().count(), MAX_NAME, "characters")?;
            Some(
                fields::with_model(message.metadata, model)
                    .map_err(|error| LineError::at(place("metadata"), "invalid_value", error.to_string()))?,
            )
        }
        (Role::Assistant | Role::User | Role::System, _) => message.metadata,
    };
    at_most(&place("content"), content.len(), MAX_CONTENT, "bytes")?;
    at_most(&place("attachments"), attachments.len(), MAX_ATTACHMENTS, "entries")?;
    at_most(&place("metadata"), metadata.as_ref().map_or(0, |json| json.as_str().len()), MAX_METADATA, "bytes")?;
    let message = Message { role, content, created: message.created.map(|time| time.0), attachments, metadata };
    if message.may_be_too_large() {
        message
            .check_encoded()
            .map_err(|detail| LineError::at(format!("/messages/{at}"), "event_too_large", detail))?;
    }
    Ok(Some(message))
}

impl Message {
    /// As it goes into the session, under this id.
    pub fn posted(self, message_id: MessageId) -> Posted {
        let Self { role, content, attachments, metadata, created: _ } = self;
        Posted { message_id, role, content, attachments, metadata }
    }

    /// A character may take six bytes in JSON: only then is it worth the encoding.
    fn may_be_too_large(&self) -> bool {
        let files = self.attachments.iter().map(|file| {
            let Attachment { kind, url, name, media_type, size: _ } = file;
            let optional = [name, media_type].into_iter().flatten().map(String::len).sum::<usize>();
            kind.len() + url.len() + optional + 32
        });
        6 * (self.content.len() + files.sum::<usize>()) + MAX_METADATA + 2 * envelope::MAX_OVERHEAD > MAX_ENCODED_EVENT
    }

    fn check_encoded(&self) -> Result<(), String> {
        let event = session::Event::MessagePosted(self.clone().posted(MessageId(Uuid::nil())));
        let bytes = event.encode().map_err(|error| error.to_string())?.get().len() + envelope::MAX_OVERHEAD;
        if bytes <= MAX_ENCODED_EVENT {
            return Ok(());
        }
        Err(format!("written as an event it would have {bytes} bytes, at most {MAX_ENCODED_EVENT} are allowed"))
    }
}

fn at_most(pointer: &str, found: usize, most: usize, unit: &str) -> Result<(), LineError> {
    if found <= most {
        return Ok(());
    }
    let detail = format!("has {found} {unit}, at most {most} are allowed");
    Err(LineError::at(pointer.to_owned(), "too_long", detail))
}

#[cfg(test)]
mod tests;
