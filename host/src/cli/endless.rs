//! What a command does about a plugin that holds a thread for ever: it ends, with an error, so that
//! whoever watches over it starts it again without the plugin.

use std::{
    process,
    sync::{
        Mutex, PoisonError,
        mpsc::{RecvTimeoutError, SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};

use tokio::sync::oneshot;

use crate::{
    cli::{failure::Failure, log, output::Output},
    maestro::{EndlessStep, Maestro},
};

/// Ends the command at once, for what waits for this answer and nothing else. It may be the command's
/// only thread that is lost.
pub(super) fn end_at_once(maestro: &Maestro, output: &Output) {
    let output = *output;
    maestro.on_endless_step(move |step| end(&output, step));
}

/// Only says it, for a command that a person uses and will end.
pub(super) fn only_tell(maestro: &Maestro, output: &Output) {
    let output = *output;
    maestro.on_endless_step(move |step| {
        let failure = Failure::Endless(step.clone());
        output.warn(&format!("{failure}; it keeps a processor busy until this command ends"));
    });
}

/// Waits for the first endless step. Whatever happens to this program's threads then, it ends `patience`
/// later, unless what is returned was dropped before.
pub(super) fn first(
    maestro: &Maestro,
    output: &Output,
    patience: Duration,
) -> (oneshot::Receiver<EndlessStep>, SyncSender<()>) {
    let (found, first) = oneshot::channel();
    let (ended, still_there) = sync_channel::<()>(0);
    let (output, waiting) = (*output, Mutex::new(Some((found, still_there))));
    maestro.on_endless_step(move |step| {
        let first = waiting.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some((found, still_there)) = first else { return };
        output.warn(&format!(
            "{}; what others are being answered is finished, then the gateway ends",
            Failure::Endless(step.clone())
        ));
        let _ = found.send(step.clone());
        // Timers need a thread of the runtime, and there may be none left.
        let last = step.clone();
        let watch = move || {
            if still_there.recv_timeout(patience) == Err(RecvTimeoutError::Timeout) {
                end(&output, &last);
            }
        };
        if thread::Builder::new().name("endless-step".into()).spawn(watch).is_err() {
            end(&output, step);
        }
    });
    (first, ended)
}

fn end(output: &Output, step: &EndlessStep) -> ! {
    let failure = Failure::Endless(step.clone());
    output.failure(&failure);
    log::flush();
    process::exit(failure.exit_code().into())
}
