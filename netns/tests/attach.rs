//! Containers on bridges, in namespaces that the tests make: needs root, and `ip` and `nft` as peers.
#![allow(clippy::unwrap_used)] // Helpers of tests, which clippy.toml does not know as such.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use coracle_netns::netlink::Socket;
use coracle_netns::{Attachment, Error, Network, PortMapping, Request, attachment, detach, link, namespace};
use nix::sched::{CloneFlags, unshare};

/// Plug in a container that wants nothing in particular.
fn attach(
    network: &Network,
    container: &str,
    namespace: BorrowedFd<'_>,
    ports: &[PortMapping],
) -> coracle_netns::Result<Attachment> {
    coracle_netns::attach(network, &Request::new(container, namespace, ports))
}

fn is_root() -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        println!("SKIP attach: needs root");
    }
    root
}

/// A fresh namespace; the calling thread stays where it is.
fn new_namespace() -> OwnedFd {
    thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        link::loopback_up(&mut Socket::route().unwrap()).unwrap();
        namespace::open(Path::new("/proc/thread-self/ns/net")).unwrap()
    })
    .join()
    .unwrap()
}

/// Make the calling thread a host of its own: its namespace, and state files that nobody else sees.
fn become_host() {
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).unwrap();
    rustix::mount::mount_change(
        "/",
        rustix::mount::MountPropagationFlags::PRIVATE | rustix::mount::MountPropagationFlags::REC,
    )
    .unwrap();
    rustix::mount::mount("tmpfs", "/run", "tmpfs", rustix::mount::MountFlags::empty(), c"").unwrap();
    link::loopback_up(&mut Socket::route().unwrap()).unwrap();
}

fn run(command: &str) -> String {
    let output = Command::new("sh").arg("-c").arg(command).output().unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Everything that a network leaves in the kernel and on disk.
fn dump() -> String {
    run(
        "ip -o link | sed 's/^[0-9]*: //'; ip -o addr | sed 's/^[0-9]*: //; s/ tentative//'; ip route; nft list ruleset; \
         find /run/coracle -type f ! -name lock 2>/dev/null || true",
    )
}

/// Answer on a TCP port with `text` for ever.
fn serve(namespace: &OwnedFd, address: &str, text: &'static str) {
    let address = address.to_owned();
    let namespace = namespace.try_clone().unwrap();
    let (ready, wait) = std::sync::mpsc::channel();
    thread::spawn(move || {
        namespace::enter(namespace.as_fd()).unwrap();
        let listener = TcpListener::bind(&address).unwrap();
        ready.send(()).unwrap();
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let from = stream.peer_addr().unwrap().ip();
            stream.write_all(format!("{text} {from}").as_bytes()).unwrap();
        }
    });
    wait.recv().unwrap();
}

fn ask(namespace: &OwnedFd, address: &str) -> Option<String> {
    let address: SocketAddr = address.parse().unwrap();
    let namespace = namespace.try_clone().unwrap();
    thread::spawn(move || {
        namespace::enter(namespace.as_fd()).unwrap();
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_millis(700)).ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        Some(text)
    })
    .join()
    .unwrap()
}

/// Run a test in a thread of its own that is its own host.
fn on_host(test: impl FnOnce() + Send + 'static) {
    if !is_root() {
        return;
    }
    let result = thread::spawn(|| {
        become_host();
        test();
    })
    .join();
    if let Err(panic) = result {
        std::panic::resume_unwind(panic);
    }
}

fn own() -> OwnedFd {
    namespace::open(Path::new("/proc/thread-self/ns/net")).unwrap()
}

/// A machine outside: 192.0.2.2, joined to this host's 192.0.2.1; it knows no way to containers.
fn add_outside() -> OwnedFd {
    let outside = new_namespace();
    use std::os::fd::AsRawFd;
    run("ip link add uplink type veth peer name far && ip addr add 192.0.2.1/24 dev uplink && ip link set uplink up");
    let mut socket = Socket::route().unwrap();
    let far = link::find(&mut socket, "far").unwrap();
    let change = link::Change { namespace_fd: Some(outside.as_raw_fd()), ..link::Change::default() };
    link::change(&mut socket, far.index, "far", &change).unwrap();
    in_namespace(&outside, "ip addr add 192.0.2.2/24 dev far && ip link set far up");
    outside
}

