//! The rules of conformance, each with a stable id and what it demands.

use std::fmt;

/// When a rule is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Stage {
    /// On the bytes of the library; only a host can.
    File,
    /// On the manifest; none of the plugin's code runs.
    Manifest,
    /// While exchanges run.
    Exchange,
    /// While exchanges run confined; only a host can.
    Worker,
}

impl Stage {
    /// Returns its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Manifest => "manifest",
            Self::Exchange => "exchange",
            Self::Worker => "worker",
        }
    }

    /// Reports whether its rules run none of the plugin's code.
    #[must_use]
    pub const fn is_static(self) -> bool {
        matches!(self, Self::File | Self::Manifest)
    }
}

macro_rules! rules {
    ($($variant:ident = $id:literal, $stage:ident: $demand:literal, $remedy:literal;)*) => {
        /// A rule that a conforming plugin keeps.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Rule {
            $(#[doc = $demand] $variant,)*
        }

        impl Rule {
            /// All rules, in the order they are shown.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Returns the rule's id, which never changes.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $id,)* }
            }

            /// Returns what the rule demands, in one sentence.
            #[must_use]
            pub const fn description(self) -> &'static str {
                match self { $(Self::$variant => $demand,)* }
            }

            /// Returns what an author does about it.
            #[must_use]
            pub const fn remedy(self) -> &'static str {
                match self { $(Self::$variant => $remedy,)* }
            }

            /// Returns when it is checked.
            #[must_use]
            pub const fn stage(self) -> Stage {
                match self { $(Self::$variant => Stage::$stage,)* }
            }
        }
    };
}

