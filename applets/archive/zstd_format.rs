//! Compressing to zstd (RFC 8878). The encoder knows one level, about zstd's -1, and pulls from a reader; here it is fed: what was
//! written becomes frames of a few mebibytes, which stand one after the other as the format has it.

use std::io::{self, Write};

use ruzstd::encoding::{CompressionLevel, compress_to_vec};

/// Bytes of a frame before compression. A frame begins with no memory of the one before: larger ones compress better, and cost as
/// much memory.
const FRAME: usize = 4 << 20;

/// Compresses what is written to it.
pub struct Encoder<W: Write> {
    out: W,
    frame: Vec<u8>,
    any: bool,
}

impl<W: Write> Encoder<W> {
    /// An encoder that writes to `out`.
    pub fn new(out: W) -> Self {
        Self { out, frame: Vec::new(), any: false }
    }

    /// Write the last frame; an empty input has an empty one.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn finish(mut self) -> io::Result<W> {
        if !self.frame.is_empty() || !self.any {
            self.write_frame()?;
        }
        self.out.flush()?;
        Ok(self.out)
    }

    fn write_frame(&mut self) -> io::Result<()> {
        self.any = true;
        // From memory to memory: nothing that could fail is within the encoder, which knows no errors.
        self.out.write_all(&compress_to_vec(self.frame.as_slice(), CompressionLevel::Fastest))?;
        self.frame.clear();
        Ok(())
    }
}

impl<W: Write> Write for Encoder<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(FRAME - self.frame.len());
        self.frame.extend_from_slice(&bytes[..taken]);
        if self.frame.len() == FRAME {
            self.write_frame()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn what_is_written_is_read() {
        let text: Vec<u8> = (0..9_000_000u32).map(|n| (n / 3 % 251) as u8).collect();
        for data in [&text[..], &text[..FRAME], b"", b"x"] {
            let mut encoder = Encoder::new(Vec::new());
            encoder.write_all(data).unwrap();
            let packed = encoder.finish().unwrap();
            assert!(!packed.is_empty());
            let mut back = Vec::new();
            let (_, mut reader) = coracle_image_oci::decompress::reader(packed.as_slice()).unwrap();
            reader.read_to_end(&mut back).unwrap();
            assert!(back == data);
        }
    }
}