fn in_namespace(namespace: &OwnedFd, command: &'static str) -> String {
    let namespace = namespace.try_clone().unwrap();
    thread::spawn(move || {
        namespace::enter(namespace.as_fd()).unwrap();
        run(command)
    })
    .join()
    .unwrap()
}

#[test]
fn a_container_reaches_out_and_is_reached() {
    on_host(|| {
        let outside = add_outside();
        let before = dump();
        let network = Network::default_bridge();
        let (web, other) = (new_namespace(), new_namespace());
        let ports =
            [PortMapping::parse_all("8080:80").unwrap(), PortMapping::parse_all("127.0.0.1:8081:80").unwrap()].concat();
        let attached = attach(&network, "web", web.as_fd(), &ports).unwrap();
        attach(&network, "other", other.as_fd(), &[]).unwrap();
        assert_eq!(attached.ip, Ipv4Addr::new(10, 88, 0, 2));
        assert_eq!(attachment::find(&network, "web").unwrap(), Some(attached.clone()));

        serve(&web, "10.88.0.2:80", "web");
        serve(&outside, "192.0.2.2:80", "outside");
        serve(&own(), "127.0.0.1:9999", "secret");
        let host = own();

        assert_eq!(ask(&web, "192.0.2.2:80").as_deref(), Some("outside 192.0.2.1"), "masqueraded on the way out");
        assert_eq!(ask(&outside, "192.0.2.1:8080").as_deref(), Some("web 192.0.2.2"), "published, source kept");
        assert_eq!(ask(&host, "127.0.0.1:8080").as_deref(), Some("web 10.88.0.1"), "published on localhost");
        assert_eq!(ask(&host, "192.0.2.1:8080").as_deref(), Some("web 192.0.2.1"), "published on the host's address");
        assert_eq!(ask(&host, "127.0.0.1:8081").as_deref(), Some("web 10.88.0.1"), "published on localhost only");
        assert_eq!(ask(&outside, "192.0.2.1:8081"), None, "localhost only");
        assert_eq!(ask(&other, "10.88.0.2:80").as_deref(), Some("web 10.88.0.3"), "neighbours talk");
        assert_eq!(ask(&other, "192.0.2.1:8080").as_deref(), Some("web 10.88.0.1"), "hairpin");
        assert_eq!(ask(&web, "192.0.2.1:8080").as_deref(), Some("web 10.88.0.1"), "hairpin to itself");
        assert_eq!(ask(&host, "127.0.0.1:9999").as_deref(), Some("secret 127.0.0.1"));
        in_namespace(
            &web,
            "ip link set lo down && ip route add 127.0.0.1 via 10.88.0.1 && \
            echo 1 > /proc/sys/net/ipv4/conf/all/route_localnet",
        );
        assert_eq!(ask(&web, "127.0.0.1:9999"), None, "the host's loopback is out of a container's reach");
        in_namespace(&outside, "ip route add 10.88.0.0/16 via 192.0.2.1");
        assert_eq!(ask(&outside, "10.88.0.2:80"), None, "what is not published is not reached by routing");

        detach(&network, "web").unwrap();
        assert_eq!(ask(&outside, "192.0.2.1:8080"), None);
        detach(&network, "other").unwrap();
        detach(&network, "other").unwrap();
        assert_eq!(dump(), before);
    });
}

