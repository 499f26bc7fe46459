//! Giving a login up, as long as that loses nothing.

use std::sync::Arc;

use tokio::sync::Notify;

use super::error::LoginError;

/// Ends a login while it waits for its user. Once the user came back it goes on to its end, because
/// tokens that were bought have to be stored, or revoked.
#[derive(Clone, Debug, Default)]
pub struct GivenUp(Arc<Notify>);

impl GivenUp {
    /// Gives the login up.
    pub fn now(&self) {
        // Kept for whoever looks next, if nobody waits at this moment.
        self.0.notify_one();
    }

    /// Waits, or gives up.
    pub(super) async fn or<T>(&self, waiting: impl Future<Output = T>) -> Result<T, LoginError> {
        tokio::select! {
            // An answer that is there counts.
            biased;
            done = waiting => Ok(done),
            () = self.0.notified() => Err(LoginError::GivenUp),
        }
    }
}
