//! Dead letters: streams of which an event cannot be projected. `park` sets one aside, `skips` says what is left out of
//! the log meanwhile, live and rebuilt, `unpark` projects what has waited. The log is the queue: nothing is copied.

mod discarded;
mod letter;
mod park;
mod skips;
mod unpark;

pub(crate) use discarded::release;
pub use letter::{Content, DeadLetter, content, of_tenant, tenants};
pub use park::MAX_ERROR;
pub(crate) use park::{count, forget, insert, park};
pub(crate) use skips::Skips;
pub use unpark::{PAGE, Unparked, retry};
