//! What a reply has cost, as its message or its line tells it: `usage`, and beside it an amount and names.

use api::body::Object;
use domain::ledger::{Charge, Service};
use domain::session::Role;
use domain::{Currency, JsonObject};

use super::fields::model_in;
use super::{LeftOut, LineError, Message};
use crate::import::provider::provider_of;
use crate::import::told::Told;
use crate::import::usage::Tokens;

/// The members that tell of a cost; without `usage` all of them are left out.
pub(super) struct Spent {
    /// Where they stand, for example `/messages/3`.
    pub(super) place: String,
    pub(super) usage: Option<Object<Tokens>>,
    pub(super) cost: Option<Told>,
    pub(super) amount: Option<Told>,
    pub(super) currency: Option<Told>,
    pub(super) provider: Option<Told>,
    pub(super) model: Option<Told>,
}

/// Gives each reply its cost. What the line itself tells of one belongs to its last reply, unless a reply tells its own.
pub(super) fn attribute(
    mut kept: Vec<(Message, Spent)>,
    last_reply: Option<usize>,
    mut whole: Spent,
    left_out: &mut LeftOut,
) -> Result<Vec<Message>, LineError> {
    let have_own = kept.iter().any(|(message, spent)| message.role == Role::Assistant && spent.usage.is_some());
    if let (false, Some((_, spent))) = (have_own, last_reply.and_then(|at| kept.get_mut(at))) {
        spent.take_over(&mut whole);
    }
    let mut messages = Vec::with_capacity(kept.len());
    for (mut message, spent) in kept {
        if message.role == Role::Assistant {
            message.charge = spent.charge(message.metadata.as_ref(), &whole, left_out)?;
        } else {
            spent.leave_out(left_out);
        }
        messages.push(message);
    }
    if messages.iter().any(|message| message.charge.is_some()) {
        (whole.provider, whole.currency) = (None, None);
    }
    whole.leave_out(left_out);
    Ok(messages)
}

impl Spent {
    /// The line's usage, and its amount unless there is one here.
    fn take_over(&mut self, line: &mut Self) {
        let Some(usage) = line.usage.take() else { return };
        self.usage = Some(usage);
        self.place = String::new();
        if self.cost.is_none() && self.amount.is_none() {
            (self.cost, self.amount) = (line.cost.take(), line.amount.take());
        }
    }

    /// The cost, without the session and the message that it was for; `None` when nothing is told of one. Provider and
    /// currency may be told once for the whole line, the model in the reply's metadata.
    fn charge(
        &self,
        metadata: Option<&JsonObject>,
        line: &Self,
        left_out: &mut LeftOut,
    ) -> Result<Option<Charge>, LineError> {
        let Some(Object(tokens)) = &self.usage else {
            self.leave_out(left_out);
            return Ok(None);
        };
        let counts = tokens.counts().map_err(|(member, why)| self.wrong(&format!("usage/{member}"), why))?;
        let amounts = [("cost", &self.cost), ("amount", &self.amount), ("usage/cost", &tokens.cost)];
        let amount = amounts.into_iter().find_map(|(member, told)| Some((member, told.as_ref()?)));
        if counts.is_empty() && amount.is_none() {
            self.leave_out(left_out);
            return Ok(None);
        }
        let amount = amount.map(|(member, told)| told.amount().map_err(|why| self.wrong(member, why))).transpose()?;
        let currency = self.currency.as_ref().or(line.currency.as_ref()).filter(|_| amount.is_some());
        let currency = currency.map(|told| told.currency().map_err(|why| self.wrong("currency", why))).transpose()?;
        let own_model = self.model.as_ref().and_then(Told::text).map(str::to_owned);
        let model = own_model.or_else(|| metadata.and_then(model_in)).filter(|model| !model.is_empty());
        let provider = self.provider.as_ref().or(line.provider.as_ref()).and_then(Told::text);
        let charge = Charge {
            service: Service::Llm,
            provider: provider.unwrap_or_else(|| provider_of(model.as_deref())).to_owned(),
            model,
            usage: counts.lines().map_err(|misfit| self.wrong("usage", misfit.to_string()))?,
            amount,
            currency: currency.or(amount.map(|_| Currency::USD)),
            session_id: None,
            message_id: None,
            meeting_id: None,
        };
        charge.check().map_err(|error| self.wrong(error.pointer().trim_start_matches('/'), error.to_string()))?;
        Ok(Some(charge))
    }

