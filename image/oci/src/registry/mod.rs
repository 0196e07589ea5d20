//! A client of the OCI distribution API v2 (distribution-spec v1.1).
//!
//! The registry, its redirects and whatever is in between are not trusted: every answer is bounded in size and in time, and
//! what matters is verified by digest. Credentials go to the registry and its token service only, never along a redirect.

mod auth;
mod blob;
mod credentials;
mod login;
mod tags;
mod tls;
mod upload;

use std::collections::HashMap;
use std::io::Read;
use std::path::PathBuf;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use ureq::http::{HeaderMap, Response, StatusCode, Uri};
use ureq::{Agent, Body};

pub use auth::{Challenge, parse_challenges, read_token};
pub(crate) use blob::BlobReader;
pub use credentials::{Credentials, in_file as credentials_in_file};
pub use login::Server;
pub use tags::{next_page, read_tags};
pub(crate) use upload::{Mount, Payload};

use crate::digest::Digest;
use crate::error::{Context, Error, Result};
use crate::manifest::{ACCEPT, Descriptor, MANIFEST_MAX};
use crate::reference::Reference;

/// Most redirects of one request.
const REDIRECTS_MAX: usize = 5;
/// How much of an error answer is read.
const ERROR_MAX: u64 = 64 << 10;

/// How to talk to a registry.
#[derive(Clone, Debug)]
pub struct RegistryOptions {
    /// Demand HTTPS and a valid certificate. If not, as with podman's `--tls-verify=false`, any certificate will do and plain
    /// HTTP is tried when there is no HTTPS. The machine itself (`localhost`, loopback addresses) is always spoken to so.
    pub tls_verify: bool,
    /// Who to be, instead of what the auth files say.
    pub credentials: Option<Credentials>,
    /// Read this auth file instead of the usual ones.
    pub auth_file: Option<PathBuf>,
    /// A connection that brings nothing for so long is given up.
    pub stall_timeout: Duration,
    /// How often a request is tried again after a transport failure or an answer that the server is busy.
    pub retries: u32,
    /// The first pause before a retry; it doubles each time.
    pub backoff: Duration,
}

impl Default for RegistryOptions {
    /// Verified TLS, credentials from the usual files, 30 s, five retries from 250 ms on.
    fn default() -> Self {
        RegistryOptions {
            tls_verify: true,
            credentials: None,
            auth_file: None,
            stall_timeout: Duration::from_secs(30),
            retries: 5,
            backoff: Duration::from_millis(250),
        }
    }
}

struct Endpoint {
    base: String,
    agent: Agent,
}

/// Talks to one repository of one registry.
pub(crate) struct Client {
    endpoints: Vec<Endpoint>,
    chosen: OnceLock<usize>,
    repository: String,
    /// Full name, for messages.
    name: String,
    credentials: Option<Credentials>,
    /// What tokens are asked for, instead of what the registry says.
    scopes: Vec<String>,
    /// The `Authorization` header that worked last, by scope.
    authorization: Mutex<HashMap<String, String>>,
    options: RegistryOptions,
}

impl Client {
    pub(crate) fn new(reference: &Reference, options: &RegistryOptions) -> Result<Client> {
        let host = reference.registry_host();
        let trusted = !options.tls_verify || is_loopback(host);
        let secure = tls::agent(!trusted, host, options)?;
        let mut endpoints = vec![Endpoint { base: format!("https://{host}"), agent: secure }];
        if trusted {
            let plain = Endpoint { base: format!("http://{host}"), agent: endpoints[0].agent.clone() };
            // A registry on the machine itself rarely has a certificate: ask the likelier way first.
            endpoints.insert(usize::from(!is_loopback(host)), plain);
        }
        let credentials = match &options.credentials {
            Some(credentials) => Some(credentials.clone()),
            None => credentials::find(reference, options.auth_file.as_deref())?,
        };
        Ok(Client {
            endpoints,
            chosen: OnceLock::new(),
            repository: reference.repository().to_owned(),
            name: reference.name(),
            credentials,
            scopes: Vec::new(),
            authorization: Mutex::new(HashMap::new()),
            options: options.clone(),
        })
    }

    /// One that may also write, and read what is to be mounted from other repositories.
    pub(crate) fn pushing(
        reference: &Reference,
        options: &RegistryOptions,
        others: &[(String, Vec<Digest>)],
    ) -> Result<Client> {
        let mut client = Client::new(reference, options)?;
        client.scopes.push(format!("repository:{}:pull,push", client.repository));
        client.scopes.extend(others.iter().map(|(repository, _)| format!("repository:{repository}:pull")));
        client.scopes.dedup();
        Ok(client)
    }

