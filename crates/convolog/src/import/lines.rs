//! The lines of a file, read on a thread of their own: bounded in length and in what waits to be stored.

use std::io::{self, BufRead};
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::line::{Conversation, LineError, MAX_LINE, parse, too_long};

/// Bytes of lines that are read and not yet stored; parsed they take a small multiple of it.
pub const MAX_WAITING_BYTES: usize = 32 * 1024 * 1024;
/// Lines that are read and not yet taken.
const MAX_WAITING_LINES: usize = 256;
/// What [`MAX_WAITING_BYTES`] is counted in.
const UNIT: usize = 1024;

/// A line that was read, as what it says.
pub struct Read<T> {
    /// Its number, from 1.
    pub number: u64,
    /// Bytes of the file up to its end.
    pub offset: u64,
    /// What it says.
    pub parsed: Result<T, LineError>,
    /// Its share of [`MAX_WAITING_BYTES`], given back when dropped.
    pub share: Option<OwnedSemaphorePermit>,
}

/// What is read, in its order; a file that can't be read on ends with its error.
pub type Lines<T> = mpsc::Receiver<io::Result<Read<T>>>;

/// Reads conversations to the end, or until nobody listens any more.
pub fn read(source: impl BufRead + Send + 'static) -> Lines<Conversation> {
    read_with(source, parse)
}

/// The same for lines of another kind.
pub(super) fn read_with<T: Send + 'static>(
    source: impl BufRead + Send + 'static,
    mut parse: impl FnMut(&[u8]) -> Result<T, LineError> + Send + 'static,
) -> Lines<T> {
    let mut lines = Cut::new(source);
    on_a_thread(move |outlet| {
        while let Some(line) = lines.next()? {
            let bytes = line.map_or(0, <[u8]>::len);
            let parsed = line.map_or_else(|| Err(too_long()), &mut parse);
            if !outlet.send(lines.number, lines.offset, bytes, parsed) {
                break;
            }
        }
        Ok(())
    })
}

/// Where a reading thread leaves what it has read.
pub(super) struct Outlet<T> {
    lines: mpsc::Sender<io::Result<Read<T>>>,
    room: Arc<Semaphore>,
    runtime: tokio::runtime::Handle,
}

impl<T> Outlet<T> {
    /// Waits until there is room for so many bytes; `false` when nobody listens any more.
    pub(super) fn send(&self, number: u64, offset: u64, bytes: usize, parsed: Result<T, LineError>) -> bool {
        let units = u32::try_from(bytes / UNIT + 1).unwrap_or(1);
        let share = self.runtime.block_on(Arc::clone(&self.room).acquire_many_owned(units)).ok();
        self.lines.blocking_send(Ok(Read { number, offset, parsed, share })).is_ok()
    }
}

/// Runs a reader that blocks.
pub(super) fn on_a_thread<T: Send + 'static>(
    read: impl FnOnce(&Outlet<T>) -> io::Result<()> + Send + 'static,
) -> Lines<T> {
    let (lines, receiver) = mpsc::channel(MAX_WAITING_LINES);
    let room = Arc::new(Semaphore::new(MAX_WAITING_BYTES / UNIT));
    let outlet = Outlet { lines, room, runtime: tokio::runtime::Handle::current() };
    // Not one of the runtime's threads: those are waited for at the end, and standard input may never end.
    std::thread::spawn(move || {
        if let Err(error) = read(&outlet) {
            let _ = outlet.lines.blocking_send(Err(error));
        }
    });
    receiver
}

/// Cuts a source into lines, of which one at a time is in memory, and never more than [`MAX_LINE`] of it.
struct Cut<S> {
    source: S,
    line: Vec<u8>,
    number: u64,
    offset: u64,
}

impl<S: BufRead> Cut<S> {
    fn new(source: S) -> Self {
        Self { source, line: Vec::new(), number: 0, offset: 0 }
    }

    /// The next line without its end: `Some(None)` for one that is too long, `None` at the end.
    fn next(&mut self) -> io::Result<Option<Option<&[u8]>>> {
        // A line of 8 MiB is rare: its memory is not kept.
        self.line = Vec::new();
        let (mut begun, mut too_long) = (false, false);
        loop {
            let part = match self.source.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                part => part?,
            };
            if part.is_empty() && !begun {
                return Ok(None);
            }
            begun = true;
            let end = part.iter().position(|byte| *byte == b'\n');
            let content = &part[..end.unwrap_or(part.len())];
            // The carriage return of an end of line is not counted.
            too_long |= self.line.len() + content.len() > MAX_LINE + 1;
            if !too_long {
                self.line.extend_from_slice(content);
            }
            let taken = content.len() + usize::from(end.is_some());
            let ended = end.is_some() || part.is_empty();
            self.source.consume(taken);
            self.offset += taken as u64;
            if ended {
                break;
            }
        }
        self.number += 1;
        let line = self.line.strip_suffix(b"\r").unwrap_or(&self.line);
        // Some editors put a byte order mark at the beginning of a file.
        let line = line.strip_prefix(b"\xef\xbb\xbf").filter(|_| self.number == 1).unwrap_or(line);
        Ok(Some((!too_long && line.len() <= MAX_LINE).then_some(line)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(source: &[u8]) -> Vec<Option<Vec<u8>>> {
        // A small buffer, so that lines go over its end.
        let mut lines = Cut::new(io::BufReader::with_capacity(7, source));
        let mut all = Vec::new();
        while let Some(line) = lines.next().unwrap() {
            all.push(line.map(<[u8]>::to_vec));
        }
        assert_eq!((lines.number, lines.offset), (all.len() as u64, source.len() as u64));
        all
    }

    fn text(line: &str) -> Option<Vec<u8>> {
        Some(line.as_bytes().to_vec())
    }

    #[test]
    fn lines_end_with_a_line_feed_a_carriage_return_too_or_the_file() {
        assert_eq!(lines(b""), []);
        assert_eq!(lines(b"a much longer line\r\n\nb"), [text("a much longer line"), text(""), text("b")]);
        assert_eq!(lines(b"a\n"), [text("a")]);
    }

    #[test]
    fn a_byte_order_mark_is_taken_from_the_beginning_of_the_file_only() {
        assert_eq!(lines("\u{feff}a\n\u{feff}b".as_bytes()), [text("a"), text("\u{feff}b")]);
    }

    #[test]
    fn a_line_that_is_too_long_is_skipped_without_being_held_in_memory() {
        let source = [&vec![b'x'; MAX_LINE][..], b"\r\n", &vec![b'y'; MAX_LINE + 1], b"\nz\n"].concat();
        let mut all = lines(&source);
        assert_eq!(all.remove(0).map(|line| line.len()), Some(MAX_LINE));
        assert_eq!(all, [None, text("z")]);

        let mut endless = Cut::new(io::BufReader::new(io::Read::take(io::repeat(b'x'), 4 * MAX_LINE as u64)));
        assert_eq!(endless.next().unwrap(), Some(None));
        assert!(endless.line.capacity() <= 2 * MAX_LINE, "{}", endless.line.capacity());
    }
}
