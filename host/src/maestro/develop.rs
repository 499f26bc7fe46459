//! A plugin while its author works on it: what was built serves before what is installed, and is asked
//! again what it was asked before.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use plugin_api::{
    chat::{ChatRequest, Message},
    kit::conformance::Played,
};
use serde::Serialize;
use serde_json::Value;

use super::{Call, Error, Maestro};
use crate::{
    contract,
    exchange::recording::Recorder,
    plugin::{RefusalError, development, judge::Judged},
    router::ModelRef,
};

/// What is asked of each build.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Questions {
    /// Folder of recorded answers; unless given, `fixtures` in the crate.
    pub fixtures: Option<PathBuf>,
    /// A recording to run again.
    pub replay: Option<PathBuf>,
    /// What to ask a model once, for a recording to run again.
    pub prompt: Option<(ModelRef, String)>,
}

/// A plugin under development. What it put before others is gone when it is dropped.
#[derive(Debug)]
pub struct Development {
    maestro: Maestro,
    folder: PathBuf,
    questions: Questions,
    bench: Option<development::Bench>,
    former: BTreeMap<String, Vec<Value>>,
    hash: String,
    generation: u64,
    /// The prompt's recording; deleted at the end.
    asked: Option<PathBuf>,
}

/// What came of a build.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Developed {
    /// The plugin's id.
    pub plugin: String,
    /// Its version.
    pub version: String,
    /// How many different builds there have been, from 1.
    pub generation: u64,
    /// blake3 of the library.
    pub hash: String,
    /// Whether these are other bytes than before.
    pub changed: bool,
    /// How long it took to load it and to put it before others.
    #[serde(serialize_with = "milliseconds", rename = "load_ms")]
    pub load: Duration,
    /// What came of the questions.
    pub answers: Vec<Compared>,
}

/// What came of one question, compared with what came of it before.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Compared {
    /// The fixture, or the exchange of a recording.
    pub name: String,
    /// Whether there is nothing to compare it with.
    pub first: bool,
    /// How many outputs are the same.
    pub same: usize,
    /// What came before, and does not now.
    pub before: Vec<Value>,
    /// What comes now, and did not before.
    pub now: Vec<Value>,
    /// Why it did not come to an end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