    /// A manifest or index by tag or digest, with the type that the registry gives it.
    pub(crate) fn manifest(&self, selector: &str, expected: Option<&Digest>) -> Result<(Vec<u8>, Option<String>)> {
        let what = || format!("manifest {selector} of {}", self.name);
        self.retry(|| {
            let response = self.get(&format!("manifests/{selector}"), Some(ACCEPT), 0)?;
            let content_type =
                response.headers().get("content-type").and_then(|value| value.to_str().ok()).map(str::to_owned);
            let bytes = read_limited(response, MANIFEST_MAX, &what())?;
            let actual = Digest::of(&bytes);
            match expected {
                Some(expected) if *expected != actual => {
                    Err(Error::DigestMismatch { what: what(), expected: expected.clone(), actual })
                }
                _ => Ok((bytes, content_type)),
            }
        })
    }

    /// A small blob, whole and verified.
    pub(crate) fn small_blob(&self, descriptor: &Descriptor, what: &str) -> Result<Vec<u8>> {
        self.retry(|| {
            let response = self.get(&format!("blobs/{}", descriptor.digest), None, 0)?;
            let bytes = read_limited(response, descriptor.size, what)?;
            let length = bytes.len() as u64;
            if length != descriptor.size {
                let actual = format!("got {length}");
                return Err(Error::SizeMismatch { what: what.into(), expected: descriptor.size, actual });
            }
            let actual = Digest::of(&bytes);
            if actual != descriptor.digest {
                let expected = descriptor.digest.clone();
                return Err(Error::DigestMismatch { what: what.into(), expected, actual });
            }
            Ok(bytes)
        })
    }

    fn retry<T>(&self, mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
        let mut tries = 0;
        loop {
            match attempt() {
                Err(error) if error.is_transient() && tries < self.options.retries => {
                    self.pause(tries);
                    tries += 1;
                }
                other => return other,
            }
        }
    }

    /// Wait before try number `tries`: twice as long each time, at most ten seconds.
    fn pause(&self, tries: u32) {
        let pause = self.options.backoff.saturating_mul(1 << tries.min(10)).min(Duration::from_secs(10));
        std::thread::sleep(pause);
    }

    /// One GET below the repository, authenticated and redirected as needed.
    fn get(&self, path: &str, accept: Option<&str>, offset: u64) -> Result<Response<Body>> {
        let endpoint = self.endpoint()?;
        let first = format!("{}/v2/{}/{path}", endpoint.base, self.repository);
        let mut url = first.clone();
        let mut authenticated = false;
        let mut redirects = 0;
        loop {
            let at_home = origin(&url) == origin(&first);
            let authorization = if at_home { self.known_authorization() } else { None };
            let response = send(&endpoint.agent, &url, accept, offset, authorization.as_deref())?;
            match response.status().as_u16() {
                200 | 206 => return Ok(response),
                401 if at_home && !authenticated => {
                    self.authenticate(endpoint, response.headers())?;
                    authenticated = true;
                }
                301 | 302 | 303 | 307 | 308 => {
                    redirects += 1;
                    url = self.redirect(&url, response.headers(), redirects)?;
                }
                _ => return Err(self.refused(&url, path, response)),
            }
        }
    }

    fn redirect(&self, url: &str, headers: &HeaderMap, redirects: usize) -> Result<String> {
        let bad = |reason: &str| Error::Protocol { url: url.into(), reason: reason.into() };
        if redirects > REDIRECTS_MAX {
            return Err(bad("too many redirects"));
        }
        let location =
            headers.get("location").and_then(|value| value.to_str().ok()).ok_or_else(|| bad("redirect to nowhere"))?;
        let target = match location {
            absolute if absolute.starts_with("https://") || absolute.starts_with("http://") => absolute.to_owned(),
            path if path.starts_with('/') && !path.starts_with("//") => format!("{}{path}", origin(url)),
            _ => return Err(bad("redirect to an address that is neither http nor https")),
        };
        if target.parse::<Uri>().is_err() {
            return Err(bad("redirect to an unreadable address"));
        }
        if url.starts_with("https://") && target.starts_with("http://") && self.options.tls_verify {
            return Err(bad("redirect from https to plain http refused"));
        }
        Ok(target)
    }

