//! Which chunks say nothing to who only reads along.

use std::sync::LazyLock;

use memchr::memmem::Finder;

/// Reports whether a chunk holds no more than pieces of an answer: no finish, no usage, no failure.
///
/// It is not parsed. A name within a string has a backslash before its last quote; a string that is
/// just such a name leaves a doubt, and a chunk in doubt is no mere piece.
pub(super) fn is_mere_piece(data: &str) -> bool {
    let data = data.as_bytes();
    let has = |name: &Name| name.find(data).is_some();
    data.starts_with(b"{")
        && has(&CHOICES)
        && !has(&ERROR)
        && !has(&DETAIL)
        && is_null(data, &FINISH_REASON)
        && is_null(data, &USAGE)
}

/// Reports whether a field, wherever it stands, is null.
fn is_null(data: &[u8], name: &Name) -> bool {
    name.find_iter(data).all(|at| {
        let value = data[at + name.needle().len()..].trim_ascii_start();
        value.strip_prefix(b":").is_some_and(|value| value.trim_ascii_start().starts_with(b"null"))
    })
}

type Name = LazyLock<Finder<'static>>;

static CHOICES: Name = LazyLock::new(|| Finder::new(b"\"choices\""));
static ERROR: Name = LazyLock::new(|| Finder::new(b"\"error\""));
static DETAIL: Name = LazyLock::new(|| Finder::new(b"\"detail\""));
static FINISH_REASON: Name = LazyLock::new(|| Finder::new(b"\"finish_reason\""));
static USAGE: Name = LazyLock::new(|| Finder::new(b"\"usage\""));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_holds_pieces_of_the_answer_alone_is_passed_over() {
        for (data, mere) in [
            (r#"{"choices":[{"delta":{"content":"x"},"finish_reason":null}],"usage":null}"#, true),
            (r#"{"choices":[{"delta":{"content":"x"}, "finish_reason" : null}]}"#, true),
            (r#"{"choices":[{"delta":{"content":"say \"error\" or \"usage\": 1"}}]}"#, true),
            (r#"{"choices":[{"delta":{"content":"x"},"finish_reason":"stop"}]}"#, false),
            (r#"{"choices":[],"usage":{"prompt_tokens":1}}"#, false),
            (r#"{"choices":[{"delta":{}}],"x_groq":{"usage":{"prompt_tokens":1}}}"#, false),
            (r#"{"choices":[{"finish_reason":"error"}],"error":{"code":502}}"#, false),
            (r#"{"object":"error","message":"no"}"#, false),
            (r#"{"detail":"no"}"#, false),
            (r#"{"id":"x"}"#, false),
            (r#"[{"choices":[]}]"#, false),
            (r#"{"choices":[{"delta":{"content":"usage"}}]}"#, false),
            ("", false),
        ] {
            assert_eq!(is_mere_piece(data), mere, "{data}");
        }
    }
}