    /// Counts what is not read, under the names that fields without a place have.
    pub(super) fn leave_out(&self, left_out: &mut LeftOut) {
        let members = [
            ("usage", self.usage.is_some()),
            ("cost", self.cost.is_some()),
            ("amount", self.amount.is_some()),
            ("currency", self.currency.is_some()),
            ("provider", self.provider.is_some()),
            ("model", self.model.is_some()),
        ];
        let prefix = if self.place.is_empty() { "" } else { "messages/*/" };
        for (name, _) in members.into_iter().filter(|(_, is_told)| *is_told) {
            left_out.add(&format!("{prefix}{name}"));
        }
    }

    fn wrong(&self, member: &str, detail: String) -> LineError {
        LineError::at(format!("{}/{member}", self.place), "invalid_value", detail)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Conversation, parse};

    const ASKED: &str = r#"{"role":"user","content":"a"}"#;
    const USAGE: &str = r#""usage":{"prompt_tokens":9,"completion_tokens":12,"total_tokens":21}"#;

    fn read(messages: &str, rest: &str) -> Conversation {
        let text = format!(r#"{{"messages":[{messages}]{rest}}}"#);
        parse(text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn reply(rest: &str) -> String {
        format!(r#"{{"role":"assistant","content":"b"{rest}}}"#)
    }

    /// Provider, model, amount, currency and usage of each message's cost.
    fn costs(conversation: &Conversation) -> Vec<Option<String>> {
        let told = |message: &super::Message| {
            let charge = message.charge.as_ref()?;
            let amount = charge.amount.map_or_else(|| "unpriced".to_owned(), |amount| amount.to_string());
            let currency = charge.currency.map(|currency| currency.as_str().to_owned()).unwrap_or_default();
            let lines: Vec<_> = charge.usage.iter().map(|line| format!("{} {}", line.r#type, line.quantity)).collect();
            let model = charge.model.as_deref().unwrap_or("-");
            Some(format!("{} {model} {amount}{currency} {}", charge.provider, lines.join(" ")))
        };
        conversation.messages.iter().map(told).collect()
    }

    fn left_out(conversation: &Conversation) -> Vec<String> {
        conversation.left_out.iter().map(|(name, count)| format!("{name} {count}")).collect()
    }

    #[test]
    fn each_replys_own_usage_is_its_cost() {
        let first = reply(&format!(r#","model":"claude-3-opus","cost":1.2e-05,"currency":"eur",{USAGE}"#));
        let second = reply(r#","metadata":{"model":"gpt-4o"},"amount":"0.3","usage":{"output_tokens":1}"#);
        let conversation = read(&format!("{ASKED},{first},{ASKED},{second}"), r#","model":"o1""#);
        assert_eq!(
            costs(&conversation),
            [
                None,
                Some("anthropic claude-3-opus 0.000012EUR input_uncached 9 output_text 12".to_owned()),
                None,
                Some("openai gpt-4o 0.3USD output_text 1".to_owned()),
            ]
        );
        assert_eq!(left_out(&conversation), [""; 0]);
    }

    #[test]
    fn usage_of_the_line_belongs_to_its_last_reply() {
        let rest = format!(r#","model":"gpt-4o","provider":"azure","cost":"0.1",{USAGE}"#);
        let conversation = read(&format!("{ASKED},{},{ASKED},{},{ASKED}", reply(""), reply("")), &rest);
        let cost = "azure gpt-4o 0.1USD input_uncached 9 output_text 12".to_owned();
        assert_eq!(costs(&conversation), [None, None, None, Some(cost), None]);
        assert_eq!(left_out(&conversation), [""; 0]);
        // The model and the amount of the reply go before those of the line.
        let rest = rest.replace(r#""provider":"azure","#, "");
        let conversation = read(&reply(r#","model":"claude-4","amount":7"#), &rest);
        assert_eq!(costs(&conversation)[0].as_deref(), Some("anthropic claude-4 7USD input_uncached 9 output_text 12"));
    }

    #[test]
    fn what_belongs_to_no_reply_is_left_out_and_counted() {
        // A line's usage beside a reply's own, which it may well contain.
        let conversation = read(&reply(&format!(",{USAGE}")), &format!(r#","cost":1,"provider":"p",{USAGE}"#));
        assert_eq!(costs(&conversation).len(), 1);
        assert_eq!(costs(&conversation)[0].as_deref(), Some("p - unpriced input_uncached 9 output_text 12"));
        assert_eq!(left_out(&conversation), ["cost 1", "usage 1"]);
        // Nobody has replied; the reply is not imported; the user has no usage.
        let call = format!(r#"{{"role":"assistant","content":null,{USAGE}}}"#);
        let user = format!(r#"{{"role":"user","content":"a","model":"m",{USAGE}}}"#);
        for (messages, expected) in [
            (ASKED.to_owned(), &["provider 1", "usage 1"][..]),
            (
                format!("{ASKED},{},{}", reply(""), call.replace(USAGE, r#""x":1"#)),
                &["messages without content 1", "messages/*/x 1", "provider 1", "usage 1"],
            ),
            (
                format!("{user},{call}"),
                &["messages without content 1", "messages/*/model 1", "messages/*/usage 2", "provider 1", "usage 1"],
            ),
        ] {
            let conversation = read(&messages, &format!(r#","provider":"p",{USAGE}"#));
            assert!(costs(&conversation).iter().all(Option::is_none), "{messages}");
            assert_eq!(left_out(&conversation), expected, "{messages}");
        }
    }

    #[test]
    fn without_usage_there_is_no_cost_whatever_stands_there() {
        for rest in [
            r#","cost":{"input":1},"amount":true,"currency":7,"provider":{"order":[]},"usage":null"#,
            r#","cost":{"input":1},"amount":[],"currency":"?","provider":"p""#,
        ] {
            let conversation = read(&reply(""), rest);
            assert_eq!(costs(&conversation), [None]);
            assert_eq!(left_out(&conversation), ["amount 1", "cost 1", "currency 1", "provider 1"]);
        }
        let conversation = read(&reply(r#","usage":{"total_tokens":21},"model":7"#), "");
        assert_eq!(costs(&conversation), [None]);
        assert_eq!(left_out(&conversation), ["messages/*/model 1", "messages/*/usage 1"]);
        // A gateway's own amount needs no counts.
        let conversation = read(&reply(r#","usage":{"cost":"0.5"}"#), "");
        assert_eq!(costs(&conversation)[0].as_deref(), Some("unknown - 0.5USD "));
    }

    #[test]
    fn a_cost_that_cannot_be_understood_makes_the_line_bad() {
        let own = |rest: &str| format!(r#"{{"messages":[{ASKED},{}]}}"#, reply(rest));
        let line = |rest: &str| format!(r#"{{"messages":[{}]{rest}}}"#, reply(""));
        for (text, pointer) in [
            (own(&format!(r#","cost":"a lot",{USAGE}"#)), "/messages/1/cost"),
            (own(&format!(r#","amount":1e12,{USAGE}"#)), "/messages/1/amount"),
            (own(&format!(r#","cost":1,"currency":"dollars",{USAGE}"#)), "/messages/1/currency"),
            (own(r#","usage":{"prompt_tokens":-1}"#), "/messages/1/usage/prompt_tokens"),
            (own(r#","usage":{"completion_tokens":"many"}"#), "/messages/1/usage/completion_tokens"),
            (own(&format!(r#","provider":"{}",{USAGE}"#, "p".repeat(201))), "/messages/1/provider"),
            (own(&format!(r#","model":"{}",{USAGE}"#, "m".repeat(201))), "/messages/1/model"),
            (own(r#","usage":7"#), "/messages/1/usage"),
            (line(r#","usage":{"prompt_tokens":1,"prompt_tokens_details":{"cached_tokens":2}}"#), "/usage"),
            (line(&format!(r#","cost":"a lot",{USAGE}"#)), "/cost"),
            (line(&format!(r#","created":"1999-12-31T23:59:59Z",{USAGE}"#)), ""),
            (own(&format!(r#","created":946684799,{USAGE}"#)), ""),
        ] {
            let error = parse(text.as_bytes()).unwrap_err();
            assert_eq!(error.pointer, pointer, "{text}: {error}");
        }
        assert!(parse(line(&format!(r#","created":946684800,{USAGE}"#)).as_bytes()).is_ok());
        assert!(parse(line(r#","created":"1999-12-31T23:59:59Z""#).as_bytes()).is_ok());
    }
}
