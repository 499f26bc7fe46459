//! One answer: streamed to the screen, until it ends, breaks or is interrupted.

use std::{
    pin::pin,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};
use plugin_api::{
    chat::{ChatRequest, Content, Message},
    event::{FinishReason, Transcript, Usage},
};
use serde::Serialize;
use tokio::task::JoinHandle;

use crate::{
    cli::{
        chat::render::{Piece, Renderer, Style},
        failure::Failure,
        output::Output,
    },
    maestro::{Call, Error, Maestro},
    router::ModelRef,
};

/// What came of a request, as far as it came.
#[derive(Debug)]
pub(super) struct Answer {
    /// What the model said.
    pub(super) transcript: Transcript,
    /// Which session served it.
    pub(super) session: Option<String>,
    /// How it ended.
    pub(super) end: End,
    first: Option<Duration>,
    total: Duration,
}

/// What an answer took, as `--json` shows it last.
#[derive(Debug, Serialize)]
pub(super) struct Summary<'a> {
    model: String,
    session: Option<&'a str>,
    conversation: Option<&'a str>,
    finish_reason: Option<&'static str>,
    interrupted: bool,
    usage: Usage,
    time_to_first_ms: Option<u64>,
    total_ms: u64,
}

/// How an answer ended.
#[derive(Debug)]
pub(super) enum End {
    /// The vendor said that it was complete, or at least ended it.
    Finished,
    /// It broke.
    Failed(Error),
    /// Ctrl-C.
    Interrupted(#[expect(dead_code, reason = "kept until the answer is stored")] SecondInterrupt),
}

/// Asks, and prints the answer as it comes.
///
/// Ctrl-C drops the stream, which cancels upstream at once; what came is kept.
pub(super) async fn ask(
    maestro: &Maestro,
    output: &Output,
    style: Style,
    model: &ModelRef,
    (request, call): (ChatRequest, Call),
) -> Result<Answer, Failure> {
    let started = Instant::now();
    let mut interrupted = pin!(tokio::signal::ctrl_c());
    let mut printer = Printer::new(output, style, model);
    let mut answer = Answer {
        transcript: Transcript::new(),
        session: None,
        end: End::Finished,
        first: None,
        total: Duration::ZERO,
    };
    let opened = tokio::select! {
        biased;
        _ = &mut interrupted => None,
        opened = maestro.stream_chat(model, request, call) => Some(opened),
    };
    answer.end = 'end: {
        let Some(opened) = opened else { break 'end End::Interrupted(SecondInterrupt::watch()) };
        let mut stream = match opened {
            Ok(stream) => stream,
            Err(error) => break 'end End::Failed(error),
        };
        answer.session = stream.session().map(str::to_owned);
        loop {
            let next = tokio::select! {
                biased;
                _ = &mut interrupted => break End::Interrupted(SecondInterrupt::watch()),
                next = stream.next() => next,
            };
            match next {
                None => break End::Finished,
                Some(Err(error)) => break End::Failed(error),
                Some(Ok(event)) => {
                    if event.is_content() {
                        answer.first.get_or_insert_with(|| started.elapsed());
                    }
                    answer.transcript.push(&event);
                    printer.print(|renderer| renderer.event(&event))?;
                }
            }
        }
    };
    answer.total = started.elapsed();
    printer.print(Renderer::end)?;
    Ok(answer)
}

impl Answer {
    /// Reports whether the model said anything, so that nobody else may answer in its place.
    pub(super) fn has_begun(&self) -> bool {
        self.first.is_some() || self.transcript.finish.is_some()
    }

    /// Returns what is worth keeping: all of a complete answer, the text alone of another.
    ///
    /// Half a tool call or a thought without its signature would make a vendor refuse the next turn.
    pub(super) fn message(&self) -> Option<Message> {
        let mut message = self.transcript.message();
        if !matches!(self.end, End::Finished) {
            message.parts.retain(|part| matches!(part.content, Content::Text(_)));
            if message.text().is_empty() {
                return None;
            }
        }
        (!message.parts.is_empty()).then_some(message)
    }

