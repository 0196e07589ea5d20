//! Putting blobs and manifests into a registry (distribution-spec v1.1, "Push").

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

use ureq::http::{Method, Request, Response, StatusCode};
use ureq::{Body, SendBody};

use super::{Client, bare, origin};
use crate::digest::Digest;
use crate::error::{Error, Result};

/// What is sent.
#[derive(Clone, Copy)]
pub(crate) enum Payload<'a> {
    /// Nothing.
    Empty,
    /// A document.
    Bytes(&'a [u8]),
    /// A file from an offset on; `sent` hears how much of it has been taken.
    File { file: &'a File, offset: u64, size: u64, sent: &'a (dyn Fn(u64) + Sync) },
}

impl Payload<'_> {
    fn length(&self) -> u64 {
        match self {
            Payload::Empty => 0,
            Payload::Bytes(bytes) => bytes.len() as u64,
            Payload::File { offset, size, .. } => size.saturating_sub(*offset),
        }
    }

    /// The rest, from an offset on.
    fn from(self, offset: u64) -> Self {
        match self {
            Payload::Empty => Payload::Empty,
            Payload::Bytes(bytes) => {
                Payload::Bytes(bytes.get(usize::try_from(offset).unwrap_or(usize::MAX)..).unwrap_or_default())
            }
            Payload::File { file, size, sent, .. } => Payload::File { file, offset, size, sent },
        }
    }
}

struct Outgoing<'a> {
    file: &'a File,
    offset: u64,
    size: u64,
    sent: &'a (dyn Fn(u64) + Sync),
}

impl Read for Outgoing<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = usize::try_from(self.size - self.offset).unwrap_or(usize::MAX).min(buffer.len());
        let read = self.file.read_at(&mut buffer[..length], self.offset)?;
        self.offset += read as u64;
        (self.sent)(self.offset);
        Ok(read)
    }
}

/// How a mount went.
pub(crate) enum Mount {
    /// The registry has taken the blob from the other repository.
    Done,
    /// It has not, and begun an upload instead.
    Upload(String),
}

impl Client {
    /// Whether the repository has a blob.
    pub(crate) fn has_blob(&self, digest: &Digest) -> Result<bool> {
        self.retry(|| {
            let url = self.url(&format!("blobs/{digest}"))?;
            let (url, response) = self.exchange(&Method::HEAD, &url, &[], Payload::Empty)?;
            match response.status() {
                StatusCode::OK => Ok(true),
                StatusCode::NOT_FOUND => Ok(false),
                _ => Err(self.refused(&url, "blobs", response)),
            }
        })
    }

    /// Ask for a blob of another repository of the registry.
    pub(crate) fn mount(&self, digest: &Digest, from: &str) -> Result<Mount> {
        self.retry(|| {
            let url = self.url(&format!("blobs/uploads/?mount={digest}&from={from}"))?;
            let (url, response) = self.exchange(&Method::POST, &url, &[], Payload::Empty)?;
            match response.status() {
                StatusCode::CREATED => Ok(Mount::Done),
                StatusCode::ACCEPTED => self.redirect(&url, response.headers(), 0).map(Mount::Upload),
                _ => Err(self.refused(&url, "blobs/uploads", response)),
            }
        })
    }

