//! Why an exchange in a worker ends before its time.

/// Why an exchange in a worker cannot go on. Others of the same plugin go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Broken {
    /// The same input ended the worker twice.
    #[error("the same input ended its worker twice: {how}")]
    Crashed {
        /// How it ended.
        how: String,
    },
    /// The worker ended and the exchange is longer than its journal.
    #[error("its worker ended ({how}), and the exchange was too long to be replayed")]
    TooLong {
        /// How it ended.
        how: String,
    },
    /// The next worker said something else.
    #[error("it answered differently when it was replayed after its worker ended ({how})")]
    Diverged {
        /// How the first one ended.
        how: String,
    },
    /// It runs in process, where another generation took its place long ago.
    #[error("another generation took its place, and the time to end was over")]
    Retired,
    /// There is no worker any more.
    #[error("its worker is gone: {problem}")]
    Lost {
        /// Why there is no other.
        problem: String,
    },
}

impl Broken {
    /// Reports whether the plugin is to blame.
    #[must_use]
    pub fn is_the_plugins_fault(&self) -> bool {
        matches!(self, Self::Crashed { .. } | Self::Diverged { .. })
    }
}
