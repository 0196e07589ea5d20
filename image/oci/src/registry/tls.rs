//! The HTTP agent and whom it trusts.

use std::sync::Arc;
use std::time::Duration;

use ureq::Agent;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

use super::{RegistryOptions, is_loopback};
use crate::error::{Context, Error, Result};

/// Where Linux distributions, this one included, keep the certificates that the administrator trusts.
const SYSTEM_BUNDLE: &str = "/etc/ssl/certs/ca-certificates.crt";

pub(super) fn agent(verify: bool, host: &str, options: &RegistryOptions) -> Result<Agent> {
    let tls = TlsConfig::builder();
    let tls = if verify { tls.root_certs(roots()?) } else { tls.disable_verification(true) };
    let stall = options.stall_timeout;
    let mut config = Agent::config_builder()
        .tls_config(tls.build())
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .user_agent(concat!("coracle/", env!("CARGO_PKG_VERSION")))
        .input_buffer_size(128 << 10)
        .max_idle_connections_per_host(4)
        .timeout_resolve(Some(stall))
        .timeout_connect(Some(stall.min(Duration::from_secs(10))))
        .timeout_send_request(Some(stall))
        .timeout_recv_response(Some(stall))
        .timeout_per_read(Some(stall))
        .timeout_per_write(Some(stall));
    // A proxy cannot reach this machine's own addresses.
    if is_loopback(host) {
        config = config.proxy(None);
    }
    Ok(config.build().new_agent())
}

/// The system's bundle (or the one that `SSL_CERT_FILE` names, as OpenSSL has it), else Mozilla's as built in.
fn roots() -> Result<RootCerts> {
    let named = std::env::var_os("SSL_CERT_FILE").filter(|name| !name.is_empty());
    let path = named.clone().unwrap_or_else(|| SYSTEM_BUNDLE.into());
    let pem = match std::fs::read(&path) {
        Ok(pem) => pem,
        Err(_) if named.is_none() => return Ok(RootCerts::WebPki),
        Err(error) => return Err(error).at("reading the certificates of", path.as_ref()),
    };
    let certificates: Vec<Certificate<'static>> = parse_pem(&pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    match (certificates.is_empty(), named) {
        (false, _) => Ok(RootCerts::Specific(Arc::new(certificates))),
        (true, None) => Ok(RootCerts::WebPki),
        (true, Some(name)) => {
            Err(Error::invalid(format!("SSL_CERT_FILE {}", name.display()), "it holds no certificate"))
        }
    }
}