fn milliseconds<S: serde::Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_u64(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

impl Compared {
    /// Compares two lists of outputs, leaving out what both begin and end with.
    fn of(name: String, before: Option<&Vec<Value>>, now: &[Value]) -> Self {
        let first = before.is_none();
        let before = before.map_or(now, Vec::as_slice);
        let pairs = |a: &[Value], b: &[Value]| a.iter().zip(b).take_while(|(a, b)| a == b).count();
        let head = pairs(before, now);
        let (before, now) = (&before[head..], &now[head..]);
        let ends = before.iter().rev().zip(now.iter().rev());
        let tail = ends.take_while(|(a, b)| a == b).count();
        Self {
            name,
            first,
            same: head + tail,
            before: before[..before.len() - tail].to_vec(),
            now: now[..now.len() - tail].to_vec(),
            problem: None,
        }
    }

    /// Reports whether nothing changed.
    #[must_use]
    pub fn is_same(&self) -> bool {
        self.before.is_empty() && self.now.is_empty() && self.problem.is_none()
    }
}

impl Maestro {
    /// Begins to work on the plugin of a crate.
    #[must_use]
    pub fn develop(&self, folder: &Path, questions: Questions) -> Development {
        Development {
            maestro: self.clone(),
            folder: folder.to_owned(),
            questions,
            bench: None,
            former: BTreeMap::new(),
            hash: String::new(),
            generation: 0,
            asked: None,
        }
    }
}

impl Development {
    /// Returns how many builds were taken.
    #[must_use]
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    /// Takes over what was built: loads it in a worker, asks it, and puts it before what is installed,
    /// for every host of this home. What cannot be loaded changes nothing.
    ///
    /// # Errors
    ///
    /// [`Error::Plugin`], [`Error::Recording`], [`Error::Development`].
    pub async fn take(&mut self, built: &Path) -> Result<Developed, Error> {
        let began = Instant::now();
        let named = built.display().to_string();
        let refused = |source: RefusalError| Error::Plugin { plugin: named.clone(), source };
        let judged = self.maestro.judge(built).map_err(refused)?;
        let changed = judged.hash != self.hash;
        let (judged, played) = self.play(judged).await.map_err(refused)?;
        let manifest = &judged.manifest;
        if changed {
            let bench = match self.bench.take() {
                Some(bench) if self.hash.is_empty() || bench.is_of(&manifest.id) => Ok(bench),
                _ => {
                    let home = self.maestro.home().development();
                    development::Bench::take(&home, &manifest.id, &self.folder)
                }
            };
            let put = bench.and_then(|bench| {
                bench.put(built)?;
                Ok(bench)
            });
            self.bench = Some(put.map_err(|source| Error::Development { source })?);
            self.generation += 1;
            self.hash.clone_from(&judged.hash);
            self.maestro.reload_plugins();
        }
        let load = began.elapsed();
        let mut answers = Vec::new();
        for Played { name, outputs, .. } in played {
            answers.push(Compared::of(name.clone(), self.former.get(&name), &outputs));
            self.former.insert(name, outputs);
        }
        if let Some((model, prompt)) = self.questions.prompt.clone() {
            self.ask(&model, &prompt).await?;
        }
        for file in self.questions.replay.iter().chain(&self.asked) {
            answers.extend(self.replay(file).await?);
        }
        Ok(Developed {
            plugin: manifest.id.clone(),
            version: manifest.version.clone(),
            generation: self.generation,
            hash: judged.hash.clone(),
            changed,
            load,
            answers,
        })
    }

    async fn play(&self, judged: Judged) -> Result<(Judged, Vec<Played>), RefusalError> {
        let own = self.folder.join("fixtures");
        let folder = self.questions.fixtures.clone().or_else(|| own.is_dir().then_some(own));
        let bench = self.maestro.check_bench();
        // The suite waits for its worker, which takes a thread.
        let playing = tokio::task::spawn_blocking(move || {
            let fixtures = folder.map(|folder| contract::fixtures(&folder)).transpose();
            let fixtures = fixtures.map_err(RefusalError::Io)?.unwrap_or_default();
            let played = contract::play(&judged, &fixtures, &bench)?;
            Ok((judged, played))
        });
        match playing.await {
            Ok(played) => played,
            Err(error) => Err(RefusalError::Io(std::io::Error::other(error))),
        }
    }

    /// Asks the prompt once, and keeps what came.
    async fn ask(&mut self, model: &ModelRef, prompt: &str) -> Result<(), Error> {
        let Some(bench) = self.bench.as_ref().filter(|_| self.asked.is_none()) else {
            return Ok(());
        };
        let path = bench.library().with_extension("jsonl");
        let _ = std::fs::remove_file(&path);
        let recorder = Recorder::create(&path).map_err(|source| Error::Development { source })?;
        let call = Call::with_session(None).recorder(Some(Arc::new(recorder)));
        let request = ChatRequest::new(model.model.clone(), vec![Message::user(prompt)]);
        let mut stream = self.maestro.stream_chat(model, request, call).await?;
        while let Some(event) = stream.next().await {
            event?;
        }
        self.asked = Some(path);
        Ok(())
    }

    async fn replay(&self, file: &Path) -> Result<Vec<Compared>, Error> {
        let Some(bench) = &self.bench else { return Ok(Vec::new()) };
        let library = bench.library().display().to_string();
        let replayed = self.maestro.replay_recording(file, Some(&library)).await?;
        let compared = (1..).zip(replayed).map(|(number, exchange)| {
            let name = format!("exchange {number} of `{}`", exchange.provider);
            let problem = exchange.broken;
            match exchange.replayed {
                Some(replayed) => Compared {
                    name,
                    first: false,
                    same: replayed.same,
                    before: replayed.before,
                    now: replayed.now,
                    problem: replayed.malformed,
                },
                None => Compared { problem, ..Compared::of(name, None, &[]) },
            }
        });
        Ok(compared.collect())
    }
}

impl Drop for Development {
    fn drop(&mut self) {
        if let Some(asked) = &self.asked {
            let _ = std::fs::remove_file(asked);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_differs_is_shown() {
        let before = vec![json!(1), json!(2), json!(3), json!(3)];
        let now = [json!(1), json!(4), json!(3)];
        let compared = Compared::of("a".into(), Some(&before), &now);
        assert_eq!((compared.same, compared.first), (2, false));
        assert_eq!((compared.before, compared.now), (vec![json!(2), json!(3)], vec![json!(4)]));
        let first = Compared::of("a".into(), None, &now);
        assert!(first.first && first.is_same() && first.same == 3);
    }
}
