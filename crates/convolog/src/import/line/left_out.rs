//! What was read and not imported, counted by name, so that nothing is lost in silence.

use std::collections::BTreeMap;

/// Most names that are kept; what comes after them is counted under [`OTHERS`].
const MAX_NAMES: usize = 20;
/// Longest name in characters.
const MAX_NAME: usize = 60;
/// See [`MAX_NAMES`].
const OTHERS: &str = "other fields";

/// How often what was left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeftOut(BTreeMap<String, u64>);

impl LeftOut {
    /// Counts one more of this name.
    pub fn add(&mut self, name: &str) {
        self.add_many(name, 1);
    }

    /// Counts those of another line too.
    pub fn extend(&mut self, other: &Self) {
        for (name, count) in &other.0 {
            self.add_many(name, *count);
        }
    }

    /// Names and counts, in the order of the names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().map(|(name, count)| (name.as_str(), *count))
    }

    fn add_many(&mut self, name: &str, count: u64) {
        let known = self.0.len() < MAX_NAMES || self.0.contains_key(name);
        *self.0.entry(if known { name } else { OTHERS }.to_owned()).or_default() += count;
    }
}

/// The name of a field that is not read: its path, with `*` for a place in an array.
pub(super) fn name(path: &serde_ignored::Path<'_>) -> String {
    let mut steps = Vec::new();
    collect(path, &mut steps);
    let name = steps.join("/");
    match name.char_indices().nth(MAX_NAME) {
        None => name,
        Some((end, _)) => format!("{}…", &name[..end]),
    }
}

fn collect<'a>(path: &'a serde_ignored::Path<'_>, steps: &mut Vec<&'a str>) {
    use serde_ignored::Path;
    match path {
        Path::Root => {}
        Path::Seq { parent, .. } => {
            collect(parent, steps);
            steps.push("*");
        }
        Path::Map { parent, key } => {
            collect(parent, steps);
            steps.push(key);
        }
        Path::Some { parent } | Path::NewtypeStruct { parent } | Path::NewtypeVariant { parent } => {
            collect(parent, steps);
        }
    }
}