    /// Send a blob, on the upload that was begun or on a new one. What breaks off goes on where the registry is.
    pub(crate) fn put_blob(
        &self,
        digest: &Digest,
        payload: Payload<'_>,
        mut begun: Option<String>,
        retrying: &dyn Fn(&Error),
    ) -> Result<()> {
        let (mut tries, mut reached, mut fresh) = (0, 0, true);
        loop {
            let mut offset = 0;
            let error = match self.try_put(digest, payload, &mut begun, fresh, &mut offset) {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            // What the registry kept may be what is wrong.
            let useless = offset > 0 && matches!(error, Error::Status { status: 400..500, .. });
            if offset > reached {
                (reached, tries) = (offset, 0);
            }
            if !(error.is_transient() || useless) || tries >= self.options.retries {
                return Err(error);
            }
            retrying(&error);
            if useless {
                begun = None;
            }
            fresh = false;
            self.pause(tries);
            tries += 1;
        }
    }

    fn try_put(
        &self,
        digest: &Digest,
        payload: Payload<'_>,
        begun: &mut Option<String>,
        fresh: bool,
        offset: &mut u64,
    ) -> Result<()> {
        let mut url = match begun.take() {
            Some(url) if fresh => url,
            Some(url) => match self.upload_status(&url)? {
                Some((url, kept)) => {
                    *offset = kept.min(payload.length());
                    url
                }
                None => self.begin()?,
            },
            None => self.begin()?,
        };
        *begun = Some(url.clone());
        let kind = ("Content-Type", "application/octet-stream".to_owned());
        let mut rest = payload;
        if *offset > 0 {
            let range = format!("{offset}-{}", payload.length().saturating_sub(1));
            let headers = [kind.clone(), ("Content-Range", range)];
            let (at, response) = self.exchange(&Method::PATCH, &url, &headers, payload.from(*offset))?;
            if response.status() != StatusCode::ACCEPTED && response.status() != StatusCode::NO_CONTENT {
                return Err(self.refused(&at, "blobs/uploads", response));
            }
            url = self.redirect(&at, response.headers(), 0)?;
            rest = Payload::Empty;
        }
        let separator = if url.contains('?') { '&' } else { '?' };
        let (at, response) = self.exchange(&Method::PUT, &format!("{url}{separator}digest={digest}"), &[kind], rest)?;
        match response.status() {
            StatusCode::CREATED | StatusCode::NO_CONTENT => Ok(()),
            _ => Err(self.refused(&at, "blobs/uploads", response)),
        }
    }

    fn begin(&self) -> Result<String> {
        let url = self.url("blobs/uploads/")?;
        let (url, response) = self.exchange(&Method::POST, &url, &[], Payload::Empty)?;
        match response.status() {
            StatusCode::ACCEPTED => self.redirect(&url, response.headers(), 0),
            _ => Err(self.refused(&url, "blobs/uploads", response)),
        }
    }

    /// Where an upload goes on, and how much of it there is; `None` if it is gone.
    fn upload_status(&self, url: &str) -> Result<Option<(String, u64)>> {
        let (at, response) = self.exchange(&Method::GET, url, &[], Payload::Empty)?;
        if response.status() != StatusCode::NO_CONTENT {
            return Ok(None);
        }
        let range = response.headers().get("range").and_then(|value| value.to_str().ok()).unwrap_or("");
        // `0-0` is what registries say of an empty upload as well as of one byte.
        let last: u64 =
            range.trim_start_matches("bytes=").strip_prefix("0-").and_then(|end| end.parse().ok()).unwrap_or(0);
        let kept = if last == 0 { 0 } else { last + 1 };
        let next =
            if response.headers().contains_key("location") { self.redirect(&at, response.headers(), 0)? } else { at };
        // Begin anew rather than trust an empty one.
        Ok((kept > 0).then_some((next, kept)))
    }

    /// Put a manifest under a tag or its digest.
    pub(crate) fn put_manifest(&self, selector: &str, media_type: &str, bytes: &[u8]) -> Result<()> {
        self.retry(|| {
            let url = self.url(&format!("manifests/{selector}"))?;
            let headers = [("Content-Type", media_type.to_owned())];
            let (url, response) = self.exchange(&Method::PUT, &url, &headers, Payload::Bytes(bytes))?;
            if response.status() != StatusCode::CREATED && response.status() != StatusCode::OK {
                return Err(self.refused(&url, &format!("manifests/{selector}"), response));
            }
            let said = response.headers().get("docker-content-digest").and_then(|value| value.to_str().ok());
            match said.and_then(|said| said.parse::<Digest>().ok()) {
                Some(said) if said != Digest::of(bytes) => {
                    let what = format!("manifest {selector}, as the registry stored it");
                    Err(Error::DigestMismatch { what, expected: Digest::of(bytes), actual: said })
                }
                _ => Ok(()),
            }
        })
    }

    fn url(&self, path: &str) -> Result<String> {
        Ok(format!("{}/v2/{}/{path}", self.endpoint()?.base, self.repository))
    }

    /// One request, authenticated and redirected as needed: where it ended, and the answer, whatever its status.
    pub(super) fn exchange(
        &self,
        method: &Method,
        url: &str,
        headers: &[(&str, String)],
        payload: Payload<'_>,
    ) -> Result<(String, Response<Body>)> {
        let endpoint = self.endpoint()?;
        let mut url = url.to_owned();
        let (mut authenticated, mut redirects) = (false, 0);
        loop {
            let at_home = origin(&url) == origin(&endpoint.base);
            let authorization = if at_home { self.known_authorization() } else { None };
            let response = self.once(method, &url, headers, authorization.as_deref(), payload)?;
            match response.status().as_u16() {
                401 if at_home && !authenticated => {
                    self.authenticate(endpoint, response.headers())?;
                    authenticated = true;
                }
                301 | 302 | 303 | 307 | 308 => {
                    redirects += 1;
                    url = self.redirect(&url, response.headers(), redirects)?;
                }
                _ => return Ok((url, response)),
            }
        }
    }

    fn once(
        &self,
        method: &Method,
        url: &str,
        headers: &[(&str, String)],
        authorization: Option<&str>,
        payload: Payload<'_>,
    ) -> Result<Response<Body>> {
        let mut request = Request::builder().method(method).uri(url);
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        if let Some(authorization) = authorization {
            request = request.header("Authorization", authorization);
        }
        let agent = &self.endpoint()?.agent;
        let bad = |error: ureq::http::Error| Error::Protocol { url: bare(url), reason: error.to_string() };
        let failed = |source| Error::Request { url: bare(url), source: Box::new(source) };
        if matches!(*method, Method::GET | Method::HEAD) {
            return agent.run(request.body(()).map_err(bad)?).map_err(failed);
        }
        let length = payload.length();
        request = request.header("Content-Length", length);
        match payload {
            Payload::Empty => agent.run(request.body(&[][..]).map_err(bad)?),
            Payload::Bytes(bytes) => agent.run(request.body(bytes).map_err(bad)?),
            Payload::File { file, offset, size, sent } => {
                let mut source = Outgoing { file, offset, size, sent };
                agent.run(request.body(SendBody::from_reader(&mut source)).map_err(bad)?)
            }
        }
        .map_err(failed)
    }
}
