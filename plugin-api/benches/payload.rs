//! What payloads cost: MessagePack against JSON, at 1 KB and 1 MB, and vectors.
//!
//! `cargo bench -p plugin-api`. Sizes are printed first.

use divan::{Bencher, black_box};
use plugin_api::{
    ProviderId,
    abi::codec::{
        Opening, Output, decode_opening, decode_output, encode_input, encode_output, pack,
    },
    chat::{ChatRequest, Message, Role},
    exchange::Input,
    instance::Instance,
    operation::{Embeddings, Operation, Reply},
};

fn main() {
    for size in SIZES {
        let request = request(size);
        let (packed, json) = (pack(&request).unwrap(), serde_json::to_vec(&request).unwrap());
        println!("request of {size} bytes: MessagePack {}, JSON {}", packed.len(), json.len());
    }
    divan::main();
}

const SIZES: [usize; 2] = [1 << 10, 1 << 20];

/// A conversation in turns of about 500 bytes, some of which JSON must escape.
fn request(size: usize) -> ChatRequest {
    let text = "The quick brown fox said \"hello\"\nand jumped over the lazy dog. ".repeat(8);
    let turns = (size / text.len()).max(1);
    let roles = [Role::User, Role::Assistant].into_iter().cycle();
    let messages = roles
        .take(turns)
        .map(|role| match role {
            Role::User => Message::user(text.clone()),
            _ => Message::assistant(text.clone()),
        })
        .collect();
    ChatRequest::new("m", messages)
}

fn opening(size: usize) -> Opening {
    Opening {
        instance: Instance::new(ProviderId::new("bench").unwrap(), "https://a.test/v1"),
        operation: Operation::Chat(Box::new(request(size))),
    }
}

#[divan::bench(args = SIZES)]
fn write_messagepack(bencher: Bencher<'_, '_>, size: usize) {
    let request = request(size);
    bencher.bench(|| rmp_serde::to_vec_named(black_box(&request)));
}

#[divan::bench(args = SIZES)]
fn write_json(bencher: Bencher<'_, '_>, size: usize) {
    let request = request(size);
    bencher.bench(|| serde_json::to_vec(black_box(&request)));
}

#[divan::bench(args = SIZES)]
fn read_messagepack(bencher: Bencher<'_, '_>, size: usize) {
    let packed = pack(&request(size)).unwrap();
    bencher.bench(|| rmp_serde::from_slice::<ChatRequest>(black_box(&packed)).unwrap());
}

#[divan::bench(args = SIZES)]
fn read_json(bencher: Bencher<'_, '_>, size: usize) {
    let json = serde_json::to_vec(&request(size)).unwrap();
    bencher.bench(|| serde_json::from_slice::<ChatRequest>(black_box(&json)).unwrap());
}

/// As a host does it, the check of the depth included.
#[divan::bench(args = SIZES)]
fn start_write(bencher: Bencher<'_, '_>, size: usize) {
    let opening = opening(size);
    bencher.bench(|| black_box(&opening).pack());
}

/// As a plugin does it.
#[divan::bench(args = SIZES)]
fn start_read(bencher: Bencher<'_, '_>, size: usize) {
    let packed = opening(size).pack().unwrap();
    bencher.bench(|| encode_input(&Input::Start { seed: 0 }, black_box(&packed), decode_opening));
}

/// The request behind its operation's tag, which serde must search for: why the name stands beside.
#[divan::bench(args = SIZES)]
fn read_tagged(bencher: Bencher<'_, '_>, size: usize) {
    let packed = pack(&opening(size).operation).unwrap();
    bencher.bench(|| rmp_serde::from_slice::<Operation>(black_box(&packed)).unwrap());
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