    /// Warns about an end that is not what was hoped for; reports whether the request failed.
    pub(super) fn judge(&self, output: &Output) -> bool {
        let detail = self.transcript.finish_detail.as_deref();
        let detail = detail.map(|detail| format!(" ({detail})")).unwrap_or_default();
        let refused =
            self.transcript.message().parts.iter().any(
                |part| matches!(&part.content, Content::Refusal(text) if !text.text.is_empty()),
            );
        match self.transcript.finish {
            Some(FinishReason::ContentFilter) => {
                output.warn(&format!("the model or its vendor would not answer{detail}"));
                return true;
            }
            Some(FinishReason::Error) => {
                output.warn(&format!("the vendor gave up in the middle of the answer{detail}"));
                return true;
            }
            Some(FinishReason::Length) => output.warn(&format!(
                "the answer was cut at the limit of tokens{detail}; raise it with `-o max_tokens=N`"
            )),
            Some(FinishReason::Pause) => {
                output.warn(&format!("the vendor paused{detail}; `-c` continues the answer"));
            }
            _ => {}
        }
        if refused {
            output.warn("the model refused to answer");
        } else if matches!(self.end, End::Finished) && self.message().is_none() {
            output.warn("the answer is empty");
        }
        refused
    }

    /// Says on stderr what it took: model, session, tokens, times.
    pub(super) fn summary(&self, model: &ModelRef) -> String {
        let Usage { input_tokens, output_tokens, cached_input_tokens, reasoning_tokens, .. } =
            self.transcript.usage;
        let count = |tokens: Option<u64>| tokens.map_or("?".to_owned(), |n| n.to_string());
        let part = |tokens: Option<u64>, what: &str| {
            tokens.map(|tokens| format!(" ({tokens} {what})")).unwrap_or_default()
        };
        let mut text = format!("model {model}");
        if let Some(answered) = self.transcript.model.as_deref().filter(|name| model.model != *name)
        {
            text.push_str(&format!(" (answered as {answered})"));
        }
        if let Some(session) = &self.session {
            text.push_str(&format!(", session {session}"));
        }
        text.push_str(&format!(
            "; tokens in {}{}, out {}{}",
            count(input_tokens),
            part(cached_input_tokens, "cached"),
            count(output_tokens),
            part(reasoning_tokens, "reasoning"),
        ));
        if let Some(first) = self.first {
            text.push_str(&format!("; first after {:.2} s", first.as_secs_f64()));
        }
        text.push_str(&format!("; total {:.2} s", self.total.as_secs_f64()));
        if let Some(rate) = self.rate() {
            text.push_str(&format!("; {rate:.1} tokens/s"));
        }
        text
    }

    /// Returns the same for programs.
    pub(super) fn result<'a>(
        &'a self,
        model: &ModelRef,
        conversation: Option<&'a str>,
    ) -> Summary<'a> {
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Summary {
            model: model.to_string(),
            session: self.session.as_deref(),
            conversation,
            finish_reason: self.transcript.finish.map(FinishReason::as_str),
            interrupted: matches!(self.end, End::Interrupted(_)),
            usage: self.transcript.usage.clone(),
            time_to_first_ms: self.first.map(ms),
            total_ms: ms(self.total),
        }
    }

    fn rate(&self) -> Option<f64> {
        let tokens = u32::try_from(self.transcript.usage.output_tokens?).ok()?;
        let time = self.total.saturating_sub(self.first?).as_secs_f64();
        (time > 0.001).then(|| f64::from(tokens) / time)
    }
}

/// Ends the program at the next Ctrl-C, for as long as this is kept: while what came is stored.
#[derive(Debug)]
pub(super) struct SecondInterrupt(JoinHandle<()>);

impl SecondInterrupt {
    fn watch() -> Self {
        Self(tokio::spawn(async {
            if tokio::signal::ctrl_c().await.is_ok() {
                std::process::exit(130);
            }
        }))
    }
}

impl Drop for SecondInterrupt {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Writes what the renderer says, and shows a spinner until there is something.
struct Printer<'a> {
    output: &'a Output,
    renderer: Renderer,
    spinner: Option<ProgressBar>,
}

