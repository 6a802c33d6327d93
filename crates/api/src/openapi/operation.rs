//! One operation while it is being described.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde_json::{Map, Value, json};

use super::{About, Header, headers, problems, schemas::Schemas, schemas::query_parameters};
use crate::{admission::REFUSALS, error::Code, policy::Access};

/// What handlers' parts add to.
pub(crate) struct Operation<'a> {
    path: &'static str,
    about: &'a About,
    schemas: &'a mut Schemas,
    parameters: Vec<Value>,
    body: Option<Value>,
    answers: BTreeMap<String, Value>,
    codes: Vec<Code>,
    access: Access,
    /// Whom the handler lets in, as its arguments say.
    asks: Asks,
}

#[derive(Debug, PartialEq, Eq)]
enum Asks {
    Nobody,
    Tenant,
    Operator,
}

impl<'a> Operation<'a> {
    pub(super) fn new(path: &'static str, about: &'a About, access: Access, schemas: &'a mut Schemas) -> Self {
        let codes = [about.codes, &REFUSALS, &[Code::Internal]].concat();
        Self {
            path,
            about,
            schemas,
            parameters: Vec::new(),
            body: None,
            answers: BTreeMap::new(),
            codes,
            access,
            asks: Asks::Nobody,
        }
    }

    /// It may answer these errors.
    pub(crate) fn fails(&mut self, codes: &[Code]) {
        self.codes.extend(codes);
    }

    /// Only for people and keys of a tenant.
    pub(crate) fn needs_tenant(&mut self) {
        self.asks = Asks::Tenant;
        self.fails(&[Code::Unauthorized, Code::Forbidden, Code::RateLimited]);
    }

    /// Only for operators: with their token, or without one from the same machine.
    pub(crate) fn needs_operator(&mut self) {
        self.asks = Asks::Operator;
        self.fails(&[Code::Unauthorized]);
    }

    /// Takes the parameter that `components/parameters` has under this name.
    pub(crate) fn takes_parameter(&mut self, name: &str) {
        self.parameters.push(json!({"$ref": format!("#/components/parameters/{name}")}));
    }

    /// Takes a header that no other operation takes.
    pub(crate) fn takes_header(&mut self, parameter: Value) {
        self.parameters.push(parameter);
    }

    /// Takes the fields of `T` in the query string.
    pub(crate) fn takes_query<T: JsonSchema>(&mut self) {
        self.parameters.extend(query_parameters(&self.schemas.parameters::<T>()));
    }

    /// Takes `T` in the path: one value, or as many as the tuple has. `text` says what becomes of another.
    pub(crate) fn takes_path<T: JsonSchema>(&mut self, text: &str) {
        let schema = self.schemas.parameters::<T>();
        let said = |(name, _): &(&String, &Value)| ["type", "format", "pattern", "examples"].contains(&name.as_str());
        let members = schema.as_object().into_iter().flatten().filter(said);
        let one: Map<String, Value> = members.map(|(name, value)| (name.clone(), value.clone())).collect();
        let schemas = schema["prefixItems"].as_array().cloned().unwrap_or_else(|| vec![one.into()]);
        let names = self.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
        for (name, schema) in names.zip(schemas) {
            self.parameters.push(json!({
                "name": name, "in": "path", "required": true, "schema": schema, "description": text,
            }));
        }
    }

    /// Takes `T` as a JSON body.
    pub(crate) fn takes_body<T: JsonSchema>(&mut self, required: bool) {
        let schema = self.schemas.request::<T>();
        self.body = Some(json!({"required": required, "content": {"application/json": {"schema": schema}}}));
    }

    /// Answers `T` as JSON.
    pub(crate) fn answers<T: JsonSchema>(&mut self, status: u16, text: &str, own: &[Header]) {
        let schema = self.schemas.answer::<T>();
        self.answers_as(status, text, "application/json", schema, own);
    }

    /// Answers something of this media type.
    pub(crate) fn answers_as(&mut self, status: u16, text: &str, media: &str, schema: Value, own: &[Header]) {
        let mut headers = headers::references(&[Header::RequestId]);
        headers.extend(headers::references(own));
        let links = self.about.links.iter().map(|operation| {
            let link = json!({"operationId": operation, "parameters": {"id": "$response.body#/id"}});
            ((*operation).to_owned(), link)
        });
        let links: Map<String, Value> = links.collect();
        let mut answer = json!({"description": text, "headers": headers, "content": {media: {"schema": schema}}});
        if !links.is_empty() {
            answer["links"] = links.into();
        }
        self.answers.insert(status.to_string(), answer);
    }

    pub(super) fn finish(mut self, responses: &mut Map<String, Value>) -> Value {
        let (asks, security) = match self.access {
            Access::Anyone => (Asks::Nobody, json!([])),
            Access::Operator => (Asks::Operator, json!([{"operator": []}, {}])),
            Access::Tenant { .. } => (Asks::Tenant, json!([{"bearer": []}, {"cookie": []}])),
        };
        assert_eq!(self.asks, asks, "the handler of {} contradicts the policy", self.about.id);
        if self.codes.contains(&Code::RateLimited) {
            for answer in self.answers.values_mut().filter_map(|answer| answer["headers"].as_object_mut()) {
                answer.extend(headers::references(&Header::OF_RATE_LIMITS));
            }
        }
        for (status, reference) in problems::answers(&self.codes, responses) {
            // An answer of the operation's own goes before an error's.
            self.answers.entry(status).or_insert(reference);
        }
        let text = format!("{} {}", self.access.text(), self.about.text);
        let mut operation = json!({
            "operationId": self.about.id,
            "tags": [self.about.tag.name()],
            "summary": self.about.summary,
            "description": text.trim(),
            "security": security,
            "responses": self.answers,
        });
        if !self.parameters.is_empty() {
            operation["parameters"] = self.parameters.into();
        }
        if let Some(body) = self.body {
            operation["requestBody"] = body;
        }
        operation
    }
}
