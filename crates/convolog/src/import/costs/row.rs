//! A row of a cost export as a cost: which fields it needs, what they may look like, and what holds without them.

use api::body::{Object, checked};
use chrono::{DateTime, Utc};
use domain::ledger::{self, Charge, MAX_METADATA, Recorded, Service, Usage, UsageConvention};
use domain::{Currency, JsonObject, Period, TenantId};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::columns::{Column, Fields};
use super::identity::Identity;
use super::moment;
use crate::import::MAX_FUTURE;
use crate::import::line::{LeftOut, LineError, MAX_NAME};
use crate::import::plan::session_of;
use crate::import::provider::provider_of;
use crate::import::told::Told;
use crate::import::usage::Tokens;

/// A cost as a row tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Says whether it is the same cost.
    pub identity: Identity,
    /// When it occurred.
    pub occurred_at: DateTime<Utc>,
    /// The month of it.
    pub period: Period,
    /// What it is for; the session is in `session`.
    pub charge: Charge,
    /// The conversation it belongs to, in somebody else's words.
    pub session: Option<String>,
    /// Free-form.
    pub metadata: Option<JsonObject>,
    /// What the row says and Convolog has no place for.
    pub left_out: LeftOut,
}

/// A line of usage as the API takes it.
#[derive(Deserialize)]
struct UsageLine {
    r#type: String,
    quantity: Told,
    unit: Option<String>,
}

impl Row {
    /// Understands a row, of the time `now` or before; `content` identifies one without an id.
    pub(super) fn new(
        mut fields: Fields,
        mut left_out: LeftOut,
        now: DateTime<Utc>,
        content: impl FnOnce() -> Option<Identity>,
    ) -> Result<Self, LineError> {
        let Some((name, told)) = fields.take(Column::OccurredAt) else {
            return Err(LineError::named("occurred_at", "missing_field", "nothing says when it occurred".into()));
        };
        let occurred_at = moment::read(&told).map_err(|why| invalid(&name, why))?;
        let period = Period::of(occurred_at);
        let period = period.map_err(|_years| invalid(&name, "must lie in the years 2000 to 2199".into()))?;
        if occurred_at > now + MAX_FUTURE {
            return Err(invalid(&name, format!("{occurred_at} lies in the future")));
        }
        let identity = identity(&mut fields)?;
        let (session_id, session) = match fields.take(Column::Session).map(|(_, told)| id_text(told)) {
            Some(Some(text)) => Uuid::try_parse(&text).map_or((None, Some(text)), |id| (Some(id), None)),
            Some(None) | None => (None, None),
        };
        let metadata = metadata(&mut fields, &mut left_out)?;
        let usage = usage(&mut fields)?;
        let amount = fields.take(Column::Amount);
        let amount = amount.map(|(name, told)| told.amount().map_err(|why| invalid(&name, why))).transpose()?;
        if amount.is_none() && usage.is_empty() {
            return Err(LineError::whole("missing_field", "it has neither an amount nor any usage"));
        }
        let currency = fields.take(Column::Currency);
        let currency = currency.map(|(name, told)| told.currency().map_err(|why| invalid(&name, why))).transpose()?;
        let model = fields.take(Column::Model).and_then(|(_, told)| told.text().map(str::to_owned));
        let provider = fields.take(Column::Provider).and_then(|(_, told)| told.text().map(str::to_owned));
        let charge = Charge {
            service: service(&mut fields)?,
            provider: provider.unwrap_or_else(|| provider_of(model.as_deref()).to_owned()),
            model,
            usage,
            amount,
            currency: currency.or(amount.map(|_| Currency::USD)),
            session_id,
            message_id: uuid(&mut fields, Column::Message, &mut left_out),
            meeting_id: uuid(&mut fields, Column::Meeting, &mut left_out),
        };
        charge.check().map_err(|error| invalid(error.pointer().trim_start_matches('/'), error.to_string()))?;
        let nameless = || LineError::whole("too_many_rows", "too many rows without an id: split the file by time");
        let identity = identity.or_else(content).ok_or_else(nameless)?;
        Ok(Self { identity, occurred_at, period, charge, session, metadata, left_out })
    }

    /// As it goes into a tenant's ledger.
    pub(super) fn recorded(self, tenant: TenantId) -> Recorded {
        let session = self.session.map(|name| session_of(tenant, &format!("id/{name}")));
        let charge = Charge { session_id: session.or(self.charge.session_id), ..self.charge };
        Recorded { cost_id: self.identity.cost_id(tenant), period: self.period, charge, metadata: self.metadata }
    }
}

fn invalid(name: &str, detail: String) -> LineError {
    LineError::named(name, "invalid_value", detail)
}

/// An id as text: a string, or a number's digits.
fn id_text(told: Told) -> Option<String> {
    match told {
        Told::Text(text) => Some(text.trim().to_owned()).filter(|text| !text.is_empty()),
        Told::Number(digits) => Some(digits),
        Told::Other(_) => None,
    }
}

fn identity(fields: &mut Fields) -> Result<Option<Identity>, LineError> {
    let Some((name, told)) = fields.take(Column::Id) else { return Ok(None) };
    let Some(text) = id_text(told) else {
        return Err(LineError::named(&name, "wrong_type", "must be a text or a whole number".into()));
    };
    if text.chars().count() > MAX_NAME {
        return Err(LineError::named(&name, "too_long", format!("at most {MAX_NAME} characters are allowed")));
    }
    Ok(Some(Uuid::try_parse(&text).map_or(Identity::Name(text), Identity::Id)))
}

