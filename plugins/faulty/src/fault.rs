//! The rules that can be broken, each by name.

macro_rules! faults {
    ($($name:ident = $text:literal: $meaning:literal,)*) => {
        /// One way to break the contract.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Fault {
            $(#[doc = $meaning] $name,)*
        }

        impl Fault {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Returns the word that the option `fault` takes.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }

            /// Returns what it does, in one sentence.
            #[must_use]
            pub const fn description(self) -> &'static str {
                match self {
                    $(Self::$name => $meaning,)*
                }
            }
        }
    };
}

faults! {
    None = "none": "Keeps every rule.",
    PanicAtStart = "panic-at-start": "Panics before anything is said.",
    PanicInOpen = "panic-in-open": "Panics while the exchange is being opened.",
    PanicMidStream = "panic-mid-stream": "Panics between two pieces of text.",
    PanicInDrop = "panic-in-drop": "Answers well and panics when it is freed.",
    PanicOnCancel = "panic-on-cancel": "Says something, waits, and panics when it is told to stop.",
    EventAfterDone = "event-after-done": "Says more after `done`.",
    DoneTwice = "done-twice": "Is done twice.",
    FailTwice = "fail-twice": "Fails twice.",
    TextAfterFinish = "text-after-finish": "Says more after the finish.",
    FinishTwice = "finish-twice": "Finishes twice.",
    DoneWithoutFinish = "done-without-finish": "Is done and never finished.",
    Stall = "stall": "Neither asks for anything nor ends.",
    ToolDeltaBeforeStart = "tool-delta-before-start": "Gives arguments of a call that never began.",
    ToolCallNeverEnds = "tool-call-never-ends": "Finishes while a tool call is open.",
    EmptyToolId = "empty-tool-id": "Calls a tool without an id.",
    PartChangesKind = "part-changes-kind": "Reasons in a part that was text.",
    TwoRequests = "two-requests": "Sends a second request while the first is open.",
    ForeignOrigin = "foreign-origin": "Sends its request to an origin that nobody declared.",
    UserInfo = "user-info": "Puts a name and a password into a URL.",
    Placeholder = "placeholder": "Hopes that the host fills a placeholder in URL, header or body.",
    QueryCredential = "query-credential": "Asks for the credential in a query parameter.",
    HostHeader = "host-header": "Sets a header that belongs to the host.",
    BadHeader = "bad-header": "Hides a second header behind a line break.",
    FloodOfBytes = "flood-of-bytes": "Puts out more bytes in one step than a step may.",
    FloodOfEvents = "flood-of-events": "Puts out more events in one step than a step may.",
    FloodOverSteps = "flood-over-steps": "Puts out what a step may, again and again.",
    FloodOfRequests = "flood-of-requests": "Sends a request after each answer, without end.",
    ValueInChat = "value-in-chat": "Gives a value where events are due.",
    DropsTools = "drops-tools": "Refuses tools, which it declares.",
    RandomText = "random-text": "Says something else each time.",
    CountsOthers = "counts-others": "Says how many exchanges are open beside it.",
    CountsPieces = "counts-pieces": "Says in how many pieces an answer came.",
    CountsPiecesBeyondAscii = "counts-pieces-beyond-ascii": "The same, when there are characters of several bytes.",
    CountsBrokenPieces = "counts-broken-pieces": "The same, when there are bytes that are no UTF-8.",
    TakesHugeLine = "takes-huge-line": "Takes a line without an end for an answer.",
    TakesGarbage = "takes-garbage": "Takes anything for an answer.",
    TakesNothing = "takes-nothing": "Takes nothing for an answer.",
    TakesTruncated = "takes-truncated": "Takes an answer that broke off for a whole one.",
    WrongKind = "wrong-kind": "Calls a refused key an overload.",
    StatusLost = "status-lost": "Forgets the status of a failure.",
    Unexplained = "unexplained": "Fails without a word.",
    RetryAfterLost = "retry-after-lost": "Forgets how long to wait.",
    BlamesClient = "blames-client": "Calls a broken network an invalid request.",
    IgnoresCancel = "ignores-cancel": "Goes on although the client went away.",
    CountsTicks = "counts-ticks": "Says that a tick came which it never asked for.",
    EchoesCookie = "echoes-cookie": "Repeats a cookie of the answer.",
    LogsPrompt = "logs-prompt": "Writes the conversation into the log.",
    Aborts = "aborts": "Ends its process.",
    ReadsFile = "reads-file": "Opens a file.",
    Spins = "spins": "Never ends a step.",
    Leaks = "leaks": "Keeps memory for ever.",
    UnknownBlob = "unknown-blob": "Names bytes in its request's body that nobody gave it.",
}
