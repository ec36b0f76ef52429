//! Opens a log, which is a file or standard input, optionally compressed with gzip, and reads it in lines of bounded length.

use std::{
    cell::Cell,
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::Path,
    rc::Rc,
};

use flate2::bufread::MultiGzDecoder;

/// Maximum length of a line in bytes. Servers limit request headers to far less.
pub const MAX_LINE_BYTES: usize = 64 * 1024;

/// Number of bytes from which the format is detected.
const HEAD_BYTES: usize = 256 * 1024;

/// Decompressed size in bytes up to which the compression ratio is not checked.
const MIN_CHECKED_BYTES: u64 = 64 * 1024 * 1024;

/// Maximum compression ratio of data that decompresses to more than [`MIN_CHECKED_BYTES`]. Logs typically compress by a factor of a few
/// tens; the maximum that gzip can reach is 1,032.
const MAX_RATIO: u64 = 400;

/// The magic number of gzip files.
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// A source of log lines, from which the first bytes have already been read.
pub struct Input {
    /// The first [`HEAD_BYTES`] bytes, from which the format is detected.
    pub head: Vec<u8>,
    rest: Box<dyn Read>,
}

impl Input {
    /// Opens a file; `-` is standard input.
    ///
    /// # Errors
    /// Returns the file system's error.
    pub fn open(path: &Path) -> io::Result<Self> {
        if path == Path::new("-") {
            return Self::of(io::stdin());
        }
        let file = File::open(path)?;
        if file.metadata()?.is_dir() {
            return Err(io::Error::from(io::ErrorKind::IsADirectory));
        }
        Self::of(file)
    }

    /// Reads the beginning of the source, decompressing it if necessary.
    ///
    /// # Errors
    /// Returns the source's error if it fails before the first byte.
    pub fn of(mut source: impl Read + 'static) -> io::Result<Self> {
        let mut start = Vec::new();
        source.by_ref().take(GZIP_MAGIC.len() as u64).read_to_end(&mut start)?;
        let is_compressed = start == GZIP_MAGIC;
        let whole = io::Cursor::new(start).chain(source);
        let mut rest: Box<dyn Read> = if is_compressed {
            Box::new(GzipReader::new(whole))
        } else {
            Box::new(whole)
        };
        let mut head = Vec::new();
        // If reading fails after the first bytes, return these bytes first and the error after them.
        let failed = rest.by_ref().take(HEAD_BYTES as u64).read_to_end(&mut head).err();
        match failed {
            Some(error) if head.is_empty() => Err(error),
            Some(error) => Ok(Self {
                head,
                rest: Box::new(FailingReader(Some(error))),
            }),
            None => Ok(Self { head, rest }),
        }
    }

    /// Returns the complete content, including the head.
    pub fn reader(self) -> impl BufRead {
        BufReader::with_capacity(MAX_LINE_BYTES, io::Cursor::new(self.head).chain(self.rest))
    }
}

/// A reader that returns its error on the first read, and nothing afterwards.
struct FailingReader(Option<io::Error>);

impl Read for FailingReader {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        self.0.take().map_or(Ok(0), Err)
    }
}

/// Decompresses gzip data, and fails if the compression ratio is too high.
struct GzipReader<R> {
    decoder: MultiGzDecoder<BufReader<CountingReader<R>>>,
    compressed: Rc<Cell<u64>>,
    unpacked: u64,
}

struct CountingReader<R> {
    source: R,
    read: Rc<Cell<u64>>,
}

impl<R: Read> Read for CountingReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read(buffer)?;
        self.read.set(self.read.get() + read as u64);
        Ok(read)
    }
}

impl<R: Read> GzipReader<R> {
    fn new(source: R) -> Self {
        let compressed = Rc::new(Cell::new(0));
        let read = Rc::clone(&compressed);
        Self {
            decoder: MultiGzDecoder::new(BufReader::new(CountingReader { source, read })),
            compressed,
            unpacked: 0,
        }
    }
}