rules! {
    FileIsLibrary = "file-is-library", File:
        "The file is a shared library.",
        "Build the crate as a `cdylib` and name the library that cargo made.";
    FileIsWhole = "file-is-whole", File:
        "Everything that the file's headers name lies within the file.",
        "Copy the library again; a loader that reads behind the end of a file dies.";
    FileFitsMachine = "file-fits-machine", File:
        "The library is built for this machine.",
        "Build it for the target that `rustc -vV` names as host here.";
    ManifestIsThere = "manifest-is-there", File:
        "The library has a manifest section.",
        "Export the plugin with `export_plugin!`, once, in the library's root.";
    ManifestIsReadable = "manifest-is-readable", File:
        "The manifest section is UTF-8 JSON of a manifest's form.",
        "Let `export_plugin!` write the section, and change nothing in it afterwards.";
    ContractFits = "contract-fits", File:
        "The plugin is built against a contract of this host's major version.",
        "Depend on the `plugin-api` of the host's major version and build again.";

    PluginId = "plugin-id", Manifest:
        "The plugin's id is a lowercase letter, then up to 31 of `a-z`, `0-9`, `_`, `-`.",
        "Choose another id; it becomes part of file names and of configuration.";
    PluginVersion = "plugin-version", Manifest:
        "The plugin's version is semver.",
        "Pass `env!(\"CARGO_PKG_VERSION\")` to `PluginSpec::new`.";
    PluginDescription = "plugin-description", Manifest:
        "The plugin says in one sentence what it is.",
        "Call `PluginSpec::description`.";
    PanicsUnwind = "panics-unwind", Manifest:
        "The library is compiled so that a panic unwinds.",
        "Remove `panic = \"abort\"` from the profile: with it one panic ends all exchanges of the plugin.";
    CapabilitiesKnown = "capabilities-known", Manifest:
        "The plugin has a capability, and each that it names is one of its contract.",
        "Name behaviours in `export_plugin!` alone; a name that no host knows does nothing.";
    OffersProviders = "offers-providers", Manifest:
        "The plugin offers a provider or takes instances.",
        "Call `PluginSpec::providers`, or `instances(true)` when only the configuration can name servers.";
    ProviderIds = "provider-ids", Manifest:
        "A provider's id has the form of a plugin's id.",
        "Choose another id; users write it before every model's name.";
    ProviderIdsUnique = "provider-ids-unique", Manifest:
        "No two providers have one id.",
        "Rename one of the two.";
    ProviderNames = "provider-names", Manifest:
        "A provider has a name for people.",
        "Call `ProviderSpec::display_name`.";
    UrlsWellFormed = "urls-well-formed", Manifest:
        "URLs and origins are http or https with a host, and carry no user name, password or fragment.",
        "Write the URL as the vendor documents it; credentials have placements of their own.";
    UrlsEncrypted = "urls-encrypted", Manifest:
        "URLs to other machines are https.",
        "Use https; plain http is for loopback alone, because it shows the key to everybody between.";
    OriginsAreOrigins = "origins-are-origins", Manifest:
        "An origin is scheme, host and port, without a path.",
        "Drop the path; the host compares origins, and a path would promise what it does not check.";
    TemplatesFilled = "templates-filled", Manifest:
        "Each `{name}` in a base URL or origin is a declared setting.",
        "Declare the setting, and name it in `ProviderSpec::requires` if there is no default.";
    ProfilesExist = "profiles-exist", Manifest:
        "A provider's profile is declared.",
        "Add the profile to `PluginSpec::profiles`.";
    ProfilesUnique = "profiles-unique", Manifest:
        "No two profiles have one name.",
        "Rename one of the two; only the first would ever apply.";
    ProfileValues = "profile-values", Manifest:
        "A profile gives values to declared settings, each of the setting's type.",
        "Declare the setting, or write the value in the type that the setting has.";
    SettingKinds = "setting-kinds", Manifest:
        "A setting is of a type that configurations know.",
        "Make it with `SettingSpec::text`, `flag`, `number`, `texts` or `table`.";
    SettingsUnique = "settings-unique", Manifest:
        "No two settings have one name.",
        "Remove one of the two.";
    SettingsDocumented = "settings-documented", Manifest:
        "A setting says what it does.",
        "Call `SettingSpec::help`; the text is what `maestro plugin inspect` shows.";
    RequiresDeclared = "requires-declared", Manifest:
        "What a provider requires is a declared setting.",
        "Declare the setting; otherwise no configuration can ever satisfy the provider.";
    ModelsNamed = "models-named", Manifest:
        "Declared models have names, each once.",
        "Remove the empty or repeated name.";
    DialectsKnown = "dialects-known", Manifest:
        "A native dialect is one that hosts speak.",
        "Use `openai-chat`, `openai-responses`, `anthropic-messages` or `gemini`.";
    WithoutDeclared = "without-declared", Manifest:
        "A provider or login lacks only what the plugin has.",
        "Remove the capability from `without`; the plugin does not have it anyway.";
    FeaturesConsistent = "features-consistent", Manifest:
        "Chat features stand beside the chat capability, and finer features of tools beside tools.",
        "Declare `Feature::Tools` too, or drop the feature.";
    AuthDeclared = "auth-declared", Manifest:
        "A provider says how one logs in.",
        "Call `ProviderSpec::auth`; `AuthSpec::None` says that nobody has to.";
    AuthKnown = "auth-known", Manifest:
        "A login is of a kind, and needs nothing, that this contract does not know.",
        "Build against the contract that has the kind, and say so with its version.";
    AuthIdsUnique = "auth-ids-unique", Manifest:
        "No two logins of a provider have one id.",
        "Give one of them an `id`; sessions remember which they were made under.";
    AuthComplete = "auth-complete", Manifest:
        "A login names all that its flow needs: endpoints, a client, an algorithm.",
        "Fill in the issuer or the endpoints, and the client id, that the vendor documents.";
    AuthUrls = "auth-urls", Manifest:
        "Endpoints of a login are https URLs, or loopback, or templates.",
        "Use https; tokens travel there.";
    AuthPlacement = "auth-placement", Manifest:
        "A credential goes into a header or query parameter that can carry it.",
        "Name a header that is a token and does not belong to the host.";
    AuthVariables = "auth-variables", Manifest:
        "An environment variable is named in capitals, digits and underscores.",
        "Write the variable's name as the vendor's own tools do.";
    AsksDocumented = "asks-documented", Manifest:
        "A fact that a login asks for has a name and says what it is.",
        "Call `AskSpec::help`; the user sees nothing else when asked.";
    SecretsDeclared = "secrets-declared", Manifest:
        "A plugin that logs in by itself declares that it handles secrets, and no other does.",
        "Let `export_plugin!` write the capabilities.";

    LibraryLoads = "library-loads", Worker:
        "The library loads where it may do nothing but compute, and its layout is the contract's.",
        "Do nothing in constructors, and build against the published `plugin-api`.";
    ManifestsEqual = "manifests-equal", Worker:
        "The manifest that the code gives is the one in the section.",
        "Build again; a tool changed the section, or the code was made by hand.";
    NeverCrashes = "never-crashes", Worker:
        "Nothing that an upstream sends ends the process.",
        "Return an error instead of aborting; bound recursion.";
    NeverReachesOut = "never-reaches-out", Worker:
        "No exchange asks the system for files, network, threads or processes.",
        "Ask the host for a request with `Outbox::send`, for time with `wake_at`.";
    StepsInTime = "steps-in-time", Worker:
        "A step ends within its budget of time.",
        "Look for a loop that does not advance on some input.";
    MemoryBounded = "memory-bounded", Worker:
        "A worker's memory stays bounded however many exchanges ran in it.",
        "Keep nothing beyond the exchange: no statics that grow, nothing leaked.";

    FinishIsLast = "finish-is-last", Exchange:
        "No event follows the finish.",
        "Emit usage and continuity before `Outbox::finish`.";
    FinishBeforeDone = "finish-before-done", Exchange:
        "A chat finishes before it is done.",
        "Call `Outbox::finish` before `done`, or `fail` when the answer is incomplete.";
    NothingAfterEnd = "nothing-after-end", Exchange:
        "Nothing follows `done` or `fail`.",
        "Return right after ending the exchange.";
    ToolCallOrder = "tool-call-order", Exchange:
        "A tool call's arguments come between its start and its end.",
        "Start a call when its name is known; hold arguments back until then.";
    ToolCallEnds = "tool-call-ends", Exchange:
        "Every tool call that starts ends before the finish.",
        "End open calls when the vendor says that the answer is over.";
    ToolCallIdentity = "tool-call-identity", Exchange:
        "A tool call has an id and a name.",
        "Make an id from the exchange's seed when the vendor sends none.";
    PartKeepsKind = "part-keeps-kind", Exchange:
        "A part keeps the kind of its first content.",
        "Begin another part when the kind changes.";
    OneRequestAtATime = "one-request-at-a-time", Exchange:
        "Requests are numbered from 0 and one is open at a time.",
        "Send the next request after the last one's `End` or `TransportFailed`.";
    NeverStalls = "never-stalls", Exchange:
        "An exchange that is not over waits for a request or for a time.",
        "Send, wake, or end in every step.";
    ValueFitsOperation = "value-fits-operation", Exchange:
        "An operation other than chat gives one value, of its own type, and warnings at most.",
        "Return the `Reply` that the behaviour's documentation names, one vector an input.";
    WellFormedMessages = "well-formed-messages", Exchange:
        "Messages hold what their kind says.",
        "Use `plugin-api` to write messages; name only bodies that the host gave.";
    OutputBudget = "output-budget", Exchange:
        "A step's output, and an exchange's, stays within its budget.",
        "Emit what the upstream sent and nothing more.";
    RequestBudget = "request-budget", Exchange:
        "An exchange sends no more requests than the host allows.",
        "Stop when an answer brings nothing new.";
    NeverPanics = "never-panics", Exchange:
        "A plugin does not panic.",
        "Replace `unwrap`, indexing and slicing of what an upstream sent with an error.";
    DeclaredIsImplemented = "declared-is-implemented", Exchange:
        "A declared capability is implemented.",
        "Implement it, or take it out of `export_plugin!`.";
    UndeclaredIsAbsent = "undeclared-is-absent", Exchange:
        "A capability that is not declared is refused as not supported.",
        "Name the behaviour in `export_plugin!`; hosts never ask for what is not declared.";
    FeaturesAreTaken = "features-are-taken", Exchange:
        "A request that uses a declared feature is not refused.",
        "Translate the feature, or do not declare it.";
    ReplayIsDeterministic = "replay-is-deterministic", Exchange:
        "The same inputs give the same outputs.",
        "Take randomness from the seed, time from `now`, and order from a `BTreeMap`.";
    InterleavedEqualsLone = "interleaved-equals-lone", Exchange:
        "An exchange answers the same whether or not others run beside it.",
        "Keep all state in the exchange, none in statics.";
    ChunkCutInvariance = "chunk-cut-invariance", Exchange:
        "An answer gives the same outputs however its body is cut.",
        "Let `kit::SseStream` or `kit::NdjsonStream` gather lines.";
    Utf8AcrossChunks = "utf8-across-chunks", Exchange:
        "A character that two pieces of a body share arrives whole.",
        "Gather bytes until a line is complete, then decode it.";
    HostileUtf8 = "hostile-utf8", Exchange:
        "Bytes that are no UTF-8 have the same effect however they are cut.",
        "Decode whole lines; replace or refuse what is no UTF-8.";
    HugeLineFails = "huge-line-fails", Exchange:
        "A line without an end is a failure, not an answer.",
        "Bound what is gathered, and fail when the answer ends inside a line.";
    GarbageFails = "garbage-fails", Exchange:
        "An answer that is not the vendor's format is a typed failure.",
        "Return `ErrorKind::Protocol` or `Incomplete` for what cannot be read.";
    EmptyAnswerFails = "empty-answer-fails", Exchange:
        "An empty answer is a typed failure.",
        "Return `ErrorKind::Incomplete` when nothing came before the end.";
    TruncatedAnswerFails = "truncated-answer-fails", Exchange:
        "An answer that breaks off is a failure, not a shorter answer.",
        "Finish only when the vendor said that the answer is over.";
    FixturesSucceed = "fixtures-succeed", Exchange:
        "A recorded answer gives what its record of events says, where there is one.",
        "Look at the difference: correct the plugin, or record the events anew.";
    StatusesMapped = "statuses-mapped", Exchange:
        "A failed status is a failure of the kind that tells who must act.",
        "Use `Response::failure`, and refine it with the vendor's own codes.";
    StatusKept = "status-kept", Exchange:
        "A failure names the HTTP status that it came with.",
        "Call `ProviderError::status`, or start from `Response::failure`.";
    FailuresExplained = "failures-explained", Exchange:
        "A failure has a message for people.",
        "Say what was expected and what was found.";
    RetryAfterKept = "retry-after-kept", Exchange:
        "A failure carries the wait that `retry-after` asked for.",
        "Call `ProviderError::retry_after_ms`, or start from `Response::failure`.";
    TransportFailuresTyped = "transport-failures-typed", Exchange:
        "A request without an answer fails as a connection or a timeout.",
        "Use `kit::call` or `kit::SseStream`, which map transport failures.";
    CancelEnds = "cancel-ends", Exchange:
        "After `Cancel` an exchange ends, at once or after one last request.",
        "End with `fail` and `ErrorKind::Cancelled`.";
    StrayTicksIgnored = "stray-ticks-ignored", Exchange:
        "A tick that nobody asked for changes nothing.",
        "Compare `now` with the time that was asked for.";
    UnknownInputsSkipped = "unknown-inputs-skipped", Exchange:
        "An input of a kind that a newer contract added is skipped.",
        "Let `plugin-api` read inputs; end a `match` on them with `_ => {}`.";
    OriginsKept = "origins-kept", Exchange:
        "Requests go to the provider's origins.",
        "Make URLs with `Instance::url` and `Instance::url_of`.";
    RequestUrlsPlain = "request-urls-plain", Exchange:
        "A request's URL carries no user name, password or fragment.",
        "Place the credential with `HttpRequest::auth`.";
    RequestHeadersSendable = "request-headers-sendable", Exchange:
        "A request's headers can be sent and do not belong to the host.",
        "Remove connection and framing headers, and control characters from values.";
    NoPlaceholders = "no-placeholders", Exchange:
        "A request does not hope that the host replaces text in it.",
        "Place the credential with `HttpRequest::auth`; texts are never searched.";
    SecretsNotEchoed = "secrets-not-echoed", Exchange:
        "What an answer says in headers that carry credentials appears in no output.",
        "Copy only the headers that are needed: ids and limits.";
    PromptNotLogged = "prompt-not-logged", Exchange:
        "The log holds nothing of the conversation.",
        "Log what happened, not what was said.";
    ModelsHaveIds = "models-have-ids", Exchange:
        "A list of models names each model, once.",
        "Skip entries without an id and repeated ones.";
    PagesEnd = "pages-end", Exchange:
        "A list ends although each page names a next one.",
        "Stop when a page brings nothing new.";
}

