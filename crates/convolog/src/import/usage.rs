//! Counts of tokens in the words of the common interfaces, and the ledger's lines that they come to.

use api::body::Object;
use domain::Quantity;
use domain::ledger::{
    self, INPUT_CACHE_READ, INPUT_CACHE_WRITE, INPUT_UNCACHED, InvalidCharge, OUTPUT_REASONING, OUTPUT_TEXT, Usage,
    UsageConvention,
};
use serde::Deserialize;

use super::costs::Column;
use super::told::Told;

/// The `usage` of an answer. With `prompt_tokens`, or with details of its input, what was cached is part of the input;
/// else (`cache_read_input_tokens`, `cache_creation_input_tokens`) it stands beside it. Reasoning is part of the output,
/// unless the total says that it comes on top.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
pub(super) struct Tokens {
    prompt_tokens: Option<Told>,
    input_tokens: Option<Told>,
    completion_tokens: Option<Told>,
    output_tokens: Option<Told>,
    #[serde(alias = "input_tokens_details")]
    prompt_tokens_details: Option<Object<InputDetails>>,
    #[serde(alias = "output_tokens_details")]
    completion_tokens_details: Option<Object<OutputDetails>>,
    cache_read_input_tokens: Option<Told>,
    cache_creation_input_tokens: Option<Told>,
    total_tokens: Option<Told>,
    /// What it has cost, where a gateway says so here.
    pub(super) cost: Option<Told>,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
struct InputDetails {
    cached_tokens: Option<Told>,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
struct OutputDetails {
    reasoning_tokens: Option<Told>,
}

/// Counts of tokens, of which the output's always holds its reasoning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Tokens that went in: with what was cached, by the inclusive convention.
    pub(super) input: Option<Quantity>,
    /// Of these, or beside them, from the provider's cache.
    pub(super) cache_read: Option<Quantity>,
    /// Of these, or beside them, into the provider's cache.
    pub(super) cache_write: Option<Quantity>,
    /// Tokens that came out, with those of the reasoning.
    pub(super) output: Option<Quantity>,
    /// Of these, those of the reasoning.
    pub(super) reasoning: Option<Quantity>,
    /// Whether the input holds what was cached.
    pub(super) convention: UsageConvention,
}

/// Why counts do not fit together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Misfit {
    /// By the inclusive convention.
    #[error("more tokens were cached than there were in the input")]
    MoreCachedThanInput,
    /// Reasoning is part of the output.
    #[error("more tokens were of the reasoning than there were in the output")]
    MoreReasoningThanOutput,
}

impl Tokens {
    /// Of a row with a column for each count.
    pub(super) fn of_columns(mut take: impl FnMut(Column) -> Option<Told>) -> Self {
        let cached_tokens = take(Column::CachedTokens);
        let reasoning_tokens = take(Column::ReasoningTokens);
        Self {
            prompt_tokens: take(Column::PromptTokens),
            input_tokens: take(Column::InputTokens),
            completion_tokens: take(Column::CompletionTokens),
            output_tokens: take(Column::OutputTokens),
            prompt_tokens_details: cached_tokens.map(|told| Object(InputDetails { cached_tokens: Some(told) })),
            completion_tokens_details: reasoning_tokens
                .map(|told| Object(OutputDetails { reasoning_tokens: Some(told) })),
            cache_read_input_tokens: take(Column::CacheRead),
            cache_creation_input_tokens: take(Column::CacheWrite),
            total_tokens: take(Column::TotalTokens),
            cost: None,
        }
    }

    /// Its numbers, or the name of the one that is none and why.
    pub(super) fn counts(&self) -> Result<Counts, (&'static str, String)> {
        let of = |name: &'static str, told: &Option<Told>| {
            told.as_ref().map(|told| told.quantity().map_err(|why| (name, why))).transpose()
        };
        let input = self.prompt_tokens_details.as_ref().map(|Object(details)| details);
        let output = self.completion_tokens_details.as_ref().map(|Object(details)| details);
        let in_details = input.map_or(Ok(None), |it| of("prompt_tokens_details/cached_tokens", &it.cached_tokens))?;
        let beside = of("cache_read_input_tokens", &self.cache_read_input_tokens)?;
        let is_inclusive = self.prompt_tokens.is_some() || input.is_some();
        let reasoning = |it: &OutputDetails| of("completion_tokens_details/reasoning_tokens", &it.reasoning_tokens);
        let mut counts = Counts {
            input: of("prompt_tokens", &self.prompt_tokens)?.or(of("input_tokens", &self.input_tokens)?),
            cache_read: in_details.or(beside),
            cache_write: of("cache_creation_input_tokens", &self.cache_creation_input_tokens)?,
            output: of("completion_tokens", &self.completion_tokens)?.or(of("output_tokens", &self.output_tokens)?),
            reasoning: output.map_or(Ok(None), reasoning)?,
            convention: if is_inclusive { UsageConvention::Inclusive } else { UsageConvention::Disjoint },
        };
        if let Some(total) = of("total_tokens", &self.total_tokens)?.filter(|_| is_inclusive) {
            counts.output = counts.whole_output(total).or(counts.output);
        }
        Ok(counts)
    }
}

