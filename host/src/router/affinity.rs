//! Affinity: what belongs together goes to the same place, so that a vendor's caches and the
//! continuity tokens of a conversation stay valid.
//!
//! Nothing is remembered. Each candidate gets a score of its own from the affinity, and the highest
//! wins (rendezvous hashing): the order is the same in every process and after every start, and a
//! candidate that comes or goes moves only its own conversations.

use plugin_api::chat::{ChatRequest, Role};

/// What a request belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Affinity([u8; 32]);

impl Affinity {
    /// Makes one of a caller's own word for what belongs together.
    #[must_use]
    pub fn named(text: &str) -> Self {
        Self(*blake3::hash(text.as_bytes()).as_bytes())
    }

    /// Makes one of a conversation: the cache key that its client gives, else all that stands up to
    /// the end of the user's first turn, which every later request repeats.
    #[must_use]
    pub fn of_conversation(request: &ChatRequest) -> Self {
        if let Some(key) = &request.cache_key {
            return Self::named(key);
        }
        let until = request.messages.iter().position(|message| message.role == Role::User);
        let head = &request.messages[..until.map_or(request.messages.len(), |at| at + 1)];
        let mut hash = blake3::Hasher::new();
        // Into the hash and not into memory: a first turn may hold megabytes.
        let _ = serde_json::to_writer(&mut hash, head);
        Self(*hash.finalize().as_bytes())
    }

    /// Returns the score of a candidate.
    #[must_use]
    pub fn score(&self, candidate: &str) -> u64 {
        let hash = blake3::keyed_hash(&self.0, candidate.as_bytes());
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&hash.as_bytes()[..8]);
        u64::from_le_bytes(bytes)
    }

    /// Draws numbers that are the same each time: the `n`th below its argument.
    pub fn draw(&self) -> impl FnMut(u64) -> u64 + use<> {
        let (this, mut drawn) = (*self, 0_u64);
        move |below| {
            drawn += 1;
            this.score(&format!("draw {drawn}")) % below.max(1)
        }
    }
}

#[cfg(test)]
mod tests {
    use plugin_api::chat::Message;

    use super::*;

    fn of(messages: Vec<Message>) -> Affinity {
        Affinity::of_conversation(&ChatRequest::new("m", messages))
    }

    #[test]
    fn a_conversation_keeps_its_affinity_as_it_grows() {
        let first = vec![Message::system("be brief"), Message::user("hello")];
        let later = [first.clone(), vec![Message::assistant("hi"), Message::user("and?")]].concat();
        let other = vec![Message::system("be brief"), Message::user("hullo")];
        assert_eq!(of(first.clone()), of(later));
        assert_ne!(of(first.clone()), of(other));
        let mut keyed = ChatRequest::new("m", first);
        keyed.cache_key = Some("k".into());
        assert_eq!(Affinity::of_conversation(&keyed), Affinity::named("k"));
    }

    #[test]
    fn a_candidate_that_goes_moves_only_its_own() {
        let (all, fewer) = (["a", "b", "c"], ["a", "b"]);
        let best = |affinity: &Affinity, of: &[&'static str]| {
            of.iter().copied().max_by_key(|name| affinity.score(name)).unwrap()
        };
        let mut counts = [0; 3];
        for at in 0..3_000 {
            let affinity = Affinity::named(&at.to_string());
            let (was, is) = (best(&affinity, &all), best(&affinity, &fewer));
            counts[all.iter().position(|name| *name == was).unwrap()] += 1;
            assert!(was == "c" || was == is);
        }
        assert!(counts.iter().all(|count| (900..1_100).contains(count)), "{counts:?}");
    }
}
