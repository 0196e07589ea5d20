//! The name server of containers, on hosts as in [`super::network`].

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use nix::sched::{CloneFlags, setns};

use super::network::{Host, shell};
use super::text;

impl Host {
    /// The addresses that a container finds for a name, sorted.
    fn lookup(&self, container: &str, name: &str) -> Vec<String> {
        // Complete: whatever resolv.conf says, busybox tries the search list for a name without a dot.
        let said = self.nslookup(container, &format!("{name}."));
        let lines = said.lines().skip_while(|line| !line.starts_with("Name:"));
        let found: BTreeSet<String> = lines
            .filter(|line| line.starts_with("Address"))
            .filter_map(|line| Some(line.split_ascii_whitespace().last()?.to_owned()))
            .collect();
        found.into_iter().collect()
    }

    fn nslookup(&self, container: &str, name: &str) -> String {
        let output = self.engine.ctr(&["exec", container, "busybox", "nslookup", name]);
        text(&output.stdout) + &text(&output.stderr)
    }

    /// The answer that a container gets to a question for addresses, byte by byte.
    fn ask_for(&self, container: &str, name: &str, by_tcp: bool) -> Vec<u8> {
        let pid = self.engine.inspect(container)["State"]["Pid"].as_i64().unwrap();
        let question = question(name);
        let asked = std::thread::spawn(move || {
            let space = std::fs::File::open(format!("/proc/{pid}/ns/net")).unwrap();
            setns(space, CloneFlags::CLONE_NEWNET).unwrap();
            if by_tcp { ask_by_tcp(&question) } else { ask_by_udp(&question) }
        });
        asked.join().unwrap()
    }

    /// The name servers of this engine's containers.
    pub fn name_servers(&self) -> Vec<i32> {
        let own = format!("CORACLE_RUN={}/run", self.engine.dir.path().display());
        let mut found = Vec::new();
        for entry in std::fs::read_dir("/proc").unwrap().filter_map(Result::ok) {
            let Ok(pid) = entry.file_name().to_string_lossy().parse::<i32>() else { continue };
            let read = |file: &str| std::fs::read(entry.path().join(file)).unwrap_or_default();
            if read("cmdline").starts_with(b"ctr-dns\0")
                && read("environ").split(|byte| *byte == 0).any(|it| it == own.as_bytes())
            {
                found.push(pid);
            }
        }
        found
    }

    /// Have the host ask these servers.
    fn set_servers(&self, servers: &str) {
        let file = self.engine.dir.path().join("resolv.conf");
        let is_new = !file.exists();
        std::fs::write(&file, servers).unwrap();
        if is_new {
            shell(&format!("mount --bind {} /etc/resolv.conf", file.display()));
        }
    }
}

fn question(name: &str) -> Vec<u8> {
    let mut message = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        message.push(u8::try_from(label.len()).unwrap());
        message.extend(label.as_bytes());
    }
    message.extend([0, 0, 1, 0, 1]);
    message
}

fn ask_by_udp(question: &[u8]) -> Vec<u8> {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    socket.connect("127.0.0.11:53").unwrap();
    socket.send(question).unwrap();
    let mut buffer = [0; 65536];
    let length = socket.recv(&mut buffer).unwrap();
    buffer[..length].to_vec()
}

fn ask_by_tcp(question: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect("127.0.0.11:53").unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(&[0, u8::try_from(question.len()).unwrap()]).unwrap();
    stream.write_all(question).unwrap();
    read_message(&mut stream)
}

fn read_message(stream: &mut TcpStream) -> Vec<u8> {
    let mut length = [0; 2];
    stream.read_exact(&mut length).unwrap();
    let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut message).unwrap();
    message
}

/// A name server: `small.test` has one address, `big.test` has more than a datagram holds; it fails for all else.
fn serve_names(address: &str, one: Ipv4Addr) {
    let address: SocketAddr = address.parse().unwrap();
    let (udp, tcp) = (UdpSocket::bind(address).unwrap(), TcpListener::bind(address).unwrap());
    let answer = move |question: &[u8], by_tcp: bool| {
        let asks = |name: &[u8]| question[12..].to_ascii_lowercase().starts_with(name);
        let mut message = question.to_vec();
        message.truncate(12 + question[12..].iter().position(|byte| *byte == 0).unwrap() + 5);
        let mut count = 0_u16;
        message[2] = 0x81;
        message[3] = 0x80;
        message[8..12].fill(0);
        if asks(b"\x05small\x04test") && message[message.len() - 3] == 1 {
            count = 1;
        } else if asks(b"\x03big\x04test") {
            count = if by_tcp { 200 } else { 0 };
            message[2] |= if by_tcp { 0 } else { 2 };
        } else if !asks(b"\x05small\x04test") {
            message[3] |= 2;
        }
        message[6..8].copy_from_slice(&count.to_be_bytes());
        for _ in 0..count {
            message.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4]);
            message.extend(one.octets());
        }
        message
    };
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok((length, from)) = udp.recv_from(&mut buffer) {
            udp.send_to(&answer(&buffer[..length], false), from).unwrap();
        }
    });
    std::thread::spawn(move || {
        for stream in tcp.incoming() {
            let mut stream = stream.unwrap();
            let reply = answer(&read_message(&mut stream), true);
            stream.write_all(&u16::try_from(reply.len()).unwrap().to_be_bytes()).unwrap();
            stream.write_all(&reply).unwrap();
        }
    });
}

