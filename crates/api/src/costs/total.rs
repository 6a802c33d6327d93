//! What costs come to, per currency. PostgreSQL adds; sums pass through as text, because they may outgrow any number type.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::Row as _;
use sqlx::postgres::PgRow;

use crate::error::Error;

/// What a sum of amounts or quantities looks like: any number of digits before the point.
const SUM_PATTERN: &str = r"^-?[0-9]+(\.[0-9]{1,12})?$";

/// What costs of one currency come to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Total {
    /// `null` for costs that were recorded without an amount and without a currency.
    pub(super) currency: Option<String>,
    /// The sum of all priced costs that were not voided, a decimal number; `null` when there never was a priced one.
    #[schemars(regex(pattern = SUM_PATTERN))]
    pub(super) amount: Option<String>,
    /// How many costs were recorded, those included that were voided since.
    #[schemars(range(min = 0))]
    pub(super) recorded: i64,
    /// How many of them were voided.
    #[schemars(range(min = 0))]
    pub(super) voided: i64,
    /// How many have no amount and were not voided.
    #[schemars(range(min = 0))]
    pub(super) unpriced: i64,
}

/// A column `cost` that [`Total::of_column`] reads: what `table` has under `key` of the tenant `$1`. In the order of the
/// table's key, so that nothing is sorted.
pub(crate) fn column(table: &str, key: &str) -> String {
    format!(
        "(select json_agg(t)::text from (
            select c.currency, trim_scale(c.amount)::text as amount, c.recorded, c.voided, c.unpriced
            from {table} c where c.tenant_id = $1 and c.{key} order by c.currency) t) as cost"
    )
}

impl Total {
    /// Those of a row; none when nothing was ever recorded.
    pub(crate) fn of_column(json: Option<&str>) -> Result<Vec<Self>, Error> {
        json.map_or(Ok(Vec::new()), |json| serde_json::from_str(json).map_err(Error::internal))
    }

    /// From columns of these names; `amount` is text without trailing zeros.
    pub(super) fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            currency: row.try_get("currency")?,
            amount: row.try_get("amount")?,
            recorded: row.try_get("recorded")?,
            voided: row.try_get("voided")?,
            unpriced: row.try_get("unpriced")?,
        })
    }
}

/// What was used of one thing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Used {
    /// For example `output_text`.
    pub(super) r#type: String,
    /// For example `tokens`.
    pub(super) unit: String,
    /// The sum over all costs that were not voided, a decimal number.
    #[schemars(regex(pattern = SUM_PATTERN))]
    pub(super) quantity: String,
}

impl Used {
    /// From columns of these names.
    pub(super) fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self { r#type: row.try_get("type")?, unit: row.try_get("unit")?, quantity: row.try_get("quantity")? })
    }
}
