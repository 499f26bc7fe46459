//! `maestro plugin dev`: an author edits and saves, while others ask.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    authoring::{Workshop, acme},
    harness::Running,
    upstream::{PATIENCE, Upstream},
};

/// A crate, its library installed and logged in, as the author's users have it.
struct Author {
    shop: Workshop,
    name: &'static str,
}

impl Author {
    fn new(name: &'static str, upstream: &Upstream) -> Self {
        let shop = Workshop::new(name);
        shop.ok(&format!("maestro plugin new {name}"));
        let author = Self { shop, name };
        author.edit("src/lib.rs", "https://api.acme.example/v1", &upstream.url());
        let built = author.shop.built(name);
        let file = built["plugin"]["path"].as_str().unwrap();
        let installed = author.shop.test.home().join("plugins").join(name).with_extension("so");
        fs::copy(file, installed).unwrap();
        author.shop.ok(&format!("printf acme-0123456789 | maestro login {name} --key-stdin"));
        author
    }

    fn path(&self, file: &str) -> PathBuf {
        self.shop.folder.join(self.name).join(file)
    }

    #[track_caller]
    fn edit(&self, file: &str, from: &str, to: &str) {
        let text = fs::read_to_string(self.path(file)).unwrap();
        assert!(text.contains(from), "{from}");
        fs::write(self.path(file), text.replace(from, to)).unwrap();
    }

    fn dev(&self, more: &[&str]) -> Running {
        let folder = self.path("");
        let args = ["plugin", "dev", folder.to_str().unwrap()];
        self.shop.test.begin(args.into_iter().chain(more.iter().copied()), "")
    }

    fn chat(&self) -> String {
        let model = format!("{}/acme-1", self.name);
        let said = self.shop.test.args_of(["chat", "--no-store", "-m", &model, "Hi"]);
        said.stdout + &said.stderr
    }

    fn developed(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.shop.test.home().join("dev")).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    }
}

