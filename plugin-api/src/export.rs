//! Turns safe traits into the functions of a library: [`export_plugin!`](crate::export_plugin) and
//! what it expands to.
//!
//! Every call from the host is caught here: a panic ends its exchange with
//! [`ErrorKind::PluginPanic`] and nothing else. Where the panic was comes from a hook that prints
//! nothing, because a backtrace costs 35 MB a library and opens files that a confined worker may not.
#![expect(unsafe_code, reason = "the plugin's side of the boundary takes raw pointers")]

use core::ffi::c_void;
use std::{
    any::Any,
    cell::RefCell,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Once,
};

pub use abi_stable;
use abi_stable::{
    library::RootModuleResult,
    marker_type::ErasedPrefix,
    prefix_type::{PrefixRefTrait, WithMetadata},
    std_types::{RNone, ROk, ROption, RSlice},
};

use crate::{
    abi::{
        Extension, Message, Output, PluginModule, PluginModuleRef, Sink, SinkEmitter,
        codec::{self, Emit},
        entry::{ENDED, RUNNING},
        message::kind,
    },
    error::{ErrorKind, ProviderError},
    exchange::{Exchange, Outbox, RequestNumber, Timestamp},
    instance::Instance,
    kit::conformance::{Rule, Stepped, Steps, Subject},
    operation::{Operation, Reply},
    provider::{
        ApiKeyProvider, ContextProvider, EmbeddingProvider, ModelProvider, OAuthProvider, Opened,
        StreamingProvider, TokenCounter,
    },
};

/// A plugin as the library's functions see it. Implemented by
/// [`export_plugin!`](crate::export_plugin) alone.
#[doc(hidden)]
pub trait Exported {
    /// The manifest as JSON.
    const MANIFEST: &'static [u8];

    /// Opens the exchange for an operation.
    fn open(instance: &Instance, operation: Operation) -> Opened;
}

/// The root module of a plugin.
#[doc(hidden)]
#[derive(Debug)]
pub struct Root<P>(P);

impl<P: Exported> Root<P> {
    const MODULE: &'static WithMetadata<PluginModule> = &WithMetadata::new(PluginModule {
        manifest: manifest::<P>,
        open,
        step: step::<P>,
        close,
        interface,
    });

    /// Gives abi_stable the root module, which lives in the library's read-only data.
    #[must_use]
    pub fn construct() -> RootModuleResult {
        install_hook();
        let module = PluginModuleRef(Self::MODULE.static_as_prefix());
        // SAFETY: the header that carries this function was made for `PluginModuleRef`, so that is
        // what the erased reference is read back as.
        ROk(unsafe { module.to_prefix_ref().cast::<ErasedPrefix>() })
    }
}

extern "C" fn manifest<P: Exported>() -> RSlice<'static, u8> {
    RSlice::from_slice(P::MANIFEST)
}

extern "C" fn interface(_name: RSlice<'_, u8>) -> ROption<Extension> {
    RNone
}

/// An exchange behind its pointer.
struct Slot {
    state: State,
    next_request: RequestNumber,
}

enum State {
    Opened,
    Running(Box<dyn Exchange + Send>),
    Ended,
}

extern "C" fn open() -> *mut c_void {
    Box::into_raw(Box::new(Slot { state: State::Opened, next_request: 0 })).cast()
}

unsafe extern "C" fn close(exchange: *mut c_void) {
    // SAFETY: the host gives back a pointer from `open`, once, and no step is running.
    let slot = unsafe { Box::from_raw(exchange.cast::<Slot>()) };
    // A panic in a destructor must not cross; there is nobody left to tell.
    drop(catch_unwind(AssertUnwindSafe(|| drop(slot))));
}

unsafe extern "C" fn step<P: Exported>(
    exchange: *mut c_void,
    now: u64,
    message: &Message<'_>,
    sink: &Sink<'_>,
) -> u8 {
    // SAFETY: the pointer is from `open` and not closed; the host steps on one thread at a time.
    let slot = unsafe { &mut *exchange.cast::<Slot>() };
    let mut emitter = Ending { to: SinkEmitter::new(sink), ended: false, broken: false };
    let stepped = catch_unwind(AssertUnwindSafe(|| {
        slot.step::<P>(Timestamp(now), message, &mut emitter);
    }));
    if let Err(payload) = stepped {
        if !emitter.ended {
            emitter.emit(Output::Fail(&panic_error(&*payload)));
        }
        drop(catch_unwind(AssertUnwindSafe(|| drop(payload))));
    }
    if !emitter.ended {
        return RUNNING;
    }
    let state = std::mem::replace(&mut slot.state, State::Ended);
    drop(catch_unwind(AssertUnwindSafe(|| drop(state))));
    ENDED
}