#[test]
fn udp_is_published() {
    on_host(|| {
        let outside = add_outside();
        let network = Network::default_bridge();
        let container = new_namespace();
        let ports = PortMapping::parse_all("5300:53/udp").unwrap();
        let attached = attach(&network, "dns", container.as_fd(), &ports).unwrap();
        let (bound, wait) = std::sync::mpsc::channel();
        thread::spawn(move || {
            namespace::enter(container.as_fd()).unwrap();
            let socket = UdpSocket::bind((attached.ip, 53)).unwrap();
            bound.send(()).unwrap();
            let mut buffer = [0; 64];
            while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                socket.send_to(&buffer[..length], from).unwrap();
            }
        });
        // A packet that comes before the socket is bound is refused at once, and so would be all tries.
        wait.recv().unwrap();
        let talk = |namespace: &OwnedFd, to: &'static str| {
            let namespace = namespace.try_clone().unwrap();
            thread::spawn(move || {
                namespace::enter(namespace.as_fd()).unwrap();
                let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
                socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
                socket.connect(to).unwrap();
                let mut buffer = [0; 64];
                (0..5).any(|_| {
                    let _ = socket.send(b"hello");
                    socket.recv(&mut buffer).is_ok_and(|length| &buffer[..length] == b"hello")
                })
            })
            .join()
            .unwrap()
        };
        assert!(talk(&outside, "192.0.2.1:5300"));
        assert!(talk(&own(), "127.0.0.1:5300"));
        detach(&network, "dns").unwrap();
    });
}

#[test]
fn networks_are_isolated_from_each_other() {
    on_host(|| {
        let before = dump();
        let one = Network::default_bridge();
        let two = Network::new("two", "br-two", Ipv4Addr::new(10, 99, 0, 0), 24).unwrap();
        let (a, b) = (new_namespace(), new_namespace());
        attach(&one, "a", a.as_fd(), &[]).unwrap();
        let ports = PortMapping::parse_all("8080:81").unwrap();
        assert_eq!(attach(&two, "b", b.as_fd(), &ports).unwrap().ip, Ipv4Addr::new(10, 99, 0, 2));
        serve(&b, "10.99.0.2:80", "b");
        serve(&b, "10.99.0.2:81", "published");
        assert_eq!(ask(&own(), "10.99.0.2:80").as_deref(), Some("b 10.99.0.1"));
        assert_eq!(ask(&a, "10.99.0.2:80"), None);
        assert!(ask(&a, "10.88.0.1:8080").is_some_and(|text| text.starts_with("published")));
        detach(&one, "a").unwrap();
        assert!(run("nft list ruleset").contains("br-two"));
        assert_eq!(ask(&own(), "10.99.0.1:8080").as_deref(), Some("published 10.99.0.1"));
        detach(&two, "b").unwrap();
        assert_eq!(dump(), before);
    });
}

#[test]
fn a_port_is_published_once() {
    on_host(|| {
        let network = Network::default_bridge();
        let (one, two) = (new_namespace(), new_namespace());
        let ports = PortMapping::parse_all("8080:80").unwrap();
        attach(&network, "one", one.as_fd(), &ports).unwrap();
        let error = attach(&network, "two", two.as_fd(), &ports).unwrap_err();
        assert_eq!(error.to_string(), "Bind for 0.0.0.0:8080 failed: port is already allocated");
        serve(&one, "10.88.0.2:80", "one");
        assert!(ask(&own(), "127.0.0.1:8080").is_some(), "the refusal must not touch the holder's port");
        let chosen = attach(&network, "two", two.as_fd(), &PortMapping::parse_all("80").unwrap()).unwrap();
        assert_ne!(chosen.ports[0].host_port, 0);
        detach(&network, "two").unwrap();

        let listener = TcpListener::bind("127.0.0.1:7070").unwrap();
        let taken = PortMapping::parse_all("127.0.0.1:7070:80").unwrap();
        assert!(matches!(attach(&network, "two", two.as_fd(), &taken), Err(Error::PortInUse { .. })));
        drop(listener);
        attach(&network, "two", two.as_fd(), &taken).unwrap();
        detach(&network, "two").unwrap();
        detach(&network, "one").unwrap();
    });
}

