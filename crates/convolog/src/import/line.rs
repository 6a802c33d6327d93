//! One line of an import file: bytes in, a conversation or what is wrong with it out. It knows no tenant and no clock.

mod content;
mod fields;
mod left_out;
mod reply_cost;

pub use left_out::LeftOut;

use api::body::{Object, checked, violation};
use api::violation::Violation;
use chrono::{DateTime, Utc};
use domain::ledger::Charge;
use domain::session::{Attachment, MAX_ATTACHMENTS, MAX_CONTENT, MAX_METADATA, Mode, Posted, Role};
use domain::{EventData as _, JsonObject, MAX_ENCODED_EVENT, MessageId, envelope, session};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use fields::{Line, LineMessage, Speaker};
use reply_cost::Spent;

/// Longest line in bytes, without its end.
pub const MAX_LINE: usize = 8 * 1024 * 1024;
/// Longest `id` of a line and longest name of a model, in characters.
pub const MAX_NAME: usize = 200;
/// The first month of ledgers begins, in nanoseconds since 1970.
const FIRST_LEDGER: i64 = 946_684_800_000_000_000;

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
    /// What it has cost, when the assistant speaks and the line says so; without session and message.
    pub charge: Option<Charge>,
}

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{detail}", if pointer.is_empty() { String::new() } else { format!("{pointer}: ") })]
pub struct LineError {
    /// A name for programs, those of the API where it has one.
    pub code: &'static str,
    /// RFC 6901, to the value that is wrong, or the name of its column; empty for the line as a whole.
    pub pointer: String,
    /// In a few words.
    pub detail: String,
}

impl LineError {
    /// An error of the line as a whole.
    pub fn whole(code: &'static str, detail: impl Into<String>) -> Self {
        Self { code, pointer: String::new(), detail: detail.into() }
    }

    /// An error of a column, by its name in the file.
    pub(super) fn named(name: &str, code: &'static str, detail: String) -> Self {
        Self::at(name.to_owned(), code, detail)
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
    let text = json_of(line)?;
    let (mut fields, mut left_out) = read(text)?;
    let messages = messages_of(&mut fields, &mut left_out)?;
    at_most("/metadata", fields.metadata.as_ref().map_or(0, |json| json.as_str().len()), MAX_METADATA, "bytes")?;
    let conversation = Conversation {
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
    };
    conversation.check_periods()?;
    Ok(conversation)
}

impl Conversation {
    /// When each message was said: what has no time of its own was said at the time before it, the first `now`.
    pub fn times(&self, now: DateTime<Utc>) -> Vec<DateTime<Utc>> {
        let mut time = self.begun(now);
        let said = self.messages.iter().map(|message| {
            time = message.created.unwrap_or(time);
            time
        });
        said.collect()
    }

    /// When it began.
    pub fn begun(&self, now: DateTime<Utc>) -> DateTime<Utc> {
        let first = self.messages.first().and_then(|message| message.created);
        self.created.or(first).unwrap_or(now)
    }

