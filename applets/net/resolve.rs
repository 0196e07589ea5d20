//! DNS for our own tools: a small resolver over UDP and TCP (RFC 1035), without the C library's: a static binary has no
//! NSS, and musl's asks only what `getaddrinfo` can express.

use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

/// Address record.
pub const A: u16 = 1;
/// Name server.
pub const NS: u16 = 2;
/// Alias.
pub const CNAME: u16 = 5;
/// Name of an address.
pub const PTR: u16 = 12;
/// Mail server.
pub const MX: u16 = 15;
/// Text.
pub const TXT: u16 = 16;
/// IPv6 address.
pub const AAAA: u16 = 28;

const TIMEOUT: Duration = Duration::from_secs(3);
const ATTEMPTS: usize = 2;

/// What `/etc/resolv.conf` says (resolv.conf(5)).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Name servers, in order.
    pub servers: Vec<IpAddr>,
    /// Domains to try for short names.
    pub search: Vec<String>,
}

impl Settings {
    /// Read the system's; none is as good as an empty file, which means a server on this machine.
    pub fn system() -> Self {
        let mut settings = Self::parse(&fs::read_to_string("/etc/resolv.conf").unwrap_or_default());
        if settings.servers.is_empty() {
            settings.servers.push(Ipv4Addr::LOCALHOST.into());
        }
        settings
    }

    fn parse(text: &str) -> Self {
        let mut settings = Settings::default();
        for line in text.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => {
                    settings.servers.extend(words.next().and_then(|word| word.parse::<IpAddr>().ok()))
                }
                Some("search" | "domain") => settings.search = words.map(str::to_owned).collect(),
                _ => {}
            }
        }
        settings
    }
}

/// A record of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Whose it is.
    pub name: String,
    /// Its value.
    pub value: Value,
}

/// A record's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// An address.
    Address(IpAddr),
    /// An alias, the name of an address, or a name server, with its type.
    Name(u16, String),
    /// Preference and mail server.
    Mail(u16, String),
    /// Text.
    Text(String),
}

/// A question's outcome.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The response code: 0 found, 3 no such name (RFC 1035, 4.1.1).
    pub code: u8,
    /// The server is responsible for the name.
    pub is_authoritative: bool,
    /// The records.
    pub records: Vec<Record>,
}

/// Ask the servers in turn for records of one type.
pub fn query(servers: &[SocketAddr], name: &str, kind: u16) -> anyhow::Result<(SocketAddr, Answer)> {
    let mut last = anyhow::anyhow!("no name server is configured");
    for _ in 0..ATTEMPTS {
        for server in servers {
            match query_one(*server, name, kind) {
                Ok(answer) => return Ok((*server, answer)),
                Err(error) => last = error,
            }
        }
    }
    Err(last)
}

fn query_one(server: SocketAddr, name: &str, kind: u16) -> anyhow::Result<Answer> {
    let id = random_id();
    let question = encode_question(id, name, kind)?;
    let any: IpAddr = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    // Connected: the kernel drops what comes from anyone else.
    let socket = UdpSocket::bind((any, 0)).context("cannot open a socket")?;
    socket.connect(server).with_context(|| format!("cannot reach {server}"))?;
    socket.send(&question).with_context(|| format!("cannot ask {server}"))?;
    let deadline = Instant::now() + TIMEOUT;
    let mut buffer = [0; 4096];
    loop {
        let rest = deadline.saturating_duration_since(Instant::now());
        if rest.is_zero() {
            bail!("{server} did not answer in {} s", TIMEOUT.as_secs());
        }
        socket.set_read_timeout(Some(rest))?;
        let length = match socket.recv(&mut buffer) {
            Ok(length) => length,
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::Interrupted) => {
                continue;
            }
            Err(error) => return Err(error).with_context(|| format!("no answer from {server}")),
        };
        let Some((answer, is_truncated)) = decode(&buffer[..length], &question) else { continue };
        return if is_truncated { query_tcp(server, &question) } else { Ok(answer) };
    }
}

fn query_tcp(server: SocketAddr, question: &[u8]) -> anyhow::Result<Answer> {
    let mut stream = TcpStream::connect_timeout(&server, TIMEOUT).with_context(|| format!("cannot reach {server}"))?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    let mut message = u16::try_from(question.len())?.to_be_bytes().to_vec();
    message.extend(question);
    stream.write_all(&message)?;
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut reply = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut reply)?;
    decode(&reply, question).map(|(answer, _)| answer).with_context(|| format!("malformed answer from {server}"))
}