#[test]
fn what_the_dead_held_is_reclaimed() {
    on_host(|| {
        let before = dump();
        let network = Network::default_bridge();
        let ports = PortMapping::parse_all("8080:80").unwrap();
        let dead = new_namespace();
        let held = attach(&network, "dead", dead.as_fd(), &ports).unwrap();
        let keeper = new_namespace();
        attach(&network, "keeper", keeper.as_fd(), &[]).unwrap();
        drop(dead);
        // The kernel takes the namespace down in its own time.
        for _ in 0..100 {
            if link::find(&mut Socket::route().unwrap(), &held.host_interface).is_err() {
                break;
            }
            thread::sleep(Duration::from_millis(50));
        }
        let heir = new_namespace();
        attach(&network, "heir", heir.as_fd(), &ports).unwrap();
        assert_eq!(attachment::find(&network, "dead").unwrap(), None);
        drop((keeper, heir));
        for _ in 0..100 {
            if attachment::reclaim(&network).unwrap() > 0 && dump() == before {
                return;
            }
            thread::sleep(Duration::from_millis(50));
        }
        assert_eq!(dump(), before);
    });
}

#[test]
fn half_done_states_are_completed_or_undone() {
    on_host(|| {
        let before = dump();
        let network = Network::default_bridge();
        let container = new_namespace();
        let ports = PortMapping::parse_all("8080:80").unwrap();
        attach(&network, "c", container.as_fd(), &ports).unwrap();
        // Killed before the cable was laid, and someone flushed the filter.
        run("ip link del veth0a580002; nft flush ruleset");
        let again = attach(&network, "c", container.as_fd(), &ports).unwrap();
        serve(&container, &format!("{}:80", again.ip), "c");
        assert!(ask(&own(), "127.0.0.1:8080").is_some());
        // Killed while everything was being undone.
        run("ip link del coracle0; nft delete table inet coracle");
        detach(&network, "c").unwrap();
        assert_eq!(dump(), before);
        // A cable whose state is lost.
        attach(&network, "c", container.as_fd(), &ports).unwrap();
        run("rm -r /run/coracle/networks/bridge /run/coracle/networks/lock");
        let other = new_namespace();
        attach(&network, "d", other.as_fd(), &ports).unwrap();
        detach(&network, "d").unwrap();
        assert_eq!(dump(), before);
    });
}

#[test]
fn many_at_once_get_different_addresses() {
    on_host(|| {
        let network = Network::default_bridge();
        let host = own();
        let threads: Vec<_> = (0..16)
            .map(|n| {
                let (network, host) = (network.clone(), host.try_clone().unwrap());
                thread::spawn(move || {
                    namespace::enter(host.as_fd()).unwrap();
                    let container = new_namespace();
                    (attach(&network, &format!("c{n}"), container.as_fd(), &[]).unwrap().ip, container)
                })
            })
            .collect();
        let mut given: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        given.sort_by_key(|(ip, _)| *ip);
        given.dedup_by_key(|(ip, _)| *ip);
        assert_eq!(given.len(), 16);
        for n in 0..16 {
            detach(&network, &format!("c{n}")).unwrap();
        }
    });
}

#[test]
fn attaching_is_fast() {
    on_host(|| {
        let network = Network::default_bridge();
        let ports = PortMapping::parse_all("8080:80").unwrap();
        let cpu = || {
            let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_THREAD).unwrap();
            let of = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 * 1e3 + time.tv_usec() as f64 / 1e3;
            of(usage.user_time()) + of(usage.system_time())
        };
        let containers: Vec<_> = (0..20).map(|_| new_namespace()).collect();
        let (start, clock) = (cpu(), std::time::Instant::now());
        for container in &containers {
            attach(&network, "c", container.as_fd(), &ports).unwrap();
            detach(&network, "c").unwrap();
        }
        let (spent, elapsed) = ((cpu() - start) / 20.0, clock.elapsed().as_secs_f64() * 50.0);
        eprintln!("attach + detach of the only container: {spent:.2} ms CPU, {elapsed:.2} ms elapsed");
        assert!(spent < 20.0, "{spent} ms of CPU time");
    });
}
