//! wget: fetches what a URL names, over HTTP or HTTPS, through the proxies that the environment names.
//!
//! Trusted are the system's certificates (`/etc/ssl/certs/ca-certificates.crt`, or what SSL_CERT_FILE names), else
//! Mozilla's as built in.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Parser;
use ureq::http::{HeaderMap, Response, StatusCode, header};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body};

use crate::common;
use crate::registry::{Applet, Dir};

/// The applet.
pub const APPLET: Applet = Applet {
    name: "wget",
    aliases: &["fetch"],
    dir: Dir::Bin,
    summary: "Fetch what a URL names, over HTTP or HTTPS",
    run,
};

const SYSTEM_BUNDLE: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Fetch what a URL names, over HTTP or HTTPS.
#[derive(Parser)]
#[command(name = "wget")]
struct Options {
    /// Write to FILE; - is standard output
    #[arg(short = 'O', long, value_name = "FILE")]
    output_document: Option<PathBuf>,
    /// Directory for files named after the URL
    #[arg(short = 'P', long, value_name = "DIR", default_value = ".")]
    directory_prefix: PathBuf,
    /// Say nothing but errors
    #[arg(short, long)]
    quiet: bool,
    /// Show the server's answer
    #[arg(short = 'S', long)]
    server_response: bool,
    /// Go on where an earlier download stopped
    #[arg(short = 'c', long = "continue")]
    resume: bool,
    /// Only see whether it is there
    #[arg(long)]
    spider: bool,
    /// Send a header
    #[arg(long, value_name = "NAME: VALUE")]
    header: Vec<String>,
    /// Send DATA by POST
    #[arg(long, value_name = "DATA", conflicts_with_all = ["resume", "spider"])]
    post_data: Option<String>,
    /// Call ourselves AGENT
    #[arg(short = 'U', long, value_name = "AGENT")]
    user_agent: Option<String>,
    /// Seconds without progress before giving up; 0 is never
    #[arg(short = 'T', long, value_name = "SECONDS", default_value_t = 60)]
    timeout: u64,
    /// Trust any server
    #[arg(long)]
    no_check_certificate: bool,
    /// What to fetch; http:// if no scheme is given
    #[arg(required = true, value_name = "URL")]
    urls: Vec<String>,
}

fn run(args: &[OsString]) -> i32 {
    match common::parse::<Options>(args, 2) {
        Ok(options) => common::finish(&common::called_as(args), main(&options)),
        Err(status) => status,
    }
}

fn main(options: &Options) -> anyhow::Result<i32> {
    let agent = agent(options)?;
    for url in &options.urls {
        let url = if url.contains("://") { url.clone() } else { format!("http://{url}") };
        fetch(&agent, &url, options).with_context(|| url.clone())?;
    }
    Ok(0)
}

fn agent(options: &Options) -> anyhow::Result<Agent> {
    let tls = TlsConfig::builder();
    let tls = if options.no_check_certificate { tls.disable_verification(true) } else { tls.root_certs(roots()?) };
    let stall = (options.timeout > 0).then(|| Duration::from_secs(options.timeout));
    let name = options.user_agent.clone().unwrap_or_else(|| concat!("coracle-wget/", env!("CARGO_PKG_VERSION")).into());
    let config = Agent::config_builder()
        .tls_config(tls.build())
        .http_status_as_error(false)
        .user_agent(name)
        .timeout_resolve(stall)
        .timeout_connect(stall)
        .timeout_send_request(stall)
        .timeout_recv_response(stall)
        .timeout_per_read(stall)
        .timeout_per_write(stall);
    Ok(config.build().new_agent())
}

/// Certificates that are trusted.
///
/// # Errors
/// If those that SSL_CERT_FILE names cannot be used.
pub fn roots() -> anyhow::Result<RootCerts> {
    let named = std::env::var_os("SSL_CERT_FILE").filter(|name| !name.is_empty()).map(PathBuf::from);
    let path = named.as_deref().unwrap_or(Path::new(SYSTEM_BUNDLE));
    let pem = match std::fs::read(path) {
        Ok(pem) => pem,
        Err(_) if named.is_none() => return Ok(RootCerts::WebPki),
        Err(error) => return Err(error).with_context(|| format!("cannot read certificates from {}", path.display())),
    };
    let certificates: Vec<Certificate<'static>> = parse_pem(&pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    if certificates.is_empty() {
        bail!("no certificate in {}", path.display());
    }
    Ok(RootCerts::Specific(Arc::new(certificates)))
}

