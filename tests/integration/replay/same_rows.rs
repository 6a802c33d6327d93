//! A rebuild gives the rows of live projecting, however the log is cut; and does so again.

use std::sync::atomic::Ordering;

use projector::replay::Sizes;
use tests::World;

use super::{LITTLE, rebuild_all, replay, rows, staged, tables, tenants_with_a_past};
use crate::faults::rebuild::Chance;

/// Sizes that cut logs and tables in random places.
fn random_sizes(chance: &mut Chance) -> Sizes {
    let mut up_to = |most| 1 + chance.below(most);
    Sizes { page: up_to(200), tenants: usize::try_from(up_to(5)).unwrap(), slice: up_to(40), swap: up_to(200) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_gives_the_rows_of_live_projecting_wherever_it_is_cut_and_twice() {
    let world = World::start().await;
    tenants_with_a_past(&world, &[5, 30, 90, 150]).await;
    let live = rows(&world).await;
    for name in tables().map(|table| table.name) {
        assert!(name == "message_costs" || live.iter().any(|row| row.starts_with(&format!("{name} "))), "{name}");
    }
    let mut chance = Chance(11);
    for sizes in [LITTLE, Sizes::default(), random_sizes(&mut chance), random_sizes(&mut chance)] {
        for gone in [false, true] {
            if gone {
                for name in tables().map(|table| table.name) {
                    let sql = sqlx::AssertSqlSafe(format!("delete from {name}"));
                    sqlx::query(sql).execute(&world.database.admin).await.unwrap();
                }
            }
            let counters = rebuild_all(&replay(&world, sizes).await).await;
            assert_eq!(counters.tenants.load(Ordering::Relaxed), 4, "{sizes:?}");
            assert_eq!(counters.events.load(Ordering::Relaxed), counters.total.load(Ordering::Relaxed), "{sizes:?}");
            assert_eq!(rows(&world).await, live, "{sizes:?}");
            let touched = counters.touched.load(Ordering::Relaxed);
            assert_eq!(touched, if gone { live.len() as u64 } else { 0 }, "{sizes:?}");
            assert_eq!(staged(&world).await, 0, "{sizes:?}");
        }
    }
}