impl Slot {
    fn step<P: Exported>(&mut self, now: Timestamp, message: &Message<'_>, emit: &mut dyn Emit) {
        if message.kind == kind::START && matches!(self.state, State::Opened) {
            let opened = codec::decode_opening(message)
                .map_err(|error| ProviderError::new(ErrorKind::InvalidRequest, error.to_string()))
                .and_then(|opening| P::open(&opening.instance, opening.operation));
            match opened {
                Ok(exchange) => self.state = State::Running(exchange),
                Err(error) => return emit.emit(Output::Fail(&error)),
            }
        }
        let State::Running(exchange) = &mut self.state else { return };
        match codec::decode_input(message) {
            Ok(Some(input)) => {
                exchange.step(now, input, &mut Outbox::new(emit, &mut self.next_request));
            }
            Ok(None) => {}
            Err(error) => {
                let error = ProviderError::new(ErrorKind::Other, format!("host sent a {error}"));
                emit.emit(Output::Fail(&error));
            }
        }
    }
}

/// Passes outputs on and notices the end.
struct Ending<'a> {
    to: SinkEmitter<'a>,
    ended: bool,
    /// Whether an output could not cross, so that nothing more is said.
    broken: bool,
}

impl Emit for Ending<'_> {
    fn emit(&mut self, output: Output<'_>) {
        if self.broken {
            return;
        }
        self.ended |= matches!(output, Output::Done | Output::Fail(_));
        if let Err(error) = self.to.send(output) {
            // The host would miss it and wait; the exchange ends here instead.
            (self.ended, self.broken) = (true, true);
            let error = ProviderError::new(ErrorKind::Protocol, error.to_string());
            let _ = self.to.send(Output::Fail(&error));
        }
    }
}

/// A plugin in this very process, for its own tests. Panics are caught as in a library, and printed,
/// because the hook is the test's.
pub(crate) struct InProcess<P>(std::marker::PhantomData<P>);

impl<P> Default for InProcess<P> {
    fn default() -> Self {
        Self(std::marker::PhantomData)
    }
}

impl<P: Exported> Subject for InProcess<P> {
    fn open(&self) -> Box<dyn Steps + '_> {
        let slot = Slot { state: State::Opened, next_request: 0 };
        Box::new(Stepping::<P> { slot, plugin: std::marker::PhantomData })
    }
}

struct Stepping<P> {
    slot: Slot,
    plugin: std::marker::PhantomData<P>,
}

impl<P: Exported> Steps for Stepping<P> {
    fn step(&mut self, now: Timestamp, message: &Message<'_>) -> Stepped {
        let mut gathered = Gathered::default();
        let slot = &mut self.slot;
        let caught = catch_unwind(AssertUnwindSafe(|| {
            slot.step::<P>(now, message, &mut gathered);
        }));
        if let Err(payload) = caught {
            gathered.emit(Output::Fail(&panic_error(&*payload)));
        }
        gathered.0
    }
}

/// Reads outputs as a host would.
#[derive(Default)]
struct Gathered(Stepped);

impl Emit for Gathered {
    fn emit(&mut self, output: Output<'_>) {
        let into = &mut self.0;
        let sent = codec::encode_output(output, |message| {
            into.bytes += message.text.len() + message.ext.len();
            match codec::decode_output(message) {
                Ok(effect) => into.effects.extend(effect),
                Err(error) => into.broken = Some((Rule::WellFormedMessages, error.to_string())),
            }
        });
        if let Err(error) = sent {
            into.broken = Some((Rule::WellFormedMessages, error.to_string()));
        }
    }
}

thread_local! {
    /// Where the last panic of this thread was. No destructor beyond the string's, which never runs:
    /// libraries stay loaded.
    static PANIC_AT: RefCell<Option<(String, u32)>> = const { RefCell::new(None) };
}