impl<'a> Printer<'a> {
    fn new(output: &'a Output, style: Style, model: &ModelRef) -> Self {
        let spinner = (output.stderr_is_terminal() && !style.json).then(|| {
            let spinner = ProgressBar::new_spinner().with_message(model.to_string());
            if let Ok(form) = ProgressStyle::with_template("{spinner} {msg} {elapsed}") {
                spinner.set_style(form);
            }
            spinner.enable_steady_tick(TICK);
            spinner
        });
        Self { output, renderer: Renderer::new(style), spinner }
    }

    fn print(&mut self, render: impl FnOnce(&mut Renderer) -> Vec<Piece>) -> Result<(), Failure> {
        for piece in render(&mut self.renderer) {
            self.clear();
            match piece {
                Piece::Out(text) => self.output.data(text)?,
                Piece::Note(text) => self.output.note(&text),
                Piece::Dim(text) => self.output.stderr(self.output.dim(&text)),
                Piece::Warning(text) => self.output.warn(&text),
            }
        }
        Ok(())
    }

    fn clear(&mut self) {
        if let Some(spinner) = self.spinner.take() {
            spinner.finish_and_clear();
        }
    }
}

impl Drop for Printer<'_> {
    fn drop(&mut self) {
        self.clear();
    }
}

const TICK: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use plugin_api::{chat::ToolKind, event::ChatEvent};

    use super::*;

    fn answer(events: &[ChatEvent], end: End) -> Answer {
        Answer {
            transcript: Transcript::of(events),
            session: Some("a:work@api_key".into()),
            end,
            first: Some(Duration::from_millis(500)),
            total: Duration::from_millis(2500),
        }
    }

    fn call() -> [ChatEvent; 2] {
        [
            ChatEvent::TextDelta { part: 0, text: "so".into() },
            ChatEvent::ToolCallStart {
                part: 1,
                id: "c".into(),
                name: "f".into(),
                kind: ToolKind::Function,
            },
        ]
    }

    #[test]
    fn half_a_tool_call_is_not_kept() {
        let broken = || End::Failed("x".parse::<ModelRef>().unwrap_err().into());
        let message = answer(&call(), broken()).message().unwrap();
        assert_eq!((message.parts.len(), message.text().as_str()), (1, "so"));
        assert!(answer(&call()[1..], broken()).message().is_none());
        assert_eq!(answer(&call(), End::Finished).message().unwrap().parts.len(), 2);
        assert!(answer(&[], End::Finished).message().is_none());
    }

    #[test]
    fn a_refusal_fails_and_a_cut_does_not() {
        let output = Output::new(false, 0);
        let finish = |reason| vec![ChatEvent::Finish { reason, detail: None }];
        assert!(answer(&finish(FinishReason::ContentFilter), End::Finished).judge(&output));
        assert!(answer(&finish(FinishReason::Error), End::Finished).judge(&output));
        assert!(!answer(&finish(FinishReason::Length), End::Finished).judge(&output));
        let refusal = [ChatEvent::RefusalDelta { part: 0, text: "no".into() }];
        assert!(answer(&refusal, End::Finished).judge(&output));
    }

    #[test]
    fn the_summary_says_what_it_took() {
        let mut usage = Usage::new(10, 40);
        usage.cached_input_tokens = Some(3);
        let answer = answer(&[ChatEvent::Usage(usage)], End::Finished);
        assert_eq!(
            answer.summary(&"a/m".parse().unwrap()),
            "model a/m, session a:work@api_key; tokens in 10 (3 cached), out 40; \
             first after 0.50 s; total 2.50 s; 20.0 tokens/s"
        );
        let result = answer.result(&"a/m".parse().unwrap(), Some("c1"));
        assert_eq!(
            serde_json::to_string(&result).unwrap(),
            r#"{"model":"a/m","session":"a:work@api_key","conversation":"c1","finish_reason":null,"interrupted":false,"usage":{"input_tokens":10,"output_tokens":40,"cached_input_tokens":3},"time_to_first_ms":500,"total_ms":2500}"#
        );
    }
}
