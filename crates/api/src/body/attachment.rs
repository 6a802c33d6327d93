//! A file that goes with a message, as it is sent. Apart from the one in events, which may have members that are newer
//! than this code: here what we do not know is refused.

use domain::session::Attachment;
use schemars::JsonSchema;
use serde::Deserialize;

/// A file that goes with a message; Convolog keeps the reference, not the file.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewAttachment {
    /// What it is, for example `image`, `audio`, `file`.
    pub kind: String,
    /// Where it is.
    pub url: String,
    /// Its file name.
    pub name: Option<String>,
    /// Its media type, for example `image/png`.
    pub media_type: Option<String>,
    /// Its size in bytes.
    pub size: Option<u64>,
}

impl From<NewAttachment> for Attachment {
    fn from(NewAttachment { kind, url, name, media_type, size }: NewAttachment) -> Self {
        Self { kind, url, name, media_type, size }
    }
}