impl<R: Read> Read for GzipReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.decoder.read(buffer)?;
        self.unpacked += read as u64;
        if self.unpacked > MIN_CHECKED_BYTES && self.unpacked / MAX_RATIO > self.compressed.get() {
            return Err(io::Error::other(format!(
                "the compressed data expands to more than {MAX_RATIO} times its size"
            )));
        }
        Ok(read)
    }
}

/// Reads the next line into `line`, without its line ending. Returns false at the end of the source. A line longer than [`MAX_LINE_BYTES`]
/// is truncated, and `is_cut` is set.
///
/// # Errors
/// Returns the source's error.
pub fn next_line(source: &mut impl BufRead, line: &mut Vec<u8>, is_cut: &mut bool) -> io::Result<bool> {
    line.clear();
    *is_cut = false;
    let mut any = false;
    loop {
        let available = match source.fill_buf() {
            Ok(available) => available,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if available.is_empty() {
            return Ok(any);
        }
        any = true;
        let end = available.iter().position(|byte| *byte == b'\n');
        let chunk = &available[..end.unwrap_or(available.len())];
        let space = MAX_LINE_BYTES - line.len();
        *is_cut |= chunk.len() > space;
        line.extend_from_slice(&chunk[..chunk.len().min(space)]);
        let used = chunk.len() + usize::from(end.is_some());
        source.consume(used);
        if end.is_some() {
            if line.last() == Some(&b'\r') {
                line.pop();
            }
            return Ok(true);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::{Compression, write::GzEncoder};
    use proptest::prelude::*;

    use super::*;

    fn compressed(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(text).expect("memory takes it");
        encoder.finish().expect("memory takes it")
    }

    fn lines(source: Vec<u8>) -> io::Result<Vec<(usize, bool)>> {
        let mut reader = Input::of(io::Cursor::new(source))?.reader();
        let (mut line, mut is_cut, mut lines) = (Vec::new(), false, Vec::new());
        while next_line(&mut reader, &mut line, &mut is_cut)? {
            lines.push((line.len(), is_cut));
        }
        Ok(lines)
    }

    #[test]
    fn truncates_long_lines() {
        let text = [b"one\r\n".as_slice(), &vec![b'x'; 3 * MAX_LINE_BYTES], b"\n\nlast"].concat();
        let found = [(3, false), (MAX_LINE_BYTES, true), (0, false), (4, false)];
        assert_eq!(lines(text.clone()).expect("it is read"), found);
        assert_eq!(lines(compressed(&text)).expect("it is read"), found);
        assert_eq!(
            lines([compressed(b"a\n"), compressed(b"bc\n")].concat()).expect("it is read"),
            [(1, false), (2, false)]
        );
        assert_eq!(lines(Vec::new()).expect("it is read"), []);
    }

    #[test]
    fn rejects_decompression_bombs() {
        let bomb = compressed(&vec![0; 200 * 1024 * 1024]);
        assert!(bomb.len() < 1024 * 1024);
        let refused = lines(bomb).expect_err("it is refused");
        assert!(refused.to_string().contains("400 times"), "{refused}");
    }

    #[test]
    fn keeps_lines_before_a_decompression_error() {
        let whole = compressed(b"one\ntwo\n");
        let broken = &whole[..whole.len() - 4];
        let mut reader = Input::of(io::Cursor::new(broken.to_vec())).expect("it begins").reader();
        let (mut line, mut is_cut) = (Vec::new(), false);
        assert!(next_line(&mut reader, &mut line, &mut is_cut).expect("a line"));
        assert_eq!(line, b"one");
        assert!(next_line(&mut reader, &mut line, &mut is_cut).expect("a line"));
        assert!(next_line(&mut reader, &mut line, &mut is_cut).is_err());
    }

    proptest! {
        #[test]
        fn limits_line_length(text in proptest::collection::vec(any::<u8>(), 0..2000)) {
            if let Ok(lines) = lines(text) {
                prop_assert!(lines.iter().all(|(length, _)| *length <= MAX_LINE_BYTES));
            }
        }
    }
}