/// Asks a gateway.
fn ask(url: &str, model: &str) -> String {
    let body = json!({"model": model, "messages": [{"role": "user", "content": "Hi"}]}).to_string();
    let mut stream = TcpStream::connect(url.trim_start_matches("http://")).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
                content-type: application/json\r\n";
    write!(stream, "{head}content-length: {}\r\n\r\n{body}", body.len()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    let body: Value = serde_json::from_str(body).unwrap_or_else(|_| panic!("{answer}"));
    body["choices"][0]["message"]["content"].as_str().unwrap_or(&answer).to_owned()
}

/// Waits until a gateway answers so; every answer before must be one of a build.
#[track_caller]
fn until_it_says(url: &str, model: &str, expected: &str) {
    let start = Instant::now();
    loop {
        let said = ask(url, model);
        assert_eq!(said.to_lowercase(), "you said: \"hi\"", "no request fails meanwhile");
        if said == expected {
            return;
        }
        assert!(start.elapsed() < PATIENCE, "expected {expected}, found {said}");
        thread::park_timeout(Duration::from_millis(10));
    }
}

const INSTALLED: &str = "You said: \"Hi\"";

#[test]
fn a_save_is_built_compared_and_served_until_the_end() {
    let upstream = Upstream::start(acme);
    let author = Author::new("dev-acme", &upstream);
    let serve = author.shop.test.begin(["serve", "--listen", "127.0.0.1:0"], "");
    let (url, model) = (serve.first_line(), "dev-acme/acme-1");
    until_it_says(&url, model, INSTALLED);

    let dev = author.dev(&[]);
    dev.wait_for_stdout("4 recorded answers: 4 new, 0 the same, 0 different\n");
    let listed = author.shop.test.args_of(["plugin", "list", "--json"]).stdout;
    let listed: Value = serde_json::from_str(&listed).unwrap();
    let plugin = &listed["plugins"][0];
    assert_eq!((&plugin["provenance"], &plugin["tier"]), (&json!("dev"), &json!("worker")));
    assert_eq!(listed["plugins"].as_array().unwrap().len(), 1);
    assert_eq!(listed["refused"], json!([]), "nobody is told to remove the installed one");

    author.edit("src/wire.rs", "out.text(0, &text)", "out.text(0, &text.to_uppercase())");
    dev.wait_for_stdout("4 recorded answers: 0 new, 2 the same, 2 different\n");
    dev.wait_for_stdout(
        "text.sse: 5 outputs the same\n\
         - {\"event\":{\"type\":\"text_delta\",\"part\":0,\"text\":\"Rayleigh \"}}\n\
         - {\"event\":{\"type\":\"text_delta\",\"part\":0,\"text\":\"scattering.\"}}\n\
         + {\"event\":{\"type\":\"text_delta\",\"part\":0,\"text\":\"RAYLEIGH \"}}\n\
         + {\"event\":{\"type\":\"text_delta\",\"part\":0,\"text\":\"SCATTERING.\"}}\n",
    );
    until_it_says(&url, model, "YOU SAID: \"HI\"");
    assert_eq!(author.chat(), "YOU SAID: \"HI\"\n", "in another terminal");

    author.edit("src/wire.rs", "text.to_uppercase()", "text.to_uppercas()");
    let said = dev.wait_for_stderr("cargo did not build it; generation 2 goes on serving\n");
    assert!(said.contains("error[E0599]: ") && said.contains("--> src/wire.rs:"), "{said}");
    assert_eq!(ask(&url, model), "YOU SAID: \"HI\"");

    author.edit("src/wire.rs", "text.to_uppercas()", "text.to_lowercase()");
    let said = dev.wait_for_stderr("generation 3 of `dev-acme`");
    assert!(said.contains(" ms after the save"), "{said}");
    until_it_says(&url, model, "you said: \"hi\"");

    dev.interrupt();
    let ended = dev.wait();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
    assert!(ended.stderr.ends_with("what is installed serves again\n"), "{}", ended.stderr);
    until_it_says(&url, model, INSTALLED);
    assert_eq!(author.developed(), [""; 0].map(PathBuf::from));

    // Killed, it takes nothing away, and is not believed for what it left.
    let before = upstream.requests().len();
    let dev = author.dev(&["-m", model, "-p", "Hi"]);
    dev.wait_for_stdout("5 recorded answers: 4 new, 1 the same, 0 different\n");
    author.edit("src/wire.rs", "text.to_lowercase()", "text.to_uppercase()");
    dev.wait_for_stdout("exchange 1 of `dev-acme`: 2 outputs the same\n");
    assert_eq!(upstream.requests().len(), before + 1, "it is asked once");
    until_it_says(&url, model, "YOU SAID: \"HI\"");
    drop(dev);
    assert!(!author.developed().is_empty());
    assert_eq!(author.chat(), format!("{INSTALLED}\n"));
    until_it_says(&url, model, INSTALLED);
    serve.terminate();
    let ended = serve.wait();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
}

#[test]
fn a_build_with_an_origin_of_its_own_gets_no_key() {
    let (vendor, thief) = (Upstream::start(acme), Upstream::start(acme));
    let author = Author::new("dev-thief", &vendor);
    author.edit("src/lib.rs", &vendor.url(), &thief.url());
    let dev = author.dev(&[]);
    dev.wait_for_stdout("4 recorded answers: 4 new");
    let said = author.chat();
    assert!(said.contains("needs approval: it would now also be sent to"), "{said}");
    // Nor one from the environment, whichever variable it names.
    let key = ["DEV_THIEF_API_KEY=acme-0123456789", "maestro", "chat", "--no-store"].join(" ");
    let told = author.shop.ok(&format!("{key} -m dev-thief/acme-1 Hi 2>&1 || true"));
    assert!(!told.contains("You said"), "{told}");
    assert_eq!(thief.requests().len(), 0);
    dev.terminate();
    assert_eq!(dev.wait().status.code(), Some(0));
    assert_eq!(author.chat(), format!("{INSTALLED}\n"));
}

#[test]
fn what_cannot_be_developed_is_said_at_once() {
    let shop = Workshop::new("dev-nothing");
    let test = &shop.test;
    for (args, status, error) in [
        (&["nowhere"][..], 2, "error: there is no `Cargo.toml` in `nowhere`\n"),
        (&[".", "--replay", "gone.jsonl"], 2, "error: the recording cannot be used\n"),
        (&[".", "-p", "Hi"], 2, "error: missing `--model <MODEL>`\n"),
    ] {
        let said = test.args_of(["plugin", "dev"].into_iter().chain(args.iter().copied()));
        assert_eq!(said.status.code(), Some(status), "{}", said.stderr);
        assert!(said.stderr.starts_with(error), "{}", said.stderr);
    }
}
