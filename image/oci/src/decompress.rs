//! What a layer is compressed with is told by its first bytes, as containerd does it: media types lie, digests do not.

use std::io::{self, BufRead, Read};

use flate2::bufread::MultiGzDecoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

/// Largest zstd window that is accepted: what `zstd --long` makes by default (RFC 8878 asks decoders for 8 MiB at least).
const ZSTD_WINDOW_MAX: u64 = 128 << 20;

/// Compression of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// None.
    Plain,
    /// RFC 1952, any number of members.
    Gzip,
    /// RFC 8878, any number of frames.
    Zstd,
}

impl Compression {
    /// Tell it from the first bytes.
    pub fn detect(head: &[u8]) -> Compression {
        match head {
            [0x1f, 0x8b, ..] => Compression::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Compression::Zstd,
            // A skippable frame may come before the data (RFC 8878, 3.1.2).
            [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Compression::Zstd,
            _ => Compression::Plain,
        }
    }
}

/// Read `source` uncompressed, whatever it is compressed with.
///
/// # Errors
/// If the first bytes cannot be read.
pub fn reader<'a, R: BufRead + Send + 'a>(mut source: R) -> io::Result<(Compression, Box<dyn Read + Send + 'a>)> {
    let compression = Compression::detect(source.fill_buf()?);
    let reader: Box<dyn Read + Send + 'a> = match compression {
        Compression::Plain => Box::new(source),
        Compression::Gzip => Box::new(Gzip(MultiGzDecoder::new(source))),
        Compression::Zstd => Box::new(Zstd::new(source)),
    };
    Ok((compression, reader))
}

struct Gzip<R>(MultiGzDecoder<R>);

impl<R: BufRead> Read for Gzip<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => io::Error::new(error.kind(), "gzip stream is truncated"),
            io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => {
                io::Error::new(error.kind(), format!("gzip stream is damaged, or followed by garbage: {error}"))
            }
            _ => error,
        })
    }
}

/// All frames of a zstd stream, one after the other.
struct Zstd<R> {
    source: R,
    decoder: FrameDecoder,
    in_frame: bool,
}

impl<R: BufRead> Zstd<R> {
    fn new(source: R) -> Self {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(ZSTD_WINDOW_MAX);
        Zstd { source, decoder, in_frame: false }
    }

    /// Begin the next frame, or pass over a skippable one.
    fn open_frame(&mut self) -> io::Result<()> {
        match self.decoder.init(&mut self.source) {
            Ok(()) => self.in_frame = true,
            Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame { length, .. })) => {
                let length = u64::from(length);
                if io::copy(&mut (&mut self.source).take(length), &mut io::sink())? < length {
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "zstd stream is truncated"));
                }
            }
            Err(error) => return Err(damaged(&error)),
        }
        Ok(())
    }

    fn close_frame(&mut self) -> io::Result<()> {
        self.in_frame = false;
        match (self.decoder.get_checksum_from_data(), self.decoder.get_calculated_checksum()) {
            (Some(wanted), Some(calculated)) if wanted != calculated => {
                Err(io::Error::new(io::ErrorKind::InvalidData, "zstd frame does not match its checksum"))
            }
            _ => Ok(()),
        }
    }
}

impl<R: BufRead> Read for Zstd<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while !buffer.is_empty() {
            if !self.in_frame {
                if self.source.fill_buf()?.is_empty() {
                    break;
                }
                self.open_frame()?;
                continue;
            }
            while self.decoder.can_collect() == 0 && !self.decoder.is_finished() {
                let step = BlockDecodingStrategy::UptoBlocks(1);
                self.decoder.decode_blocks(&mut self.source, step).map_err(|error| damaged(&error))?;
            }
            let length = self.decoder.read(buffer)?;
            if length > 0 {
                return Ok(length);
            }
            self.close_frame()?;
        }
        Ok(0)
    }
}

fn damaged(error: &FrameDecoderError) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("zstd stream is damaged, truncated or followed by garbage: {error}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn gzip(data: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(data: &[u8]) -> Vec<u8> {
        ruzstd::encoding::compress_to_vec(data, ruzstd::encoding::CompressionLevel::Fastest)
    }

    fn read(data: &[u8]) -> io::Result<(Compression, Vec<u8>)> {
        let (compression, mut reader) = reader(data)?;
        let mut out = Vec::new();
        reader.read_to_end(&mut out).map(|_| (compression, out))
    }

    #[test]
    fn each_kind_and_several_members() {
        let data: Vec<u8> = (0..500_000u32).map(|n| (n / 7) as u8).collect();
        assert_eq!(read(&data).unwrap(), (Compression::Plain, data.clone()));
        let twice = [data.clone(), data.clone()].concat();
        assert!(read(&[gzip(&data), gzip(&data)].concat()).unwrap() == (Compression::Gzip, twice.clone()));
        let skippable = [0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3];
        let frames = [&skippable[..], &zstd(&data), &skippable, &zstd(&data)].concat();
        assert!(read(&frames).unwrap() == (Compression::Zstd, twice));
        assert_eq!(read(b"").unwrap(), (Compression::Plain, Vec::new()));
    }

    #[test]
    fn damage_is_an_error() {
        let data: Vec<u8> = (0..100_000u32).map(|n| (n.wrapping_mul(n) / 5) as u8).collect();
        // Three bytes are the beginning of gzip, but not yet the magic number of zstd: that is told only from four on.
        assert!(read(&gzip(&data)[..3]).is_err());
        for whole in [gzip(&data), zstd(&data)] {
            for cut in [4, 5, 20, whole.len() / 2, whole.len() - 1] {
                assert!(read(&whole[..cut]).is_err(), "cut at {cut}");
            }
            assert!(read(&[&whole[..], b"garbage"].concat()).is_err());
        }
    }
}