    fn refused(&self, url: &str, path: &str, response: Response<Body>) -> Error {
        let status = response.status();
        let detail = error_detail(response);
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Error::Denied { what: self.name.clone(), detail },
            StatusCode::NOT_FOUND => Error::NotInRegistry(format!("{} {}", self.name, path.replacen('/', " ", 1))),
            _ => Error::Status { url: bare(url), status: status.as_u16(), detail },
        }
    }

    /// Which way the registry is spoken to; asked once if there is a choice.
    fn endpoint(&self) -> Result<&Endpoint> {
        if let Some(&chosen) = self.chosen.get() {
            return Ok(&self.endpoints[chosen]);
        }
        let last = self.endpoints.len() - 1;
        let mut first_error = None;
        for (index, endpoint) in self.endpoints.iter().enumerate() {
            if index == last && first_error.is_none() {
                return Ok(&self.endpoints[*self.chosen.get_or_init(|| index)]);
            }
            match send(&endpoint.agent, &format!("{}/v2/", endpoint.base), None, 0, None) {
                // Go's server answers so when it is asked in plain HTTP where it serves HTTPS.
                Ok(response) if response.status() == StatusCode::BAD_REQUEST && index < last => {}
                Ok(_) => return Ok(&self.endpoints[*self.chosen.get_or_init(|| index)]),
                Err(error) => {
                    first_error.get_or_insert(error);
                }
            }
        }
        Err(first_error.unwrap_or_else(|| Error::NotInRegistry(self.name.clone())))
    }

    fn known_authorization(&self) -> Option<String> {
        let known = self.authorization.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&self.repository).cloned()
    }

    fn authenticate(&self, endpoint: &Endpoint, headers: &HeaderMap) -> Result<()> {
        let request = auth::Request {
            agent: &endpoint.agent,
            registry: &endpoint.base,
            repository: &self.repository,
            name: &self.name,
            credentials: self.credentials.as_ref(),
            scopes: &self.scopes,
            allow_plain: !self.options.tls_verify || endpoint.base.starts_with("http://"),
        };
        let header = request.authorization(headers)?;
        let mut known = self.authorization.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(self.repository.clone(), header);
        Ok(())
    }
}

/// One request; the answer's status is not looked at.
fn send(
    agent: &Agent,
    url: &str,
    accept: Option<&str>,
    offset: u64,
    authorization: Option<&str>,
) -> Result<Response<Body>> {
    let mut request = agent.get(url);
    if let Some(accept) = accept {
        request = request.header("Accept", accept);
    }
    if offset > 0 {
        request = request.header("Range", format!("bytes={offset}-"));
    }
    if let Some(authorization) = authorization {
        request = request.header("Authorization", authorization);
    }
    request.call().map_err(|source| Error::Request { url: bare(url), source: Box::new(source) })
}

/// Read a body that may not be longer than `limit`.
fn read_limited(response: Response<Body>, limit: u64, what: &str) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut reader = response.into_body().into_reader().take(limit.saturating_add(1));
    reader.read_to_end(&mut bytes).map_err(|error| Error::from_io(String::new, transport(error, what)))?;
    if bytes.len() as u64 > limit {
        return Err(Error::Limit { what: what.into(), limit: format!("{limit} bytes") });
    }
    Ok(bytes)
}

/// A failure while a body was read, as the transport failure that it is.
fn transport(error: std::io::Error, what: &str) -> std::io::Error {
    Error::Request { url: what.into(), source: Box::new(ureq::Error::from(error)) }.into_io()
}

/// What a registry says about its refusal (distribution-spec, "Error Codes"), made safe to print.
fn error_detail(response: Response<Body>) -> String {
    let mut body = Vec::new();
    if response.into_body().into_reader().take(ERROR_MAX).read_to_end(&mut body).doing(String::new).is_err() {
        return String::new();
    }
    read_refusal(&body)
}

/// The first reason of a refusal, in parentheses; empty if it says none.
pub fn read_refusal(body: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    struct Answer {
        errors: Vec<Item>,
    }
    #[derive(serde::Deserialize)]
    struct Item {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    }
    let Ok(answer) = serde_json::from_slice::<Answer>(body) else { return String::new() };
    let Some(item) = answer.errors.first() else { return String::new() };
    let text = if item.message.is_empty() { &item.code } else { &item.message };
    let safe: String = text.chars().filter(|c| !c.is_control()).take(200).collect();
    if safe.is_empty() { safe } else { format!(" ({safe})") }
}

/// Scheme, host and port of an address.
fn origin(url: &str) -> &str {
    let start = url.find("://").map_or(0, |at| at + 3);
    let end = url[start..].find(['/', '?', '#']).map_or(url.len(), |at| start + at);
    &url[..end]
}

/// An address without its query, which may hold a signature.
fn bare(url: &str) -> String {
    url.split('?').next().unwrap_or(url).to_owned()
}

/// Is it this machine, whatever resolves names?
fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => host.split(':').next().unwrap_or(host),
    };
    name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_of_this_machine() {
        for host in ["localhost", "localhost:5000", "127.0.0.1:5000", "127.9.9.9", "[::1]:5000", "[::1]"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["localhost.example.com", "10.0.2.2:5000", "127.0.0.1.example.com", "quay.io", "[::2]:1"] {
            assert!(!is_loopback(host), "{host}");
        }
    }

    #[test]
    fn origins() {
        assert_eq!(origin("https://a:1/b/c"), "https://a:1");
        assert_eq!(origin("http://a?x=//"), "http://a");
        assert_ne!(origin("https://a.example/"), origin("https://a.example.org/"));
        assert_eq!(bare("https://a/b?signature=secret"), "https://a/b");
    }
}
