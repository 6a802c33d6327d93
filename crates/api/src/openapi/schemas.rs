//! The schemas of requests and answers under `components/schemas`, and what is made of them for parameters.

use std::borrow::Cow;

use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value, json};

/// Schemas as requests are read and as answers are written: the same type may be different in each.
pub(super) struct Schemas {
    requests: SchemaGenerator,
    answers: SchemaGenerator,
}

impl Schemas {
    pub(super) fn new() -> Self {
        let settings = || {
            let settings = SchemaSettings::draft2020_12().with(|settings| {
                settings.definitions_path = "/components/schemas".into();
                settings.meta_schema = None;
            });
            settings
                .with_transform(RecursiveTransform(with_maximum))
                .with_transform(RecursiveTransform(without_default))
        };
        Self {
            requests: settings().for_deserialize().into_generator(),
            answers: settings().for_serialize().into_generator(),
        }
    }

    /// The schema of a body.
    pub(super) fn request<T: JsonSchema>(&mut self) -> Value {
        self.requests.subschema_for::<T>().to_value()
    }

    /// The schema of an answer.
    pub(super) fn answer<T: JsonSchema>(&mut self) -> Value {
        self.answers.subschema_for::<T>().to_value()
    }

    /// The schema of a query string or of parameters of the path, in one piece.
    pub(super) fn parameters<T: JsonSchema>(&self) -> Value {
        let whole = self.requests.settings().clone().with(|settings| settings.inline_subschemas = true);
        whole.into_generator().into_root_schema_for::<T>().to_value()
    }

    /// `components/schemas`.
    pub(super) fn components(mut self) -> Map<String, Value> {
        let mut all = self.requests.take_definitions(true);
        for (name, mut schema) in self.answers.take_definitions(true) {
            // What may be missing from an answer is missing: it is not null.
            let required = schema["required"].as_array().cloned().unwrap_or_default();
            let properties = schema.get_mut("properties").and_then(Value::as_object_mut).into_iter().flatten();
            for (_, schema) in properties.filter(|(name, _)| !required.contains(&json!(name))) {
                *schema = without_null(schema);
            }
            all.insert(name, schema);
        }
        all
    }
}

/// Says what the formats of whole numbers mean, in a way that every validator understands.
fn with_maximum(schema: &mut Schema) {
    let maximum = match schema.get("format").and_then(Value::as_str) {
        Some("uint64") => u64::MAX,
        Some("int64") => i64::MAX.cast_unsigned(),
        _ => return,
    };
    let members = schema.ensure_object();
    members.entry("maximum").or_insert(maximum.into());
}

/// Generators of clients take a member with a default for one that is always there; `null` stands for left out anyway.
fn without_default(schema: &mut Schema) {
    if schema.get("default").is_some_and(Value::is_null) {
        schema.remove("default");
    }
}

/// The parameters that a struct's fields are: `null` has no spelling in a query.
pub(super) fn query_parameters(schema: &Value) -> Vec<Value> {
    let required = |name: &str| schema["required"].as_array().is_some_and(|all| all.iter().any(|one| one == name));
    let properties = schema["properties"].as_object().into_iter().flatten();
    let parameter = |(name, schema): (&String, &Value)| {
        let mut schema = without_null(schema);
        let description = schema.as_object_mut().and_then(|schema| schema.remove("description"));
        let mut parameter = json!({"name": name, "in": "query", "required": required(name), "schema": schema});
        if let Some(description) = description {
            parameter["description"] = description;
        }
        parameter
    };
    properties.map(parameter).collect()
}

fn without_null(schema: &Value) -> Value {
    let Some(members) = schema.as_object() else { return schema.clone() };
    let mut members = members.clone();
    if let Some(types) = members.get("type").and_then(Value::as_array) {
        let mut types: Vec<Value> = types.iter().filter(|name| *name != "null").cloned().collect();
        let only = if types.len() == 1 { types.pop() } else { None };
        members.insert("type".into(), only.unwrap_or(types.into()));
    }
    if let Some(Value::Array(choices)) = members.get_mut("enum") {
        choices.retain(|choice| !choice.is_null());
    }
    if let Some(Value::Array(choices)) = members.get_mut("anyOf") {
        choices.retain(|choice| choice["type"] != "null");
    }
    members.into()
}

/// Any JSON object, for fields that pass through unread: `#[schemars(with = "AnyObject")]`.
pub(crate) struct AnyObject;

impl JsonSchema for AnyObject {
    fn schema_name() -> Cow<'static, str> {
        "Object".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "object", "additionalProperties": true})
    }
}
