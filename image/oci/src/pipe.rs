//! A bounded pipe between the threads of a layer's pipeline: download, decompress and unpack run at the same time.
//!
//! Buffers travel to the reader and come back for reuse, so a layer of any size costs [`DEPTH`] buffers.

use std::io::{self, BufRead, Read};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

/// Size of a buffer: large enough that handing it over costs nothing beside filling it.
pub(crate) const BUFFER: usize = 256 << 10;
const DEPTH: usize = 6;

enum Message {
    Data(Vec<u8>),
    /// The regular end; a pipe whose writer vanishes without it was cut off.
    End,
}

/// The end that is filled.
pub(crate) struct Writer {
    full: SyncSender<Message>,
    empty: Receiver<Vec<u8>>,
}

/// The end that is read.
pub(crate) struct PipeReader {
    full: Receiver<Message>,
    empty: Sender<Vec<u8>>,
    buffer: Vec<u8>,
    position: usize,
    ended: bool,
}

/// Make a pipe.
pub(crate) fn pipe() -> (Writer, PipeReader) {
    let (full_sender, full_receiver) = sync_channel(DEPTH);
    let (empty_sender, empty_receiver) = channel();
    (
        Writer { full: full_sender, empty: empty_receiver },
        PipeReader { full: full_receiver, empty: empty_sender, buffer: Vec::new(), position: 0, ended: false },
    )
}

impl Writer {
    /// Copy `source` to its end into the pipe, showing each piece to `observe` first, the last time an empty one at the end.
    /// Gives false if the reader went away: it has met an error of its own. Up to `linger` more bytes are read and shown all the
    /// same then: if what was damaged came damaged, the digest says so and is the better message.
    ///
    /// # Errors
    /// Of the source or of `observe`; the reader then finds the stream cut off.
    pub(crate) fn copy(
        self,
        source: &mut dyn Read,
        mut linger: u64,
        mut observe: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<bool> {
        let mut lost = false;
        loop {
            let mut buffer = self.take();
            buffer.resize(BUFFER, 0);
            let length = fill(source, &mut buffer)?;
            buffer.truncate(length);
            observe(&buffer)?;
            let last = buffer.is_empty();
            if lost {
                linger = linger.saturating_sub(buffer.len() as u64);
            } else {
                let message = if last { Message::End } else { Message::Data(buffer) };
                lost = self.full.send(message).is_err();
            }
            if last || (lost && linger == 0) {
                return Ok(!lost);
            }
        }
    }

    /// A buffer that came back, or a new one. Never more than fit in the pipe and the two ends' hands.
    fn take(&self) -> Vec<u8> {
        self.empty.try_recv().unwrap_or_default()
    }
}

/// Fill the buffer unless the source ends: fewer and larger pieces.
pub(crate) fn fill(source: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match source.read(&mut buffer[length..]) {
            Ok(0) => break,
            Ok(n) => length += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}

impl BufRead for PipeReader {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.position == self.buffer.len() && !self.ended {
            let used = std::mem::take(&mut self.buffer);
            if used.capacity() > 0 {
                let _ = self.empty.send(used);
            }
            self.position = 0;
            match self.full.recv() {
                Ok(Message::Data(buffer)) => self.buffer = buffer,
                Ok(Message::End) => self.ended = true,
                Err(_) => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the stream was cut off")),
            }
        }
        Ok(&self.buffer[self.position..])
    }

    fn consume(&mut self, amount: usize) {
        self.position = (self.position + amount).min(self.buffer.len());
    }
}

impl Read for PipeReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let length = available.len().min(out.len());
        out[..length].copy_from_slice(&available[..length]);
        self.consume(length);
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_arrives_in_order() {
        let data: Vec<u8> = (0..3_000_000u32).map(|n| n as u8).collect();
        let (writer, mut reader) = pipe();
        std::thread::scope(|scope| {
            scope.spawn(|| writer.copy(&mut &data[..], 0, |_| Ok(())).unwrap());
            let mut got = Vec::new();
            reader.read_to_end(&mut got).unwrap();
            assert!(got == data);
        });
    }

    #[test]
    fn an_error_and_a_lost_writer_arrive() {
        let (writer, mut reader) = pipe();
        assert_eq!(writer.copy(&mut &b"x"[..], 0, |_| Err(io::Error::other("no"))).unwrap_err().to_string(), "no");
        assert_eq!(reader.read(&mut [0]).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        let (writer, mut reader) = pipe();
        drop(writer);
        assert_eq!(reader.read(&mut [0]).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn a_lost_reader_stops_the_writer() {
        let (writer, reader) = pipe();
        drop(reader);
        assert!(!writer.copy(&mut io::repeat(7), 1 << 20, |_| Ok(())).unwrap());
    }
}
