//! Maps a judged copy into the process and steps its exchanges.
//!
//! This and the worker are the only places of the host that know raw pointers. A loaded library is
//! never closed: a library that touched thread-local storage and is then unmapped makes a later
//! thread exit jump into nothing.
#![expect(unsafe_code, reason = "the dynamic loader and the plugin's functions take raw pointers")]

use std::{
    ffi::c_void,
    fmt,
    marker::PhantomData,
    mem::ManuallyDrop,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::Arc,
};

use abi_stable::{
    StableAbi as _,
    abi_stability::abi_checking::{
        CheckingGlobals, check_layout_compatibility_with_globals as check_layout,
    },
    library::{AbiHeaderRef, ROOT_MODULE_LOADER_NAME_WITH_NUL},
    type_layout::TypeLayout,
};
use libloading::os::unix as dl;
use plugin_api::{
    CONTRACT_VERSION,
    abi::{
        Effect, Message, MessageError, PluginModuleRef, Sink,
        codec::{PackedOpening, decode_output, encode_input},
        entry::ENDED,
        message::{CONTINUE, STOP, bytes_of},
    },
    error::{ErrorKind, ProviderError},
    exchange::{Input, Timestamp},
    manifest::SECTION,
};

use super::{RefusalError, judge::Judged};

/// A plugin in this process.
pub struct Library {
    module: Module,
    judged: Judged,
}

impl fmt::Debug for Library {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Library").field("judged", &self.judged).finish_non_exhaustive()
    }
}

impl Library {
    /// Loads the private copy of a judged library.
    ///
    /// # Errors
    ///
    /// [`RefusalError`] `Dlopen`, `Entry`, `Layout` or `ManifestsDiffer`.
    pub fn load(judged: Judged) -> Result<Self, RefusalError> {
        let module = Module::open(&judged.copy)?;
        if module.manifest() != judged.manifest_json.as_bytes() {
            return Err(RefusalError::ManifestsDiffer { section: SECTION });
        }
        Ok(Self { module, judged })
    }

    /// Returns what was judged before it was loaded.
    #[must_use]
    pub fn judged(&self) -> &Judged {
        &self.judged
    }

    /// Opens an exchange. It waits for [`Input::Start`].
    #[must_use]
    pub fn open(self: &Arc<Self>) -> LiveExchange {
        LiveExchange { exchange: self.module.exchange(), library: Arc::clone(self) }
    }
}

/// The functions of a library that was mapped and checked. It stays mapped until the process ends.
#[derive(Clone, Copy)]
pub(super) struct Module {
    root: PluginModuleRef,
}

impl Module {
    /// Maps a library and checks its entry and its layout.
    pub(super) fn open(path: &Path) -> Result<Self, RefusalError> {
        // SAFETY: loading runs the library's constructors. In the host it is trusted code
        // (SECURITY.md) whose headers were checked and whose copy is private and never changed;
        // in a worker the process is confined already.
        let library = unsafe { dl::Library::open(Some(path), dl::RTLD_NOW | dl::RTLD_LOCAL) }
            .map_err(|error| RefusalError::Dlopen { problem: loader_words(&error) })?;
        // Never closed; see above.
        let root = root_module(&ManuallyDrop::new(library))?;
        Ok(Self { root })
    }

    /// Returns the manifest that the library's code gives.
    pub(super) fn manifest(self) -> &'static [u8] {
        bytes_of(self.root.manifest()())
    }

    /// Opens an exchange.
    pub(super) fn exchange(self) -> RawExchange {
        RawExchange { exchange: self.root.open()(), root: self.root }
    }
}

/// An exchange in a plugin, between open and close, which takes messages and gives messages.
pub(super) struct RawExchange {
    exchange: *mut c_void,
    root: PluginModuleRef,
}

// SAFETY: the contract says that an exchange is stepped by one thread at a time, not always the same;
// `&mut self` on `step` is what makes it one at a time.
unsafe impl Send for RawExchange {}

impl RawExchange {
    /// Reports whether the plugin gave no exchange, which then must not be stepped.
    pub(super) fn is_null(&self) -> bool {
        self.exchange.is_null()
    }

