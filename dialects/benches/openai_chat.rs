//! What a streamed text delta costs: framing alone, then framing and decoding, and encoding.
//!
//! The difference of the first two is the decoder's own cost; both include the replay's copy of
//! every event, which a host does not make twice.

use std::ops::ControlFlow;

use dialects::openai_chat::{Decoder, Encoder, Head};
use divan::{Bencher, counter::ItemsCount};
use plugin_api::{
    error::ProviderError,
    event::ChatEvent,
    exchange::{Exchange, Outbox},
    http::HttpRequest,
    kit::{self, SseStream, replay::Replay, sse::SseEvent},
};

const CHUNKS: usize = 10_000;

fn main() {
    divan::main();
}

fn body() -> Vec<u8> {
    let chunk = r#"data: {"id":"chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT","object":"chat.completion.chunk","created":1790000000,"model":"gpt-demo-1-2026-08-07","service_tier":"default","system_fingerprint":"fp_44709d6fcb","choices":[{"index":0,"delta":{"content":" token"},"logprobs":null,"finish_reason":null}],"usage":null,"obfuscation":"q9ZkT1"}"#;
    let mut body = format!("{chunk}\n\n").repeat(CHUNKS);
    body.push_str("data: [DONE]\n\n");
    body.into_bytes()
}

struct Constant;

impl kit::Decoder for Constant {
    fn event(
        &mut self,
        _: SseEvent<'_>,
        out: &mut Outbox<'_>,
    ) -> Result<ControlFlow<()>, ProviderError> {
        out.text(0, " token");
        Ok(ControlFlow::Continue(()))
    }

    fn end(&mut self, _: kit::Ended, _: &mut Outbox<'_>) -> Result<(), ProviderError> {
        Ok(())
    }
}

fn replay(bencher: Bencher<'_, '_>, open: impl Fn() -> Box<dyn Exchange + Send> + Sync) {
    let body = body();
    bencher
        .counter(ItemsCount::new(CHUNKS))
        .with_inputs(|| Replay::new(open()).respond(200, &[], &body))
        .bench_values(Replay::run);
}

#[divan::bench]
fn framing_alone(bencher: Bencher<'_, '_>) {
    replay(bencher, || Box::new(SseStream::new(HttpRequest::get("https://a.test/"), Constant)));
}

#[divan::bench]
fn framing_and_decoding(bencher: Bencher<'_, '_>) {
    replay(bencher, || {
        Box::new(SseStream::new(HttpRequest::get("https://a.test/"), Decoder::new()))
    });
}

#[divan::bench]
fn encoding(bencher: Bencher<'_, '_>) {
    let event = ChatEvent::TextDelta { part: 0, text: " token".into() };
    bencher.counter(ItemsCount::new(CHUNKS)).bench(|| {
        let mut encoder = Encoder::new(&Head::new("chatcmpl-1", "m", 1), true);
        let mut out = Vec::new();
        for _ in 0..CHUNKS {
            out.clear();
            encoder.event(&event, &mut out);
        }
        out
    });
}
