//! Where a renewal may die.
//!
//! Tests end the process at each of these steps and look at what is left of the session. Only builds
//! with debug assertions look: in a release the function is empty.

/// A moment of a renewal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing was written.
    BeforeLease,
    /// The lease is held.
    AfterLease,
    /// The attempt is on record.
    AfterMark,
    /// The server has acted; its answer has begun to arrive.
    AfterSend,
    /// The answer was read.
    AfterAnswer,
    /// The answer was checked and is about to be stored.
    BeforeCommit,
    /// The new tokens are stored.
    AfterCommit,
    /// The lease was given back.
    AfterRelease,
}

#[cfg(debug_assertions)]
impl Step {
    /// Ends the process here, as a crash would, if the environment names this step.
    pub(crate) fn reached(self) {
        if std::env::var_os("MAESTRO_ABORT_AT_STEP").is_some_and(|step| step == self.as_str()) {
            std::process::abort();
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::BeforeLease => "before-lease",
            Self::AfterLease => "after-lease",
            Self::AfterMark => "after-mark",
            Self::AfterSend => "after-send",
            Self::AfterAnswer => "after-answer",
            Self::BeforeCommit => "before-commit",
            Self::AfterCommit => "after-commit",
            Self::AfterRelease => "after-release",
        }
    }
}

#[cfg(not(debug_assertions))]
impl Step {
    pub(crate) fn reached(self) {}
}
