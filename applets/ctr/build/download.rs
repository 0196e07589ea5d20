//! Files that ADD fetches.

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use coracle_image_oci::Digest;
use ureq::Agent;
use ureq::http::header;
use ureq::tls::TlsConfig;

use super::digest::of_content;

/// How long a server may bring nothing.
const STALL: Duration = Duration::from_secs(60);

/// The name of the file that an address leads to.
pub fn file_name(url: &str) -> Option<String> {
    let path = url.split(['?', '#']).next()?.split_once("://")?.1.split_once('/')?.1;
    let name = path.rsplit('/').next()?;
    (!name.is_empty() && name != "." && name != "..").then(|| name.to_owned())
}

/// Fetch a file, dated as its server says.
///
/// # Errors
/// If it cannot be had, or is not what the checksum says.
pub fn fetch(url: &str, path: &Path, checksum: Option<&Digest>) -> anyhow::Result<()> {
    let config = Agent::config_builder()
        .tls_config(TlsConfig::builder().root_certs(crate::net::wget::roots()?).build())
        .http_status_as_error(false)
        .user_agent(concat!("coracle/", env!("CARGO_PKG_VERSION")))
        .timeout_resolve(Some(STALL))
        .timeout_connect(Some(STALL))
        .timeout_recv_response(Some(STALL))
        .timeout_per_read(Some(STALL));
    let response = config.build().new_agent().get(url).call().with_context(|| format!("cannot fetch {url}"))?;
    ensure!(response.status().is_success(), "invalid response status {} from {url}", response.status().as_u16());
    let modified = response.headers().get(header::LAST_MODIFIED).and_then(|value| value.to_str().ok());
    let modified = modified.and_then(|text| jiff::fmt::rfc2822::parse(text).ok());
    let expected = response.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    let mut file = File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
    let length =
        io::copy(&mut response.into_body().into_reader(), &mut file).with_context(|| format!("cannot fetch {url}"))?;
    ensure!(expected.is_none_or(|expected: u64| expected == length), "{url}: the connection ended early");
    if let Some(checksum) = checksum {
        let actual = of_content(File::open(path)?)?;
        ensure!(actual == *checksum, "digest mismatch for {url}: got {actual}, expected: {checksum}");
    }
    if let Some(time) = modified {
        file.set_modified(time.timestamp().into())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert_eq!(file_name("https://h/a/b.tar?x=/y").as_deref(), Some("b.tar"));
        for none in ["https://h", "https://h/", "https://h/a/", "https://h/.."] {
            assert_eq!(file_name(none), None, "{none}");
        }
    }
}
