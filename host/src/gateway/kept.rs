//! Items of answers that clients of the Responses dialect refer to by their ids.
//!
//! OpenAI keeps answers unless a request says otherwise, so clients send back an id in the place of what
//! they were told (the AI SDK does for texts and reasoning). No other vendor keeps anything, so the
//! gateway remembers what it translated: in this process, the newest, for the client that got it.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use serde::Deserialize;
use serde_json::value::RawValue;

/// What is remembered of all clients.
#[derive(Default)]
pub(super) struct Kept(Mutex<Items>);

#[derive(Default)]
struct Items {
    /// By client and id.
    all: HashMap<Key, Box<str>>,
    /// Oldest first.
    order: VecDeque<Key>,
    bytes: usize,
}

type Key = (Arc<str>, Box<str>);

/// What one client may refer to.
#[derive(Clone)]
pub(super) struct Shelf {
    kept: Arc<Kept>,
    /// The client's key, by its id; empty where none is needed.
    client: Arc<str>,
}

impl Shelf {
    pub(super) fn of(kept: &Arc<Kept>, client: &str) -> Self {
        Self { kept: Arc::clone(kept), client: client.into() }
    }

    /// Returns an item as JSON.
    pub(super) fn find(&self, id: &str) -> Option<String> {
        let items = self.kept.0.lock().unwrap_or_else(PoisonError::into_inner);
        items.all.get(&(Arc::clone(&self.client), id.into())).map(|json| json.clone().into())
    }

    /// Remembers the items of an answer.
    pub(super) fn keep<'a>(&self, output: impl IntoIterator<Item = &'a RawValue>) {
        #[derive(Deserialize)]
        struct Item {
            id: Box<str>,
        }

        let mut items = self.kept.0.lock().unwrap_or_else(PoisonError::into_inner);
        for raw in output {
            let Ok(Item { id }) = serde_json::from_str(raw.get()) else { continue };
            items.add((Arc::clone(&self.client), id), raw.get());
        }
    }

    /// Remembers the items of a whole answer.
    pub(super) fn keep_answer(&self, answer: &[u8]) {
        #[derive(Deserialize)]
        struct Answer<'a> {
            #[serde(borrow)]
            output: Vec<&'a RawValue>,
        }

        if let Ok(Answer { output }) = serde_json::from_slice(answer) {
            self.keep(output);
        }
    }
}

impl fmt::Debug for Shelf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shelf").finish_non_exhaustive()
    }
}

impl Items {
    fn add(&mut self, key: Key, json: &str) {
        let size = json.len() + OVERHEAD;
        if size > MAX_BYTES {
            return;
        }
        match self.all.insert(key.clone(), json.into()) {
            Some(former) => self.bytes -= former.len() + OVERHEAD,
            None => self.order.push_back(key),
        }
        self.bytes += size;
        while self.bytes > MAX_BYTES
            && let Some(oldest) = self.order.pop_front()
        {
            let former = self.all.remove(&oldest);
            self.bytes -= former.map_or(0, |former| former.len() + OVERHEAD);
        }
    }
}

/// Bytes of all that is remembered.
const MAX_BYTES: usize = 16 * 1024 * 1024;

/// What an item costs beside its text, roughly.
const OVERHEAD: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_is_its_clients_alone_and_the_oldest_goes_first() {
        let kept = Arc::new(Kept::default());
        let (one, other) = (Shelf::of(&kept, "one"), Shelf::of(&kept, "other"));
        one.keep_answer(br#"{"output":[{"id":"a", "x":1.0},{"none":1},{"id":"b"}]}"#);
        assert_eq!(one.find("a").as_deref(), Some(r#"{"id":"a", "x":1.0}"#));
        assert_eq!((other.find("a"), one.find("c")), (None, None));
        let long = |id: &str| {
            let item = format!(r#"{{"id":"{id}","text":"{}"}}"#, "x".repeat(MAX_BYTES / 2));
            other.keep([&*RawValue::from_string(item).unwrap()]);
        };
        long("c");
        assert!(one.find("a").is_some() && other.find("c").is_some());
        long("d");
        assert_eq!((one.find("a"), other.find("c")), (None, None));
        assert!(other.find("d").is_some());
        assert!(kept.0.lock().unwrap().bytes <= MAX_BYTES);
    }
}
