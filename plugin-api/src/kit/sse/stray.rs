//! Text outside the framing of an event stream: kept for inspection, never an event.

use std::mem;

/// Collects bracketed text line by line. It balances brackets and is no judge of JSON.
#[derive(Debug, Default)]
pub(super) struct Stray {
    text: Vec<u8>,
    limit: usize,
    depth: usize,
    in_string: bool,
    escaped: bool,
    /// The line holds other text outside any document, so no document begins on it.
    barred: bool,
    /// Bytes of the last document were dropped for want of space.
    full: bool,
}

impl Stray {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, ..Self::default() }
    }

    pub(super) fn text(&self) -> &[u8] {
        &self.text
    }

    pub(super) fn take(&mut self) -> Vec<u8> {
        mem::take(&mut self.text)
    }

    pub(super) fn is_whole(&self) -> bool {
        !self.text.is_empty() && (!self.is_open() || self.full)
    }

    /// Reports whether a document awaits its last bracket.
    pub(super) fn is_open(&self) -> bool {
        self.depth > 0
    }

    /// Gives up on the open document and keeps what there is of it.
    pub(super) fn close(&mut self) {
        self.depth = 0;
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if self.depth == 0 {
                match byte {
                    b'{' | b'[' if !self.barred => {
                        self.full = false;
                        if !self.text.is_empty() {
                            self.store(b'\n');
                        }
                        self.store(byte);
                        self.depth = 1;
                    }
                    b' ' | b'\t' => {}
                    _ => self.barred = true,
                }
                continue;
            }
            self.store(byte);
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = self.in_string,
                b'"' => self.in_string = !self.in_string,
                b'{' | b'[' if !self.in_string => self.depth += 1,
                b'}' | b']' if !self.in_string => self.depth -= 1,
                _ => {}
            }
        }
    }

    pub(super) fn end_line(&mut self) {
        // A JSON string cannot span lines, so a missing quote does harm to its own line only.
        (self.in_string, self.escaped, self.barred) = (false, false, false);
        if self.depth > 0 {
            self.store(b'\n');
        }
    }

    fn store(&mut self, byte: u8) {
        self.full |= self.text.len() >= self.limit;
        if !self.full {
            self.text.push(byte);
        }
    }
}