fn code(answer: &[u8]) -> u8 {
    answer[3] & 0xf
}

fn count(answer: &[u8]) -> u16 {
    u16::from_be_bytes([answer[6], answer[7]])
}

#[test]
fn containers_are_found_by_name() {
    Host::test(|host| {
        host.set_servers("nameserver 127.0.0.1\nsearch example.org\n");
        host.ctr("network create --subnet 10.7.0.0/24 --subnet fd07::/64 one");
        host.ctr("network create --subnet 10.8.0.0/24 two");
        host.start("web", "--network one --network-alias www --network-alias both --ip 10.7.0.9");
        host.start("db", "--network one --network-alias both --hostname shown");
        host.start("far", "--network two");
        let wanted = "nameserver 127.0.0.11\nsearch example.org\noptions ndots:0\n";
        assert_eq!(host.ctr("exec db cat /etc/resolv.conf"), wanted.trim_end());
        let id = host.ctr("inspect --format {{.Id}} web");
        for name in ["web", "WEB", "www", "web.one", "www.one", &id[..12]] {
            assert_eq!(host.lookup("db", name), ["10.7.0.9", "fd07::9"], "{name}");
        }
        assert_eq!(host.lookup("web", "shown"), ["10.7.0.2", "fd07::2"], "by its host name");
        assert_eq!(host.lookup("web", "both"), ["10.7.0.2", "10.7.0.9", "fd07::2", "fd07::9"]);
        let first = |_| host.ask_for("db", "both", false)[36 - 2..][..16].to_vec();
        assert!((0..40).map(first).collect::<BTreeSet<_>>().len() > 1, "in an order that differs");
        assert!(host.nslookup("db", "10.7.0.9").contains("name = web.one"), "{}", host.nslookup("db", "10.7.0.9"));
        assert!(host.nslookup("db", "fd07::9").contains("name = web.one"));
        assert_eq!(host.lookup("far", "web"), Vec::<String>::new(), "it is on another network");
        assert_eq!(host.lookup("web", "far"), Vec::<String>::new());

        // Whatever happens to a container is known at once.
        host.ctr("network connect --alias farther one far");
        assert_eq!(host.lookup("web", "farther"), ["10.7.0.3", "fd07::3"]);
        assert_eq!(host.lookup("far", "web"), ["10.7.0.9", "fd07::9"]);
        host.ctr("rename web renamed");
        assert_eq!(host.lookup("db", "renamed"), ["10.7.0.9", "fd07::9"]);
        assert_eq!(host.lookup("db", "www"), ["10.7.0.9", "fd07::9"]);
        assert_eq!(host.lookup("db", "web"), Vec::<String>::new());
        assert_eq!(host.networks("renamed")["one"]["DNSNames"][0], "renamed");
        host.ctr("network disconnect one far");
        assert_eq!(host.lookup("db", "farther"), Vec::<String>::new());
        host.ctr("stop -t 0 renamed");
        assert_eq!(host.lookup("db", "both"), ["10.7.0.2", "fd07::2"]);
        host.ctr("start renamed");
        assert_eq!(host.lookup("db", "both"), ["10.7.0.2", "10.7.0.9", "fd07::2", "fd07::9"]);
        assert_eq!(host.name_servers().len(), 1);
        host.remove("renamed db far");
        assert_eq!(host.name_servers(), Vec::<i32>::new(), "it ends with the last container");
        host.ctr("network rm one two");
        shell("umount /etc/resolv.conf");
    });
}

#[test]
fn a_killed_name_server_is_missed_by_nobody() {
    Host::test(|host| {
        host.ctr("network create --subnet 10.7.0.0/24 one");
        host.start("web", "--network one");
        host.start("db", "--network one");
        for next in ["ps", "run --rm --network one busybox true"] {
            let [server] = host.name_servers()[..] else { panic!("{:?}", host.name_servers()) };
            nix::sys::signal::kill(nix::unistd::Pid::from_raw(server), nix::sys::signal::Signal::SIGKILL).unwrap();
            while host.name_servers().contains(&server) {
                std::thread::sleep(Duration::from_millis(5));
            }
            // A killed process has no command line any more while its socket still is there for a moment.
            let found = (0..10).any(|_| {
                std::thread::sleep(Duration::from_millis(20));
                host.ctr(next);
                host.lookup("db", "web") == ["10.7.0.2"]
            });
            assert!(found, "{next}: {}", host.nslookup("db", "web"));
        }
        // Killed, and the containers go without it.
        let [server] = host.name_servers()[..] else { panic!("{:?}", host.name_servers()) };
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(server), nix::sys::signal::Signal::SIGKILL).unwrap();
        host.remove("web db");
        host.ctr("ps");
        host.ctr("network rm one");
    });
}

