//! The root module: the functions that a plugin library exports.
//!
//! abi_stable checks the layout of everything named here when the host loads a library. The module
//! stays as it is for all of contract 1; what comes later hangs behind
//! [`interface`](PluginModule::interface), by name, with a layout check of its own.

use core::ffi::c_void;

use abi_stable::{
    StableAbi,
    library::RootModule,
    sabi_types::VersionStrings,
    std_types::{ROption, RSlice},
    type_layout::TypeLayout,
};

use super::message::{Message, Sink};

/// What a step answers: the exchange goes on.
pub const RUNNING: u8 = 0;
/// What a step answers: the exchange has ended; only `close` may follow.
pub const ENDED: u8 = 1;

/// The functions of a plugin library.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = PluginModuleRef, prefix_fields = PluginModulePrefix)))]
#[sabi(missing_field(panic))]
pub struct PluginModule {
    /// Returns the manifest as JSON; the host compares it with the library's section.
    ///
    /// State: [any time], any thread.
    /// Ownership: static.
    pub manifest: extern "C" fn() -> RSlice<'static, u8>,

    /// Makes an exchange that waits for its `START`. Null when memory is short.
    ///
    /// State: [any time], any thread.
    /// Ownership: the caller's, until it gives the pointer to `close`.
    pub open: extern "C" fn() -> *mut c_void,

    /// Steps an exchange: hands it one message and takes its answers through `sink`. `now` is in
    /// milliseconds since the Unix epoch. Answers [`RUNNING`] or [`ENDED`]. Never unwinds.
    ///
    /// State: [opened & !closed], one thread at a time.
    /// Ownership: `message` and `sink` are borrowed for the call.
    pub step: unsafe extern "C" fn(
        exchange: *mut c_void,
        now: u64,
        message: &Message<'_>,
        sink: &Sink<'_>,
    ) -> u8,

    /// Frees an exchange. Never unwinds.
    ///
    /// State: [opened & !closed], one thread at a time; the pointer is dead afterwards.
    /// Ownership: taken.
    pub close: unsafe extern "C" fn(exchange: *mut c_void),

    /// Finds an extension by name, for example `batch/1`; none in contract 1.0.
    ///
    /// State: [any time], any thread.
    /// Ownership: static.
    #[sabi(last_prefix_field)]
    pub interface: extern "C" fn(name: RSlice<'_, u8>) -> ROption<Extension>,
}

/// A table of functions beyond the root module, found by name.
///
/// The asking side knows which type the name stands for, checks `layout` against that type's, and
/// only then casts `table`.
#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct Extension {
    /// Layout of the table, for the check.
    pub layout: &'static TypeLayout,
    /// The table; valid as long as the library is loaded.
    pub table: *const c_void,
}

impl RootModule for PluginModuleRef {
    abi_stable::declare_root_module_statics! {PluginModuleRef}

    const BASE_NAME: &'static str = "maestro_plugin";
    const NAME: &'static str = "maestro plugin";
    const VERSION_STRINGS: VersionStrings = abi_stable::package_version_strings!();
}

#[cfg(target_pointer_width = "64")]
const _: () = {
    use core::mem::{offset_of, size_of};
    assert!(size_of::<PluginModule>() == 40);
    assert!(offset_of!(PluginModule, manifest) == 0);
    assert!(offset_of!(PluginModule, open) == 8);
    assert!(offset_of!(PluginModule, step) == 16);
    assert!(offset_of!(PluginModule, close) == 24);
    assert!(offset_of!(PluginModule, interface) == 32);
};
