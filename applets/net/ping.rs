//! ping: asks a host for echoes (ICMP: RFC 792; ICMPv6: RFC 4443).
//!
//! Over ICMP's datagram sockets, which need no privilege where `net.ipv4.ping_group_range` allows them, else raw ones.

use std::ffi::OsString;
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Parser;
use coracle_netns::checksum::checksum;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, ipproto};

use super::resolve;
use crate::common;
use crate::registry::{Applet, Dir};

/// The applet.
pub const APPLET: Applet =
    Applet { name: "ping", aliases: &["ping6"], dir: Dir::Bin, summary: "Ask a host for echoes", run };

/// Ask a host for echoes; exits with 0 if there was one.
#[derive(Parser)]
#[command(name = "ping")]
struct Options {
    /// Use IPv4 only
    #[arg(short = '4', conflicts_with = "v6")]
    v4: bool,
    /// Use IPv6 only
    #[arg(short = '6')]
    v6: bool,
    /// Requests to send; endless if not given
    #[arg(short, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    count: Option<u32>,
    /// Seconds between requests
    #[arg(short, value_name = "SECONDS", default_value = "1", value_parser = parse_seconds)]
    interval: Duration,
    /// Seconds to wait for an answer
    #[arg(short = 'W', value_name = "SECONDS", default_value = "10", value_parser = parse_seconds)]
    wait: Duration,
    /// Bytes of data in a request
    #[arg(short, value_name = "BYTES", default_value_t = 56, value_parser = clap::value_parser!(u16).range(..=65000))]
    size: u16,
    /// Only the summary
    #[arg(short)]
    quiet: bool,
    /// Host
    host: String,
}

fn parse_seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    let duration = Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())?;
    if duration < Duration::from_millis(2) { Err("must be at least 0.002".into()) } else { Ok(duration) }
}

fn run(args: &[OsString]) -> i32 {
    let is_v6 = common::called_as(args) == "ping6";
    match common::parse::<Options>(args, 2) {
        Ok(mut options) => {
            options.v6 |= is_v6;
            common::finish("ping", main(&options))
        }
        Err(status) => status,
    }
}

struct Pinger {
    socket: OwnedFd,
    target: SocketAddr,
    /// A raw socket sees everyone's answers, and an IPv4 header before each.
    is_raw: bool,
    identifier: u16,
    size: usize,
    interrupt: SignalFd,
}

#[derive(PartialEq, Eq)]
enum Event {
    Message,
    Deadline,
    Interrupt,
}

fn main(options: &Options) -> anyhow::Result<i32> {
    let fits = |address: &IpAddr| !(options.v4 && address.is_ipv6() || options.v6 && address.is_ipv4());
    let address = resolve::addresses(&options.host)?.into_iter().find(fits);
    let address = address.with_context(|| format!("{} has no address of that family", options.host))?;
    let pinger = Pinger::open(address, usize::from(options.size))?;
    let mut out = io::stdout();
    writeln!(out, "PING {} ({address}): {} data bytes", options.host, options.size)?;
    let (mut times, mut sent, start) = (Vec::new(), 0_u32, Instant::now());
    while options.count.is_none_or(|count| sent < count) {
        let sequence = sent as u16;
        let now = Instant::now();
        sent += 1;
        if let Err(error) = pinger.send(sequence) {
            writeln!(io::stderr(), "ping: {error:#}")?;
        } else if let Some((length, hops)) = pinger.await_echo(sequence, options.wait)? {
            let time = now.elapsed().as_secs_f64() * 1e3;
            times.push(time);
            if !options.quiet {
                let hops = hops.map_or_else(String::new, |hops| format!(" ttl={hops}"));
                writeln!(out, "{length} bytes from {address}: icmp_seq={sequence}{hops} time={time:.3} ms")?;
            }
        }
        if options.count == Some(sent) || pinger.wait_until(now + options.interval, false)? == Event::Interrupt {
            break;
        }
    }
    summary(&mut out, &options.host, sent, &times, start.elapsed())?;
    Ok(i32::from(times.is_empty()))
}

