//! The writing half of a worker's socket, shared by all who give inputs.
//!
//! Whoever adds frames writes them, unless somebody writes already, who then writes these too: a burst
//! of inputs goes in one piece. Nobody waits for a full socket but the supervisor's thread.

use std::{
    io::{self, Write as _},
    mem,
    os::unix::net::UnixStream,
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::frame::KEPT;

/// The way to a process: what is written, and what is still to be.
pub(super) struct Line {
    socket: UnixStream,
    out: Mutex<Outgoing>,
}

#[derive(Default)]
struct Outgoing {
    bytes: Vec<u8>,
    /// Whether somebody writes just now, who will also write what is added meanwhile.
    writing: bool,
    /// Whether the socket was full.
    stuck: bool,
}

impl Line {
    pub(super) fn new(socket: UnixStream) -> Self {
        Self { socket, out: Mutex::default() }
    }

    fn out(&self) -> MutexGuard<'_, Outgoing> {
        self.out.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn append(&self, frames: &[u8]) {
        self.out().bytes.extend_from_slice(frames);
    }

    /// Reports whether the thread must wait until the socket takes more.
    pub(super) fn is_stuck(&self) -> bool {
        self.out().stuck
    }

    /// Writes what there is, as far as it goes; reports whether the socket was full, which the thread
    /// must then wait for. A socket that nobody reads any more swallows it: the journal has it.
    pub(super) fn flush(&self) -> bool {
        let mut out = self.out();
        if out.writing {
            return false;
        }
        out.writing = true;
        out.stuck = false;
        while !out.bytes.is_empty() {
            let mut bytes = mem::take(&mut out.bytes);
            drop(out);
            let sent = self.write(&bytes);
            out = self.out();
            if let Some(sent) = sent {
                bytes.drain(..sent);
                bytes.append(&mut out.bytes);
                out.bytes = bytes;
                out.stuck = true;
                break;
            }
            bytes.clear();
            if out.bytes.is_empty() && bytes.capacity() <= KEPT {
                out.bytes = bytes;
            }
        }
        out.writing = false;
        out.stuck
    }

    /// Writes all; returns how much went when the socket was full.
    fn write(&self, bytes: &[u8]) -> Option<usize> {
        let mut sent = 0;
        while sent < bytes.len() {
            match (&self.socket).write(&bytes[sent..]) {
                Ok(more) => sent += more,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Some(sent),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return None,
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn what_does_not_fit_waits_and_keeps_its_order() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let line = Line::new(ours);
        line.append(b"first");
        assert!(!line.flush());
        let long = vec![7; 4 << 20];
        line.append(&long);
        assert!(line.flush() && line.is_stuck());
        line.append(b"last");
        let mut read = vec![0; 5];
        theirs.read_exact(&mut read).unwrap();
        assert_eq!(read, b"first");
        let mut rest = Vec::new();
        while rest.len() < long.len() + 4 {
            line.flush();
            let mut piece = vec![0; 64 << 10];
            let n = theirs.read(&mut piece).unwrap();
            rest.extend_from_slice(&piece[..n]);
        }
        assert!(rest.starts_with(&long) && rest.ends_with(b"last"));
        assert!(!line.is_stuck());
    }

    #[test]
    fn a_reader_that_is_gone_is_no_failure() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        drop(theirs);
        let line = Line::new(ours);
        line.append(b"lost");
        assert!(!line.flush());
    }
}
