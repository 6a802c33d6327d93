//! Points at which a debug build can be made to die, to prove that nothing is lost there: between two things that do not
//! happen together. A release build has none.

/// Where it dies, without a word and without cleaning up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrashPoint {
    /// A batch of commands is committed, nobody has heard of it.
    AfterCommit,
    /// A tenant is registered, and its founder does not know.
    AfterRegistration,
    /// NATS has acknowledged a page of events, no cursor is stored.
    AfterPublish,
    /// A new generation of the stream has begun, some cursors are set back.
    AmidRewind,
    /// Rows and checkpoint are written, not committed.
    BeforeRowsCommit,
    /// Rows and checkpoint are committed, and the API was not told.
    AfterRowsCommit,
    /// A page of a rebuild is staged.
    BetweenPages,
    /// Rows of a rebuild have replaced others, not committed.
    BeforeSwapCommit,
    /// Some rows of a rebuild are read, others still to be replaced.
    BetweenSwaps,
    /// An event is discarded, its stream is parked still.
    AfterDiscard,
}

impl CrashPoint {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::AfterCommit,
        Self::AfterRegistration,
        Self::AfterPublish,
        Self::AmidRewind,
        Self::BeforeRowsCommit,
        Self::AfterRowsCommit,
        Self::BetweenPages,
        Self::BeforeSwapCommit,
        Self::BetweenSwaps,
        Self::AfterDiscard,
    ];

    /// Its name, as [`VARIABLE`] gives it.
    pub fn name(self) -> &'static str {
        match self {
            Self::AfterCommit => "after-commit",
            Self::AfterRegistration => "after-registration",
            Self::AfterPublish => "after-publish",
            Self::AmidRewind => "amid-rewind",
            Self::BeforeRowsCommit => "before-rows-commit",
            Self::AfterRowsCommit => "after-rows-commit",
            Self::BetweenPages => "between-pages",
            Self::BeforeSwapCommit => "before-swap-commit",
            Self::BetweenSwaps => "between-swaps",
            Self::AfterDiscard => "after-discard",
        }
    }

    /// The process dies here when it was told to.
    pub fn reached(self) {
        #[cfg(debug_assertions)]
        if armed() == Some(self) {
            std::process::abort();
        }
    }
}

/// The environment variable that names a point.
pub const VARIABLE: &str = "CRASH_AT";

#[cfg(debug_assertions)]
fn armed() -> Option<CrashPoint> {
    static ARMED: std::sync::OnceLock<Option<CrashPoint>> = std::sync::OnceLock::new();
    *ARMED.get_or_init(|| {
        #[expect(clippy::disallowed_methods, reason = "no setting: it is for tests alone")]
        let name = std::env::var(VARIABLE).ok()?;
        CrashPoint::ALL.into_iter().find(|point| point.name() == name)
    })
}
