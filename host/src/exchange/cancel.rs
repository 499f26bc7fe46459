//! The last word of an exchange whose client went away: the one request that it may still ask for.

use std::{sync::Arc, time::Duration};

use plugin_api::{
    abi::{Effect, codec::PackedOpening},
    exchange::{Input, Timestamp},
};

use super::blobs::Blobs;
use crate::{
    plugin::{load::Stepped, worker::WorkerExchange},
    transport::{Answer, CredentialUse, Route, Transport, TransportError},
};

/// What the one request needs that an exchange may ask for when it is cancelled.
pub(super) struct LastRequest {
    pub(super) transport: Arc<Transport>,
    pub(super) route: Arc<Route>,
    pub(super) credential: Option<Arc<CredentialUse>>,
    pub(super) blobs: Blobs,
}

impl LastRequest {
    /// Sends the request that a step asked for, if it asked for one.
    pub(super) fn sent_by(
        self,
        stepped: Stepped,
    ) -> Option<impl Future<Output = Result<Answer, TransportError>> + Send + use<>> {
        let mut request = stepped.effects.into_iter().find_map(|effect| match effect {
            Effect::Send { request, .. } => Some(*request),
            _ => None,
        })?;
        let body = self.blobs.assemble(std::mem::take(&mut request.body)).ok()?;
        Some(self.transport.send(self.route, request, body, self.credential))
    }
}

/// Cancels an exchange in a worker, after it has answered what it was given before.
pub(super) async fn cancel(
    mut live: WorkerExchange,
    unanswered: usize,
    now: Timestamp,
    mut stepped: Stepped,
    last: LastRequest,
) {
    for _ in 0..unanswered {
        if live.answer(&mut stepped).await.is_err() || stepped.ended {
            return;
        }
    }
    live.give(now, &Input::Cancel, &PackedOpening::default());
    if live.answer(&mut stepped).await.is_ok()
        && let Some(sending) = last.sent_by(stepped)
    {
        let _ = sending.await;
    }
}

/// How long a vendor's cancel call may take.
pub(super) const CANCEL: Duration = Duration::from_secs(10);
