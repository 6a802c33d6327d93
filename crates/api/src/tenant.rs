//! `/v1/tenant`: what the tenant is called, pays for and has set.

use axum::extract::State;
use chrono::{DateTime, Utc};
use domain::tenant::{Change, Command, MAX_NAME, MAX_SETTING, Plan, Settings, SettingsVersion, is_language_tag};
use domain::{Currency, TenantId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::Row as _;
use store::Beside;
use uuid::Uuid;

use crate::{
    auth::name,
    body::{JsonBody, Object, Word},
    caller::{Caller, Person},
    command::{self, Changed, changed},
    conditions::IfMatch,
    costs::summary::time_zone,
    error::{Code, Error},
    idempotency::IdempotencyKey,
    json::at_most,
    members::{change, nothing_to_change, nullable},
    openapi::{About, Tag, domain_types},
    paging::Query,
    reads::{Read, Versioned},
    sessions::ReadOne,
    state::Api,
    trace_context::Origin,
    violation::Violation,
};

/// Longest id of Stripe's in characters.
const MAX_STRIPE_ID: usize = 255;

/// A tenant.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "TenantDetail", example = json!({
    "id": "01a2046a-b01f-7338-8721-f968a8e95204", "name": "Acme", "plan": "growth",
    "settings": {"version": 1, "language": "de-AT", "timezone": "Europe/Vienna", "currency": "EUR"},
    "stripe_customer_id": "cus_N1", "stripe_subscription_id": null,
    "created_at": "2026-11-23T09:00:00Z", "version": 1,
}))]
pub(crate) struct TenantRow {
    #[schemars(with = "Uuid")]
    id: TenantId,
    name: String,
    #[schemars(with = "domain_types::TenantPlan")]
    plan: Plan,
    settings: SettingsView,
    /// Whom Stripe takes the tenant for.
    stripe_customer_id: Option<String>,
    /// What the tenant has subscribed to.
    stripe_subscription_id: Option<String>,
    created_at: DateTime<Utc>,
    /// Version of what is said here, also the `ETag`.
    version: i64,
}

/// What the document says of [`read`].
pub(crate) const READ: About =
    About { id: "readTenant", tag: Tag::Tenant, summary: "Read the tenant", text: "", codes: &[], links: &[] };

pub(crate) async fn read(
    State(api): State<Api>,
    caller: Caller,
    Query(query): Query<ReadOne>,
) -> Result<Versioned<TenantRow>, Error> {
    let mut read = Read::committed(&api, &caller, query.min_seq).await?;
    let tenant = read.tenant();
    let row = sqlx::query(
        "select name, plan, settings::text as settings, stripe_customer_id, stripe_subscription_id, created_at, version
         from tenants where tenant_id = $1",
    )
    .bind(tenant)
    .fetch_optional(read.connection())
    .await?
    .ok_or_else(Error::not_found)?;
    let plan = Plan::parse(row.try_get("plan")?);
    let detail = TenantRow {
        id: TenantId(tenant),
        name: row.try_get("name")?,
        plan: plan.ok_or_else(|| Error::internal("tenants.plan holds an unknown plan"))?,
        settings: serde_json::from_str::<Settings>(row.try_get("settings")?).map_err(Error::internal)?.into(),
        stripe_customer_id: row.try_get("stripe_customer_id")?,
        stripe_subscription_id: row.try_get("stripe_subscription_id")?,
        created_at: row.try_get("created_at")?,
        version: row.try_get("version")?,
    };
    read.answer_version(detail.version.cast_unsigned(), &detail).await
}

/// How the tenant's pages and reports are to look; `null` is what nobody has set.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "SettingsDetail")]
struct SettingsView {
    /// Which members there are: 1.
    #[schemars(range(min = 1, max = 1))]
    version: u16,
    /// The language of people who have not chosen one, a tag of BCP 47.
    language: Option<String>,
    /// By which clock days begin, a name of the IANA database.
    timezone: Option<String>,
    /// In which currency costs are shown first.
    #[schemars(with = "Option<String>", regex(pattern = domain::CURRENCY_PATTERN))]
    currency: Option<Currency>,
}

impl From<Settings> for SettingsView {
    fn from(Settings { version, language, timezone, currency }: Settings) -> Self {
        let version = match version {
            SettingsVersion::One => 1,
        };
        Self { version, language, timezone, currency }
    }
}

/// All settings: what is left out is not set.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Settings", example = json!({
    "version": 1, "language": "de-AT", "timezone": "Europe/Vienna", "currency": "EUR",
}))]
struct SettingsBody {
    /// Which members there are: 1.
    #[schemars(range(min = 1, max = 1))]
    version: u16,
    /// The language of people who have not chosen one, a tag of BCP 47.
    #[schemars(length(max = MAX_SETTING), regex(pattern = "^[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*$"))]
    language: Option<String>,
    /// By which clock days begin, a name of the IANA database.
    #[schemars(length(max = MAX_SETTING))]
    timezone: Option<String>,
    /// In which currency costs are shown first.
    #[schemars(with = "Option<String>", regex(pattern = domain::CURRENCY_PATTERN))]
    currency: Option<Currency>,
}

