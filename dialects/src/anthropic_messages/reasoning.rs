//! How much the model thinks, how much effort it makes, and how long its answer may be: three
//! settings that bound each other.

use plugin_api::chat::ChatRequest;
use serde_json::{Value, json};

use super::quirks::{Effort, Quirks};
use crate::loss::Loss;

/// What a request says of it all.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Plan {
    /// `thinking`.
    pub(super) thinking: Option<Value>,
    /// `output_config.effort`.
    pub(super) effort: Option<String>,
    /// `max_tokens`.
    pub(super) max_tokens: u64,
}

/// Whether and how the model thinks.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mode {
    Unsaid,
    Off,
    Adaptive,
    Budget(u64),
}

/// Decides; `forced` says that a tool must be called.
pub(super) fn plan(
    request: &ChatRequest,
    quirks: &Quirks,
    forced: bool,
    losses: &mut Vec<Loss>,
) -> Plan {
    let reasoning = request.reasoning.clone().unwrap_or_default();
    let word = reasoning.effort.as_deref().filter(|word| !word.is_empty());
    let (mut mode, said) = match (word, reasoning.adaptive, reasoning.budget_tokens) {
        (Some("none"), adaptive, budget) => {
            if adaptive || budget.is_some_and(|budget| budget > 0) {
                losses.push(Loss::dropped("reasoning", "is off, because the effort is `none`"));
            }
            (Mode::Off, true)
        }
        (_, true, budget) => {
            if budget.is_some() {
                let what = "is not sent, because the model chooses its own depth";
                losses.push(Loss::dropped("reasoning.budget_tokens", what));
            }
            (Mode::Adaptive, true)
        }
        (_, false, Some(0)) => (Mode::Off, true),
        (_, false, Some(budget)) => (Mode::Budget(budget), true),
        (None, false, None) => (Mode::Unsaid, false),
        (Some(word), false, None) => match quirks.effort {
            Effort::Adaptive => (Mode::Adaptive, false),
            Effort::Budget => (Mode::Budget(budget_of(word)), false),
            _ => (Mode::Unsaid, false),
        },
    };
    let thinks = |mode| matches!(mode, Mode::Adaptive | Mode::Budget(_));
    if forced && thinks(mode) {
        if said {
            let what = "is off, because a tool must be called";
            losses.push(Loss::dropped("reasoning", what));
        }
        mode = Mode::Unsaid;
    }
    let mut plan = Plan { max_tokens: max_tokens(request, quirks, mode), ..Plan::default() };
    if let Mode::Budget(budget) = mode {
        mode = fitting(budget, plan.max_tokens, said, losses);
    }
    plan.effort = effort(word, quirks, losses);
    let display = match reasoning.summary.as_deref() {
        Some(_) if !thinks(mode) => {
            losses.push(Loss::dropped("reasoning.summary", "means nothing without thinking"));
            None
        }
        Some("none") => Some("omitted"),
        Some(how) => {
            if how != "auto" {
                losses.push(Loss::dropped("reasoning.summary", "is shown as the vendor sees fit"));
            }
            Some("summarized")
        }
        None => None,
    };
    plan.thinking = match mode {
        Mode::Unsaid => None,
        Mode::Off => Some(json!({"type": "disabled"})),
        Mode::Adaptive => Some(json!({"type": "adaptive"})),
        Mode::Budget(budget) => Some(json!({"type": "enabled", "budget_tokens": budget})),
    };
    if let (Some(thinking), Some(display)) = (&mut plan.thinking, display) {
        thinking["display"] = display.into();
    }
    plan
}

/// Returns the bound of the answer, which the format demands: the client's, or one that leaves room
/// for an answer behind the thinking and that the model is known to take.
fn max_tokens(request: &ChatRequest, quirks: &Quirks, mode: Mode) -> u64 {
    if let Some(max) = request.max_output_tokens {
        return max;
    }
    let limit = request.model_info.as_ref().and_then(|model| model.max_output_tokens);
    let usual = if limit.is_some() { ROOMY } else { SAFE };
    let mut wish = quirks.max_tokens.unwrap_or(usual);
    if let Mode::Budget(budget) = mode {
        wish = wish.saturating_add(budget);
    }
    limit.map_or(wish, |limit| wish.min(limit))
}

/// Fits a budget between the least that the vendor takes and the bound of the answer.
fn fitting(budget: u64, max_tokens: u64, said: bool, losses: &mut Vec<Loss>) -> Mode {
    let mut lose = |what| {
        if said {
            losses.push(Loss::dropped("reasoning.budget_tokens", what));
        }
    };
    if max_tokens <= LEAST_BUDGET {
        lose("does not fit below `max_output_tokens`, so thinking is off");
        return Mode::Unsaid;
    }
    if budget < LEAST_BUDGET {
        lose("was raised to 1024, the least there is");
        return Mode::Budget(LEAST_BUDGET);
    }
    if budget >= max_tokens {
        lose("was lowered below `max_output_tokens`");
        return Mode::Budget(max_tokens - 1);
    }
    Mode::Budget(budget)
}

fn effort(word: Option<&str>, quirks: &Quirks, losses: &mut Vec<Loss>) -> Option<String> {
    match word? {
        "none" => None,
        _ if quirks.effort == Effort::Budget => None,
        "minimal" => {
            losses
                .push(Loss::dropped("reasoning.effort", "was raised to `low`, the least there is"));
            Some("low".to_owned())
        }
        word => Some(word.to_owned()),
    }
}

