//! Changing the master key: everything is sealed anew, or nothing is.

use crate::session::{
    SessionError,
    envelope::{self, EnvelopeError, Place},
    key::MasterKey,
    service::Sessions,
    store::{StoreError, row::KeyRecord, row::Stamp},
};

impl Sessions {
    /// Seals everything with `new` instead of the present key. Returns how many values.
    ///
    /// One transaction: a crash leaves everything sealed with one of the two keys, and the store says
    /// with which. Afterwards these [`Sessions`] are of no use, since they hold the old key; open them
    /// again. Other processes notice at their next write.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unreadable`] if a value does not open, [`StoreError::WrongKey`] if another process
    /// changed the key meanwhile; nothing is changed then.
    pub fn rekey(&self, new: &MasterKey, stamp: &Stamp<'_>) -> Result<u64, SessionError> {
        let record = KeyRecord {
            id: new.id(),
            created_at: stamp.now_s,
            source: new.source().to_owned(),
            active: true,
        };
        let reseal = |place: &Place<'_>, sealed: &[u8]| {
            let unreadable =
                |source: EnvelopeError| StoreError::Unreadable { what: place.to_string(), source };
            let text = envelope::open(&self.key, place, sealed).map_err(unreadable)?;
            envelope::seal(new, place, &text).map_err(unreadable)
        };
        Ok(self.store.rekey(self.key.id(), &record, &reseal, stamp)?)
    }

    /// Returns the id of the key that seals here.
    #[must_use]
    pub fn key_id(&self) -> crate::session::KeyId {
        self.key.id()
    }

    /// Returns where the key that seals here came from.
    #[must_use]
    pub fn key_source(&self) -> &str {
        self.key.source()
    }
}
