//! Errors in the document: one named answer for each set of codes that share a status, made from the table of codes.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{Header, headers};
use crate::{
    error::{Code, Error, TenantChoice},
    problem::{self, Problem},
    violation::Violation,
};

/// Status and reference of the answers that these codes have; adds those that are new to `components/responses`.
pub(super) fn answers(codes: &[Code], components: &mut Map<String, Value>) -> BTreeMap<String, Value> {
    let mut by_status: BTreeMap<u16, Vec<Code>> = BTreeMap::new();
    for code in Code::ALL.iter().filter(|code| codes.contains(code)) {
        by_status.entry(code.status().as_u16()).or_default().push(*code);
    }
    let reference = |(status, codes): (u16, Vec<Code>)| {
        let name = codes.iter().map(|code| pascal_case(code.as_str())).collect::<Vec<_>>().join("Or");
        components.entry(name.as_str()).or_insert_with(|| answer(status, &codes));
        (status.to_string(), json!({"$ref": format!("#/components/responses/{name}")}))
    };
    by_status.into_iter().map(reference).collect()
}

fn answer(status: u16, codes: &[Code]) -> Value {
    let names: Vec<&str> = codes.iter().map(|code| code.as_str()).collect();
    let lines: Vec<String> = codes.iter().map(|code| format!("`{}`: {}.", code.as_str(), code.title())).collect();
    let mut own = vec![Header::RequestId];
    if codes.iter().all(|code| code.retry_after().is_some()) {
        own.push(Header::RetryAfter);
    }
    if codes.contains(&Code::Unauthorized) || codes.contains(&Code::InvalidCredentials) {
        own.push(Header::WwwAuthenticate);
    }
    if codes.contains(&Code::RateLimited) {
        own.extend(Header::OF_RATE_LIMITS);
    }
    let examples =
        names.iter().map(|name| ((*name).to_owned(), json!({"$ref": format!("#/components/examples/{name}")})));
    let examples: Map<String, Value> = examples.collect();
    json!({
        "description": lines.join("\n\n"),
        "headers": headers::references(&own),
        "content": {problem::CONTENT_TYPE: {
            "schema": {
                "allOf": [{"$ref": "#/components/schemas/Problem"}],
                "properties": {"code": {"enum": names}, "status": {"const": status}},
            },
            "examples": examples,
        }},
    })
}

fn pascal_case(name: &str) -> String {
    let word = |word: &str| word[..1].to_uppercase() + &word[1..];
    name.split('_').filter(|part| !part.is_empty()).map(word).collect()
}

/// `components/examples`: every error as it is written.
pub(super) fn examples() -> Map<String, Value> {
    let example = |code: &Code| {
        let id = Uuid::from_u128(0x01a2_046a_b446_7000_8000_0000_0000_0042);
        let value = serde_json::to_value(Problem::of(&occurrence(*code), id)).unwrap_or_default();
        (code.as_str().to_owned(), json!({"summary": code.title(), "value": value}))
    };
    Code::ALL.iter().map(example).collect()
}

/// A typical error of this code.
fn occurrence(code: Code) -> Error {
    let error = Error::new(code, format!("{}.", code.title()));
    let tenants = ["Acme", "Analytical Engines"].map(|name| TenantChoice {
        id: Uuid::from_u128(0x01a2_046a_b01f_7000_8000_0000_0000_0000 | name.len() as u128),
        name: name.to_owned(),
    });
    let invalid = Violation::in_body(["content"], "missing_field", "missing field `content`");
    let rules: [(Code, Error); 5] = [
        (Code::ValidationFailed, Error::invalid(invalid)),
        (Code::VersionMismatch, error.clone().with_current_version(3)),
        (Code::SeqNotInLog, error.clone().with_current_seq(41)),
        (Code::ReadModelBehind, error.clone().with_current_seq(41)),
        (Code::TenantRequired, error.clone().with_tenants(tenants.to_vec())),
    ];
    rules.into_iter().find(|(known, _)| *known == code).map_or(error, |(_, special)| special)
}
