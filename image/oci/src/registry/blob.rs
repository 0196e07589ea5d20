//! A blob as a stream that survives the connections that carry it.

use std::io::{self, Read};

use ureq::BodyReader;

use super::Client;
use crate::digest::Digest;
use crate::error::{Error, Result};

/// After this much progress a connection that breaks has its retries back.
const PROGRESS: u64 = 1 << 20;

/// Reads exactly the blob's bytes from an offset on; reconnects where it was when a connection breaks or stalls.
pub(crate) struct BlobReader<'a> {
    client: &'a Client,
    digest: &'a Digest,
    size: u64,
    offset: u64,
    body: Option<BodyReader<'static>>,
    tries: u32,
    progress: u64,
    retrying: Box<dyn FnMut(&Error) + Send + 'a>,
}

impl<'a> BlobReader<'a> {
    /// A blob of `size` bytes from `offset` on; `retrying` hears of each reconnection.
    pub(crate) fn new(
        client: &'a Client,
        digest: &'a Digest,
        size: u64,
        offset: u64,
        retrying: impl FnMut(&Error) + Send + 'a,
    ) -> Self {
        BlobReader { client, digest, size, offset, body: None, tries: 0, progress: 0, retrying: Box::new(retrying) }
    }

    fn connect(&mut self) -> Result<BodyReader<'static>> {
        let path = format!("blobs/{}", self.digest);
        let response = self.client.get(&path, None, self.offset)?;
        let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
        let wrong = |reason: String| Error::Protocol { url: path.clone(), reason };
        let is_partial = response.status().as_u16() == 206;
        if is_partial {
            let range = header("content-range").unwrap_or("");
            if !range.starts_with(&format!("bytes {}-", self.offset)) {
                return Err(wrong(format!("asked for bytes from {} on, the registry sent {range:?}", self.offset)));
            }
        }
        let wanted = if is_partial { self.size - self.offset } else { self.size };
        let length = header("content-length").and_then(|value| value.parse::<u64>().ok());
        if let Some(length) = length
            && length != wanted
        {
            let actual = format!("the registry sends {length}");
            return Err(Error::SizeMismatch {
                what: format!("blob {}", self.digest.short()),
                expected: wanted,
                actual,
            });
        }
        let mut body = response.into_body().into_reader();
        if !is_partial && self.offset > 0 {
            // The server knows no ranges: pass over what is there already.
            let skipped = io::copy(&mut (&mut body).take(self.offset), &mut io::sink());
            if skipped.map_err(|error| self.broken(error))? < self.offset {
                return Err(self.broken(io::ErrorKind::UnexpectedEof.into()));
            }
        }
        Ok(body)
    }

    fn broken(&self, error: io::Error) -> Error {
        let url = format!("blob {} at byte {} of {}", self.digest.short(), self.offset, self.size);
        Error::Request { url, source: Box::new(ureq::Error::from(error)) }
    }

    fn try_read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        if self.body.is_none() {
            self.body = Some(self.connect()?);
        }
        let left = usize::try_from(self.size - self.offset).unwrap_or(usize::MAX);
        let length = buffer.len().min(left);
        let Some(body) = self.body.as_mut() else { return Ok(0) };
        match body.read(&mut buffer[..length]) {
            Ok(0) => Err(self.broken(io::Error::new(io::ErrorKind::UnexpectedEof, "the connection was closed early"))),
            Ok(length) => Ok(length),
            Err(error) => Err(self.broken(error)),
        }
    }
}

impl Read for BlobReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.offset < self.size && !buffer.is_empty() {
            match self.try_read(buffer) {
                Ok(length) => {
                    self.offset += length as u64;
                    self.progress += length as u64;
                    if self.progress >= PROGRESS {
                        (self.tries, self.progress) = (0, 0);
                    }
                    return Ok(length);
                }
                Err(error) if error.is_transient() && self.tries < self.client.options.retries => {
                    (self.retrying)(&error);
                    self.body = None;
                    self.client.pause(self.tries);
                    self.tries += 1;
                }
                Err(error) => return Err(error.into_io()),
            }
        }
        Ok(0)
    }
}
