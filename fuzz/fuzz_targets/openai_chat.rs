#![no_main]

use dialects::openai_chat::{
    Decoder, Quirks, decode_request, embeddings, encode_request, error,
};
use maestro_fuzz::Dialect;
use plugin_api::{http::HttpRequest, kit::SseStream};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let dialect = Dialect {
        open: || Box::new(SseStream::new(HttpRequest::get("https://a.test/"), Decoder::new())),
        request: |bytes| {
            if let Ok(decoded) = decode_request(bytes) {
                drop(encode_request(&decoded.request, &Quirks::default()));
            }
            drop(embeddings::decode_request(bytes));
        },
        failure: error::failure,
    };
    maestro_fuzz::run(dialect, data);
});
