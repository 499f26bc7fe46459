//! The log of a server: lines that nobody waits for.
//!
//! A request's line is written by a thread of its own, so that a slow terminal, a full pipe or a disk
//! slows no request. What finds the queue full is dropped, counted, and told when there is room again.

use std::{
    fmt,
    io::{self, Write},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};

use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    fmt::{
        FmtContext, FormatEvent, FormatFields, MakeWriter,
        format::{Format, Writer},
        time::{FormatTime, SystemTime},
    },
    registry::LookupSpan,
};

use crate::gateway::ACCESS;

/// Where log lines go.
#[derive(Clone, Debug)]
pub(super) struct Queue {
    lines: SyncSender<Entry>,
    dropped: Arc<AtomicU64>,
}

enum Entry {
    Line(Vec<u8>),
    /// Says when everything before it is written.
    Mark(SyncSender<()>),
}

impl Queue {
    /// Starts the thread that writes.
    pub(super) fn start(out: impl Write + Send + 'static) -> io::Result<Self> {
        let (lines, queued) = sync_channel(LINES);
        let queue = Self { lines, dropped: Arc::default() };
        let dropped = Arc::clone(&queue.dropped);
        thread::Builder::new()
            .name("log".into())
            .spawn(move || write(&queued, &dropped, io::BufWriter::new(out)))?;
        Ok(queue)
    }

    /// Waits until everything that was said is written, unless nobody reads it.
    pub(super) fn flush(&self) {
        let (mark, written) = sync_channel(1);
        if self.lines.try_send(Entry::Mark(mark)).is_ok() {
            let _ = written.recv_timeout(PATIENCE);
        }
    }

    /// Makes it the one that [`flush`] means.
    pub(super) fn install(self) -> Self {
        let _ = INSTALLED.set(self.clone());
        self
    }
}

/// Waits for the log of this program, if it has one, before it ends.
pub(super) fn flush() {
    if let Some(queue) = INSTALLED.get() {
        queue.flush();
    }
}

/// Each event is one call: the subscriber has made a line of it before.
impl Write for Queue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.lines.try_send(Entry::Line(line.to_vec())).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Queue {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// Makes a line of an event as the subscriber does, but those of requests by hand: there is one for each,
/// of a dozen fields, and the subscriber asks for each field about colours and looks at each letter.
#[derive(Debug, Default)]
pub(super) struct Lines(Format);

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut line: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let about = event.metadata();
        if about.target() != ACCESS || line.has_ansi_escapes() {
            return self.0.format_event(context, line, event);
        }
        SystemTime.format_time(&mut line)?;
        write!(line, " {:>5} {ACCESS}:", about.level().as_str())?;
        let mut fields = Fields { line, written: Ok(()) };
        event.record(&mut fields);
        fields.written?;
        fields.line.write_char('\n')
    }
}

/// Writes ` name=value` for each field.
struct Fields<'a> {
    line: Writer<'a>,
    written: fmt::Result,
}

impl Fields<'_> {
    fn add(&mut self, field: &Field, value: impl FnOnce(&mut Writer<'_>) -> fmt::Result) {
        let write = || {
            self.line.write_char(' ')?;
            self.line.write_str(field.name())?;
            self.line.write_char('=')?;
            value(&mut self.line)
        };
        if self.written.is_ok() {
            self.written = write();
        }
    }
}

impl Visit for Fields<'_> {
    fn record_str(&mut self, field: &Field, text: &str) {
        let is_plain = |byte: u8| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\';
        self.add(field, |line| {
            if !text.bytes().all(is_plain) {
                return write!(line, "{text:?}");
            }
            line.write_char('"')?;
            line.write_str(text)?;
            line.write_char('"')
        });
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, |line| write!(line, "{value:?}"));
    }
}

/// Writes until the last sender is gone. Nobody can be told of a failure to write.
fn write(queued: &Receiver<Entry>, dropped: &AtomicU64, mut out: impl Write) {
    while let Ok(first) = queued.recv() {
        let mut next = Some(first);
        while let Some(entry) = next {
            match entry {
                Entry::Line(line) => drop(out.write_all(&line)),
                Entry::Mark(written) => {
                    tell(dropped, &mut out);
                    let _ = out.flush();
                    let _ = written.send(());
                }
            }
            next = queued.try_recv().ok();
        }
        tell(dropped, &mut out);
        let _ = out.flush();
        // Whoever says the next line would have to wake this thread, which on a busy machine costs more
        // than the line. So lines gather first; a lone one is written at once.
        thread::sleep(GATHER);
    }
}

fn tell(dropped: &AtomicU64, out: &mut impl Write) {
    match dropped.swap(0, Ordering::Relaxed) {
        0 => {}
        count => drop(writeln!(out, "warning: {count} lines of the log were dropped: {WHY}")),
    }
}

static INSTALLED: OnceLock<Queue> = OnceLock::new();

const WHY: &str = "what reads it is too slow";

/// Most lines that wait.
const LINES: usize = 8192;

/// How long lines gather after some were written.
const GATHER: Duration = Duration::from_millis(5);

/// Longest that the end of the program waits for the log.
const PATIENCE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tracing::{info, subscriber::with_default};

    use super::*;

    /// Says the same as one line of each maker.
    #[test]
    fn the_line_of_a_request_is_as_the_subscribers_own() {
        let behind_time = |by_hand: bool| {
            let said = Arc::new(Mutex::new(Vec::new()));
            let out = Arc::clone(&said);
            let whole = tracing_subscriber::fmt()
                .with_ansi(false)
                .with_writer(move || Slow(Arc::clone(&out)));
            let say = || {
                let (none, text) = (None::<&str>, Some("a \"b\"\n\u{1b}[31mé"));
                info!(target: ACCESS, id = "r-1", method = %"POST", text, none, ms = 1.5, bytes = 7);
            };
            match by_hand {
                true => with_default(whole.event_format(Lines::default()).finish(), say),
                false => with_default(whole.finish(), say),
            }
            let said = String::from_utf8(said.lock().unwrap().clone()).unwrap();
            said.split_once(' ').unwrap().1.to_owned()
        };
        let line = behind_time(true);
        assert_eq!(line, behind_time(false));
        assert!(line.starts_with(" INFO maestro::access: id=\"r-1\" method=POST text="), "{line}");
    }

    /// Writes into memory, once it may.
    struct Slow(Arc<Mutex<Vec<u8>>>);

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn nobody_waits_and_what_is_dropped_is_counted() {
        let written = Arc::new(Mutex::new(Vec::new()));
        let mut queue = Queue::start(Slow(Arc::clone(&written))).unwrap();
        queue.write_all(b"first\n").unwrap();
        queue.flush();
        assert_eq!(*written.lock().unwrap(), b"first\n");
        let held = written.lock().unwrap();
        let count = LINES + 20_000;
        // The writer hangs at its first full buffer; none of these calls does.
        for _ in 0..count {
            queue.write_all(b"more\n").unwrap();
        }
        drop(held);
        queue.flush();
        let mut said = String::from_utf8(written.lock().unwrap().clone()).unwrap();
        while !said.contains("were dropped") {
            queue.flush();
            said = String::from_utf8(written.lock().unwrap().clone()).unwrap();
        }
        let kept = said.matches("more\n").count();
        let told = said
            .lines()
            .filter_map(|line| {
                line.strip_prefix("warning: ")?.split(' ').next()?.parse::<usize>().ok()
            })
            .sum::<usize>();
        assert_eq!(kept + told, count, "each line is written or counted");
        assert!(kept >= LINES);
    }
}