/// Replaces the library's own panic hook with one that only notes the place.
///
/// Each library has its own copy of std, so the host's hook is not touched.
fn install_hook() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        std::panic::set_hook(Box::new(|info| {
            let at = info.location().map(|at| (at.file().to_owned(), at.line()));
            // A panic while the thread ends, or inside this very hook, has no place to note.
            let _ = PANIC_AT.try_with(|place| place.try_borrow_mut().map(|mut place| *place = at));
        }));
    });
}

fn panic_error(payload: &(dyn Any + Send)) -> ProviderError {
    let message = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    let place = PANIC_AT.try_with(|place| place.try_borrow_mut().ok()?.take()).ok().flatten();
    let place = place.map_or_else(String::new, |(file, line)| format!(", {file}:{line}"));
    ProviderError::new(ErrorKind::PluginPanic, format!("{message}{place}"))
}

/// Runs an operation if it belongs to `streaming`.
#[doc(hidden)]
pub fn streaming<P: StreamingProvider>(p: &P, at: &Instance, op: Operation) -> Tried {
    match op {
        Operation::Chat(request) => Ok(p.stream_chat(at, *request)),
        other => Err(other),
    }
}

/// Runs an operation if it belongs to `models`.
#[doc(hidden)]
pub fn models<P: ModelProvider>(p: &P, at: &Instance, op: Operation) -> Tried {
    match op {
        Operation::ListModels(request) => Ok(p.list_models(at, request)),
        Operation::DescribeModel(request) => Ok(p.model_info(at, request)),
        other => Err(other),
    }
}

/// Runs an operation if it belongs to `api_key`.
#[doc(hidden)]
pub fn api_key<P: ApiKeyProvider>(p: &P, at: &Instance, op: Operation) -> Tried {
    match op {
        Operation::ValidateApiKey(shape) => {
            Ok(p.validate_api_key(&shape).map(|()| crate::kit::ready(Reply::Unit)))
        }
        Operation::TestConnection => Ok(p.test_connection(at)),
        other => Err(other),
    }
}

/// Runs an operation if it belongs to `oauth`.
#[doc(hidden)]
pub fn oauth<P: OAuthProvider>(p: &P, at: &Instance, op: Operation) -> Tried {
    match op {
        Operation::GenerateAuthUrl(request) => Ok(p.generate_auth_url(at, request)),
        Operation::ExchangeCode(request) => Ok(p.exchange_code(at, request)),
        Operation::RefreshToken(tokens) => Ok(p.refresh_token(at, tokens)),
        Operation::ExtractApiCredentials(tokens) => Ok(p.extract_api_credentials(at, tokens)),
        other => Err(other),
    }
}

/// Runs an operation if it belongs to `embeddings`.
#[doc(hidden)]
pub fn embeddings<P: EmbeddingProvider>(p: &P, at: &Instance, op: Operation) -> Tried {
    match op {
        Operation::Embed(request) => Ok(p.embed(at, request)),
        other => Err(other),
    }
}

/// Runs an operation if it belongs to `token_count`.
#[doc(hidden)]
pub fn token_count<P: TokenCounter>(p: &P, at: &Instance, op: Operation) -> Tried {
    match op {
        Operation::CountTokens(request) => Ok(p.count_tokens(at, *request)),
        other => Err(other),
    }
}

/// Runs an operation if it belongs to `contexts`.
#[doc(hidden)]
pub fn contexts<P: ContextProvider>(p: &P, at: &Instance, op: Operation) -> Tried {
    match op {
        Operation::ListContextChunks(request) => Ok(p.list_context_chunks(at, request)),
        Operation::DeleteContextChunk(request) => Ok(p.delete_context_chunk(at, request)),
        other => Err(other),
    }
}

/// The exchange of an operation, or the operation back when it belongs to another behaviour.
#[doc(hidden)]
pub type Tried = Result<Opened, Operation>;