/// All addresses of a name, a literal address included; `/etc/hosts` first, then DNS with the search list.
pub fn addresses(name: &str) -> anyhow::Result<Vec<IpAddr>> {
    if let Ok(address) = name.trim_start_matches('[').trim_end_matches(']').parse() {
        return Ok(vec![address]);
    }
    let from_hosts = in_hosts(&fs::read_to_string("/etc/hosts").unwrap_or_default(), name);
    if !from_hosts.is_empty() {
        return Ok(from_hosts);
    }
    let settings = Settings::system();
    let servers: Vec<_> = settings.servers.iter().map(|server| SocketAddr::new(*server, 53)).collect();
    for candidate in candidates(name, &settings.search) {
        let mut found = Vec::new();
        for kind in [A, AAAA] {
            let (_, answer) = query(&servers, &candidate, kind)?;
            found.extend(answer.records.iter().filter_map(|record| match record.value {
                Value::Address(address) => Some(address),
                _ => None,
            }));
        }
        if !found.is_empty() {
            return Ok(found);
        }
    }
    bail!("no address for {name}")
}

/// A name with a dot is tried as it is first (`ndots:1`), others with the search list first.
pub fn candidates(name: &str, search: &[String]) -> Vec<String> {
    if let Some(absolute) = name.strip_suffix('.') {
        return vec![absolute.to_owned()];
    }
    let mut all: Vec<_> = search.iter().map(|domain| format!("{name}.{domain}")).collect();
    all.insert(if name.contains('.') { 0 } else { all.len() }, name.to_owned());
    all
}

fn in_hosts(text: &str, name: &str) -> Vec<IpAddr> {
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default());
    lines
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let address = words.next()?.parse().ok()?;
            words.any(|word| word.eq_ignore_ascii_case(name)).then_some(address)
        })
        .collect()
}

/// The name under which the name of an address is found (RFC 1035, 3.5; RFC 3596).
pub fn reverse_name(address: IpAddr) -> String {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, c, d] = v4.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        IpAddr::V6(v6) => {
            let nibbles = v6.octets().into_iter().rev().flat_map(|byte| [byte & 0xf, byte >> 4]);
            nibbles.map(|nibble| format!("{nibble:x}.")).collect::<String>() + "ip6.arpa"
        }
    }
}

/// Not to be guessed by who would forge an answer (RFC 5452).
fn random_id() -> u16 {
    let mut bytes = [0; 2];
    let read = fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes));
    if read.is_err() {
        bytes = (std::process::id() as u16 ^ Instant::now().elapsed().subsec_nanos() as u16).to_be_bytes();
    }
    u16::from_be_bytes(bytes)
}

fn encode_question(id: u16, name: &str, kind: u16) -> anyhow::Result<Vec<u8>> {
    const RECURSION_DESIRED: u16 = 0x0100;
    let mut message = Vec::new();
    for number in [id, RECURSION_DESIRED, 1, 0, 0, 0] {
        message.extend(number.to_be_bytes());
    }
    for label in name.trim_end_matches('.').split('.').filter(|_| !name.trim_end_matches('.').is_empty()) {
        if !(1..=63).contains(&label.len()) {
            bail!("{name:?} is not a name: its parts must have 1 to 63 bytes");
        }
        message.push(label.len() as u8);
        message.extend(label.as_bytes());
    }
    message.push(0);
    if message.len() - 12 > 255 {
        bail!("{name:?} is longer than a name may be");
    }
    message.extend(kind.to_be_bytes());
    message.extend([0, 1]);
    Ok(message)
}

/// Read an answer to this question; the flag is that it was cut short.
fn decode(message: &[u8], question: &[u8]) -> Option<(Answer, bool)> {
    let flags = u16_at(message, 2)?;
    // Same transaction, a response, the question echoed byte by byte but for case.
    let echoed = message.get(12..question.len())?.eq_ignore_ascii_case(&question[12..]);
    if message.get(..2)? != &question[..2] || flags & 0x8000 == 0 || u16_at(message, 4)? != 1 || !echoed {
        return None;
    }
    let mut answer = Answer { code: (flags & 0xf) as u8, is_authoritative: flags & 0x0400 != 0, records: Vec::new() };
    let mut at = question.len();
    for _ in 0..u16_at(message, 6)? {
        let Some((record, next)) = decode_record(message, at) else { break };
        answer.records.extend(record);
        at = next;
    }
    Some((answer, flags & 0x0200 != 0))
}

