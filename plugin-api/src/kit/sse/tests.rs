use proptest::{collection::vec, prelude::*, sample::select};

use super::*;

/// All that a stream comes to. An event reads `data`, or `type#id:data` when it has more to say.
#[derive(Debug, Default, PartialEq)]
struct Outcome {
    events: Vec<String>,
    error: Option<SseError>,
    retry_ms: Option<u64>,
    stray: String,
    stray_is_whole: bool,
}

fn show(event: &str, id: &str, data: &str) -> String {
    if event == "message" && id.is_empty() {
        data.to_owned()
    } else {
        format!("{event}#{id}:{data}")
    }
}

/// Feeds every chunk, even after an error, and breaks at event number `stop_after`.
fn read_with<'a>(
    mut parser: SseParser,
    chunks: impl IntoIterator<Item = &'a [u8]>,
    stop_after: usize,
) -> Outcome {
    let mut events = Vec::new();
    let mut each = |SseEvent { event, data, id }: SseEvent<'_>| {
        events.push(show(event, id, data));
        if events.len() == stop_after { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    for chunk in chunks {
        let _ = parser.feed(chunk, &mut each);
    }
    let error = parser.finish(&mut each).err();
    Outcome {
        events,
        error,
        retry_ms: parser.retry_ms(),
        stray: String::from_utf8_lossy(parser.stray()).into_owned(),
        stray_is_whole: parser.stray_is_whole(),
    }
}

fn read<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Outcome {
    read_with(SseParser::new(), chunks, 0)
}

/// Numbered edge cases: number, chunks, events. Each is replayed as written, in one piece, and byte
/// by byte, which is case 17. Cases 23 and 27 have tests of their own.
#[test]
fn table_of_edge_cases() {
    type Case<'a> = (u32, &'a [&'a [u8]], &'a [&'a str]);
    let cases: &[Case] = &[
        (1, &[b"data: a\n\n"], &["a"]),
        (2, &[b"data:a\n\n"], &["a"]),
        (3, &[b"data:  a\n\n"], &[" a"]),
        (4, &[b"data: a\r\n\r\n"], &["a"]),
        (5, &[b"data: a\r\r"], &["a"]),
        (6, &[b"data: a\r", b"\n\r", b"\ndata: b\n\n"], &["a", "b"]),
        (7, &[b"data: a\ndata: b\n\n"], &["a\nb"]),
        (8, &[b"data\n\n"], &[""]),
        (8, &[b"data:\n\n"], &[""]),
        (9, &[b"data\ndata\n\n"], &["\n"]),
        (10, &[b": ping\n\ndata: a\n\n"], &["a"]),
        (11, &[b"event: x\n\ndata: a\n\n"], &["a"]),
        (12, &[b"event: x\ndata: a\n\ndata: b\n\n"], &["x#:a", "b"]),
        (12, &[b"event: x\nevent: y\ndata: a\n\n"], &["y#:a"]),
        (12, &[b"event: x\nevent\ndata: a\n\n"], &["a"]),
        (13, &[b"\xEF\xBB\xBFdata: a\n\n"], &["a"]),
        (14, &[b"data: a\n\n\xEF\xBB\xBFdata: b\n\n"], &["a"]),
        (14, &[b"\xEF\xBB\xBF\xEF\xBB\xBFdata: b\n\ndata: a\n\n"], &["a"]),
        (14, &[b"\xEF\xBBdata: b\n\ndata: a\n\n"], &["a"]),
        (15, &[b"foo: bar\ndata: a\n\n"], &["a"]),
        (16, &[b"data: \xC3", b"\xA9\n\n"], &["é"]),
        (16, &[b"data: \xC3\n\n", b"data: \xFFa\xC3\xA9\n\n"], &["\u{FFFD}", "\u{FFFD}aé"]),
        (18, &[b"id: 1\ndata: a\n\ndata: b\n\n"], &["message#1:a", "message#1:b"]),
        (18, &[b"id: 1\ndata: a\n\nid\ndata: b\n\n"], &["message#1:a", "b"]),
        (19, &[b"id: 1\0x\ndata: a\n\n"], &["a"]),
        (19, &[b"id: 7\nid: 1\0x\ndata: a\n\n"], &["message#7:a"]),
        (20, &[b"retry: 10x\n"], &[]),
        (21, &[b"data: a\n"], &["a"]),
        (21, &[b"data: a"], &["a"]),
        (21, &[b"data: a\nda"], &["a"]),
        (21, &[b"data: a\n\nevent: x\ndata\n"], &["a"]),
        (22, &[b"data: {\"x\":\ndata: 1}\n\n"], &["{\"x\":\n1}"]),
        (24, &[b"DATA: a\n\n"], &[]),
        (24, &[b" data: a\ndat: a\ndatas: a\ndatas\n\n"], &[]),
        (25, &[b"data: [DONE]\n\n"], &["[DONE]"]),
        (25, &[b"data:[DONE]\r\n\r\n"], &["[DONE]"]),
        (25, &[b"data: [DONE] \n\n"], &["[DONE] "]),
        (
            26,
            &["data: a\u{2028}b\u{85}c\u{B}d\u{C}e\n\n".as_bytes()],
            &["a\u{2028}b\u{85}c\u{B}d\u{C}e"],
        ),
    ];
    for (number, chunks, expected) in cases {
        let bytes = chunks.concat();
        let as_written = read(chunks.iter().copied());
        assert_eq!(as_written.events, *expected, "case {number}");
        assert_eq!(as_written.retry_ms, None, "case {number}");
        assert_eq!(as_written.stray, "", "case {number}");
        assert_eq!(read([&bytes[..]]), as_written, "case {number} in one piece");
        assert_eq!(read(bytes.chunks(1)), as_written, "case {number} byte by byte (17)");
        if *number == 22 {
            let json: serde_json::Value = serde_json::from_str(expected[0]).unwrap();
            assert_eq!(json["x"], 1);
        }
        if *number == 25 {
            assert!(is_done(&as_written.events[0]), "case {number}");
        }
    }
}

#[test]
fn case_20_retry_takes_digits_only() {
    let outcome =
        read([&b"retry: 10\nretry: 10x\nretry: +1\nretry\nretry: 99999999999999999999\n"[..]]);
    assert_eq!(outcome.retry_ms, Some(10));
    assert_eq!(outcome.events, [""; 0]);
}

#[test]
fn case_23_long_lines_are_accepted_up_to_the_limit() {
    let long = "x".repeat(1 << 20);
    let stream = format!("data: {long}\n\n: {long}\nfoo: {long}\ndata: a\n\n");
    assert_eq!(read([stream.as_bytes()]).events, [&*long, "a"]);
    assert_eq!(read(stream.as_bytes().chunks(1500)).events, [&*long, "a"]);

    // Comments and unknown fields are not held, so they do not count.
    for size in [1, 100, stream.len()] {
        let parser = SseParser::with_limit((1 << 20) + 5);
        let outcome = read_with(parser, stream.as_bytes().chunks(size), 0);
        assert_eq!(outcome.events, [""; 0]);
        let error = outcome.error.unwrap();
        assert_eq!(error, SseError::TooLarge { limit: 1_048_581 });
        assert_eq!(error.to_string(), "a server-sent event exceeds the limit of 1048581 bytes");
    }
    let parser = SseParser::with_limit((1 << 20) + 6);
    assert_eq!(read_with(parser, [stream.as_bytes()], 0).events, [&*long, "a"]);
}

#[test]
fn case_23_many_lines_count_together_and_failure_is_final() {
    let mut parser = SseParser::with_limit(20);
    let none = |_: SseEvent<'_>| panic!("no event is complete");
    assert!(parser.feed(b"data: 12345678\n", none).is_ok());
    let error = Err(SseError::TooLarge { limit: 20 });
    assert_eq!(parser.feed(b"data: 1234567\n\n", none), error);
    assert_eq!(parser.feed(b"\n\n", none), error);
    assert_eq!(parser.finish(none), Err(SseError::TooLarge { limit: 20 }));

    // An endless line fails when it exceeds the limit, not when it ends.
    let mut parser = SseParser::with_limit(20);
    assert!(parser.feed(b"data: 12345678901234", none).is_ok());
    assert_eq!(parser.feed(b"5", none), Err(SseError::TooLarge { limit: 20 }));
}

#[test]
fn break_ends_the_stream_for_good() {
    let chunks = [&b"data: a\n\ndata: b\n\n"[..], b"data: c\n\ndata: d"];
    assert_eq!(read_with(SseParser::new(), chunks, 1).events, ["a"]);
    let mut parser = SseParser::new();
    let stop = |_: SseEvent<'_>| ControlFlow::Break(());
    assert_eq!(parser.feed(b"data: a\n\n", stop), Ok(ControlFlow::Break(())));
    assert_eq!(parser.feed(b": b\n", stop), Ok(ControlFlow::Break(())));
}

#[test]
fn done_is_recognised_however_it_is_dressed() {
    for data in ["[DONE]", " [DONE]\t", "\n[DONE]\n", "[DONE]{\"x\":1}"] {
        assert!(is_done(data), "{data:?}");
    }
    for data in ["", "DONE", "[done]", "{\"x\":\"[DONE]\"}"] {
        assert!(!is_done(data), "{data:?}");
    }
}

#[test]
fn stray_documents_are_kept_aside() {
    let cases = [
        ("{\"error\":\"x\"}\n", "{\"error\":\"x\"}", true),
        ("{\"error\":\"x\"}", "{\"error\":\"x\"}", true),
        ("[{\r\n\r\n: ping\r\n  \"a\": 1\r\n}]\r\nfoo: {}\r\n", "[{\n  \"a\": 1\n}]", true),
        ("\t {\"a\":\"}\\\"}\"}", "{\"a\":\"}\\\"}\"}", true),
        ("{\"a\":\"}\\\\\"", "{\"a\":\"}\\\\\"", false),
        ("{}\n[1]{} junk {}\n", "{}\n[1]\n{}", true),
        ("{ \"torn\n{}\n}\n", "{ \"torn\n{}\n}", true),
        ("{\nid: 1\nfoo\n", "{\n", true),
        ("[DONE]\n", "[DONE]", true),
        ("<p>{}</p>\n", "", false),
    ];
    for (stream, stray, whole) in cases {
        let stream = format!("data: a\n\n{stream}");
        for size in [1, 2, 3, stream.len()] {
            let outcome = read(stream.as_bytes().chunks(size));
            assert_eq!(outcome.events, ["a"], "{stream:?}");
            assert_eq!(outcome.stray, stray, "{stream:?}");
            assert_eq!(outcome.stray_is_whole, whole, "{stream:?}");
        }
    }
}

#[test]
fn stray_is_known_at_its_last_bracket_and_taken_once() {
    let ignore = |_: SseEvent<'_>| ControlFlow::Continue(());
    let mut parser = SseParser::new();
    let document = b"{\n \"error\": {\"code\": 503}\n}";
    for (at, byte) in document.chunks(1).enumerate() {
        assert!(!parser.stray_is_whole());
        let _ = parser.feed(byte, ignore).unwrap();
        assert_eq!(parser.stray(), &document[..=at]);
    }
    assert!(parser.stray_is_whole());
    assert_eq!(parser.take_stray(), document);
    let _ = parser.feed(b" junk {}\n", ignore).unwrap();
    assert_eq!(parser.stray(), b"");
    let _ = parser.feed(b"{}\n", ignore).unwrap();
    assert_eq!(parser.take_stray(), b"{}");
}

#[test]
fn stray_is_bounded_without_an_error() {
    let outcome =
        read_with(SseParser::with_limit(9), [&b"[1234567890,\n2]\n{}\ndata: a\n\n"[..]], 0);
    assert_eq!(outcome.events, ["a"]);
    assert_eq!((&*outcome.stray, outcome.stray_is_whole), ("[12345678", true));
}

/// The standard read literally, on a whole stream; the reference for the property below.
fn by_the_book(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes).replace("\r\n", "\n").replace('\r', "\n");
    let text = text.strip_prefix('\u{FEFF}').unwrap_or(&text);
    let (mut events, mut data, mut kind, mut id) = (vec![], String::new(), "message", "");
    for line in text.split('\n').chain([""]) {
        if line.is_empty() {
            if let Some(data) = data.strip_suffix('\n') {
                events.push(show(kind, id, data));
            }
            (data, kind) = (String::new(), "message");
            continue;
        }
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "data" => data = data + value + "\n",
            "event" => kind = if value.is_empty() { "message" } else { value },
            "id" if !value.contains('\0') => id = value,
            _ => {}
        }
    }
    events
}

const PARTS: &[&[u8]] = &[
    b"data: a\n",
    b"data: b\r\n",
    b"event: x\n",
    b"event: yy\n",
    b"id: 2\n",
    b"data",
    b"data: ",
    b"data:",
    b"event: x",
    b"id: 1",
    b"retry: 5",
    b":",
    b" ",
    b"foo",
    b"d",
    b"\n",
    b"\n",
    b"\n\n",
    b"\r\n",
    b"\r",
    b"\xEF\xBB\xBF",
    b"\xEF\xBB",
    b"\xC3\xA9",
    b"\xFF",
    b"\0",
    b"{",
    b"}",
    b"[",
    b"]",
    b"\"",
    b"\\",
    b"{\"error\":1}",
    b"[DONE]",
    b"a text longer than one block of the line search",
];

proptest! {
    /// Case 27.
    #[test]
    fn any_chunking_gives_the_same_outcome(
        parts in vec(select(PARTS), 0..40),
        sizes in vec(1usize..12, 1..8),
        limit in select(vec![8, 24, DEFAULT_LIMIT]),
        stop_after in 0usize..6,
    ) {
        let bytes = parts.concat();
        let mut chunks = Vec::new();
        let mut rest = &bytes[..];
        for size in sizes.iter().cycle() {
            let (chunk, tail) = rest.split_at((*size).min(rest.len()));
            chunks.push(chunk);
            rest = tail;
            if rest.is_empty() {
                break;
            }
        }
        let whole = read_with(SseParser::with_limit(limit), [&bytes[..]], stop_after);
        let cut = read_with(SseParser::with_limit(limit), chunks, stop_after);
        prop_assert_eq!(&whole, &cut);
        let single = read_with(SseParser::with_limit(limit), bytes.chunks(1), stop_after);
        prop_assert_eq!(&whole, &single);
    }

    #[test]
    fn events_are_those_of_the_standard(parts in vec(select(PARTS), 0..40)) {
        // A last blank line, so that both agree on where the stream ends.
        let bytes = [&parts.concat()[..], b"\n\n"].concat();
        prop_assert_eq!(read([&bytes[..]]).events, by_the_book(&bytes));
    }
}
