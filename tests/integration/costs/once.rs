//! An event adds to a sum once, also when another worker has projected it while this one believed to be next.

use domain::{EventData as _, Period, TenantId};
use projector::{PROJECTIONS, Projected};
use serde_json::json;
use sqlx::{Connection as _, PgConnection};
use store::{event_from_row, select_events_after};
use uuid::Uuid;

use super::ledger::{Cost, Ledger, cost};
use crate::faults::group_version::quick_world;
use crate::faults::oracle::assert_rows_are_those_of_the_log;

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_somebody_else_has_projected_meanwhile_is_not_added_again() {
    let world = quick_world().await;
    let user = world.tenant().await;
    let body = json!({"service": "llm", "provider": "p", "amount": "1"});
    let costs: Vec<_> = (0..5)
        .map(|_| cost("2026-11-03T10:00:00Z", Some("7"), Some("USD")).using(&[("images", "1", "images")]))
        .collect();
    Ledger::of(&world).append(&user, costs.iter().cloned().map(Cost::recorded).collect()).await;
    world.drain().await;

    // A void, its rows and the checkpoint become visible together: the projector finds out when it hears of the event. Nothing
    // but the checkpoint keeps it from the sums; a cost would also be refused as a second row.
    let mut admin = PgConnection::connect(&world.database.admin_url).await.unwrap();
    for cost in costs {
        let entry = cost.voided("2026-11-20T00:00:00Z");
        let mut tx = admin.begin().await.unwrap();
        let meta = json!({"actor": {"kind": "system", "id": Uuid::nil()}, "correlation_id": Uuid::nil(),
                          "causation_id": Uuid::nil()});
        let seq: i64 = sqlx::query_scalar(
            "select seq from append_one(null, null, null, $1, $1, null, null, 'null', null, '{}', 'ledger', $2, gen_random_uuid(),
                                        'cost_voided', 1::smallint, $3, $4, $5)",
        )
        .bind(user.tenant)
        .bind(Period::parse("2026-11").unwrap().stream(TenantId(user.tenant)))
        .bind(entry.event.encode().unwrap().get())
        .bind(meta.to_string())
        .bind(entry.occurred_at)
        .fetch_one(&mut *tx)
        .await
        .unwrap();
        let rows = sqlx::query(sqlx::AssertSqlSafe(select_events_after()))
            .bind(vec![user.tenant])
            .bind(vec![seq - 1])
            .bind(1_i64)
            .fetch_all(&mut *tx)
            .await
            .unwrap();
        let events: Vec<_> = rows.iter().map(|row| event_from_row(row).unwrap()).collect();
        let facts = Projected::read(&events).unwrap();
        for projection in PROJECTIONS {
            projection.write(&mut tx, &facts).await.unwrap();
        }
        sqlx::query("update projection_checkpoints set seq = $2 where tenant_id = $1")
            .bind(user.tenant)
            .bind(seq)
            .execute(&mut *tx)
            .await
            .unwrap();
        tx.commit().await.unwrap();
        // It hears of this one, or of the next.
        assert_eq!(user.post("/v1/costs", &body).await.status, 201);
        assert_rows_are_those_of_the_log(&world).await;
    }
}