fn decode_record(message: &[u8], at: usize) -> Option<(Option<Record>, usize)> {
    let (name, at) = decode_name(message, at)?;
    let kind = u16_at(message, at)?;
    let length = usize::from(u16_at(message, at + 8)?);
    let start = at + 10;
    let data = message.get(start..start + length)?;
    let value = match kind {
        A => Some(Value::Address(IpAddr::from(<[u8; 4]>::try_from(data).ok()?))),
        AAAA => Some(Value::Address(IpAddr::from(<[u8; 16]>::try_from(data).ok()?))),
        NS | CNAME | PTR => Some(Value::Name(kind, decode_name(message, start)?.0)),
        MX => Some(Value::Mail(u16_at(data, 0)?, decode_name(message, start + 2)?.0)),
        TXT => Some(Value::Text(decode_text(data))),
        _ => None,
    };
    Some((value.map(|value| Record { name, value }), start + length))
}

fn decode_text(mut data: &[u8]) -> String {
    let mut text = String::new();
    while let Some((&length, rest)) = data.split_first() {
        let (part, rest) = rest.split_at(usize::from(length).min(rest.len()));
        text += &printable(part);
        data = rest;
    }
    text
}

/// The name at an offset, and where it ends. A pointer must lead backwards, so there are no loops.
fn decode_name(message: &[u8], start: usize) -> Option<(String, usize)> {
    let (mut name, mut at, mut end, mut limit) = (String::new(), start, None, start);
    loop {
        let length = usize::from(*message.get(at)?);
        match length {
            0 => break,
            1..=63 => {
                if !name.is_empty() {
                    name.push('.');
                }
                name += &printable(message.get(at + 1..at + 1 + length)?);
                at += 1 + length;
                if name.len() > 1024 {
                    return None;
                }
            }
            192.. => {
                end = end.or(Some(at + 2));
                let target = usize::from(u16_at(message, at)? & 0x3fff);
                if target >= limit {
                    return None;
                }
                (at, limit) = (target, target);
            }
            _ => return None,
        }
    }
    Some((name, end.unwrap_or(at + 1)))
}

/// What a server says goes to a terminal: nothing but plain characters may.
fn printable(bytes: &[u8]) -> String {
    let show = |byte: &u8| {
        if (0x20..0x7f).contains(byte) { char::from(*byte).to_string() } else { format!("\\{byte:03}") }
    };
    bytes.iter().map(show).collect()
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn reply(question: &[u8], records: &[u8], count: u8) -> Vec<u8> {
        let mut message = question.to_vec();
        message[2] |= 0x80;
        message[7] = count;
        message.extend(records);
        message
    }

    #[test]
    fn an_answer_with_an_alias_is_read() {
        let question = encode_question(7, "www.example.org", A).unwrap();
        let mut records = vec![0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 9, 0, 4, 1, b'a', 0xc0, 16];
        records.extend([0xc0, 45, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 192, 0, 2, 1]);
        let (answer, _) = decode(&reply(&question, &records, 2), &question).unwrap();
        assert_eq!(answer.records[0].value, Value::Name(CNAME, "a.example.org".into()));
        assert_eq!(answer.records[1].name, "a.example.org");
        assert_eq!(answer.records[1].value, Value::Address("192.0.2.1".parse().unwrap()));
    }

    #[test]
    fn pointers_that_loop_are_refused() {
        let question = encode_question(7, "a", A).unwrap();
        let at = question.len() as u8;
        let records = [0xc0, at, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 192, 0, 2, 1];
        assert!(decode(&reply(&question, &records, 1), &question).unwrap().0.records.is_empty());
    }

    #[test]
    fn short_names_are_searched() {
        let search = ["x.org".to_owned()];
        assert_eq!(candidates("a", &search), ["a.x.org", "a"]);
        assert_eq!(candidates("a.b", &search), ["a.b", "a.b.x.org"]);
        assert_eq!(candidates("a.", &search), ["a"]);
    }

    #[test]
    fn files_are_read() {
        let settings = Settings::parse("# x\nnameserver 10.0.2.3\nnameserver bad\nsearch a.org b.org\n");
        assert_eq!((settings.servers.len(), settings.search.len()), (1, 2));
        assert_eq!(in_hosts("127.0.0.1 localhost me # x\n", "ME"), ["127.0.0.1".parse::<IpAddr>().unwrap()]);
        assert_eq!(reverse_name("192.0.2.1".parse().unwrap()), "1.2.0.192.in-addr.arpa");
    }

    proptest! {
        #[test]
        fn hostile_answers_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..120), count in any::<u8>()) {
            let question = encode_question(7, "example.org", MX).unwrap();
            let _ = decode(&bytes, &question);
            let _ = decode(&reply(&question, &bytes, count), &question);
        }
    }
}