/// Exports a plugin and the behaviours that it implements.
///
/// Use it once, in the library's root. It compiles only if each named trait is implemented, writes the
/// manifest section, and makes the functions that the host loads. Behaviours: `streaming`,
/// `models`, `api_key`, `oauth`, `embeddings`, `token_count`, `contexts`.
///
/// ```
/// # use plugin_api::prelude::*;
/// #[derive(Default)]
/// struct Parrot;
///
/// impl Provider for Parrot {
///     const SPEC: PluginSpec = PluginSpec::new("parrot", "0.1.0").providers(&[
///         ProviderSpec::new("parrot").display_name("Parrot").auth(&[AuthSpec::None]),
///     ]);
/// }
///
/// impl StreamingProvider for Parrot {
///     fn stream_chat(&self, _: &Instance, request: ChatRequest) -> Opened {
///         Ok(kit::say(request.last_user_text()))
///     }
/// }
///
/// plugin_api::export_plugin! { Parrot: streaming }
/// ```
#[macro_export]
macro_rules! export_plugin {
    ($plugin:ty: $($behaviour:ident),+ $(,)?) => {
        const _: () = {
            use $crate::{
                capability::Capability,
                export::{Exported, Root, abi_stable::library::{CheckTypeLayout, LibHeader}},
                instance::Instance,
                manifest::{PluginSpec, json_bytes, json_len},
                operation::Operation,
                provider::{Opened, Provider},
            };

            const SPEC: PluginSpec = <$plugin as Provider>::SPEC;
            const CAPABILITIES: &[&[Capability]] =
                &[$($crate::export_plugin!(@capabilities $behaviour)),+];
            const PANIC: &str = if cfg!(panic = "abort") { "abort" } else { "unwind" };
            const LEN: usize = json_len(&SPEC, CAPABILITIES, PANIC);

            #[used]
            #[cfg_attr(
                target_vendor = "apple",
                unsafe(link_section = "__TEXT,__maestro")
            )]
            #[cfg_attr(
                not(target_vendor = "apple"),
                unsafe(link_section = ".maestro.manifest")
            )]
            static MANIFEST: [u8; LEN] = json_bytes(&SPEC, CAPABILITIES, PANIC);

            impl Exported for $plugin {
                const MANIFEST: &'static [u8] = &MANIFEST;

                fn open(instance: &Instance, operation: Operation) -> Opened {
                    let plugin = <$plugin>::default();
                    $(
                        let operation =
                            match $crate::export::$behaviour(&plugin, instance, operation) {
                                Ok(opened) => return opened,
                                Err(operation) => operation,
                            };
                    )+
                    Err($crate::error::ProviderError::not_supported(operation.name()))
                }
            }

            extern "C" fn construct() -> $crate::export::abi_stable::library::RootModuleResult {
                Root::<$plugin>::construct()
            }

            // The name that abi_stable gives to the header of every library; a test of plugin-api
            // compares it with abi_stable's own constant.
            #[unsafe(export_name = "_1as_0lib_1header_0root_bmodule_bloader")]
            static HEADER: LibHeader = unsafe {
                LibHeader::from_constructor::<$crate::abi::PluginModuleRef>(
                    construct,
                    CheckTypeLayout::Yes,
                )
            };
        };
    };
    (@capabilities streaming) => { &[Capability::Chat] };
    (@capabilities models) => { &[Capability::Models] };
    (@capabilities api_key) => { &[Capability::ApiKey] };
    (@capabilities oauth) => { &[Capability::OAuth, Capability::HandlesSecrets] };
    (@capabilities embeddings) => { &[Capability::Embeddings] };
    (@capabilities token_count) => { &[Capability::TokenCount] };
    (@capabilities contexts) => { &[Capability::Contexts] };
    (@capabilities $other:ident) => {
        compile_error!(concat!(
            "unknown behaviour `",
            stringify!($other),
            "`: expected streaming, models, api_key, oauth, embeddings, token_count or contexts"
        ))
    };
    ($($other:tt)*) => {
        compile_error!(
            "expected `export_plugin! { Plugin: behaviour, … }` with behaviours out of streaming, \
             models, api_key, oauth, embeddings, token_count and contexts"
        );
    };
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_header_has_the_name_that_abi_stable_looks_for() {
        assert_eq!(
            abi_stable::library::ROOT_MODULE_LOADER_NAME,
            "_1as_0lib_1header_0root_bmodule_bloader"
        );
    }
}