/// Translates effort into a budget.
fn budget_of(word: &str) -> u64 {
    match word {
        "minimal" => LEAST_BUDGET,
        "low" => 2048,
        "high" => 16_384,
        "xhigh" | "max" => 31_999,
        _ => 8192,
    }
}

/// The least budget of thinking tokens that the vendor takes.
const LEAST_BUDGET: u64 = 1024;
/// `max_tokens` that every model of recent years takes.
const SAFE: u64 = 8192;
/// `max_tokens` where the model's own limit is known.
const ROOMY: u64 = 32_000;

#[cfg(test)]
mod tests {
    use plugin_api::{chat::ReasoningSettings, operation::Model};

    use super::*;

    fn request(change: impl FnOnce(&mut ReasoningSettings)) -> ChatRequest {
        let mut settings = ReasoningSettings::default();
        change(&mut settings);
        let mut request = ChatRequest::new("m", Vec::new());
        request.reasoning = Some(settings);
        request
    }

    fn planned(request: &ChatRequest, quirks: &Quirks, forced: bool) -> (Plan, Vec<String>) {
        let mut losses = Vec::new();
        let plan = plan(request, quirks, forced, &mut losses);
        (plan, losses.into_iter().map(|loss| loss.field).collect())
    }

    #[test]
    fn a_bound_is_always_sent() {
        let mut request = ChatRequest::new("m", Vec::new());
        let max = |request: &ChatRequest| planned(request, &Quirks::default(), false).0.max_tokens;
        assert_eq!(max(&request), 8192);
        let mut model = Model::new("m");
        model.max_output_tokens = Some(64_000);
        request.model_info = Some(Box::new(model.clone()));
        assert_eq!(max(&request), 32_000);
        model.max_output_tokens = Some(4096);
        request.model_info = Some(Box::new(model));
        assert_eq!(max(&request), 4096);
        request.max_output_tokens = Some(0);
        assert_eq!(max(&request), 0);
    }

    #[test]
    fn a_budget_fits_between_its_bounds() {
        for (budget, max, expected, fields) in [
            (2000, None, Some(2000), &[][..]),
            (2000, Some(4000), Some(2000), &[]),
            (100, Some(4000), Some(1024), &["reasoning.budget_tokens"]),
            (4000, Some(4000), Some(3999), &["reasoning.budget_tokens"]),
            (2000, Some(1024), None, &["reasoning.budget_tokens"]),
        ] {
            let mut request = request(|settings| settings.budget_tokens = Some(budget));
            request.max_output_tokens = max;
            let (plan, losses) = planned(&request, &Quirks::default(), false);
            let found = plan.thinking.as_ref().and_then(|t| t["budget_tokens"].as_u64());
            assert_eq!(found, expected, "{budget} of {max:?}");
            assert_eq!(losses, fields);
            assert!(found.is_none_or(|found| found < plan.max_tokens));
        }
        let off = request(|settings| settings.budget_tokens = Some(0));
        let (plan, _) = planned(&off, &Quirks::default(), false);
        assert_eq!(plan.thinking, Some(json!({"type": "disabled"})));
    }

    #[test]
    fn effort_is_said_in_the_models_own_way() {
        let high = request(|settings| settings.effort = Some("high".into()));
        let mut quirks = Quirks::default();
        let (plan, losses) = planned(&high, &quirks, false);
        assert_eq!(plan.thinking, Some(json!({"type": "adaptive"})));
        assert_eq!((plan.effort.as_deref(), losses.len()), (Some("high"), 0));
        quirks.effort = Effort::Plain;
        let (plan, _) = planned(&high, &quirks, false);
        assert_eq!((plan.thinking, plan.effort.as_deref()), (None, Some("high")));
        quirks.effort = Effort::Budget;
        let (plan, _) = planned(&high, &quirks, false);
        assert_eq!(plan.thinking, Some(json!({"type": "enabled", "budget_tokens": 16_384})));
        assert_eq!((plan.effort, plan.max_tokens), (None, 24_576));
        let none = request(|settings| settings.effort = Some("none".into()));
        let (plan, losses) = planned(&none, &Quirks::default(), false);
        assert_eq!(plan.thinking, Some(json!({"type": "disabled"})));
        assert_eq!((plan.effort, losses.len()), (None, 0));
    }

    #[test]
    fn a_forced_tool_turns_thinking_off() {
        let adaptive = request(|settings| settings.adaptive = true);
        let (plan, losses) = planned(&adaptive, &Quirks::default(), true);
        assert_eq!((plan.thinking, losses), (None, vec!["reasoning".to_owned()]));
    }

    #[test]
    fn what_is_shown_of_thinking_is_said() {
        for (summary, display, losses) in
            [("none", "omitted", 0), ("auto", "summarized", 0), ("detailed", "summarized", 1)]
        {
            let request = request(|settings| {
                settings.adaptive = true;
                settings.summary = Some(summary.into());
            });
            let (plan, lost) = planned(&request, &Quirks::default(), false);
            assert_eq!(plan.thinking.unwrap()["display"], display);
            assert_eq!(lost.len(), losses);
        }
    }
}
