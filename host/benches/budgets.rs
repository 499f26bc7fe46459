//! The budgets that one process can show: step, event, session lookup. `cargo xtask bench` runs them
//! and prints them beside their goals.

use std::{hint::black_box, path::PathBuf, sync::Arc};

use criterion::{Criterion, criterion_group, criterion_main};
use host::{
    config::Config,
    plugin::{
        Provenance,
        load::{Library, LiveExchange, Stepped},
        registry::Registry,
        runtime::Runtime,
        scan::Folder,
        tier::Terms,
        trust::Trust,
    },
    session::{
        Binding, Credential, Login, MasterKey, SessionName, Sessions, SqliteStore, Stamp, Store,
    },
};
use plugin_api::{
    PluginId, ProviderId,
    abi::{
        Effect,
        codec::{Opening, PackedOpening},
    },
    chat::{ChatRequest, Message},
    exchange::{Input, Timestamp},
    http::Headers,
    instance::Instance,
    operation::Operation,
};

criterion_group!(budgets, step, event, session);
criterion_main!(budgets);

/// An in-process step, typed event to typed event: one word of echo for one tick.
fn step(c: &mut Criterion) {
    let library = library("echo");
    let mut stepped = Stepped::default();
    let mut exchange = echoing(&library, &mut stepped);
    let none = PackedOpening::default();
    let mut left = 0_u32;
    c.bench_function("step", |bench| {
        bench.iter(|| {
            if left == 0 {
                exchange = echoing(&library, &mut stepped);
                left = WORDS;
            }
            left -= 1;
            exchange.step(Timestamp(1), &Input::Tick, &none, &mut stepped);
            assert!(matches!(stepped.effects[0], Effect::Event(_)));
        });
    });
}

/// Words of the prompt that echo gives back one by one.
const WORDS: u32 = 10_000;

fn echoing(library: &Arc<Library>, stepped: &mut Stepped) -> LiveExchange {
    let prompt = "word ".repeat(WORDS as usize + 2);
    let mut request = ChatRequest::new("echo", vec![Message::user(prompt)]);
    request.options.insert("delay_ms".into(), 1.into());
    start(library, "echo", request, stepped)
}

/// What a streamed event costs between the bytes of upstream and the typed event.
fn event(c: &mut Criterion) {
    let library = library("openai_compatible");
    let mut stepped = Stepped::default();
    let request = ChatRequest::new("m", vec![Message::user("hello")]);
    let mut exchange = start(&library, "ollama", request, &mut stepped);
    let headers = Headers(vec![("content-type".into(), "text/event-stream".into())]);
    let none = PackedOpening::default();
    let head = Input::ResponseHead { request: 0, status: 200, headers };
    exchange.step(Timestamp(1), &head, &none, &mut stepped);
    let chunk = br#"data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1790000000,"model":"demo","choices":[{"index":0,"delta":{"content":" colours"},"finish_reason":null}]}

"#;
    c.bench_function("event", |bench| {
        bench.iter(|| {
            let body = Input::Body { request: 0, bytes: black_box(chunk) };
            exchange.step(Timestamp(1), &body, &none, &mut stepped);
            assert!(matches!(stepped.effects.last(), Some(Effect::Event(_))));
        });
    });
}

fn start(
    library: &Arc<Library>,
    provider: &str,
    request: ChatRequest,
    stepped: &mut Stepped,
) -> LiveExchange {
    let id = ProviderId::new(provider).expect("a provider id");
    let instance = Instance::new(id, "http://127.0.0.1:1/v1");
    let operation = Operation::Chat(Box::new(request));
    let opening = Opening { instance, operation }.pack().expect("a request of ordinary depth");
    let mut exchange = library.open();
    exchange.step(Timestamp(1), &Input::Start { seed: 1 }, &opening, stepped);
    exchange
}

/// Loads a library that was built beside this benchmark.
fn library(name: &str) -> Arc<Library> {
    let built = std::env::current_exe().expect("a path of this program");
    let folder = built.ancestors().nth(2).expect("a target folder").to_owned();
    let home = tempfile::tempdir().expect("a temporary folder");
    let plugins = home.path().join("plugins");
    std::fs::create_dir(&plugins).expect("a folder");
    let file = format!("lib{name}.so");
    std::fs::copy(folder.join(&file), plugins.join(&file)).expect("run `cargo xtask bench`");
    let found = [Folder { path: plugins, provenance: Provenance::Bundled }];
    let config = Config::default();
    let terms = Arc::new(Terms::new(&config, Trust::default()));
    let registry = Registry::discover(&found, home.path().join("copies"), &config, &terms)
        .expect("an empty configuration fits");
    let plugin = registry.plugins().next().expect("one plugin");
    match plugin.runtime().expect("it loads") {
        Runtime::InProcess(resident) => Arc::clone(resident.library()),
        other => panic!("a bundled plugin runs in process, this one in {other:?}"),
    }
}

/// A session among 10,000, from memory and from SQLite.
fn session(c: &mut Criterion) {
    let home = tempfile::tempdir().expect("a temporary folder");
    let path: PathBuf = home.path().join("maestro.db");
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&path, 1).expect("a store"));
    let open = || {
        let key = MasterKey::from_bytes([7; 32], "bench");
        Sessions::open(Arc::clone(&store), key, 1).expect("the key fits")
    };
    let sessions = open();
    let provider = ProviderId::new("acme").expect("an id");
    let plugin = PluginId::new("acme").expect("an id");
    let binding = Binding::new(plugin, ["https://api.acme.test"]).expect("an origin");
    let name = SessionName::new("work").expect("a name");
    let login = Login {
        provider: provider.clone(),
        name: name.clone(),
        credential: Credential::api_key("sk-0123456789abcdef", binding),
        account: None,
        replace: false,
        make_default: true,
    };
    sessions.create(&login, &Stamp { now_s: 1, actor: "bench" }).expect("a session");
    // The others never open; they are there to be searched among.
    rusqlite::Connection::open(&path)
        .and_then(|db| {
            db.execute_batch(
                "WITH RECURSIVE n (i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 10000)
                 INSERT INTO saved_authentications (id, provider, auth_type, name, credentials,
                     created_at, updated_at)
                 SELECT 'id' || i, 'acme', 'api_key', 'name' || i, randomblob(300), 1, 1 FROM n",
            )
        })
        .expect("ten thousand sessions");
    c.bench_function("session-cached", |bench| {
        bench.iter(|| sessions.resolve(&provider, Some(&name), None).expect("it is there"));
    });
    // A fresh service has an empty cache: what is measured includes reading the keys.
    c.bench_function("session-sqlite", |bench| {
        bench.iter(|| open().resolve(&provider, Some(&name), None).expect("it is there"));
    });
}
