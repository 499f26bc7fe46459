//! One look at a body as it came, before anything of it is believed.
//!
//! A single pass over the bytes finds what the readers behind do not tell: nesting without bound, names
//! that stand twice in an object at whatever depth, and the few words that plugins ask about. It is no
//! reader: of what is no JSON it says something or nothing, and whoever reads it says what is wrong.

use std::{borrow::Cow, collections::HashSet, fmt::Write as _};

use dialects::RequestError;
use memchr::memchr2;
use plugin_api::kit::native::WORDS;

/// Looks at a body; returns the words of [`WORDS`] that stand in it as whole strings.
///
/// Nesting without bound would be lost somewhere on the way, or overflow somebody's stack. Of a name
/// that is there twice nobody can say which one counts, and a proxy before us and a vendor behind us
/// might disagree.
pub(super) fn scan(body: &[u8]) -> Result<Vec<String>, RequestError> {
    let mut scan = Scan { body, open: Vec::new(), names: Vec::new(), words: [false; WORDS.len()] };
    let mut at = 0;
    while let Some(byte) = body.get(at) {
        at += 1;
        match byte {
            b'"' => at = scan.string(at)?,
            b'{' => scan.begin(true)?,
            b'[' => scan.begin(false)?,
            b'}' | b']' => scan.end(),
            b',' => scan.next(),
            _ => {}
        }
    }
    let said = WORDS.iter().zip(scan.words).filter(|(_, there)| *there);
    Ok(said.map(|(word, _)| (*word).to_owned()).collect())
}

struct Scan<'a> {
    body: &'a [u8],
    /// What is open, the innermost last.
    open: Vec<Level<'a>>,
    /// The names of all open objects.
    names: Vec<Cow<'a, [u8]>>,
    words: [bool; WORDS.len()],
}

/// An open object or array.
struct Level<'a> {
    is_object: bool,
    /// Whether a name may stand here.
    wants_name: bool,
    /// Where its names begin.
    first: usize,
    /// All of them, once they are many.
    many: HashSet<Cow<'a, [u8]>>,
    /// How many elements came before the present one.
    nth: usize,
}

impl<'a> Scan<'a> {
    fn begin(&mut self, is_object: bool) -> Result<(), RequestError> {
        if self.open.len() == MAX_DEPTH {
            let message = format!("the body is nested deeper than {MAX_DEPTH} levels");
            return Err(RequestError::new("", message));
        }
        self.open.push(Level {
            is_object,
            wants_name: is_object,
            first: self.names.len(),
            many: HashSet::new(),
            nth: 0,
        });
        Ok(())
    }

    fn end(&mut self) {
        if let Some(level) = self.open.pop() {
            self.names.truncate(level.first);
        }
    }

    fn next(&mut self) {
        if let Some(level) = self.open.last_mut() {
            level.wants_name = level.is_object;
            level.nth += 1;
        }
    }

    /// Takes the string that begins at `start`, behind its quote; returns where it has ended.
    fn string(&mut self, start: usize) -> Result<usize, RequestError> {
        let (mut at, mut escaped) = (start, false);
        let end = loop {
            match memchr2(b'"', b'\\', &self.body[at.min(self.body.len())..]) {
                None => return Ok(self.body.len()),
                Some(step) if self.body[at + step] == b'"' => break at + step,
                Some(step) => {
                    escaped = true;
                    at += step + 2;
                }
            }
        };
        let text = &self.body[start..end];
        if text.len() <= LONGEST_WORD
            && let Some(word) = WORDS.iter().position(|word| word.as_bytes() == text)
        {
            self.words[word] = true;
        }
        let names = self
            .open
            .last_mut()
            .is_some_and(|level| std::mem::replace(&mut level.wants_name, false));
        if names {
            let quoted = &self.body[start - 1..=end];
            let unescaped = || serde_json::from_slice::<String>(quoted).ok();
            let name = match escaped.then(unescaped).flatten() {
                Some(name) => Cow::Owned(name.into_bytes()),
                None => Cow::Borrowed(text),
            };
            self.name(name)?;
        }
        Ok(end + 1)
    }

    /// Takes a name of the innermost object.
    fn name(&mut self, name: Cow<'a, [u8]>) -> Result<(), RequestError> {
        let Some(level) = self.open.last_mut() else { return Ok(()) };
        let own = &self.names[level.first..];
        if own.len() == MAX_MEMBERS {
            let message = format!("holds more than {MAX_MEMBERS} members");
            return Err(self.fault(None, message));
        }
        let twice = if own.len() < FEW {
            own.contains(&name)
        } else {
            if level.many.is_empty() {
                level.many.extend(own.iter().cloned());
            }
            !level.many.insert(name.clone())
        };
        if twice {
            return Err(self.fault(Some(&name), "is there twice"));
        }
        self.names.push(name);
        Ok(())
    }

