//! nc: copies between standard input and output and a TCP or UDP connection.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Parser;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::resolve;
use crate::common;
use crate::registry::{Applet, Dir};

/// The applet.
pub const APPLET: Applet =
    Applet { name: "nc", aliases: &[], dir: Dir::Bin, summary: "Copy between standard streams and a connection", run };

/// Copy standard input to a connection and the connection to standard output.
#[derive(Parser)]
#[command(name = "nc")]
struct Options {
    /// Wait for a connection instead of making one
    #[arg(short)]
    listen: bool,
    /// The port to listen on, or to connect from
    #[arg(short, value_name = "PORT", requires = "listen")]
    port: Option<u16>,
    /// UDP instead of TCP
    #[arg(short)]
    udp: bool,
    /// Only see whether something listens
    #[arg(short, conflicts_with_all = ["listen", "udp"])]
    zero: bool,
    /// Seconds without traffic, or until connected, before giving up
    #[arg(short, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    wait: Option<u32>,
    /// Shut the connection's sending side down at the end of input
    #[arg(short = 'N')]
    shutdown: bool,
    /// Host; with -l an address to listen on
    host: Option<String>,
    /// Port
    #[arg(value_name = "PORT")]
    target_port: Option<u16>,
}

fn run(args: &[OsString]) -> i32 {
    match common::parse::<Options>(args, 2) {
        Ok(options) => common::finish("nc", main(&options)),
        Err(status) => status,
    }
}

fn main(options: &Options) -> anyhow::Result<i32> {
    let (host, port) = endpoint(options)?;
    let timeout = options.wait.map(|seconds| Duration::from_secs(seconds.into()));
    match (options.listen, options.udp) {
        (true, false) => {
            let listener = listen_on(host, |address| TcpListener::bind(address).map_err(Into::into), port)?;
            let (stream, _) = listener.accept().context("cannot accept a connection")?;
            drop(listener);
            copy_tcp(&stream, options, timeout)?;
        }
        (true, true) => {
            let socket = listen_on(host, |address| UdpSocket::bind(address).map_err(Into::into), port)?;
            // The first to speak is the one that we talk to.
            let mut buffer = [0; 1];
            let (_, from) = socket.peek_from(&mut buffer).context("cannot receive")?;
            socket.connect(from).context("cannot connect")?;
            copy(socket.as_fd(), timeout, || {})?;
        }
        (false, false) => {
            let stream = connect(host.context("a host is needed")?, port, timeout)?;
            if !options.zero {
                copy_tcp(&stream, options, timeout)?;
            }
        }
        (false, true) => {
            let address = *addresses(host.context("a host is needed")?, port)?.first().context("no address")?;
            let socket = UdpSocket::bind((unspecified(address), 0)).context("cannot open a socket")?;
            socket.connect(address).with_context(|| format!("cannot reach {address}"))?;
            copy(socket.as_fd(), timeout, || {})?;
        }
    }
    Ok(0)
}

/// `HOST PORT`, or with -l `-p PORT [ADDRESS]` or `[ADDRESS] PORT`.
fn endpoint(options: &Options) -> anyhow::Result<(Option<&str>, u16)> {
    let host = options.host.as_deref();
    match (options.port, options.target_port) {
        (Some(port), None) => Ok((host, port)),
        (None, Some(port)) => Ok((host, port)),
        (Some(_), Some(_)) => bail!("two ports are given"),
        (None, None) if options.listen => {
            let port = host.and_then(|host| host.parse().ok());
            Ok((None, port.context("a port to listen on is needed")?))
        }
        (None, None) => bail!("a port is needed"),
    }
}

fn listen_on<S>(host: Option<&str>, bind: impl Fn(SocketAddr) -> anyhow::Result<S>, port: u16) -> anyhow::Result<S> {
    if let Some(host) = host {
        let address = *addresses(host, port)?.first().context("no address")?;
        return bind(address).with_context(|| format!("cannot listen on {address}"));
    }
    // IPv6's takes both families in; a kernel without IPv6 has the other.
    bind(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port))
        .or_else(|_| bind(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port)))
        .with_context(|| format!("cannot listen on port {port}"))
}

fn addresses(host: &str, port: u16) -> anyhow::Result<Vec<SocketAddr>> {
    Ok(resolve::addresses(host)?.into_iter().map(|address| SocketAddr::new(address, port)).collect())
}

fn unspecified(address: SocketAddr) -> IpAddr {
    if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() }
}

fn connect(host: &str, port: u16, timeout: Option<Duration>) -> anyhow::Result<TcpStream> {
    let mut last = anyhow::anyhow!("no address for {host}");
    for address in addresses(host, port)? {
        let result = match timeout {
            Some(timeout) => TcpStream::connect_timeout(&address, timeout),
            None => TcpStream::connect(address),
        };
        match result {
            Ok(stream) => return Ok(stream),
            Err(error) => last = anyhow::Error::from(error).context(format!("cannot connect to {address}")),
        }
    }
    Err(last)
}

fn copy_tcp(stream: &TcpStream, options: &Options, timeout: Option<Duration>) -> anyhow::Result<()> {
    copy(stream.as_fd(), timeout, || {
        if options.shutdown {
            // Already closed by the other side is as good.
            let _ = stream.shutdown(Shutdown::Write);
        }
    })
}

/// Copy both ways until the connection ends or nothing moves for `timeout`.
fn copy(connection: BorrowedFd, timeout: Option<Duration>, at_end_of_input: impl FnOnce()) -> anyhow::Result<()> {
    let mut at_end_of_input = Some(at_end_of_input);
    let mut connection = std::fs::File::from(connection.try_clone_to_owned()?);
    let (input, mut output) = (io::stdin(), io::stdout());
    let mut buffer = vec![0; 64 << 10];
    let timeout =
        timeout.map_or(PollTimeout::NONE, |timeout| PollTimeout::try_from(timeout).unwrap_or(PollTimeout::MAX));
    loop {
        let (from_peer, from_input) = {
            let mut watched = vec![PollFd::new(connection.as_fd(), PollFlags::POLLIN)];
            if at_end_of_input.is_some() {
                watched.push(PollFd::new(input.as_fd(), PollFlags::POLLIN));
            }
            match poll(&mut watched, timeout) {
                Ok(0) => return Ok(()),
                Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                Err(errno) => bail!("cannot wait for data: {errno}"),
            }
            let ready =
                |n: usize| watched.get(n).and_then(PollFd::revents).is_some_and(|events: PollFlags| !events.is_empty());
            (ready(0), ready(1))
        };
        if from_peer {
            match connection.read(&mut buffer).context("the connection broke")? {
                0 => return Ok(()),
                length => {
                    output.write_all(&buffer[..length])?;
                    output.flush()?;
                }
            }
        }
        if from_input {
            // Unbuffered: what poll says of the descriptor must be true of us, too.
            match nix::unistd::read(&input, &mut buffer).context("cannot read standard input")? {
                0 => at_end_of_input.take().map_or((), |act| act()),
                length => connection.write_all(&buffer[..length]).context("the connection broke")?,
            }
        }
    }
}
