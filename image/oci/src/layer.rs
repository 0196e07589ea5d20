//! The pipeline of one layer: read and verify, decompress and verify, unpack, each in a thread of its own, nothing stored between.

use std::cell::RefCell;
use std::io::Read;
use std::os::fd::OwnedFd;

use crate::decompress::{self, Compression};
use crate::digest::{Digest, Hasher};
use crate::error::{Context, Error, Result};
use crate::pipe::{PipeReader, Writer, pipe};
use crate::recipe::Recorder;
use crate::unpack::{Budget, DevicePolicy, Report, unpack_recorded};

/// How much of a stream is still read, for its digest, after unpacking has failed.
const LINGER: u64 = 16 << 20;

/// What a compressed stream must be.
#[derive(Clone, Copy)]
pub(crate) struct Expected<'a> {
    pub digest: &'a Digest,
    pub size: u64,
}

/// Unpack the stream into `dir`; gives the digest (its `diff_id`) and the length of the uncompressed archive.
///
/// # Errors
/// Of the first stage that failed: transport and the stream's own digest before decompression before unpacking.
pub(crate) fn unpack_stream(
    source: &mut (dyn Read + Send),
    expected: Option<Expected<'_>>,
    dir: OwnedFd,
    devices: DevicePolicy,
    budget: &Budget,
    recorder: &RefCell<Recorder<'_>>,
) -> Result<(Digest, u64, Report)> {
    let (raw_in, raw_out) = pipe();
    let (plain_in, plain_out) = pipe();
    std::thread::scope(|scope| {
        let download = scope.spawn(move || verify(source, expected, raw_in));
        let known = expected.map(|expected| expected.digest);
        let inflate = scope.spawn(move || inflate(raw_out, known, plain_in, budget));
        let unpacked = unpack_recorded(plain_out, dir, devices, budget, Some(recorder));
        let inflated = joined(inflate.join());
        joined(download.join())?;
        let (diff_id, length) = inflated?;
        unpacked.map(|report| (diff_id, length, report))
    })
}

/// A thread that panicked met a bug, not a reason to take the process down.
fn joined<T>(result: std::thread::Result<Result<T>>) -> Result<T> {
    result.unwrap_or_else(|_| Err(Error::Archive("internal error while reading it".into())))
}

fn verify(source: &mut (dyn Read + Send), expected: Option<Expected<'_>>, out: Writer) -> Result<()> {
    let mut hasher = Hasher::default();
    let mut size = 0u64;
    let copied = out.copy(source, LINGER, |piece| {
        let Some(expected) = expected else { return Ok(()) };
        size += piece.len() as u64;
        if size > expected.size || (piece.is_empty() && size < expected.size) {
            let actual = if piece.is_empty() { format!("got {size}") } else { "got more".into() };
            let what = format!("layer {}", expected.digest.short());
            return Err(Error::SizeMismatch { what, expected: expected.size, actual }.into_io());
        }
        hasher.update(piece);
        if !piece.is_empty() {
            return Ok(());
        }
        let actual = std::mem::take(&mut hasher).finish();
        if actual == *expected.digest {
            return Ok(());
        }
        let what = format!("layer {}", expected.digest.short());
        Err(Error::DigestMismatch { what, expected: expected.digest.clone(), actual }.into_io())
    });
    copied.map(drop).doing(|| "reading the layer".into())
}

fn inflate(source: PipeReader, known: Option<&Digest>, out: Writer, budget: &Budget) -> Result<(Digest, u64)> {
    let reading = || "decompressing the layer".to_owned();
    let (compression, mut reader) = decompress::reader(source).doing(reading)?;
    // An uncompressed stream has been hashed already.
    let known = known.filter(|_| compression == Compression::Plain);
    let mut hasher = Hasher::default();
    let mut length = 0u64;
    let copied = out.copy(&mut *reader, 0, |piece| {
        length += piece.len() as u64;
        budget.stream(piece.len() as u64).map_err(Error::into_io)?;
        if known.is_none() {
            hasher.update(piece);
        }
        Ok(())
    });
    // If unpacking stopped early the digest is not the layer's; the error of unpacking is what counts then.
    copied.doing(reading)?;
    Ok((known.cloned().unwrap_or_else(|| hasher.finish()), length))
}