/// An id of ours; that of another system is left out.
fn uuid(fields: &mut Fields, column: Column, left_out: &mut LeftOut) -> Option<Uuid> {
    let (name, told) = fields.take(column)?;
    let id = told.text().and_then(|text| Uuid::try_parse(text).ok());
    if id.is_none() {
        left_out.add(&format!("{name} that is no UUID"));
    }
    id
}

fn service(fields: &mut Fields) -> Result<Service, LineError> {
    if let Some((name, told)) = fields.take(Column::Service) {
        let text = told.text().unwrap_or_default().to_ascii_lowercase();
        let service = Service::ALL.into_iter().find(|service| service.as_str() == text);
        return service.ok_or_else(|| {
            let all = Service::ALL.map(Service::as_str).join(", ");
            invalid(&name, format!("must be one of {all}"))
        });
    }
    let call = fields.take(Column::CallType).and_then(|(_, told)| told.text().map(str::to_owned)).unwrap_or_default();
    let kinds = [
        ("embedding", Service::Embedding),
        ("image", Service::Vision),
        ("speech", Service::Voice),
        ("transcription", Service::Voice),
    ];
    let kind = kinds.into_iter().find(|(word, _)| call.contains(word));
    Ok(kind.map_or(Service::Llm, |(_, service)| service))
}

fn metadata(fields: &mut Fields, left_out: &mut LeftOut) -> Result<Option<JsonObject>, LineError> {
    let Some((name, Told::Text(json) | Told::Other(json))) = fields.take(Column::Metadata) else { return Ok(None) };
    // Some write an empty or another word there.
    let Some(json) = Some(json.trim()).filter(|json| json.starts_with('{')) else {
        left_out.add(&format!("{name} that is no object"));
        return Ok(None);
    };
    if json.len() > MAX_METADATA {
        return Err(LineError::named(&name, "too_long", format!("at most {MAX_METADATA} bytes are allowed")));
    }
    let raw = RawValue::from_string(
        checked(json.as_bytes()).map_err(|error| invalid(&name, error.detail().to_owned()))?.to_owned(),
    );
    let object = raw.ok().and_then(|raw| JsonObject::try_from(raw).ok());
    Ok(Some(object.ok_or_else(|| invalid(&name, "must be a JSON object".into()))?))
}

/// All that was used: counts of tokens, columns of the ledger's own types, and `usage`, which may be either.
fn usage(fields: &mut Fields) -> Result<Vec<Usage>, LineError> {
    let convention = match fields.take(Column::Convention) {
        None => UsageConvention::Disjoint,
        Some((name, told)) => match told.text() {
            Some("disjoint") => UsageConvention::Disjoint,
            Some("inclusive") => UsageConvention::Inclusive,
            _ => return Err(invalid(&name, "must be disjoint or inclusive".into())),
        },
    };
    let (mut lines, mut tokens) = (Vec::new(), Tokens::of_columns(|column| fields.take(column).map(|(_, told)| told)));
    while let Some((name, told)) = fields.take(Column::Line) {
        let quantity = told.quantity().map_err(|why| invalid(&name, why))?;
        lines.push((super::columns::spelling(&name), quantity, None));
    }
    if let Some((name, told)) = fields.take(Column::Usage) {
        match told {
            Told::Text(json) | Told::Other(json) if json.trim_start().starts_with('[') => {
                let told: Vec<Object<UsageLine>> = inner(&name, &json)?;
                for Object(line) in told {
                    let quantity = line.quantity.quantity().map_err(|why| invalid(&name, why))?;
                    lines.push((line.r#type, quantity, line.unit));
                }
            }
            Told::Text(json) | Told::Other(json) if json.trim_start().starts_with('{') => {
                let Object(told) = inner(&name, &json)?;
                tokens = told;
            }
            Told::Text(_) | Told::Number(_) | Told::Other(_) => {
                return Err(invalid(&name, "must be a list of type, quantity and unit, or counts of tokens".into()));
            }
        }
    }
    let counts = tokens.counts().map_err(|(name, why)| invalid(name, why))?;
    let mut all = counts.lines().map_err(|misfit| LineError::whole("invalid_value", misfit.to_string()))?;
    let wrong = |error: ledger::InvalidCharge| LineError::named("usage", "invalid_value", error.to_string());
    all.extend(ledger::lines(lines, convention).map_err(wrong)?);
    // The order of columns says nothing.
    all.sort_by(|one, other| (&one.r#type, &one.unit).cmp(&(&other.r#type, &other.unit)));
    let told = all.into_iter().map(|line| (line.r#type, line.quantity, Some(line.unit)));
    ledger::lines(told, UsageConvention::Disjoint).map_err(wrong)
}

/// JSON inside a cell or a member.
fn inner<T: DeserializeOwned>(name: &str, json: &str) -> Result<T, LineError> {
    let json = checked(json.as_bytes()).map_err(|error| invalid(name, error.detail().to_owned()))?;
    serde_json::from_str(json).map_err(|error| invalid(name, error.to_string()))
}
