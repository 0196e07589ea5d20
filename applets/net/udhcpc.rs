//! udhcpc: gets an interface an address by DHCP and keeps it. BusyBox's options; no script: it configures by itself.
//!
//! The protocol is [`coracle_netns::dhcp`]; here are the sockets, the clock and the signals. SIGTERM gives the lease
//! back and ends it, SIGUSR1 renews.

use std::ffi::OsString;
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Parser;
use coracle_netns::dhcp::{Action, CLIENT_PORT, Client, SERVER_PORT, frame, setup};
use coracle_netns::link::{self, Link, MacAddress};
use coracle_netns::netlink::Socket;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::common;
use crate::registry::{Applet, Dir};

/// The applet.
pub const APPLET: Applet =
    Applet { name: "udhcpc", aliases: &[], dir: Dir::Sbin, summary: "Get an address by DHCP and keep it", run };

/// Get an address by DHCP and keep it renewed; SIGTERM releases it.
#[derive(Parser)]
#[command(name = "udhcpc")]
struct Options {
    /// Interface
    #[arg(short, long, default_value = "eth0", value_name = "IFACE")]
    interface: String,
    /// Stay in the foreground after a lease is obtained
    #[arg(short, long)]
    foreground: bool,
    /// Exit once a lease is obtained, and leave it configured
    #[arg(short, long)]
    quit: bool,
    /// Exit with status 1 if no lease is obtained
    #[arg(short, long)]
    now: bool,
    /// Requests without answer before the search counts as failed
    #[arg(short = 't', long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    retries: u32,
    /// Where to write the name servers
    #[arg(long, value_name = "FILE")]
    resolv_conf: Option<PathBuf>,
}

fn run(args: &[OsString]) -> i32 {
    match common::parse::<Options>(args, 1) {
        Ok(options) => common::finish("udhcpc", main(&options)),
        Err(status) => status,
    }
}

fn main(options: &Options) -> anyhow::Result<i32> {
    let mut socket = Socket::route()?;
    let link = link::up(&mut socket, &options.interface)?;
    let mac = link.mac().with_context(|| format!("{} has no Ethernet address: DHCP needs one", link.name))?;
    let signals = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGUSR1].into_iter().collect::<SigSet>();
    signals.thread_block().context("cannot block signals")?;
    let signals = SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC).context("cannot open a signal descriptor")?;
    let start = Instant::now();
    let mut session = Session {
        resolv_conf: options.resolv_conf.clone().unwrap_or_else(setup::resolv_conf_path),
        client: Client::new(mac, hostname(), seed(), Duration::ZERO),
        socket,
        link,
        mac,
        start,
        packets: None,
        unicast: None,
    };
    session.serve(options, &signals)
}

struct Session {
    client: Client,
    socket: Socket,
    link: Link,
    mac: MacAddress,
    resolv_conf: PathBuf,
    start: Instant,
    /// Open only while an answer is awaited.
    packets: Option<OwnedFd>,
    /// Keeps the kernel from answering the server's unicast with "port unreachable".
    unicast: Option<UdpSocket>,
}

impl Session {
    fn serve(&mut self, options: &Options, signals: &SignalFd) -> anyhow::Result<i32> {
        let mut in_background = false;
        loop {
            let now = self.start.elapsed();
            let failed = self.client.discovers() >= options.retries && self.is_due(now);
            if failed && options.now {
                writeln!(io::stderr(), "udhcpc: no lease on {} after {} requests", self.link.name, options.retries)?;
                return Ok(1);
            }
            self.listen()?;
            let actions = self.client.tick(now);
            self.perform(actions);
            if let Some(signal) = self.wait(signals)? {
                if signal == Signal::SIGUSR1 as u32 {
                    let actions = self.client.renew_now(self.start.elapsed());
                    self.perform(actions);
                    continue;
                }
                let actions = self.client.release(self.start.elapsed());
                self.perform(actions);
                return Ok(0);
            }
            let had_lease = self.client.lease().is_some();
            self.receive();
            if self.client.lease().is_some() && !had_lease {
                if options.quit {
                    return Ok(0);
                }
                if !options.foreground && !in_background {
                    in_background = true;
                    nix::unistd::daemon(false, false).context("cannot go to the background")?;
                }
            }
        }
    }

    fn is_due(&self, now: Duration) -> bool {
        self.client.deadline().is_some_and(|deadline| deadline <= now)
    }

    /// Open the packet socket when an answer is awaited, close it when not: it sees other frames' headers, too.
    fn listen(&mut self) -> anyhow::Result<()> {
        let due = self.is_due(self.start.elapsed());
        if !self.client.is_listening() && !due {
            (self.packets, self.unicast) = (None, None);
        } else {
            self.open_packets()?;
        }
        Ok(())
    }