fn fetch(agent: &Agent, url: &str, options: &Options) -> anyhow::Result<()> {
    let target = Target::of(url, options)?;
    let offset = if options.resume { target.length() } else { 0 };
    let response = request(agent, url, options, offset)?;
    if options.server_response {
        show_head(&response)?;
    }
    let status = response.status();
    if offset > 0 && status == StatusCode::RANGE_NOT_SATISFIABLE {
        if whole_length(response.headers()) == Some(offset) {
            return Ok(());
        }
        bail!("{} is longer than what the server has; remove it to fetch it anew", target.name());
    }
    if !status.is_success() {
        bail!("the server answered {status}");
    }
    if options.spider {
        return Ok(());
    }
    let offset = match status {
        StatusCode::PARTIAL_CONTENT if first_byte(response.headers()) == Some(offset) => offset,
        StatusCode::PARTIAL_CONTENT => bail!("the server sent another part than was asked for"),
        _ => 0,
    };
    let out = target.open(options, offset)?;
    receive(response.into_body(), out, &target.name(), offset, options)
}

fn request(agent: &Agent, url: &str, options: &Options, offset: u64) -> anyhow::Result<Response<Body>> {
    let mut headers = Vec::new();
    for line in &options.header {
        let (name, value) = line.split_once(':').with_context(|| format!("header {line:?} has no colon"))?;
        headers.push((name.trim(), value.trim().to_owned()));
    }
    if offset > 0 {
        headers.push(("Range", format!("bytes={offset}-")));
    }
    match &options.post_data {
        Some(data) => {
            let mut request = agent.post(url);
            if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")) {
                request = request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
            }
            let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, value));
            request.send(data.as_str()).context("cannot fetch")
        }
        None => {
            let request = if options.spider { agent.head(url) } else { agent.get(url) };
            let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, value));
            request.call().context("cannot fetch")
        }
    }
}

fn show_head(response: &Response<Body>) -> io::Result<()> {
    let mut err = io::stderr().lock();
    writeln!(err, "  {:?} {}", response.version(), response.status())?;
    for (name, value) in response.headers() {
        // A server's bytes go to a terminal: nothing but plain characters may.
        writeln!(err, "  {name}: {}", value.as_bytes().escape_ascii())?;
    }
    Ok(())
}

/// Where the answer goes.
enum Target {
    Stdout,
    /// A file that the user named: replaced.
    Named(PathBuf),
    /// A file named after the URL: never replaced.
    Derived(PathBuf),
}

impl Target {
    fn of(url: &str, options: &Options) -> anyhow::Result<Self> {
        match &options.output_document {
            Some(path) if path.as_os_str() == "-" && options.resume => bail!("standard output cannot be resumed"),
            Some(path) if path.as_os_str() == "-" => Ok(Target::Stdout),
            Some(path) => Ok(Target::Named(path.clone())),
            None => Ok(Target::Derived(options.directory_prefix.join(name_of(url)))),
        }
    }

    fn path(&self) -> Option<&Path> {
        match self {
            Target::Stdout => None,
            Target::Named(path) | Target::Derived(path) => Some(path),
        }
    }

    fn name(&self) -> String {
        self.path().map_or_else(|| "standard output".into(), |path| path.display().to_string())
    }

    fn length(&self) -> u64 {
        self.path().and_then(|path| path.metadata().ok()).map_or(0, |meta| meta.len())
    }