    /// Says what is wrong with a name of the innermost object, or with the object itself.
    fn fault(&self, name: Option<&[u8]>, message: impl Into<String>) -> RequestError {
        let mut place = String::new();
        for pair in self.open.windows(2) {
            let (level, below) = (&pair[0], &pair[1]);
            // Its last name is that of what is open below it.
            match self.names[level.first..below.first].last() {
                Some(name) if level.is_object => push_name(&mut place, name),
                _ => {
                    let _ = write!(place, "[{}]", level.nth);
                }
            }
        }
        if let Some(name) = name {
            push_name(&mut place, name);
        }
        if place.len() > MAX_PLACE {
            let end = (0..=MAX_PLACE).rev().find(|at| place.is_char_boundary(*at));
            place.truncate(end.unwrap_or_default());
            place.push('…');
        }
        RequestError::new(place, message)
    }
}

fn push_name(place: &mut String, name: &[u8]) {
    if !place.is_empty() {
        place.push('.');
    }
    place.push_str(&String::from_utf8_lossy(name));
}

/// As deep as everything behind reads.
const MAX_DEPTH: usize = 120;

/// Most members of an object; each costs more to keep than to send.
const MAX_MEMBERS: usize = 10_000;

/// Up to so many names a list is faster than a set.
const FEW: usize = 16;

/// Longest place that is told.
const MAX_PLACE: usize = 200;

const LONGEST_WORD: usize = {
    let (mut longest, mut at) = (0, 0);
    while at < WORDS.len() {
        if WORDS[at].len() > longest {
            longest = WORDS[at].len();
        }
        at += 1;
    }
    longest
};

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(body: &str) -> String {
        scan(body.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn nesting_has_a_bound() {
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(scan(nested(MAX_DEPTH).as_bytes()).is_ok());
        assert_eq!(fault(&nested(MAX_DEPTH + 1)), "the body is nested deeper than 120 levels");
        let in_a_string = format!(r#"{{"a":"{}\"["}}"#, "[".repeat(500));
        assert!(scan(in_a_string.as_bytes()).is_ok());
    }

    #[test]
    fn a_name_stands_once_at_every_depth() {
        for (body, place) in [
            (r#"{"a":1,"b":2,"a":3}"#, "`a`"),
            (r#"{"a":[{},{"b":[1,2,{"c":{},"d":{"x":1,"y":[],"x":2}}]}]}"#, "`a[1].b[2].d.x`"),
            (r#"{"a":1,"\u0061":2}"#, "`a`"),
            (r#"[{"a":{"b":1},"c":[],"a":1}]"#, "`[0].a`"),
        ] {
            assert_eq!(fault(body), format!("{place}: is there twice"), "{body}");
        }
        for good in [
            r#"{"a":{"a":{"a":1}},"b":{"a":1}}"#,
            r#"[{"a":1},{"a":1}]"#,
            r#"{"a":"a","b":["a","a"],"c":"a"}"#,
            r#"{"a":"{\"b\":1,\"b\":2}"}"#,
        ] {
            assert_eq!(scan(good.as_bytes()), Ok(vec![]), "{good}");
        }
        let many: Vec<String> = (0..MAX_MEMBERS).map(|at| format!("\"k{at}\":{at}")).collect();
        let body = |last: &str| format!("{{\"o\":{{{}{last}}}}}", many.join(","));
        assert_eq!(scan(body("").as_bytes()), Ok(vec![]));
        assert_eq!(fault(&body(r#","k1":0"#)), "`o`: holds more than 10000 members");
        let some = format!("{{{},\"k1\":0}}", many[..FEW + 9].join(","));
        assert_eq!(fault(&some), "`k1`: is there twice");
    }

    #[test]
    fn words_are_found_as_whole_strings() {
        let said = |body: &str| scan(body.as_bytes()).unwrap();
        assert_eq!(said(r#"{"messages":[{"role":"developer","content":"x"}]}"#), ["developer"]);
        assert_eq!(said(r#"{"messages":[{"role":"user","content":"a developer"}]}"#).len(), 0);
    }

    #[test]
    fn what_is_no_json_is_survived() {
        for odd in ["", "\"", "\"\\", "{\"a\\", "]]}}", "{,,\"a\":", "\\\"", "{\"\\u12\":1"] {
            assert!(scan(odd.as_bytes()).is_ok(), "{odd}");
        }
        assert!(scan(b"\xff\"\xfe\"{\"\xfd\":\"\\\xff\"").is_ok());
    }
}