impl Counts {
    /// Whether nothing is counted at all.
    pub(super) fn is_empty(&self) -> bool {
        let Self { input, cache_read, cache_write, output, reasoning, convention: _ } = self;
        [input, cache_read, cache_write, output, reasoning].iter().all(|count| count.is_none())
    }

    /// The output with its reasoning, if only both and the input come to this total: some count it apart.
    fn whole_output(&self, total: Quantity) -> Option<Quantity> {
        let out = total.minus(or_none(self.input))?;
        (out.minus(or_none(self.output)) == self.reasoning).then_some(out)
    }

    /// As the ledger keeps them: each token in one line, no line of nothing.
    pub(super) fn lines(&self) -> Result<Vec<Usage>, Misfit> {
        let text = match (self.output, self.reasoning) {
            (None, None) => None,
            (output, reasoning) => {
                let text = or_none(output).minus(or_none(reasoning));
                Some(text.ok_or(Misfit::MoreReasoningThanOutput)?)
            }
        };
        let told = [
            (INPUT_UNCACHED, Some(or_none(self.input))),
            (INPUT_CACHE_READ, self.cache_read),
            (INPUT_CACHE_WRITE, self.cache_write),
            (OUTPUT_TEXT, text),
            (OUTPUT_REASONING, self.reasoning),
        ];
        let told = told.into_iter().filter_map(|(name, count)| Some((name.to_owned(), count?, None)));
        // The names are well-known ones, each once: nothing else can be wrong.
        ledger::lines(told, self.convention).map_err(|_cached: InvalidCharge| Misfit::MoreCachedThanInput)
    }
}

fn or_none(count: Option<Quantity>) -> Quantity {
    count.unwrap_or(Quantity::from(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(json: &str) -> Result<String, Misfit> {
        let Object(tokens): Object<Tokens> = serde_json::from_str(json).unwrap();
        let lines = tokens.counts().unwrap().lines()?;
        let line = |line: &Usage| format!("{} {}", line.r#type, line.quantity);
        Ok(lines.iter().map(line).collect::<Vec<_>>().join(", "))
    }

    #[test]
    fn cached_and_reasoned_tokens_are_taken_out_of_totals_that_hold_them() {
        for (json, kept) in [
            (r#"{"prompt_tokens":9,"completion_tokens":12,"total_tokens":21}"#, "input_uncached 9, output_text 12"),
            (
                r#"{"prompt_tokens":2006,"completion_tokens":300,"prompt_tokens_details":{"cached_tokens":1920},
                    "completion_tokens_details":{"reasoning_tokens":192}}"#,
                "input_uncached 86, input_cache_read 1920, output_text 108, output_reasoning 192",
            ),
            (
                r#"{"input_tokens":75,"output_tokens":20,"input_tokens_details":{"cached_tokens":25},
                    "output_tokens_details":{"reasoning_tokens":20}}"#,
                "input_uncached 50, input_cache_read 25, output_reasoning 20",
            ),
            // The same cached tokens under both names, as a gateway tells them.
            (
                r#"{"prompt_tokens":100,"completion_tokens":1,"cache_read_input_tokens":60,
                    "cache_creation_input_tokens":30,"prompt_tokens_details":{"cached_tokens":60}}"#,
                "input_uncached 10, input_cache_read 60, input_cache_write 30, output_text 1",
            ),
            // The total says that the reasoning is not part of the completion.
            (
                r#"{"prompt_tokens":32,"completion_tokens":9,"total_tokens":135,
                    "completion_tokens_details":{"reasoning_tokens":94}}"#,
                "input_uncached 32, output_text 9, output_reasoning 94",
            ),
            (r#"{"completion_tokens":5,"prompt_tokens_details":null}"#, "output_text 5"),
            (r#"{"completion_tokens":5,"prompt_tokens_details":{"cached_tokens":0}}"#, "output_text 5"),
        ] {
            assert_eq!(lines(json).as_deref(), Ok(kept), "{json}");
        }
    }

    #[test]
    fn what_is_cached_stands_beside_the_input_where_it_is_counted_apart() {
        let json = r#"{"input_tokens":50,"cache_creation_input_tokens":248,"cache_read_input_tokens":1800,
            "output_tokens":503}"#;
        let kept = "input_uncached 50, input_cache_read 1800, input_cache_write 248, output_text 503";
        assert_eq!(lines(json).as_deref(), Ok(kept));
    }

    #[test]
    fn parts_that_are_more_than_the_whole_are_refused() {
        let cached = r#"{"prompt_tokens":9,"prompt_tokens_details":{"cached_tokens":10}}"#;
        assert_eq!(lines(cached), Err(Misfit::MoreCachedThanInput));
        for output in [r#""completion_tokens":9,"#, ""] {
            let reasoned = format!(r#"{{{output}"completion_tokens_details":{{"reasoning_tokens":10}}}}"#);
            assert_eq!(lines(&reasoned), Err(Misfit::MoreReasoningThanOutput));
        }
    }

    #[test]
    fn what_is_no_number_is_named() {
        let tokens: Tokens = serde_json::from_str(r#"{"prompt_tokens":1,"completion_tokens":-2}"#).unwrap();
        assert_eq!(tokens.counts().unwrap_err().0, "completion_tokens");
        let nothing: Tokens = serde_json::from_str(r#"{"total_tokens":9}"#).unwrap();
        assert!(nothing.counts().unwrap().is_empty());
    }
}
