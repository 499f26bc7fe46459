//! Random choices that a seed repeats.

/// SplitMix64: small, and the same everywhere.
pub(super) struct Random(u64);

impl Random {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Chooses a number below `end`, which is not 0.
    pub(super) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap_or_default()
    }

    /// Makes printable bytes without meaning.
    pub(super) fn noise(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| b' ' + u8::try_from(self.below(95)).unwrap_or_default()).collect()
    }
}

/// Takes bytes away as long as `fails`, and returns what is left; tries a bounded number of times.
pub(super) fn shrink(bytes: &[u8], mut fails: impl FnMut(&[u8]) -> bool) -> Vec<u8> {
    let mut least = bytes.to_vec();
    let (mut piece, mut tries) = (least.len().div_ceil(2), MAX_TRIES);
    while piece > 0 && !least.is_empty() {
        let (mut at, before) = (0, least.len());
        while at < least.len() && tries > 0 {
            let mut shorter = least.clone();
            shorter.drain(at..(at + piece).min(least.len()));
            tries -= 1;
            if fails(&shorter) {
                least = shorter;
            } else {
                at += piece;
            }
        }
        if tries == 0 {
            break;
        }
        if piece == 1 && least.len() == before {
            break;
        }
        if least.len() == before || piece > least.len() {
            piece = (piece / 2).max(1).min(least.len());
        }
    }
    least
}

const MAX_TRIES: usize = 400;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_is_made_small() {
        let bytes = b"some words, then X, more words, then Y, and the end";
        let fails = |bytes: &[u8]| bytes.contains(&b'X') && bytes.contains(&b'Y');
        assert_eq!(shrink(bytes, fails), b"XY");
        assert_eq!(shrink(bytes, |_| true), b"");
        assert_eq!(shrink(b"", |_| true), b"");
    }

    #[test]
    fn a_seed_repeats() {
        let draw = |seed| (0..4).map(|_| Random::new(seed).below(100)).collect::<Vec<_>>();
        assert_eq!(draw(7), draw(7));
        assert_eq!(Random::new(1).noise(8).len(), 8);
    }
}