    fn open(&self, options: &Options, offset: u64) -> anyhow::Result<Box<dyn Write>> {
        let Some(path) = self.path() else { return Ok(Box::new(io::stdout().lock())) };
        let mut open = OpenOptions::new();
        open.write(true);
        match self {
            Target::Derived(_) if !options.resume => open.create_new(true),
            _ => open.create(true).truncate(offset == 0),
        };
        let mut file: File = open.open(path).with_context(|| format!("cannot write {}", path.display()))?;
        file.seek(SeekFrom::Start(offset)).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Box::new(file))
    }
}

/// The last part of a URL's path, `index.html` if there is none.
fn name_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let path = rest.split(['?', '#']).next().unwrap_or_default();
    match path.rsplit_once('/').map(|(_, name)| name) {
        None | Some("" | "." | "..") => "index.html",
        Some(name) => name,
    }
}

/// N of `Content-Range: bytes N-M/L`.
fn first_byte(headers: &HeaderMap) -> Option<u64> {
    content_range(headers)?.split('-').next()?.parse().ok()
}

/// L of `Content-Range: bytes */L`.
fn whole_length(headers: &HeaderMap) -> Option<u64> {
    content_range(headers)?.strip_prefix("*/")?.parse().ok()
}

fn content_range(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::CONTENT_RANGE)?.to_str().ok()?.strip_prefix("bytes ")
}

fn receive(body: Body, mut out: Box<dyn Write>, name: &str, offset: u64, options: &Options) -> anyhow::Result<()> {
    let expected = body.content_length();
    let mut progress = Progress::new(offset, expected.map(|length| length + offset), options.quiet);
    let mut reader = body.into_with_config().limit(u64::MAX).reader();
    let mut buffer = vec![0; 64 << 10];
    let mut received = 0_u64;
    loop {
        let length = match reader.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error).with_context(|| format!("the connection broke after {received} bytes")),
        };
        out.write_all(&buffer[..length]).with_context(|| format!("cannot write {name}"))?;
        received += length as u64;
        progress.show(offset + received, false);
    }
    out.flush().with_context(|| format!("cannot write {name}"))?;
    progress.show(offset + received, true);
    match expected {
        Some(expected) if expected != received => bail!("got {received} of {expected} bytes; -c fetches the rest"),
        _ => Ok(()),
    }
}

/// One line on a terminal, redrawn.
struct Progress {
    start: Instant,
    shown: Option<Instant>,
    offset: u64,
    total: Option<u64>,
    is_silent: bool,
}

impl Progress {
    fn new(offset: u64, total: Option<u64>, quiet: bool) -> Self {
        let is_silent = quiet || !io::stderr().is_terminal();
        Progress { start: Instant::now(), shown: None, offset, total, is_silent }
    }

    fn show(&mut self, done: u64, is_end: bool) {
        const EVERY: Duration = Duration::from_millis(200);
        if self.is_silent || (!is_end && self.shown.is_some_and(|shown| shown.elapsed() < EVERY)) {
            return;
        }
        self.shown = Some(Instant::now());
        let seconds = self.start.elapsed().as_secs_f64().max(0.001);
        let rate = size((done.saturating_sub(self.offset)) as f64 / seconds);
        let part = match self.total {
            Some(total) if total > 0 => format!("{:3}% of {}", done.min(total) * 100 / total, size(total as f64)),
            _ => size(done as f64),
        };
        let end = if is_end { "\n" } else { "" };
        // What is only for show may fail.
        let _ = write!(io::stderr(), "\r{part}  {rate}/s \x1b[K{end}");
    }
}

fn size(bytes: f64) -> String {
    const UNITS: [&str; 4] = ["B", "KiB", "MiB", "GiB"];
    let mut value = bytes;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{value:.0} {}", UNITS[unit]) } else { format!("{value:.1} {}", UNITS[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_named_after_the_url() {
        assert_eq!(name_of("http://a/b/c.txt?x=/y"), "c.txt");
        for url in ["http://a", "http://a/", "a/..", "http://a/b/.", "http://a?x/y"] {
            assert_eq!(name_of(url), "index.html", "{url}");
        }
    }

    #[test]
    fn sizes_are_shown_short() {
        assert_eq!(size(12.0), "12 B");
        assert_eq!(size(1536.0), "1.5 KiB");
    }
}