impl Rule {
    /// Finds a rule by its id.
    #[must_use]
    pub fn from_name(id: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|rule| rule.as_str() == id)
    }

    /// Returns the rule's page, as Markdown.
    #[must_use]
    pub fn page(self) -> String {
        let stage = match self.stage() {
            Stage::File => "on the bytes of the library, by a host; none of its code runs",
            Stage::Manifest => "on the manifest; none of the plugin's code runs",
            Stage::Exchange => "while exchanges run, confined or in the plugin's own tests",
            Stage::Worker => "while the plugin runs in a confined worker of a host",
        };
        format!(
            "# {self}\n\n{}\n\nChecked {stage}.\n\n## What to do\n\n{}\n\n## Try it alone\n\n\
             ```console\n$ maestro plugin check --rule {self} FILE\n```\n",
            self.description(),
            self.remedy(),
        )
    }
}

impl From<crate::rules::Rule> for Rule {
    fn from(rule: crate::rules::Rule) -> Self {
        use crate::rules::Rule as Watched;
        match rule {
            Watched::FinishIsLast => Self::FinishIsLast,
            Watched::FinishBeforeDone => Self::FinishBeforeDone,
            Watched::NothingAfterEnd => Self::NothingAfterEnd,
            Watched::ToolCallOrder => Self::ToolCallOrder,
            Watched::ToolCallEnds => Self::ToolCallEnds,
            Watched::ToolCallIdentity => Self::ToolCallIdentity,
            Watched::PartKeepsKind => Self::PartKeepsKind,
            Watched::OneRequestAtATime => Self::OneRequestAtATime,
            Watched::NeverStalls => Self::NeverStalls,
            Watched::ValueFitsOperation => Self::ValueFitsOperation,
            Watched::WellFormedMessages => Self::WellFormedMessages,
            Watched::OutputBudget => Self::OutputBudget,
            Watched::DeclaredIsImplemented => Self::DeclaredIsImplemented,
            Watched::NeverPanics => Self::NeverPanics,
            Watched::RequestBudget => Self::RequestBudget,
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn rules_have_ids_and_sentences_of_their_own() {
        let ids: BTreeSet<_> = Rule::ALL.iter().map(|rule| rule.as_str()).collect();
        assert_eq!(ids.len(), Rule::ALL.len());
        for rule in Rule::ALL {
            assert_eq!(Rule::from_name(rule.as_str()), Some(*rule));
            assert!(rule.description().ends_with('.') && rule.remedy().ends_with('.'), "{rule}");
        }
    }

    #[test]
    fn every_rule_that_a_host_watches_is_here_under_the_same_id() {
        for watched in crate::rules::Rule::ALL {
            assert_eq!(Rule::from(*watched).as_str(), watched.as_str());
            assert_eq!(Rule::from(*watched).description(), watched.description());
        }
    }
}