impl Pinger {
    fn open(address: IpAddr, size: usize) -> anyhow::Result<Self> {
        let (family, protocol) = match address {
            IpAddr::V4(_) => (AddressFamily::INET, ipproto::ICMP),
            IpAddr::V6(_) => (AddressFamily::INET6, ipproto::ICMPV6),
        };
        let open = |kind| rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, Some(protocol));
        let (socket, is_raw) = match open(SocketType::DGRAM) {
            Ok(socket) => (socket, false),
            Err(_) => (open(SocketType::RAW).context("cannot open an ICMP socket (it takes CAP_NET_RAW)")?, true),
        };
        let target = SocketAddr::new(address, 0);
        // An interrupt ends the waiting, not the process: the summary is still to come.
        let signals = SigSet::from(Signal::SIGINT);
        signals.thread_block().context("cannot block SIGINT")?;
        let interrupt =
            SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC).context("cannot open a signal descriptor")?;
        rustix::net::connect(&socket, &target).with_context(|| format!("no way to {address}"))?;
        Ok(Pinger { socket, target, is_raw, identifier: std::process::id() as u16, size, interrupt })
    }

    fn send(&self, sequence: u16) -> anyhow::Result<()> {
        let request = if self.target.is_ipv4() { 8 } else { 128 };
        let mut message = vec![request, 0, 0, 0];
        message.extend(self.identifier.to_be_bytes());
        message.extend(sequence.to_be_bytes());
        message.extend((0..self.size).map(|n| n as u8));
        if self.target.is_ipv4() {
            // The kernel fills in ICMPv6's, which covers addresses.
            let sum = checksum(&[&message]);
            message[2..4].copy_from_slice(&sum.to_be_bytes());
        }
        rustix::net::send(&self.socket, &message, SendFlags::empty())
            .with_context(|| format!("cannot send to {}", self.target.ip()))?;
        Ok(())
    }

    /// Length and, if known, time to live of the echo.
    fn await_echo(&self, sequence: u16, wait: Duration) -> anyhow::Result<Option<(usize, Option<u8>)>> {
        let deadline = Instant::now() + wait;
        let mut buffer = vec![0; 65536];
        while self.wait_until(deadline, true)? == Event::Message {
            match rustix::net::recv(&self.socket, buffer.as_mut_slice(), RecvFlags::DONTWAIT) {
                Ok((_, length)) => {
                    if let Some(found) = self.read_echo(&buffer[..length.min(65536)], sequence) {
                        return Ok(Some(found));
                    }
                }
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::HOSTUNREACH | rustix::io::Errno::NETUNREACH) => return Ok(None),
                Err(errno) => bail!("cannot receive: {errno}"),
            }
        }
        Ok(None)
    }

    /// Wait for a message (if wanted), the deadline or an interrupt. The interrupt's signal stays pending, so every
    /// later wait ends with it, too.
    fn wait_until(&self, deadline: Instant, wants_message: bool) -> anyhow::Result<Event> {
        let mut watched = vec![PollFd::new(self.interrupt.as_fd(), PollFlags::POLLIN)];
        if wants_message {
            watched.push(PollFd::new(self.socket.as_fd(), PollFlags::POLLIN));
        }
        let left = deadline.saturating_duration_since(Instant::now());
        // Rounded up: poll counts milliseconds.
        let timeout = PollTimeout::try_from(left + Duration::from_micros(999)).unwrap_or(PollTimeout::MAX);
        match poll(&mut watched, timeout) {
            Ok(0) => return Ok(Event::Deadline),
            Ok(_) => {}
            Err(nix::errno::Errno::EINTR) => return Ok(Event::Deadline),
            Err(errno) => bail!("cannot wait for an answer: {errno}"),
        }
        let interrupted = watched[0].revents().is_some_and(|events| !events.is_empty());
        Ok(if interrupted { Event::Interrupt } else { Event::Message })
    }

    fn read_echo(&self, bytes: &[u8], sequence: u16) -> Option<(usize, Option<u8>)> {
        let has_header = self.is_raw && self.target.is_ipv4();
        let header = if has_header { usize::from(bytes.first()? & 0xf) * 4 } else { 0 };
        let hops = if has_header { bytes.get(8).copied() } else { None };
        let message = bytes.get(header..)?;
        let reply = if self.target.is_ipv4() { 0 } else { 129 };
        let [kind, _, _, _, id_high, id_low, high, low] = *message.first_chunk()?;
        // A datagram socket's identifier is the kernel's, and it has seen to it that the answer is ours.
        let is_ours = !self.is_raw || u16::from_be_bytes([id_high, id_low]) == self.identifier;
        (kind == reply && is_ours && u16::from_be_bytes([high, low]) == sequence).then_some((message.len(), hops))
    }
}

fn summary(out: &mut impl Write, host: &str, sent: u32, times: &[f64], elapsed: Duration) -> io::Result<()> {
    let received = times.len();
    let lost = if sent == 0 { 0 } else { 100 - received * 100 / sent as usize };
    writeln!(out, "\n--- {host} ping statistics ---")?;
    writeln!(
        out,
        "{sent} packets transmitted, {received} packets received, {lost}% packet loss, time {} ms",
        elapsed.as_millis()
    )?;
    if received > 0 {
        let least = times.iter().copied().fold(f64::INFINITY, f64::min);
        let most = times.iter().copied().fold(0.0, f64::max);
        let mean = times.iter().sum::<f64>() / received as f64;
        writeln!(out, "round-trip min/avg/max = {least:.3}/{mean:.3}/{most:.3} ms")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_rfc_1071() {
        assert_eq!(checksum(&[&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]]), !0xddf2);
    }
}
