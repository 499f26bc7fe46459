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
        codec::{decode_output, encode_input},
        entry::ENDED,
        message::{CONTINUE, STOP, bytes_of},
    },
    exchange::{Input, Timestamp},
    manifest::SECTION,
};

use super::{RefusalError, judge::Judged};

/// A plugin in this process.
pub struct Library {
    module: PluginModuleRef,
    judged: Judged,
    /// Never closed; see above.
    _library: ManuallyDrop<dl::Library>,
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
        // SAFETY: loading runs the library's constructors. It is the user's own trusted code
        // (SECURITY.md), its headers were checked, and the copy is private and never changed.
        let library =
            unsafe { dl::Library::open(Some(&judged.copy), dl::RTLD_NOW | dl::RTLD_LOCAL) }
                .map_err(|error| RefusalError::Dlopen { problem: loader_words(&error) })?;
        let library = ManuallyDrop::new(library);
        let module = root_module(&library)?;
        if bytes_of(module.manifest()()) != judged.manifest_json.as_bytes() {
            return Err(RefusalError::ManifestsDiffer { section: SECTION });
        }
        Ok(Self { module, judged, _library: library })
    }

    /// Returns what was judged before it was loaded.
    #[must_use]
    pub fn judged(&self) -> &Judged {
        &self.judged
    }

    /// Opens an exchange. It waits for [`Input::Start`].
    #[must_use]
    pub fn open(self: &Arc<Self>) -> LiveExchange {
        LiveExchange { exchange: self.module.open()(), library: Arc::clone(self) }
    }
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

/// An exchange in a plugin, between open and close.
pub struct LiveExchange {
    exchange: *mut c_void,
    library: Arc<Library>,
}

// SAFETY: the contract says that an exchange is stepped by one thread at a time, not always the same;
// `&mut self` on `step` is what makes it one at a time.
unsafe impl Send for LiveExchange {}

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
const MAX_STEP_OUTPUT: usize = 64 * 1024 * 1024;

/// Most messages that one step may put out.
const MAX_STEP_EFFECTS: usize = 1 << 20;

impl LiveExchange {
    /// Steps the exchange. `opening` is the packed payload of [`Input::Start`], else empty; `into`
    /// is emptied first, so that a driver can reuse its buffer.
    pub fn step(&mut self, now: Timestamp, input: &Input<'_>, opening: &[u8], into: &mut Stepped) {
        into.effects.clear();
        into.bytes = 0;
        let code = encode_input(input, opening, |message| {
            let sink = Sink { ctx: (&raw mut *into).cast(), emit, borrow: PhantomData };
            // SAFETY: the pointer is from this library's `open` and not closed; message and sink live
            // for the call; `emit` gets back the pointer to `into`, which nothing else uses meanwhile.
            unsafe { self.library.module.step()(self.exchange, now.0, message, &sink) }
        });
        into.ended = code == ENDED;
    }
}

impl Drop for LiveExchange {
    fn drop(&mut self) {
        // SAFETY: the pointer is from this library's `open`, closed once, here.
        unsafe { self.library.module.close()(self.exchange) }
    }
}

/// Takes one message of a step.
unsafe extern "C" fn emit(ctx: *mut c_void, message: &Message<'_>) -> u8 {
    // SAFETY: `ctx` is the `Stepped` that `step` passed for this very call.
    let stepped = unsafe { &mut *ctx.cast::<Stepped>() };
    // A panic must not unwind into the plugin.
    catch_unwind(AssertUnwindSafe(|| stepped.take(message))).unwrap_or(STOP)
}

impl Stepped {
    fn take(&mut self, message: &Message<'_>) -> u8 {
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
