//! Requests made to break something, at every endpoint that the document names: each is refused with its reason, none is
//! a fault of ours, none leaves a trace.

mod bodies;
mod headers;
mod queries;

use tests::{Reply, User, World};
use uuid::Uuid;

use super::{assert_problem, head, post_text, raw, routes};
use crate::operations::logs::{Captured, capture_errors};

/// A world whose log is listened to, with a tenant that has a session.
struct Stage {
    captured: Captured,
    _guard: tracing::subscriber::DefaultGuard,
    world: World,
    user: User,
    session: Uuid,
}

impl Stage {
    /// On a runtime of one thread: others are not listened to.
    async fn set() -> Self {
        let (captured, guard) = capture_errors();
        let world = World::start().await;
        let user = world.tenant().await;
        let session = user.start_session().await;
        Self { captured, _guard: guard, world, user, session }
    }

    async fn head(&self) -> u64 {
        head(&self.world, self.user.tenant).await
    }

    /// The tenant's log ends here, and nobody had anything to complain of.
    async fn ends_at(&self, seq: u64) {
        assert_eq!(self.head().await, seq);
        self.world.drain().await;
        assert_eq!(self.world.database.logged_errors().await, [] as [String; 0]);
        assert_eq!(self.captured.text(), "");
    }
}

/// Some refusal that says what the client did wrong.
#[track_caller]
fn assert_refused(reply: &Reply, what: &str) {
    assert!((400..500).contains(&reply.status), "{what}: {} {}", reply.status, reply.body);
    assert_problem(reply, reply.status, reply.code());
}
