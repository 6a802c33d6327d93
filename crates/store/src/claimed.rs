//! Who has taken a claim: looked up in the log itself, so that whatever was acknowledged is seen.

use std::collections::HashMap;

use domain::RecordedEvent;
use sqlx::{AssertSqlSafe, Row as _};

use crate::{EVENT_COLUMNS, Error, TenantTx, event_from_row};

/// A look-up per claim: a join that was planned while its tables were small would read all of them from then on.
fn select() -> String {
    format!(
        "select c.claim, {EVENT_COLUMNS} from unnest($2::text[]) as c (claim)
         cross join lateral (select t.seq from claims t where t.tenant_id = $1 and t.claim = c.claim limit 1) t
         cross join lateral (select * from events e where e.tenant_id = $1 and e.seq = t.seq limit 1) e"
    )
}

impl TenantTx {
    /// The events that took these claims, by claim; those that are free are missing.
    pub async fn taken(&mut self, claims: &[String]) -> Result<HashMap<String, RecordedEvent>, Error> {
        let tenant = self.tenant().0;
        let rows = sqlx::query(AssertSqlSafe(select())).bind(tenant).bind(claims).fetch_all(self.connection()).await?;
        rows.iter().map(|row| Ok((row.try_get("claim")?, event_from_row(row)?))).collect()
    }
}