    fn open_packets(&mut self) -> anyhow::Result<()> {
        if self.packets.is_none() {
            let packets = coracle_abi::packet::open(self.link.index, frame::ETHERTYPE_IPV4, &frame::FILTER)
                .with_context(|| format!("cannot open a packet socket on {}", self.link.name))?;
            self.packets = Some(packets);
        }
        Ok(())
    }

    /// Wait for a message, the next deadline or a signal, and give the signal.
    fn wait(&self, signals: &SignalFd) -> anyhow::Result<Option<u32>> {
        let mut watched = vec![PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
        watched.extend(self.packets.iter().map(|packets| PollFd::new(packets.as_fd(), PollFlags::POLLIN)));
        let timeout = self.client.deadline().map_or(PollTimeout::NONE, |deadline| {
            let rest = deadline.saturating_sub(self.start.elapsed()) + Duration::from_millis(1);
            PollTimeout::try_from(rest.min(Duration::from_secs(24 * 3600))).unwrap_or(PollTimeout::NONE)
        });
        match poll(&mut watched, timeout) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => bail!("cannot wait for messages: {errno}"),
        }
        let signalled = watched[0].revents().is_some_and(|events| !events.is_empty());
        drop(watched);
        if !signalled {
            return Ok(None);
        }
        Ok(signals.read_signal().context("cannot read a signal")?.map(|info| info.ssi_signo))
    }

    fn receive(&mut self) {
        let mut buffer = vec![0; 4096];
        while let Some(length) = self.packets.as_ref().and_then(|packets| nix::unistd::read(packets, &mut buffer).ok())
        {
            let Some(message) = frame::parse(&buffer[..length]) else { continue };
            let actions = self.client.receive(self.start.elapsed(), message);
            self.perform(actions);
        }
    }

    /// What fails is said and tried again at the next deadline: a client that ends would lose the lease.
    fn perform(&mut self, actions: Vec<Action>) {
        for action in actions {
            if let Err(error) = self.perform_one(action) {
                let _ = writeln!(io::stderr(), "udhcpc: {}: {error:#}", self.link.name);
            }
        }
    }

    fn perform_one(&mut self, action: Action) -> anyhow::Result<()> {
        match action {
            Action::Broadcast { from, message } => {
                let packets = self.packets.as_ref().context("no packet socket")?;
                let frame = frame::build(self.mac, from, &message);
                nix::unistd::write(packets, &frame).context("cannot send a broadcast")?;
            }
            Action::Unicast { from, to, message } => self.send_unicast(from, to, &message)?,
            Action::Configure(lease) => {
                setup::apply(&mut self.socket, &self.link, &lease, &self.resolv_conf)?;
                let _ = writeln!(
                    io::stderr(),
                    "udhcpc: {}: {}/{} from {} for {} s",
                    self.link.name,
                    lease.address,
                    lease.prefix,
                    lease.server,
                    lease.lease_seconds
                );
            }
            Action::Deconfigure => {
                setup::clear(&mut self.socket, &self.link)?;
                let _ = writeln!(io::stderr(), "udhcpc: {}: address given up", self.link.name);
            }
        }
        Ok(())
    }

    fn send_unicast(&mut self, from: Ipv4Addr, to: Ipv4Addr, message: &[u8]) -> anyhow::Result<()> {
        self.open_packets()?;
        if self.unicast.is_none() {
            let socket =
                UdpSocket::bind(SocketAddrV4::new(from, CLIENT_PORT)).context("cannot use the client's port")?;
            self.unicast = Some(socket);
        }
        let socket = self.unicast.as_ref().context("no socket")?;
        socket.send_to(message, SocketAddrV4::new(to, SERVER_PORT)).with_context(|| format!("cannot send to {to}"))?;
        Ok(())
    }
}

/// Our name, unless nobody has given us one.
fn hostname() -> Option<String> {
    let name = nix::unistd::gethostname().ok()?.into_string().ok()?;
    (!name.is_empty() && name.len() <= 63 && name != "(none)" && name != "localhost").then_some(name)
}

/// Transaction numbers need to differ from those of other machines that boot at the same moment, no more.
fn seed() -> u64 {
    let mut bytes = [0; 8];
    let read = std::fs::File::open("/dev/urandom").and_then(|mut file| io::Read::read_exact(&mut file, &mut bytes));
    if read.is_err() {
        let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        return clock.as_nanos() as u64 ^ u64::from(std::process::id()) << 32;
    }
    u64::from_ne_bytes(bytes)
}
