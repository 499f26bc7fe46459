use serde_json::{Value as Json, json};

use super::{payload::MAX_READ_DEPTH, *};
use crate::{
    abi::{
        depth::MAX_DEPTH,
        message::{Message, kind},
    },
    chat::{ChatRequest, Citation, Opaque},
    event::{ChatEvent, FinishReason, Usage},
    exchange::Input,
    id::ProviderId,
    instance::Instance,
    operation::{
        AuthUrlRequest, DeleteContextChunk, DescribeModel, EmbedRequest, Embeddings, ExchangeCode,
        KeyShape, ListContextChunks, ListModels, Operation, Reply, Tokens,
    },
};

fn crossed(event: &ChatEvent) -> ChatEvent {
    let mut back = None;
    encode_output(Output::Event(event), |message| back = decode_output(message).unwrap()).unwrap();
    let Some(Effect::Event(event)) = back else { panic!("{back:?}") };
    event
}

#[test]
fn a_block_crosses_byte_for_byte() {
    let json = r#"{ "z":1,"a":1.0,"n":12345678901234567890123,"f":0.1000000000000000055 }"#;
    let event = ChatEvent::Opaque { part: 3, block: Opaque::new("x", json) };
    assert_eq!(crossed(&event), event);
}

#[test]
fn keys_keep_their_order() {
    let native = Some(json!({"z": 1, "a": {"y": 1, "b": 2}}));
    let citation = Citation { native, ..Citation::default() };
    let event = ChatEvent::Citation { part: 0, citation: Box::new(citation) };
    let ChatEvent::Citation { citation, .. } = crossed(&event) else { panic!() };
    assert_eq!(citation.native.unwrap().to_string(), r#"{"z":1,"a":{"y":1,"b":2}}"#);
}

#[test]
fn usage_crosses_with_its_details() {
    let mut usage = Usage::new(1, 2);
    usage.reasoning_tokens = Some(0);
    let event = ChatEvent::Usage(usage.clone());
    assert_eq!(crossed(&event), event);
    usage.details.insert("cache_write_1h_tokens".into(), 7);
    let event = ChatEvent::Usage(usage);
    assert_eq!(crossed(&event), event);
}

#[test]
fn details_and_contexts_cross() {
    for part in [None, Some(0), Some(4)] {
        let (name, value) = ("logprobs".to_owned(), json!([{"z": 1, "a": null}]));
        let event = ChatEvent::Detail { part, name, value };
        assert_eq!(crossed(&event), event);
    }
    let event = ChatEvent::Context { id: "r1".into(), kind: "response".into() };
    assert_eq!(crossed(&event), event);
}

#[test]
fn bits_of_a_newer_contract_are_ignored() {
    let summary = Message::new(kind::REASONING_DELTA).a(3).text(b"x");
    let expected = ChatEvent::ReasoningDelta { part: 0, text: "x".into(), summary: true };
    assert_eq!(decode_output(&summary).unwrap(), Some(Effect::Event(expected)));
    let finish = Message::new(kind::FINISH).a(99).b(2);
    let expected = ChatEvent::Finish { reason: FinishReason::Other, detail: None };
    assert_eq!(decode_output(&finish).unwrap(), Some(Effect::Event(expected)));
}

#[test]
fn a_plugin_learns_the_hosts_contract() {
    let instance = Instance::new(ProviderId::new("a").unwrap(), "");
    let opening = Opening { instance, operation: Operation::TestConnection };
    let packed = opening.pack().unwrap();
    let message = Message::new(kind::START).b(7).text(b"test_connection").ext(&packed.bytes);
    assert_eq!(decode_opening(&message).unwrap().instance.contract_minor, 7);
}

#[test]
fn every_operation_crosses() {
    let chat = || Box::new(ChatRequest::new("m", vec![crate::chat::Message::user("hi")]));
    for operation in [
        Operation::Chat(chat()),
        Operation::CountTokens(chat()),
        Operation::ListModels(ListModels::default()),
        Operation::DescribeModel(DescribeModel::new("m")),
        Operation::Embed(EmbedRequest::new("m", vec!["x".into()])),
        Operation::ListContextChunks(ListContextChunks::default()),
        Operation::DeleteContextChunk(DeleteContextChunk::new("c", None)),
        Operation::ValidateApiKey(KeyShape::of("a", "")),
        Operation::TestConnection,
        Operation::GenerateAuthUrl(AuthUrlRequest::default()),
        Operation::ExchangeCode(ExchangeCode::default()),
        Operation::RefreshToken(Tokens::default()),
        Operation::ExtractApiCredentials(Tokens::default()),
        Operation::Unknown,
    ] {
        let instance = Instance::new(ProviderId::new("a").unwrap(), "https://a.test");
        let opening = Opening { instance, operation };
        let packed = opening.pack().unwrap();
        let back = encode_input(&Input::Start { seed: 1 }, &packed, decode_opening);
        assert_eq!(back.unwrap(), opening);
    }
    // An operation of a newer contract, with a request of any form.
    let newer = pack(&json!({"instance": {"provider": "a"}, "request": [1, {"x": 2}]}));
    let newer = newer.unwrap();
    let message = Message::new(kind::START).text(b"dream").ext(&newer);
    assert_eq!(decode_opening(&message).unwrap().operation, Operation::Unknown);
}

#[test]
fn vectors_cross_as_bytes_and_are_put_together() {
    let reply = Reply::Embeddings(Embeddings::new(vec![vec![0.1, -1.0], vec![]], Some(3)));
    let (mut vectors, mut back) = (Vectors::default(), None);
    encode_output(Output::Value(&reply), |message| {
        match decode_output(message).unwrap().unwrap() {
            Effect::Vector { index, vector } => vectors.take(index, vector).unwrap(),
            Effect::Value(mut value) => {
                vectors.complete(&mut value);
                back = Some(*value);
            }
            other => panic!("{other:?}"),
        }
    })
    .unwrap();
    assert_eq!(back, Some(reply));
    assert!(vectors.take(1, vec![]).is_err());
    assert!(decode_output(&Message::new(kind::VECTOR).text(b"12345")).is_err());
}

/// Nests an array in an array, and so on.
fn nested(levels: usize) -> Json {
    (0..levels).fold(json!(1), |inner, _| Json::Array(vec![inner]))
}

#[test]
fn deep_payloads_are_refused_in_both_directions() {
    for (levels, fits) in [(MAX_DEPTH - 1, true), (MAX_DEPTH, false), (100_000, false)] {
        let citation = Citation { native: Some(nested(levels)), ..Citation::default() };
        let event = ChatEvent::Citation { part: 0, citation: Box::new(citation) };
        let mut read = false;
        let sent = encode_output(Output::Event(&event), |message| {
            read = decode_output(message).is_ok();
        });
        assert_eq!((sent.is_ok(), read), (fits, fits), "{levels}");
        // Dropping it would take as many levels of the stack as writing it.
        std::mem::forget(event);
    }
    for levels in [MAX_READ_DEPTH, 100_000] {
        let mut bytes = b"\x81\xa6native".to_vec();
        bytes.extend(std::iter::repeat_n(0x91, levels));
        bytes.push(1);
        let error = decode_output(&Message::new(kind::CITATION).ext(&bytes)).unwrap_err();
        assert_eq!(error.problem, "depth limit exceeded");
    }
}
