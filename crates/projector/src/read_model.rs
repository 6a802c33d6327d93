//! The group `read_model`: all cheap projections, which agree with each other at every `seq`.

use crate::cost_events::CostEvents;
use crate::cost_sums::CostSums;
use crate::messages::Messages;
use crate::projection::Projection;
use crate::sessions::Sessions;

/// The group's name in checkpoints.
pub const READ_MODEL: &str = "read_model";

/// The projections of the group. A new one is a line here; it fills itself.
pub const PROJECTIONS: [&dyn Projection; 4] = [&Sessions, &Messages, &CostEvents, &CostSums];

/// The group's version: the sum of its projections' versions, so that it grows when one changes or is added. A
/// worker rebuilds the rows of an older version and leaves those of a newer one alone.
pub fn version() -> i32 {
    PROJECTIONS.iter().map(|projection| projection.version()).sum()
}