    /// Whether there is a ledger for each cost; what has no time has one whenever it is imported.
    fn check_periods(&self) -> Result<(), LineError> {
        let first = DateTime::from_timestamp_nanos(FIRST_LEDGER);
        // What has no time at all is said when it is imported.
        let times = self.times(first);
        let mut costs = self.messages.iter().zip(times).filter(|(message, _)| message.charge.is_some());
        if let Some((_, time)) = costs.find(|(_, time)| *time < first) {
            let detail = format!("a reply of {time} has a cost: those are kept from the year 2000 on");
            return Err(LineError::whole("invalid_value", detail));
        }
        Ok(())
    }
}

/// A line as text that is JSON, all of it, and can be kept.
pub(super) fn json_of(line: &[u8]) -> Result<&str, LineError> {
    if line.len() > MAX_LINE {
        return Err(too_long());
    }
    if line.is_empty() {
        return Err(LineError::whole("empty_line", "the line is empty"));
    }
    if line.starts_with(b"\xef\xbb\xbf") {
        return Err(LineError::whole("invalid_json", "the line begins with a byte order mark (U+FEFF)"));
    }
    checked(line).map_err(|error| {
        // There is but one line, and its number is known outside.
        LineError::whole(error.code().as_str(), error.detail().replace(" at line 1 column ", " at byte "))
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

/// The messages that can be kept, each with its cost.
fn messages_of(fields: &mut Line, left_out: &mut LeftOut) -> Result<Vec<Message>, LineError> {
    let whole = Spent {
        place: String::new(),
        usage: fields.usage.take(),
        cost: fields.cost.take(),
        amount: fields.amount.take(),
        currency: fields.currency.take(),
        provider: fields.provider.take(),
        model: None,
    };
    let told = std::mem::take(&mut fields.messages);
    let (mut kept, mut last_reply) = (Vec::with_capacity(told.len()), None);
    for (at, Object(message)) in told.into_iter().enumerate() {
        let is_reply = matches!(message.role.0, Speaker::Assistant);
        let message = message_of(at, message, fields.model.as_deref(), left_out)?;
        if is_reply {
            last_reply = message.as_ref().map(|_| kept.len());
        }
        kept.extend(message);
    }
    if kept.is_empty() {
        return Err(LineError::at("/messages".into(), "no_messages", "there is no message to import".into()));
    }
    reply_cost::attribute(kept, last_reply, whole, left_out)
}

/// The message, or `None` when there is nothing in it that somebody has said.
fn message_of(
    at: usize,
    message: LineMessage,
    model: Option<&str>,
    left_out: &mut LeftOut,
) -> Result<Option<(Message, Spent)>, LineError> {
    let place = |member: &str| format!("/messages/{at}/{member}");
    let LineMessage { role, content, created, attachments, metadata, usage, cost, amount, currency, provider, .. } =
        message;
    let spent =
        Spent { place: format!("/messages/{at}"), usage, cost, amount, currency, provider, model: message.model };
    let role = match role.0 {
        Speaker::User => Role::User,
        Speaker::Assistant => Role::Assistant,
        // The newer name for the same thing.
        Speaker::System | Speaker::Developer => Role::System,
        // What the assistant's tools answer is between it and them.
        Speaker::Tool | Speaker::Function => {
            left_out.add("messages of tools");
            spent.leave_out(left_out);
            return Ok(None);
        }
    };
    let Some((content, images)) = content.and_then(|content| content.into_text(left_out)) else {
        left_out.add("messages without content");
        spent.leave_out(left_out);
        return Ok(None);
    };
    let mut attachments: Vec<Attachment> = attachments.into_iter().map(|Object(file)| file.into()).collect();
    attachments.extend(images);
    let metadata = match (role, model) {
        (Role::Assistant, Some(model)) => {
            at_most("/model", model.chars().count(), MAX_NAME, "characters")?;
            Some(
                fields::with_model(metadata, model)
                    .map_err(|error| LineError::at(place("metadata"), "invalid_value", error.to_string()))?,
            )
        }
        (Role::Assistant | Role::User | Role::System, _) => metadata,
    };
    at_most(&place("content"), content.len(), MAX_CONTENT, "bytes")?;
    at_most(&place("attachments"), attachments.len(), MAX_ATTACHMENTS, "entries")?;
    at_most(&place("metadata"), metadata.as_ref().map_or(0, |json| json.as_str().len()), MAX_METADATA, "bytes")?;
    let created = created.map(|time| time.0);
    let message = Message { role, content, created, attachments, metadata, charge: None };
    if message.may_be_too_large() {
        message
            .check_encoded()
            .map_err(|detail| LineError::at(format!("/messages/{at}"), "event_too_large", detail))?;
    }
    Ok(Some((message, spent)))
}

impl Message {
    /// As it goes into the session, under this id.
    pub fn posted(self, message_id: MessageId) -> Posted {
        let Self { role, content, attachments, metadata, created: _, charge: _ } = self;
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
