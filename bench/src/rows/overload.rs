//! The rows about more load than there is room for.

use serde_json::json;

use super::{Bench, aims};
use crate::fleet::Target;
use crate::load::{self, Figures, Shape};
use crate::storm::Storm;

/// Connections at which commands saturate the machine, and ten times as many.
const SATURATING: usize = 256;
const TENFOLD: usize = 2560;
/// Connections that log in, enough for every core.
const LOGINS: usize = 4;

impl Bench {
    pub(super) async fn overload(&mut self) -> anyhow::Result<()> {
        for _ in 0..self.size.rounds {
            let peak = self.storm(SATURATING, 0, 0).await?;
            let flood = self.storm(TENFOLD, 0, 0).await?;
            self.say(aims::OVERLOAD_COMMANDS, flood.per_second / peak.per_second, (&peak, &flood))?;
            let alone = self.storm(64, LOGINS, 0).await?;
            let tenfold = load_of(alone.logins_per_second * 10.0);
            let flood = self.storm(64, 0, tenfold).await?;
            self.say(aims::OVERLOAD_LOGINS, flood.logins_per_second / alone.logins_per_second, (&alone, &flood))?;
        }
        Ok(())
    }

    fn say(
        &mut self,
        aim: crate::report::Aim,
        ratio: f64,
        (before, flood): (&Figures, &Figures),
    ) -> anyhow::Result<()> {
        let line = |it: &Figures| {
            format!(
                "{:.0} commands/s (p50 {:.0} p99 {:.0} ms, {} refused), {:.0} log-ins/s ({} refused), ready p99 {:.0} ms ({} failed)",
                it.per_second,
                it.p50 / 1e3,
                it.p99 / 1e3,
                it.refused,
                it.logins_per_second,
                it.logins_refused,
                it.ready_p99 / 1e3,
                it.ready_failed
            )
        };
        let from = format!("peak {}; tenfold {}", line(before), line(flood));
        self.report.add(aim, ratio, from, &json!({"peak": before, "tenfold": flood}))
    }

    async fn storm(&mut self, connections: usize, login_connections: usize, logins: u32) -> anyhow::Result<Figures> {
        self.last_raw = None;
        let (warm_up, measured) = (self.size.warm_up, self.size.measured);
        let storm = Storm { warm_up, measured, login_connections, logins_per_second: logins };
        let plan = self.plan(connections, Shape::Storm(storm), <[Target]>::to_vec)?;
        load::run(&self.services, &self.node, &plan).await
    }
}

/// A rate as whole log-ins per second.
fn load_of(rate: f64) -> u32 {
    format!("{rate:.0}").parse().unwrap_or(u32::MAX)
}
