//! Groups of tools, which only this dialect has.

use std::collections::BTreeMap;

/// Which group each tool of a request stands in, by the name it has in the neutral request.
///
/// Outside of this dialect tools have one name alone. Where two groups have a tool of one name, the
/// later one is known as `GROUP__NAME`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Namespaces {
    /// Neutral name to group and name; tools without a group have an empty one.
    known: BTreeMap<String, (String, String)>,
}

impl Namespaces {
    /// Takes a tool in and returns its neutral name.
    pub(super) fn add(&mut self, namespace: &str, name: &str) -> String {
        let mut neutral = name.to_owned();
        while self.known.get(&neutral).is_some_and(|have| have != &(namespace.into(), name.into()))
        {
            neutral = format!("{}__{neutral}", if namespace.is_empty() { "_" } else { namespace });
        }
        self.known.insert(neutral.clone(), (namespace.to_owned(), name.to_owned()));
        neutral
    }

    /// Returns the neutral name of a tool that a call names.
    pub(super) fn neutral(&self, namespace: &str, name: &str) -> Option<&str> {
        let found = self.known.iter().find(|(_, (group, tool))| group == namespace && tool == name);
        found.map(|(neutral, _)| neutral.as_str())
    }

    /// Returns group and name of a tool, as the client knows them.
    pub(super) fn wire<'a>(&'a self, neutral: &'a str) -> (Option<&'a str>, &'a str) {
        match self.known.get(neutral) {
            Some((group, name)) => (Some(group.as_str()).filter(|group| !group.is_empty()), name),
            None => (None, neutral),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tools_of_one_name_are_told_apart() {
        let mut names = Namespaces::default();
        assert_eq!(names.add("", "run"), "run");
        assert_eq!(names.add("mail", "send"), "send");
        assert_eq!(names.add("chat", "send"), "chat__send");
        assert_eq!(names.add("chat", "send"), "chat__send");
        assert_eq!(names.wire("send"), (Some("mail"), "send"));
        assert_eq!(names.wire("chat__send"), (Some("chat"), "send"));
        assert_eq!(names.wire("run"), (None, "run"));
        assert_eq!(names.wire("new"), (None, "new"));
        assert_eq!(names.neutral("chat", "send"), Some("chat__send"));
        assert_eq!(names.neutral("none", "send"), None);
    }
}
