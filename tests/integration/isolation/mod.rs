//! No row crosses tenants: what the catalog must say, what every statement may see, and that both notice when it is broken.

mod lists;
mod matrix;
mod mutations;
mod refusal;
mod rules;
mod silence;

use sqlx::{Connection as _, PgConnection};

#[tokio::test(flavor = "multi_thread")]
async fn the_catalog_breaks_no_rule() {
    let database = tests::database().await;
    let mut admin = PgConnection::connect(&database.admin_url).await.unwrap();
    let found = rules::violations(&mut admin).await;
    assert_eq!(found, []);
}
