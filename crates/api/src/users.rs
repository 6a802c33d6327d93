//! `/v1/users`: who belongs to the tenant, and the reading of it.

pub(crate) mod change;

use axum::extract::State;
use chrono::{DateTime, Utc};
use domain::tenant::Role;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::Row as _;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use crate::{
    caller::Caller,
    cursor::{Cursor, Scope},
    error::{Code, Error},
    openapi::{About, Tag, domain_types},
    paging::{Limit, Page, Query},
    path::PathParams,
    reads::{Answer, Read, Versioned},
    sessions::ReadOne,
    state::Api,
};

/// A member of the tenant.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Member", example = example())]
pub(crate) struct MemberRow {
    id: Uuid,
    email: String,
    name: String,
    /// Where their picture is.
    avatar_url: Option<String>,
    #[schemars(with = "domain_types::MemberRole")]
    role: Role,
    /// Whether they have yet to choose a password.
    invited: bool,
    /// When they became a member.
    created_at: DateTime<Utc>,
    /// Version of what is said here, also the `ETag`.
    version: i64,
    /// Their place in the list.
    #[serde(skip)]
    joined: i64,
}

fn example() -> Value {
    json!({
        "id": "01a2046a-b01f-7000-8000-000000000002", "email": "ada@example.com", "name": "Ada", "avatar_url": null,
        "role": "owner", "invited": false, "created_at": "2026-11-23T09:00:00Z", "version": 2,
    })
}

const COLUMNS: &str = "u.id, u.email, u.name, u.avatar_url, u.role, u.created_at, u.version, u.joined,
    not exists (select from credentials c where c.tenant_id = u.tenant_id and c.user_id = u.id) as invited";

impl MemberRow {
    fn from_row(row: &PgRow) -> Result<Self, Error> {
        let role = Role::parse(row.try_get("role")?);
        Ok(Self {
            id: row.try_get("id")?,
            email: row.try_get("email")?,
            name: row.try_get("name")?,
            avatar_url: row.try_get("avatar_url")?,
            role: role.ok_or_else(|| Error::internal("users.role holds an unknown role"))?,
            invited: row.try_get("invited")?,
            created_at: row.try_get("created_at")?,
            version: row.try_get("version")?,
            joined: row.try_get("joined")?,
        })
    }
}

/// Parameters.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListUsers {
    /// Most members of the page.
    #[serde(default)]
    limit: Limit,
    /// Where the page begins: the `next_cursor` of the one before.
    #[schemars(with = "Option<Cursor>")]
    cursor: Option<String>,
    /// Fail unless the log has this number.
    min_seq: Option<u64>,
}

/// What the document says of [`list`].
pub(crate) const LIST: About = About {
    id: "listUsers",
    tag: Tag::Tenant,
    summary: "List members",
    text: "In the order in which they came.",
    codes: &[Code::CursorMismatch],
    links: &[],
};

pub(crate) async fn list(
    State(api): State<Api>,
    caller: Caller,
    Query(query): Query<ListUsers>,
) -> Result<Answer<Page<MemberRow>>, Error> {
    let scope = Scope { route: "GET /v1/users", tenant: caller.context.tenant(), filters: "", order: "asc" };
    let [after] = query.cursor.map(|cursor| scope.decode(&cursor)).transpose()?.unwrap_or([0]);
    let mut read = Read::committed(&api, &caller, query.min_seq).await?;
    let sql =
        format!("select {COLUMNS} from users u where u.tenant_id = $1 and u.joined > $2 order by u.joined limit $3");
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(read.tenant())
        .bind(after)
        .bind(query.limit.and_one())
        .fetch_all(read.connection())
        .await?;
    let rows = rows.iter().map(MemberRow::from_row).collect::<Result<Vec<_>, _>>()?;
    let page = Page::new(rows, query.limit, |row| scope.encode([row.joined]));
    read.answer(&page).await
}

/// What the document says of [`read`].
pub(crate) const READ: About =
    About { id: "readUser", tag: Tag::Tenant, summary: "Read a member", text: "", codes: &[], links: &[] };

pub(crate) async fn read(
    State(api): State<Api>,
    caller: Caller,
    PathParams(id): PathParams<Uuid>,
    Query(query): Query<ReadOne>,
) -> Result<Versioned<MemberRow>, Error> {
    let mut read = Read::committed(&api, &caller, query.min_seq).await?;
    let sql = format!("select {COLUMNS} from users u where u.tenant_id = $1 and u.id = $2");
    let row =
        sqlx::query(sqlx::AssertSqlSafe(sql)).bind(read.tenant()).bind(id).fetch_optional(read.connection()).await?;
    let member = MemberRow::from_row(&row.ok_or_else(Error::not_found)?)?;
    read.answer_version(member.version.cast_unsigned(), &member).await
}