impl SettingsBody {
    fn checked(self) -> Result<Settings, Error> {
        let Self { version, language, timezone, currency } = self;
        let invalid =
            |member, code, detail: &str| Error::invalid(Violation::in_body(["settings", member], code, detail));
        if version != 1 {
            return Err(invalid("version", "invalid_value", "must be 1"));
        }
        if language.as_deref().is_some_and(|text| !is_language_tag(text)) {
            return Err(invalid("language", "invalid_value", "is no language tag, for example de-AT"));
        }
        if timezone.as_deref().is_some_and(|text| time_zone(text).is_err()) {
            return Err(invalid(
                "timezone",
                "unknown_time_zone",
                "is no name of the IANA time zone database, for example Europe/Vienna",
            ));
        }
        Ok(Settings { version: SettingsVersion::One, language, timezone, currency })
    }
}

/// What is to change; the rest stays.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(example = json!({"name": "Acme", "plan": "growth"}))]
#[schemars(extend("minProperties" = 1))]
pub(crate) struct ChangeTenant {
    /// What the tenant is called; not only white space.
    #[schemars(length(min = 1, max = MAX_NAME), regex(pattern = r"[^\s\x85]"))]
    name: Option<String>,
    /// What it pays for. For owners.
    #[schemars(with = "Option<domain_types::TenantPlan>")]
    plan: Option<Word<Plan>>,
    /// All settings.
    #[schemars(with = "Option<SettingsBody>")]
    settings: Option<Object<SettingsBody>>,
    /// Stripe's id of the customer, or `null`. For owners.
    #[serde(default, deserialize_with = "nullable")]
    #[schemars(with = "Option<String>", length(max = MAX_STRIPE_ID), regex(pattern = "^cus_[A-Za-z0-9_]+$"))]
    stripe_customer_id: Option<Option<String>>,
    /// Stripe's id of the subscription, or `null`. For owners.
    #[serde(default, deserialize_with = "nullable")]
    #[schemars(with = "Option<String>", length(max = MAX_STRIPE_ID), regex(pattern = "^sub_[A-Za-z0-9_]+$"))]
    stripe_subscription_id: Option<Option<String>>,
}

impl ChangeTenant {
    fn checked(self) -> Result<Change, Error> {
        let Self { name: given, plan, settings, stripe_customer_id, stripe_subscription_id } = self;
        let change = Change {
            name: given.map(|given| name(&given, "name")).transpose()?,
            plan: plan.map(|Word(plan)| plan),
            settings: settings.map(|Object(settings)| settings.checked()).transpose()?,
            stripe_customer_id: stripe_id(stripe_customer_id, "cus_", "stripe_customer_id")?,
            stripe_subscription_id: stripe_id(stripe_subscription_id, "sub_", "stripe_subscription_id")?,
        };
        let Change { name, plan, settings, stripe_customer_id, stripe_subscription_id } = &change;
        let is_nothing = name.is_none() && plan.is_none() && settings.is_none();
        if is_nothing && stripe_customer_id.is_none() && stripe_subscription_id.is_none() {
            return Err(nothing_to_change());
        }
        Ok(change)
    }
}

fn stripe_id(id: Option<Option<String>>, prefix: &str, member: &str) -> Result<Option<Option<String>>, Error> {
    let Some(Some(text)) = &id else { return Ok(id) };
    at_most(member, text.chars().count(), MAX_STRIPE_ID, "characters")?;
    let is_word =
        |rest: &str| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if text.strip_prefix(prefix).is_some_and(is_word) {
        return Ok(id);
    }
    let detail = format!("must begin with {prefix} and have letters, digits and _ only");
    Err(Error::invalid(Violation::in_body([member], "invalid_value", &detail)))
}

/// What the document says of [`change_tenant`].
pub(crate) const CHANGE: About = About {
    id: "changeTenant",
    tag: Tag::Tenant,
    summary: "Change the tenant",
    text: "Plan and Stripe's ids are for owners alone.",
    codes: &[Code::VersionMismatch],
    links: &[],
};

pub(crate) async fn change_tenant(
    State(api): State<Api>,
    person: Person,
    origin: Origin,
    key: IdempotencyKey,
    if_match: IfMatch,
    JsonBody { value: body, received }: JsonBody<ChangeTenant>,
) -> Result<Changed, Error> {
    let asked = body.checked()?;
    let context = command::context(&api, &person.caller, origin, key, received);
    let tenant = person.caller.context.tenant().0;
    let command = Command::Change { by: person.user, seen: if_match.version(), change: asked };
    Ok(changed(&change(&api, context, command, tenant, Beside::Nothing).await?))
}
