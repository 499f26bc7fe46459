//! The shared page in which a worker writes down what it is about to do.
//!
//! A process that dies says nothing more, so it says it before: which exchange it steps, which step
//! that is, and, from the signal handler, which system call it was forbidden. The host reads the page
//! when the process is gone. Whatever runs in the worker can write there, so nothing but the choice of
//! the exchange to blame hangs on it, and the worst choice is another one of the same plugin.
#![expect(unsafe_code, reason = "maps the shared page")]

use std::{
    fs::File,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::FileExt as _,
    },
    sync::atomic::{AtomicU64, Ordering},
};

use rustix::{
    fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create},
    io,
    mm::{MapFlags, ProtFlags, mmap},
};

/// What a worker is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doing {
    /// It has not begun to load, or does something that is not known.
    Nothing,
    /// It maps the library; constructors run.
    Loading,
    /// It waits.
    Idle,
    /// It steps an exchange.
    Stepping {
        /// Which.
        exchange: u64,
        /// Which step of it, from 0.
        step: u64,
    },
    /// It frees an exchange.
    Closing,
}

/// The page as the worker sees it.
#[derive(Clone, Copy)]
pub(super) struct Mark(&'static [AtomicU64; WORDS]);

/// The page as the host sees it.
pub(super) struct Page(File);

/// What stood in the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reading {
    /// What the worker was doing.
    pub(super) doing: Doing,
    /// The system call that it was forbidden.
    pub(super) forbidden: Option<u64>,
}

const WORDS: usize = 4;
const BYTES: usize = WORDS * 8;

impl Page {
    /// Makes an empty page that can neither shrink nor grow.
    pub(super) fn new() -> io::Result<Self> {
        let fd = memfd_create("maestro-mark", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        rustix::fs::ftruncate(&fd, BYTES as u64)?;
        fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        Ok(Self(File::from(fd)))
    }

    /// Returns a descriptor for the worker.
    pub(super) fn share(&self) -> std::io::Result<OwnedFd> {
        self.0.try_clone().map(OwnedFd::from)
    }

    /// Reads it.
    pub(super) fn read(&self) -> Reading {
        let mut bytes = [0; BYTES];
        // The page cannot shrink, so there is nothing that could go wrong.
        let _ = self.0.read_exact_at(&mut bytes, 0);
        let word = |at: usize| {
            u64::from_ne_bytes(bytes[at * 8..at * 8 + 8].try_into().expect("eight bytes"))
        };
        let doing = match word(0) {
            LOADING => Doing::Loading,
            IDLE => Doing::Idle,
            STEPPING => Doing::Stepping { exchange: word(1), step: word(2) },
            CLOSING => Doing::Closing,
            _ => Doing::Nothing,
        };
        Reading { doing, forbidden: word(3).checked_sub(1) }
    }
}

const LOADING: u64 = 1;
const IDLE: u64 = 2;
const STEPPING: u64 = 3;
const CLOSING: u64 = 4;

impl Mark {
    /// Maps the page, for the rest of the process.
    pub(super) fn map(fd: impl AsFd) -> io::Result<Self> {
        // SAFETY: a new mapping of a memory file that cannot shrink; it is never unmapped by us. The
        // words are only ever touched as atomics, by this process and by the host's reads.
        let page = unsafe {
            mmap(
                std::ptr::null_mut(),
                BYTES,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                fd,
                0,
            )?
        };
        // SAFETY: the mapping is as long as the array, aligned to a page and lives for ever.
        Ok(Self(unsafe { &*page.cast::<[AtomicU64; WORDS]>() }))
    }

    /// Says that the library is being mapped.
    pub(super) fn loading(self) {
        self.0[0].store(LOADING, Ordering::Relaxed);
    }

    /// Says that nothing is being done.
    pub(super) fn idle(self) {
        self.0[0].store(IDLE, Ordering::Relaxed);
    }

    /// Says that an exchange is about to be stepped.
    pub(super) fn stepping(self, exchange: u64, step: u64) {
        self.0[1].store(exchange, Ordering::Relaxed);
        self.0[2].store(step, Ordering::Relaxed);
        self.0[0].store(STEPPING, Ordering::Release);
    }

    /// Says that an exchange is about to be freed.
    pub(super) fn closing(self) {
        self.0[0].store(CLOSING, Ordering::Relaxed);
    }

    /// Says which system call was forbidden. Safe to call in a signal handler.
    pub(super) fn forbidden(self, call: u64) {
        self.0[3].store(call.saturating_add(1), Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_side_writes_the_other_reads() {
        let page = Page::new().unwrap();
        let mark = Mark::map(page.share().unwrap()).unwrap();
        assert_eq!(page.read(), Reading { doing: Doing::Nothing, forbidden: None });
        mark.loading();
        assert_eq!(page.read().doing, Doing::Loading);
        mark.stepping(7, 2);
        mark.forbidden(0);
        let doing = Doing::Stepping { exchange: 7, step: 2 };
        assert_eq!(page.read(), Reading { doing, forbidden: Some(0) });
        mark.closing();
        assert_eq!(page.read().doing, Doing::Closing);
        mark.idle();
        assert_eq!(page.read().doing, Doing::Idle);
    }

    #[test]
    fn the_page_cannot_be_cut_under_its_readers() {
        let page = Page::new().unwrap();
        assert!(rustix::fs::ftruncate(&page.0, 0).is_err());
    }
}
