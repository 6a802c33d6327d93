//! The columns of a cost export: what they are called here and elsewhere, and which of them count.

use domain::ledger::unit_of;

use super::super::line::LineError;
use super::super::told::Told;

/// A column that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::import) enum Column {
    Id,
    OccurredAt,
    Service,
    CallType,
    Provider,
    Model,
    Amount,
    Currency,
    Session,
    Message,
    Meeting,
    Usage,
    Convention,
    Metadata,
    PromptTokens,
    CompletionTokens,
    InputTokens,
    OutputTokens,
    CachedTokens,
    CacheRead,
    CacheWrite,
    ReasoningTokens,
    TotalTokens,
    /// A well-known type of usage by its own name, for example `output_text`.
    Line,
}

impl Column {
    /// Whether it alone makes a row worth recording.
    pub(super) fn tells_of_a_cost(self) -> bool {
        match self {
            C::Amount
            | C::Usage
            | C::PromptTokens
            | C::CompletionTokens
            | C::InputTokens
            | C::OutputTokens
            | C::Line => true,
            C::Id | C::OccurredAt | C::Service | C::CallType | C::Provider | C::Model | C::Currency | C::Session => {
                false
            }
            C::Message | C::Meeting | C::Convention | C::Metadata | C::CachedTokens | C::CacheRead | C::CacheWrite => {
                false
            }
            C::ReasoningTokens | C::TotalTokens => false,
        }
    }
}

use Column as C;

/// Names of columns; of several in one row the first of a list counts.
const NAMES: [(Column, &[&str]); 23] = [
    (C::Id, &["id", "cost_id", "request_id", "requestid", "generation_id", "response_id"]),
    (
        C::OccurredAt,
        &["occurred_at", "timestamp", "start_time", "starttime", "created_at", "created", "datetime", "date", "time"],
    ),
    (C::Service, &["service"]),
    (C::CallType, &["call_type"]),
    (C::Provider, &["provider", "custom_llm_provider", "provider_name", "vendor"]),
    (C::Model, &["model", "model_name", "model_permaslug"]),
    (C::Amount, &["amount", "cost", "spend", "total_cost", "cost_total", "response_cost"]),
    (C::Currency, &["currency"]),
    (C::Session, &["session_id", "conversation_id", "thread_id"]),
    (C::Message, &["message_id"]),
    (C::Meeting, &["meeting_id"]),
    (C::Usage, &["usage"]),
    (C::Convention, &["usage_convention"]),
    (C::Metadata, &["metadata"]),
    (C::PromptTokens, &["prompt_tokens", "tokens_prompt"]),
    (C::CompletionTokens, &["completion_tokens", "tokens_completion"]),
    (C::InputTokens, &["input_tokens"]),
    (C::OutputTokens, &["output_tokens"]),
    (C::CachedTokens, &["cached_tokens"]),
    (C::CacheRead, &["cache_read_input_tokens"]),
    (C::CacheWrite, &["cache_creation_input_tokens"]),
    (C::ReasoningTokens, &["reasoning_tokens"]),
    (C::TotalTokens, &["total_tokens"]),
];

/// What a row says, of each column at most once.
#[derive(Default)]
pub(super) struct Fields(Vec<(Column, String, Told)>);

impl Fields {
    /// Adds a value under the name that it has in the file.
    pub(super) fn add(&mut self, column: Column, name: &str, told: Told) {
        self.0.push((column, name.to_owned(), told));
    }

    /// The value of a column, and the column's name in the file.
    pub(super) fn take(&mut self, column: Column) -> Option<(String, Told)> {
        let at = self.0.iter().position(|(other, ..)| *other == column)?;
        let (_, name, told) = self.0.swap_remove(at);
        Some((name, told))
    }
}

/// For each name the column that it stands for: `None` for one that is unknown, or whose column has a better name here.
pub(super) fn choose(names: &[String]) -> Result<Vec<Option<Column>>, LineError> {
    let known: Vec<_> = names.iter().map(|name| find(name)).collect();
    let mut chosen = Vec::with_capacity(names.len());
    for (at, found) in known.iter().enumerate() {
        let Some((column, rank)) = found else {
            chosen.push(None);
            continue;
        };
        let same = |(other, place): (&Option<(Column, usize)>, usize)| {
            let other = other.filter(|(other, _)| other == column && place != at);
            other.filter(|_| *column != Column::Line || spelling(&names[place]) == spelling(&names[at]))
        };
        let others: Vec<usize> = known.iter().zip(0..).filter_map(same).map(|(_, rank)| rank).collect();
        if others.contains(rank) {
            return Err(LineError::named(&names[at], "duplicate_field", "stands here twice".into()));
        }
        chosen.push(others.iter().all(|other| rank < other).then_some(*column));
    }
    Ok(chosen)
}

/// The column of this name, and the name's place among those of the column.
fn find(name: &str) -> Option<(Column, usize)> {
    let name = spelling(name);
    let named = NAMES.iter().find_map(|(column, names)| Some((*column, names.iter().position(|it| *it == name)?)));
    named.or_else(|| unit_of(&name).map(|_| (Column::Line, 0)))
}

/// A name without what is different in each export: capitals, spaces, hyphens.
pub(super) fn spelling(name: &str) -> String {
    name.trim().to_ascii_lowercase().replace([' ', '-'], "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(names: &[&str]) -> Result<Vec<Option<Column>>, LineError> {
        choose(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn a_column_is_known_by_its_name_here_and_by_those_of_common_exports() {
        let names = ["request_id", "startTime", "Custom-LLM provider", " SPEND ", "images", "api_base"];
        let columns = [Some(C::Id), Some(C::OccurredAt), Some(C::Provider), Some(C::Amount), Some(C::Line), None];
        assert_eq!(chosen(&names).unwrap(), columns);
        let all: Vec<&str> = NAMES.iter().flat_map(|(_, names)| names.iter().copied()).collect();
        assert!(all.iter().all(|name| spelling(name) == *name && unit_of(name).is_none()));
        assert!((0..all.len()).all(|at| !all[..at].contains(&all[at])));
    }

    #[test]
    fn the_document_names_every_column() {
        let document = include_str!("../../../../../docs/import.md");
        for name in NAMES.iter().flat_map(|(_, names)| names.iter()) {
            assert!(document.contains(&format!("`{name}`")), "{name}");
        }
    }

    #[test]
    fn the_better_name_of_a_column_counts_and_no_name_twice() {
        assert_eq!(chosen(&["date", "id", "created"]).unwrap(), [None, Some(C::Id), Some(C::OccurredAt)]);
        assert_eq!(chosen(&["images", "requests"]).unwrap(), [Some(C::Line); 2]);
        assert_eq!(chosen(&["x", "x"]).unwrap(), [None, None]);
        for twice in [["cost", "Cost"], ["images", "Images"]] {
            assert_eq!(chosen(&twice).unwrap_err().code, "duplicate_field");
        }
    }
}
