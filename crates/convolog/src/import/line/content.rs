//! What a message says: a string, or an array of parts out of which texts and links to images are taken.

use std::fmt;

use api::body::Object;
use domain::session::Attachment;
use serde::Deserialize;
use serde::de::{self, Deserializer, SeqAccess, Visitor};

use super::LeftOut;

/// As it is written.
pub(super) enum Content {
    Text(String),
    Parts(Vec<Part>),
}

/// One part; which of the fields counts, its type says.
#[derive(Deserialize)]
pub(super) struct Part {
    r#type: String,
    text: Option<String>,
    refusal: Option<String>,
    image_url: Option<Object<ImageUrl>>,
}

#[derive(Deserialize)]
struct ImageUrl {
    url: String,
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ContentVisitor)
    }
}

struct ContentVisitor;

impl<'de> Visitor<'de> for ContentVisitor {
    type Value = Content;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string or an array of parts")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Content, E> {
        Ok(Content::Text(text.to_owned()))
    }

    fn visit_string<E: de::Error>(self, text: String) -> Result<Content, E> {
        Ok(Content::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Content, A::Error> {
        let mut all = Vec::new();
        while let Some(Object(part)) = parts.next_element()? {
            all.push(part);
        }
        Ok(Content::Parts(all))
    }
}

impl Content {
    /// The texts, a line each, and the images; `None` when nothing of it can be kept.
    pub(super) fn into_text(self, left_out: &mut LeftOut) -> Option<(String, Vec<Attachment>)> {
        let parts = match self {
            Self::Text(text) => return Some((text, Vec::new())),
            Self::Parts(parts) => parts,
        };
        let (mut texts, mut images) = (Vec::new(), Vec::new());
        for part in parts {
            match part {
                Part { r#type, text: Some(text), .. } if r#type.ends_with("text") => texts.push(text),
                Part { r#type, refusal: Some(text), .. } if r#type == "refusal" => texts.push(text),
                Part { image_url: Some(Object(ImageUrl { url })), .. } if is_link(&url) => {
                    images.push(Attachment { kind: "image".into(), url, name: None, media_type: None, size: None });
                }
                Part { .. } => left_out.add("parts of content other than text and links to images"),
            }
        }
        (!texts.is_empty() || !images.is_empty()).then(|| (texts.join("\n"), images))
    }
}

/// A file inside the line is not a reference.
fn is_link(url: &str) -> bool {
    url.starts_with("https://") || url.starts_with("http://")
}