    /// Hands over one message and takes the answers; returns what the step answered. An exchange
    /// that is none has ended.
    pub(super) fn step<F: FnMut(&Message<'_>) -> u8>(
        &mut self,
        now: u64,
        message: &Message<'_>,
        mut take: F,
    ) -> u8 {
        if self.exchange.is_null() {
            return ENDED;
        }
        let sink = Sink { ctx: (&raw mut take).cast(), emit: emit::<F>, borrow: PhantomData };
        // SAFETY: the pointer is from this library's `open` and not closed; message and sink live for
        // the call; `emit` gets back the pointer to `take`, which nothing else uses meanwhile.
        unsafe { self.root.step()(self.exchange, now, message, &sink) }
    }
}

impl Drop for RawExchange {
    fn drop(&mut self) {
        if self.exchange.is_null() {
            return;
        }
        // SAFETY: the pointer is from this library's `open`, closed once, here.
        unsafe { self.root.close()(self.exchange) }
    }
}

/// Takes one message of a step.
unsafe extern "C" fn emit<F: FnMut(&Message<'_>) -> u8>(
    ctx: *mut c_void,
    message: &Message<'_>,
) -> u8 {
    // SAFETY: `ctx` is the `take` that `step` passed for this very call.
    let take = unsafe { &mut *ctx.cast::<F>() };
    // A panic must not unwind into the plugin.
    catch_unwind(AssertUnwindSafe(|| take(message))).unwrap_or(STOP)
}

fn loader_words(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), ToString::to_string)
}

/// Finds and checks the root module of an open library.
fn root_module(library: &dl::Library) -> Result<PluginModuleRef, RefusalError> {
    let entry = |problem: String| RefusalError::Entry { problem };
    // SAFETY: a symbol of this name is made by abi_stable's macros or ours as a static `LibHeader`;
    // `upgrade` checks its magic, its version and the C ABI before anything else of it is read.
    let header =
        unsafe { library.get::<AbiHeaderRef>(ROOT_MODULE_LOADER_NAME_WITH_NUL.as_bytes()) }
            .map_err(|error| entry(loader_words(&error)))?;
    let header = header.upgrade().map_err(|error| entry(first_line(&error.to_string())))?;
    let theirs = header.layout().ok_or_else(|| entry("it was built without its layout".into()))?;
    check_both_ways(PluginModuleRef::LAYOUT, theirs)?;
    // SAFETY: the layouts were compared just now, one way or the other, and no field was removed or
    // moved in either direction.
    unsafe { header.init_root_module_with_unchecked_layout::<PluginModuleRef>() }
        .map_err(|error| entry(first_line(&error.to_string())))
}

/// Compares layouts in one direction and, if that fails, in the other: abi_stable refuses a library
/// with fewer fields than ours, which is what an older contract has.
///
/// Each check gets globals of its own; the shared ones would keep pointers into the library.
fn check_both_ways(
    ours: &'static TypeLayout,
    theirs: &'static TypeLayout,
) -> Result<(), RefusalError> {
    let Err(errors) = check_layout(ours, theirs, &CheckingGlobals::new()) else {
        return Ok(());
    };
    if check_layout(theirs, ours, &CheckingGlobals::new()).is_ok() {
        return Ok(());
    }
    let difference = layout_difference(&errors.to_string());
    Err(RefusalError::Layout { contract: CONTRACT_VERSION, difference })
}

/// Takes the one line that says what differs out of abi_stable's pages of text.
fn layout_difference(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let at = lines.iter().position(|line| line.starts_with("Error:"));
    let line = at.map_or_else(
        || lines.first().copied().unwrap_or("unknown"),
        |at| {
            lines[at]
                .strip_prefix("Error:")
                .map(str::trim)
                .filter(|l| !l.is_empty())
                .unwrap_or_else(|| lines.get(at + 1).copied().unwrap_or("unknown"))
        },
    );
    line.chars().take(200).collect()
}

fn first_line(text: &str) -> String {
    text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("unknown").to_owned()
}

/// An exchange in a plugin of this process.
pub struct LiveExchange {
    exchange: RawExchange,
    library: Arc<Library>,
}

