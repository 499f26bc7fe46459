#![no_main]

use dialects::gemini::{
    Decoder, Settings, caches, decode_request, embeddings, encode_request, error, models, tokens,
};
use maestro_fuzz::Dialect;
use plugin_api::{http::HttpRequest, kit::SseStream};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let dialect = Dialect {
        open: || Box::new(SseStream::new(HttpRequest::get("https://a.test/"), Decoder::new())),
        request: |bytes| {
            if let Ok(decoded) = decode_request("m", bytes) {
                drop(encode_request(&decoded.request, &Settings::default()));
            }
            drop((embeddings::decode_request("m", bytes), tokens::decode_request("m", bytes)));
            drop((embeddings::decode(bytes, 1), tokens::decode(bytes)));
            drop((models::decode(bytes), caches::decode(bytes)));
        },
        failure: error::failure,
    };
    maestro_fuzz::run(dialect, data);
});