#[test]
fn other_names_are_passed_on() {
    Host::test(|host| {
        // The first is not there, the second fails for what it does not know.
        host.set_servers("nameserver 127.0.0.5\nnameserver 127.0.0.6\nnameserver 127.0.0.7\n");
        serve_names("127.0.0.6:53", Ipv4Addr::new(192, 0, 2, 6));
        host.ctr("network create --subnet 10.7.0.0/24 one");
        host.ctr("network create --internal --subnet 10.8.0.0/24 inside");
        host.start("web", "--network one");
        host.start("in", "--network inside");
        assert_eq!(host.lookup("web", "small.test"), ["192.0.2.6"]);
        let cut = host.ask_for("web", "big.test", false);
        assert!(cut[2] & 2 != 0 && cut.len() <= 512 && cut[..2] == [0x12, 0x34], "told to ask by TCP: {cut:?}");
        let whole = host.ask_for("web", "big.test", true);
        assert_eq!((count(&whole), whole.len(), &whole[..2]), (200, 12 + 14 + 200 * 16, &[0x12, 0x34][..]));
        assert_eq!(count(&host.ask_for("web", "web", true)), 1, "ours by TCP");
        assert_eq!(code(&host.ask_for("web", "unknown.test", false)), 2);
        assert_eq!(code(&host.ask_for("web", "unknown.test", true)), 2);
        // From an internal network nothing gets out, by this way neither.
        assert_eq!(code(&host.ask_for("in", "small.test", false)), 2);
        assert_eq!(host.lookup("in", "in"), ["10.8.0.2"]);

        // The host's servers are those that it has now; a container's own are asked from where it is.
        serve_names("127.0.0.8:53", Ipv4Addr::new(192, 0, 2, 8));
        host.set_servers("nameserver 127.0.0.8\n");
        assert_eq!(host.lookup("web", "small.test"), ["192.0.2.8"]);
        serve_names("10.7.0.1:53", Ipv4Addr::new(192, 0, 2, 1));
        host.start("own", "--network one --dns 10.7.0.1 --dns-search a.example --dns-option timeout:1");
        assert_eq!(host.lookup("own", "small.test"), ["192.0.2.1"], "{}", host.nslookup("own", "small.test."));
        assert_eq!(host.lookup("own", "web"), ["10.7.0.2"]);
        let wanted = "nameserver 127.0.0.11\nsearch a.example\noptions timeout:1 ndots:0";
        assert_eq!(host.ctr("exec own cat /etc/resolv.conf"), wanted);

        // Nonsense does no harm, and a container that asks much is refused, not served at the cost of others.
        let flood = "for i in 1 2 3; do busybox nc -u -w 1 127.0.0.11 53 < /bin/busybox; done; busybox nc -w 1 127.0.0.11 53 < /bin/busybox";
        host.engine.ctr(&["exec", "web", "sh", "-c", flood]);
        assert_eq!(host.lookup("web", "own"), ["10.7.0.3"]);
        assert_eq!(host.name_servers().len(), 1);
        host.remove("web in own");
        host.ctr("network rm one inside");
        shell("umount /etc/resolv.conf");
    });
}

#[test]
fn names_come_and_go_with_networks() {
    Host::test(|host| {
        host.set_servers("nameserver 10.0.0.53\n");
        host.ctr("network create --subnet 10.7.0.0/24 one");
        host.start("plain", "");
        host.start("web", "--network one");
        assert_eq!(
            host.ctr("exec plain cat /etc/resolv.conf"),
            "nameserver 10.0.0.53",
            "the default network has no names"
        );
        assert_eq!(host.networks("plain")["bridge"]["DNSNames"], serde_json::Value::Null);
        host.ctr("network connect one plain");
        assert!(host.ctr("exec plain cat /etc/resolv.conf").starts_with("nameserver 127.0.0.11\n"));
        assert_eq!(host.lookup("plain", "web"), ["10.7.0.2"]);
        host.ctr("network disconnect one plain");
        assert_eq!(host.ctr("exec plain cat /etc/resolv.conf"), "nameserver 10.0.0.53");
        let pid = host.engine.inspect("plain")["State"]["Pid"].as_i64().unwrap();
        assert_eq!(shell(&format!("nsenter -t {pid} -n nft list ruleset")), "", "nothing is left in the container");
        // What is edited in the container stays.
        host.ctr_args(&["exec", "plain", "sh", "-c", "echo nameserver 10.0.0.99 > /etc/resolv.conf"]);
        host.ctr("network connect one plain");
        assert_eq!(host.ctr("exec plain cat /etc/resolv.conf"), "nameserver 10.0.0.99");
        // A container may be a name server itself.
        host.ctr("run -d --name dns --network one busybox busybox nc -ll -p 53 -e /bin/busybox echo own");
        let own = host.networks("dns")["one"]["IPAddress"].as_str().unwrap().to_owned();
        assert_eq!(host.ask("web", &own, 53), "own");
        assert_eq!(host.lookup("dns", "web"), ["10.7.0.2"], "{}", host.nslookup("dns", "web."));
        host.remove("plain web dns");
        host.ctr("network rm one");
        shell("umount /etc/resolv.conf");
    });
}
