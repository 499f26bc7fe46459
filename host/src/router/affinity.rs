//! Affinity: what belongs together goes to the same place, so that a vendor's caches and the
//! continuity tokens of a conversation stay valid.
//!
//! Nothing is remembered. Each candidate gets a score of its own from the affinity, and the highest
//! wins (rendezvous hashing): the order is the same in every process and after every start, and a
//! candidate that comes or goes moves only its own conversations.

/// What a request belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Affinity([u8; 32]);

impl Affinity {
    /// Makes one of a caller's own word for what belongs together.
    #[must_use]
    pub fn named(text: &str) -> Self {
        Self(*blake3::hash(text.as_bytes()).as_bytes())
    }

    /// Begins one that is made of several pieces.
    #[must_use]
    pub fn hasher() -> blake3::Hasher {
        blake3::Hasher::new()
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

impl From<blake3::Hasher> for Affinity {
    fn from(hasher: blake3::Hasher) -> Self {
        Self(*hasher.finalize().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
