//! Runs a recorded exchange again: the same inputs at the same times, no network.

use plugin_api::abi::codec::{Opening, PackedOpening};
use serde::Serialize;
use serde_json::Value;

use super::recording::{Given, Recorded, output};
use crate::plugin::{load::Stepped, runtime::Runtime, worker::Broken};

/// What came of an exchange that was run again.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Replayed {
    /// Inputs that it was given.
    pub inputs: usize,
    /// Outputs that both runs gave, one after the other from the start.
    pub same: usize,
    /// What it gave only when it was recorded, after those.
    pub before: Vec<Value>,
    /// What it gives only now, after those.
    pub now: Vec<Value>,
    /// What it broke now, if it broke the contract's form.
    pub malformed: Option<String>,
}

impl Replayed {
    /// Reports whether both runs gave the same.
    #[must_use]
    pub fn is_same(&self) -> bool {
        self.before.is_empty() && self.now.is_empty() && self.malformed.is_none()
    }
}

/// Runs an exchange again. Log lines are not compared.
///
/// # Errors
///
/// [`Broken`] when the plugin ends its worker.
pub async fn replay(runtime: &Runtime, recorded: &Recorded) -> Result<Replayed, Broken> {
    let (instance, operation) =
        (recorded.opened.instance.clone(), recorded.opened.operation.clone());
    let mut malformed = None;
    let mut opening = match (Opening { instance, operation }).pack() {
        Ok(opening) => opening,
        Err(error) => {
            malformed = Some(error.to_string());
            PackedOpening::default()
        }
    };
    let (mut live, mut stepped, mut gave) = (runtime.open(), Stepped::default(), Vec::new());
    let mut inputs = 0;
    for (at, given) in &recorded.given {
        let opening = match given {
            Given::Start { .. } => std::mem::take(&mut opening),
            _ => PackedOpening::default(),
        };
        let Some(input) = given.input() else { continue };
        live.step(*at, &input.borrowed(), &opening, &mut stepped).await?;
        inputs += 1;
        gave.extend(stepped.effects.drain(..).map(|effect| output(&effect)));
        if let Some(error) = stepped.malformed.take() {
            malformed = Some(error.to_string());
        }
        if stepped.ended || malformed.is_some() {
            break;
        }
    }
    gave.retain(|output| output.get("log").is_none());
    let same = recorded.gave.iter().zip(&gave).take_while(|(before, now)| before == now).count();
    let before = recorded.gave[same..].to_vec();
    Ok(Replayed { inputs, same, before, now: gave.split_off(same), malformed })
}
