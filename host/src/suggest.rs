//! Finds what was probably meant.

/// Returns the candidate nearest to `word`, if it is near enough to be a slip of the finger.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    several(word, candidates, 1).pop()
}

/// Returns up to `most` candidates near to `word`, nearest first.
pub fn several<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
    most: usize,
) -> Vec<&'a str> {
    let lower = word.to_lowercase();
    let mut near: Vec<(i64, &str)> = candidates
        .into_iter()
        .filter_map(|candidate| {
            let other = candidate.to_lowercase();
            let likeness = strsim::jaro_winkler(&lower, &other);
            let held = lower.len() > 2 && other.contains(&lower);
            (likeness > 0.8 || held).then_some(((likeness * -1e6) as i64, candidate))
        })
        .collect();
    // Where two differ by their case alone, the one in the case that was typed was meant.
    near.sort_unstable_by_key(|(unlike, candidate)| {
        (*unlike, strsim::osa_distance(word, candidate), *candidate)
    });
    near.dedup();
    near.into_iter().take(most).map(|(_, candidate)| candidate).collect()
}

/// Returns candidates by their likeness to `word`, the most alike first, however far off.
pub fn ranked<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let lower = word.to_lowercase();
    let unlike =
        |candidate: &str| (strsim::jaro_winkler(&lower, &candidate.to_lowercase()) * -1e6) as i64;
    let mut all: Vec<(i64, &str)> =
        candidates.into_iter().map(|candidate| (unlike(candidate), candidate)).collect();
    all.sort_unstable();
    all.into_iter().map(|(_, candidate)| candidate).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_far_off_has_a_rank_too() {
        assert_eq!(ranked("zab", ["qqq", "zebra", "zabc"]), ["zabc", "zebra", "qqq"]);
    }

    #[test]
    fn a_slip_finds_its_word_and_nonsense_finds_none() {
        let words = ["anthropic", "openai", "openrouter", "echo"];
        assert_eq!(nearest("antropic", words), Some("anthropic"));
        assert_eq!(nearest("OpenAI", words), Some("openai"));
        assert_eq!(nearest("xyzzy", words), None);
        assert_eq!(nearest("wrok", ["WORK", "work"]), Some("work"));
        assert_eq!(nearest("WROK", ["WORK", "work"]), Some("WORK"));
        assert_eq!(several("open", words, 3), ["openai", "openrouter"]);
    }
}
