use std::collections::BTreeMap;

use secrecy::ExposeSecret as _;

use super::*;

/// Shows what was found: place, words, URL, label, key or why not.
fn shown(found: Result<Vec<Found>, String>) -> Vec<String> {
    let show = |found: Found| {
        let key = match &found.key {
            Ok(key) => key.expose_secret().to_owned(),
            Err(why) => format!("({why})"),
        };
        let words = found.words.join(",");
        let rest = [found.variable, found.base_url, found.label].map(Option::unwrap_or_default);
        format!("{} [{words}] {} {key}", found.place, rest.join("|"))
    };
    found.unwrap().into_iter().map(show).collect()
}

fn with_vars<T>(vars: &[(&str, &str)], macos: bool, work: impl FnOnce(&Places<'_>) -> T) -> T {
    let vars: BTreeMap<String, OsString> =
        vars.iter().map(|(name, value)| ((*name).to_owned(), value.into())).collect();
    let var = |name: &str| vars.get(name).cloned();
    work(&Places { var: &var, macos })
}

#[test]
fn llm_holds_names_and_keys() {
    let text = r#"{"// Note": "do not share", "openai": "sk-1", "personal": " k-2\n", "odd": 5, "no": ""}"#;
    assert_eq!(
        shown(llm::read(text)),
        [
            "openai [openai] ||openai sk-1",
            "personal [personal] ||personal k-2",
            "odd [odd] ||odd (it is not text)",
            "no [no] ||no (it is empty)"
        ]
    );
    for broken in ["", "[]", "{\"a\":", "sk-secret"] {
        assert_eq!(llm::read(broken).err().unwrap(), "it is not a JSON object");
    }
}

#[test]
fn opencode_gives_keys_and_no_tokens() {
    let text = r#"{
        "anthropic": {"type": "oauth", "refresh": "r", "access": "a", "expires": 1},
        "openai": {"type": "api", "key": "sk-1"},
        "corp": {"type": "wellknown", "key": "K", "token": "t"},
        "empty": {"type": "api"}, "strange": 7
    }"#;
    let found = shown(opencode::read(text));
    assert_eq!(found[1], "openai [openai] || sk-1");
    assert!(found[0].starts_with("anthropic [anthropic] || (an OAuth login belongs"), "{found:?}");
    assert_eq!(found[2], "corp [corp] || (it is no API key)");
    assert_eq!(found[3], "empty [empty] || (it has no key)");
    assert_eq!(found[4], "strange [strange] || (it is no API key)");
}

#[test]
fn aichat_holds_a_list_of_clients() {
    let text = "
model: openai:gpt
clients:
  - type: openai
    api_key: sk-1
    organization_id:
  - type: openai-compatible
    name: local
    api_base: http://localhost:8080/v1
    api_key: 'k-2'
  - type: claude
  - type: gemini
    name: work
    api_key: k-3
";
    assert_eq!(
        shown(aichat::read(text)),
        [
            "clients[0].api_key [openai] || sk-1",
            "clients[1].api_key [local] |http://localhost:8080/v1|local k-2",
            "clients[3].api_key [work,gemini] ||work k-3",
        ]
    );
    assert!(aichat::read("a: [").is_err());
    assert_eq!(aichat::read("").unwrap().len(), 0);
    assert_eq!(aichat::read("clients: 5").unwrap().len(), 0);
}

#[test]
fn litellm_follows_variables() {
    let text = "
model_list:
  - model_name: a
    litellm_params: {model: anthropic/claude, api_key: os.environ/MY_KEY}
  - model_name: b
    litellm_params:
      model: gpt-x
      api_key: os.environ/NOT_SET
  - model_name: c
    litellm_params:
      model: openai/x
      api_base: https://lab.example/v1
      api_key: sk-3
  - model_name: d
    litellm_params: {model: bedrock/x}
environment_variables:
  GROQ_API_KEY: gsk-4
  REDIS_HOST: h
";
    let found = with_vars(&[("MY_KEY", "sk-ant-1")], false, |places| litellm::read(text, places));
    let at = |n: usize| format!("model_list[{n}].litellm_params.api_key");
    assert_eq!(
        shown(found),
        [
            format!("{} [anthropic] MY_KEY|| sk-ant-1", at(0)),
            format!("{} [] NOT_SET|| (`NOT_SET` is not set)", at(1)),
            format!("{} [openai] |https://lab.example/v1| sk-3", at(2)),
            "environment_variables.GROQ_API_KEY [] GROQ_API_KEY|| gsk-4".into(),
        ]
    );
}

#[test]
fn each_tool_is_looked_for_where_it_keeps_its_files() {
    let paths = |vars: &[(&str, &str)], macos| {
        with_vars(vars, macos, |places| {
            [llm::path, aichat::path, litellm::path, opencode::path].map(|path| {
                path(places).map_or_else(String::new, |path| path.display().to_string())
            })
        })
    };
    assert_eq!(
        paths(&[("HOME", "/h")], false),
        [
            "/h/.config/io.datasette.llm/keys.json",
            "/h/.config/aichat/config.yaml",
            "",
            "/h/.local/share/opencode/auth.json"
        ]
    );
    assert_eq!(
        paths(&[("HOME", "/h")], true),
        [
            "/h/Library/Application Support/io.datasette.llm/keys.json",
            "/h/Library/Application Support/aichat/config.yaml",
            "",
            "/h/.local/share/opencode/auth.json"
        ]
    );
    let named = [
        ("LLM_USER_PATH", "/l"),
        ("AICHAT_CONFIG_DIR", "/a"),
        ("CONFIG_FILE_PATH", "/c/x.yaml"),
        ("XDG_DATA_HOME", "/d"),
    ];
    assert_eq!(
        paths(&named, false),
        ["/l/keys.json", "/a/config.yaml", "/c/x.yaml", "/d/opencode/auth.json"]
    );
    assert_eq!(paths(&[("HOME", "relative")], false), ["", "", "", ""]);
}

#[test]
fn a_file_that_is_named_must_be_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    with_vars(&[("LLM_USER_PATH", folder.path().to_str().unwrap())], false, |places| {
        assert!(read(Tool::Llm, None, places).is_none());
        assert!(read(Tool::Llm, Some(&path), places).unwrap().found.is_err());
        std::fs::write(&path, "{\"openai\":\"sk-1\"}").unwrap();
        let found = read(Tool::Llm, None, places).unwrap();
        assert_eq!((found.path, shown(found.found).len()), (path, 1));
        // Nobody writes into it; to open it would be to wait for ever.
        let pipe = folder.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let problem = read(Tool::Llm, Some(&pipe), places).unwrap().found.map(drop).unwrap_err();
        assert_eq!(problem, "it is not a file");
    });
    assert_eq!("opencode".parse(), Ok(Tool::Opencode));
    assert!("claude".parse::<Tool>().unwrap_err().contains("aichat"));
}
