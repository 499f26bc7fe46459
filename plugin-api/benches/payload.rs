//! What payloads cost: MessagePack against JSON, at 1 KB and 1 MB, and vectors.
//!
//! `cargo bench -p plugin-api`. Sizes are printed first.

use divan::{Bencher, black_box};
use plugin_api::{
    ProviderId,
    abi::{
        codec::{Opening, Output, decode_opening, decode_output, encode_output, pack},
        message::{Message, kind},
    },
    chat::{ChatRequest, Message as Said, Role},
    instance::Instance,
    operation::{Embeddings, Operation, Reply},
};

fn main() {
    for size in SIZES {
        let opening = opening(size);
        let (packed, json) = (pack(&opening).unwrap(), serde_json::to_vec(&opening).unwrap());
        println!("START of {size} bytes: MessagePack {}, JSON {}", packed.len(), json.len());
    }
    divan::main();
}

const SIZES: [usize; 2] = [1 << 10, 1 << 20];

/// A conversation in turns of about 500 bytes, some of which JSON must escape.
fn opening(size: usize) -> Opening {
    let text = "The quick brown fox said \"hello\"\nand jumped over the lazy dog. ".repeat(8);
    let turns = (size / text.len()).max(1);
    let roles = [Role::User, Role::Assistant].into_iter().cycle();
    let messages = roles
        .take(turns)
        .map(|role| match role {
            Role::User => Said::user(text.clone()),
            _ => Said::assistant(text.clone()),
        })
        .collect();
    Opening {
        instance: Instance::new(ProviderId::new("bench").unwrap(), "https://a.test/v1"),
        operation: Operation::Chat(Box::new(ChatRequest::new("m", messages))),
    }
}

#[divan::bench(args = SIZES)]
fn start_write_messagepack(bencher: Bencher<'_, '_>, size: usize) {
    let opening = opening(size);
    bencher.bench(|| pack(black_box(&opening)));
}

#[divan::bench(args = SIZES)]
fn start_write_json(bencher: Bencher<'_, '_>, size: usize) {
    let opening = opening(size);
    bencher.bench(|| serde_json::to_vec(black_box(&opening)));
}

#[divan::bench(args = SIZES)]
fn start_read_messagepack(bencher: Bencher<'_, '_>, size: usize) {
    let packed = pack(&opening(size)).unwrap();
    bencher.bench(|| decode_opening(&Message::new(kind::START).ext(black_box(&packed))));
}

#[divan::bench(args = SIZES)]
fn start_read_json(bencher: Bencher<'_, '_>, size: usize) {
    let json = serde_json::to_vec(&opening(size)).unwrap();
    bencher.bench(|| serde_json::from_slice::<Opening>(black_box(&json)).unwrap());
}

/// The request alone, without the tag of its operation: what the tag's buffering costs.
#[divan::bench(args = SIZES)]
fn request_read_messagepack(bencher: Bencher<'_, '_>, size: usize) {
    let Operation::Chat(request) = opening(size).operation else { unreachable!() };
    let packed = rmp_serde::to_vec_named(&request).unwrap();
    bencher.bench(|| rmp_serde::from_slice::<ChatRequest>(black_box(&packed)).unwrap());
}

#[divan::bench(args = [500])]
fn vectors_there(bencher: Bencher<'_, '_>, count: usize) {
    let reply = Reply::Embeddings(Embeddings::new(vec![vec![0.123_f32; 3072]; count], None));
    bencher.bench(|| {
        let mut read = 0;
        encode_output(Output::Value(black_box(&reply)), |message| {
            read += usize::from(decode_output(message).unwrap().is_some());
        })
        .unwrap();
        read
    });
}
