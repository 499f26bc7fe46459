//! What a provider can do, by name and revision, so that both sides can tell without trying.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

macro_rules! names {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $text:literal: $meaning:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum $name {
            $(#[doc = $meaning] $variant,)*
        }

        impl $name {
            /// All that this contract knows, in the order they are shown.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Returns the name and revision.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }

            /// Returns what it means, in one sentence.
            #[must_use]
            pub const fn description(self) -> &'static str {
                match self {
                    $(Self::$variant => $meaning,)*
                }
            }

            /// Finds one by name and revision; `None` for those of a newer contract.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|have| have.as_str() == name)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_str(self.as_str())
            }
        }

        impl Known for $name {
            fn known(name: &str) -> Option<Self> {
                Self::from_name(name)
            }
        }
    };
}

names! {
    /// A behaviour: one of the traits that a plugin implements.
    ///
    /// `export_plugin!` writes these into the manifest from the traits that it was given, so what is
    /// declared and what is implemented cannot differ by accident.
    Capability {
        ApiKey = "api-key/1": "Logs in with a key that the user pastes.",
        OAuth = "oauth/1": "Logs in through the vendor's own flow, driven by the plugin.",
        Chat = "chat/1": "Answers a conversation as a stream of events.",
        Models = "models/1": "Lists its models.",
        Embeddings = "embeddings/1": "Turns texts into vectors.",
        TokenCount = "token-count/1": "Counts tokens before anything is generated.",
        Contexts = "contexts/1": "Lists and deletes what the vendor keeps of conversations.",
        HandlesSecrets = "handles-secrets/1": "Sees tokens; runs only confined and with the user's explicit consent.",
    }
}

names! {
    /// A detail of chat that a provider understands.
    Feature {
        Tools = "chat.tools/1": "Calls functions.",
        CustomTools = "chat.custom-tools/1": "Calls tools that take free text.",
        ParallelTools = "chat.parallel-tools/1": "Calls several tools in one turn.",
        Images = "chat.images/1": "Reads images.",
        Audio = "chat.audio/1": "Hears sound.",
        Files = "chat.files/1": "Reads documents.",
        StructuredOutput = "chat.structured-output/1": "Answers in a JSON Schema.",
        Reasoning = "chat.reasoning/1": "Reasons, and shows some of it.",
        CacheControl = "chat.cache-control/1": "Lets the request mark what to cache.",
        Citations = "chat.citations/1": "Names its sources.",
    }
}

/// Names that a contract of this revision knows; the rest of a newer one is skipped when reading.
trait Known: Sized {
    fn known(name: &str) -> Option<Self>;
}

/// A list of names that skips unknown ones when it is read, so that a newer plugin still loads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names<T>(Vec<T>);

impl<T> Names<T> {
    /// Reports whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<T> From<Vec<T>> for Names<T> {
    fn from(names: Vec<T>) -> Self {
        Self(names)
    }
}

impl<T> Default for Names<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> std::ops::Deref for Names<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T: Serialize> Serialize for Names<T> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(to)
    }
}

impl<'de, T: Known> Deserialize<'de> for Names<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let names = Vec::<String>::deserialize(from)?;
        Ok(Self(names.iter().filter_map(|name| T::known(name)).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_read_back() {
        for capability in Capability::ALL {
            assert_eq!(Capability::from_name(capability.as_str()), Some(*capability));
            assert!(capability.description().ends_with('.'));
        }
        for feature in Feature::ALL {
            assert_eq!(Feature::from_name(feature.as_str()), Some(*feature));
            assert!(feature.as_str().starts_with("chat."));
        }
        assert_eq!(Capability::from_name("chat/2"), None);
    }
}