impl fmt::Debug for LiveExchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LiveExchange").field("plugin", &self.library.judged.manifest.id).finish()
    }
}

/// What came out of a step.
#[derive(Debug, Default)]
pub struct Stepped {
    /// What the exchange asked for, in order.
    pub effects: Vec<Effect>,
    /// A message that could not be read. The plugin broke the contract.
    pub malformed: Option<MessageError>,
    /// Whether the step put out more than it may and was cut off.
    pub flooded: bool,
    /// Whether the plugin says that the exchange has ended.
    pub ended: bool,
    bytes: usize,
}

/// Most bytes that one step may put out.
pub(super) const MAX_STEP_OUTPUT: usize = 64 * 1024 * 1024;

/// Most messages that one step may put out.
pub(super) const MAX_STEP_EFFECTS: usize = 1 << 20;

impl LiveExchange {
    /// Steps the exchange. `opening` is the payload of [`Input::Start`], else the default; `into`
    /// is emptied first, so that a driver can reuse its buffer.
    pub fn step(
        &mut self,
        now: Timestamp,
        input: &Input<'_>,
        opening: &PackedOpening,
        into: &mut Stepped,
    ) {
        into.clear();
        if self.exchange.is_null() {
            return into.never_opened();
        }
        let code = encode_input(input, opening, |message| {
            self.exchange.step(now.0, message, |message| into.take(message))
        });
        into.ended = code == ENDED;
    }
}

impl Stepped {
    /// Empties it for the next step and keeps its memory.
    pub(super) fn clear(&mut self) {
        self.effects.clear();
        self.malformed = None;
        self.flooded = false;
        self.ended = false;
        self.bytes = 0;
    }

    /// Returns how many bytes the step put out.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Says that the plugin gave no exchange to step.
    pub(super) fn never_opened(&mut self) {
        let error = ProviderError::new(ErrorKind::Other, "the plugin opened no exchange");
        self.effects.push(Effect::Fail(Box::new(error)));
        self.ended = true;
    }

    /// Takes one message, as far as the budgets go.
    pub(super) fn take(&mut self, message: &Message<'_>) -> u8 {
        self.bytes += message.text.len() + message.ext.len();
        if self.bytes > MAX_STEP_OUTPUT || self.effects.len() >= MAX_STEP_EFFECTS {
            self.flooded = true;
            return STOP;
        }
        match decode_output(message) {
            Ok(Some(effect)) => {
                self.effects.push(effect);
                CONTINUE
            }
            Ok(None) => CONTINUE,
            Err(error) => {
                self.malformed = Some(error);
                STOP
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layout_difference_is_one_line() {
        let text =
            "\nCompared <this>:\n  --- Type Layout ---\n\nError:too many fields\nExpected:\n  5";
        assert_eq!(layout_difference(text), "too many fields");
        assert_eq!(layout_difference("Error:\n   field type differs\n"), "field type differs");
        assert_eq!(layout_difference(""), "unknown");
    }

    #[test]
    fn a_flood_is_cut_off() {
        let mut stepped = Stepped::default();
        let text = vec![b'x'; MAX_STEP_OUTPUT / 2 + 1];
        let message = Message::new(plugin_api::abi::message::kind::TEXT_DELTA).text(&text);
        assert_eq!(stepped.take(&message), CONTINUE);
        assert_eq!(stepped.take(&message), STOP);
        assert!(stepped.flooded);
    }

    #[test]
    fn text_that_is_not_utf8_is_refused() {
        let mut stepped = Stepped::default();
        let message = Message::new(plugin_api::abi::message::kind::TEXT_DELTA).text(b"\xff");
        assert_eq!(stepped.take(&message), STOP);
        assert_eq!(
            stepped.malformed.unwrap().to_string(),
            "message of kind 129: text is not UTF-8"
        );
    }

    #[test]
    fn kinds_of_a_newer_contract_are_skipped() {
        let mut stepped = Stepped::default();
        assert_eq!(stepped.take(&Message::new(9999)), CONTINUE);
        assert!(stepped.effects.is_empty() && stepped.malformed.is_none());
    }
}
