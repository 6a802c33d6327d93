//! The rows about size: what a command and a read take with a hundred times the events, and a hundred times the tenants.

use serde_json::json;
use sqlx::{Executor as _, PgPool};

use super::{Bench, aims, tell};
use crate::fleet::{Fleet, Target};
use crate::lag;
use crate::load::{self, Figures, Plan, ReadKind, Shape};
use crate::node::NodeProcess;
use crate::report::Aim;
use crate::services::Services;

/// How much more.
const MORE: usize = 100;
const SESSIONS: usize = 2;
/// Messages of each session to begin with: a page of the list.
const MESSAGES: usize = crate::http::PAGE;

/// A database of its own, filled to a certain size, with a process of the product.
struct World {
    name: &'static str,
    fleet: Fleet,
    node: NodeProcess,
    admin: PgPool,
    events: usize,
}

/// What one client sees, in microseconds at the median.
struct Medians {
    append: f64,
    list: f64,
    point: f64,
}

impl World {
    async fn make(services: &Services, name: &'static str, tenants: usize, messages: usize) -> anyhow::Result<Self> {
        let events = tenants * SESSIONS * messages;
        tell(&format!("{name}: {tenants} tenants, {events} messages"))?;
        let admin = services.new_database(name).await?;
        let database = services.api_database(name).await?;
        let fleet = Fleet::found(&database, &services.secrets.master_secret()?, tenants, SESSIONS).await?;
        database.close().await;
        // As autovacuum does it on a database in use, only sooner.
        admin.execute("vacuum analyze").await?;
        let node = NodeProcess::start(services, name, false).await?;
        let mut world = Self { name, fleet, node, admin, events };
        world.run(services, 64, Shape::Each { times: messages }).await?;
        Ok(world)
    }

    async fn run(&mut self, services: &Services, connections: usize, shape: Shape) -> anyhow::Result<Figures> {
        let targets: Vec<Target> = self.fleet.targets()?.to_vec();
        let plan = Plan { address: self.node.address.clone(), connections, targets, shape };
        load::run(services, &self.node, &plan).await
    }
}

impl Bench {
    pub(super) async fn scale(&mut self) -> anyhow::Result<()> {
        self.last_raw = None;
        let tenants = self.size.scaled_tenants;
        let mut small = World::make(&self.services, "bench_small", tenants, MESSAGES).await?;
        let mut events = World::make(&self.services, "bench_events", tenants, MESSAGES * MORE).await?;
        let mut crowd = World::make(&self.services, "bench_tenants", tenants * MORE, MESSAGES).await?;
        for world in [&mut small, &mut events, &mut crowd] {
            world.node.workers_on().await?;
            lag::ended(lag::PROJECTOR, &world.admin).await?;
            world.node.workers_off().await?;
            world.admin.execute("vacuum analyze").await?;
        }
        for _ in 0..self.size.rounds {
            let mut before = self.medians(&mut small).await?;
            for (aim, large) in [(aims::SCALE_EVENTS, &mut events), (aims::SCALE_TENANTS, &mut crowd)] {
                let with_more = self.medians(large).await?;
                let after = self.medians(&mut small).await?;
                self.say_scale(aim, large, &with_more, [&before, &after])?;
                before = after;
            }
        }
        for world in [small, events, crowd] {
            world.node.stop().await?;
            world.admin.close().await;
        }
        Ok(())
    }

    async fn medians(&self, world: &mut World) -> anyhow::Result<Medians> {
        let (warm_up, measured) = (self.size.warm_up / 2, self.size.measured / 3);
        let append = world.run(&self.services, 1, Shape::ClosedLoop { warm_up, measured }).await?.p50;
        let list = world.run(&self.services, 1, Shape::Reads { kind: ReadKind::List, measured }).await?.p50;
        let point = world.run(&self.services, 1, Shape::Reads { kind: ReadKind::Point, measured }).await?.p50;
        Ok(Medians { append, list, point })
    }

    /// The worst of the three counts.
    fn say_scale(&mut self, aim: Aim, large: &World, it: &Medians, few: [&Medians; 2]) -> anyhow::Result<()> {
        let ratio = |of: fn(&Medians) -> f64| of(it) / super::mean(of(few[0]), of(few[1]));
        let (append, list, point) = (ratio(|it| it.append), ratio(|it| it.list), ratio(|it| it.point));
        let from = format!(
            "append {append:.2} ({:.2} ms), list {list:.2} ({:.2} ms), point {point:.2} ({:.2} ms); {} with {} messages",
            it.append / 1e3,
            it.list / 1e3,
            it.point / 1e3,
            large.name,
            large.events
        );
        let figures = json!({"append": append, "list": list, "point": point, "messages": large.events});
        self.report.add(aim, append.max(list).max(point), from, &figures)
    }
}
