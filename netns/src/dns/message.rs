//! DNS messages (RFC 1035, RFC 6891): as much as a server needs that answers for a few names and passes all else on. What is
//! passed on is never taken apart, so no record type has to be known.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Address record.
pub const A: u16 = 1;
/// Name of an address.
pub const PTR: u16 = 12;
/// IPv6 address (RFC 3596).
pub const AAAA: u16 = 28;
/// Any type that there is.
pub const ANY: u16 = 255;
/// The pseudo record of EDNS (RFC 6891).
const OPT: u16 = 41;
/// The internet's class.
const IN: u16 = 1;

/// Length of the header.
pub const HEADER: usize = 12;
/// What a client takes by UDP unless it says otherwise (RFC 1035, 4.2.1).
const PLAIN_SIZE: u16 = 512;
/// What is sent by UDP at most, whatever the client says: loopback has no fragments, but buffers do have an end.
const LARGEST_UDP: u16 = 4096;
/// What a message of this server says of its own buffer.
const OWN_SIZE: u16 = 1232;
/// A name's length on the wire, at most.
const LONGEST_NAME: usize = 255;

const RESPONSE: u16 = 0x8000;
const OPCODE: u16 = 0x7800;
const TRUNCATED: u16 = 0x0200;
const RECURSION_DESIRED: u16 = 0x0100;
const RECURSION_AVAILABLE: u16 = 0x0080;
const RCODE: u16 = 0x000f;

/// Response codes (RFC 1035, 4.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// Found, or found to have nothing of the type.
    NoError = 0,
    /// The query makes no sense.
    FormatError = 1,
    /// Nobody could answer.
    ServerFailure = 2,
    /// Another kind of query than a plain one.
    NotImplemented = 4,
    /// Too much is being asked.
    Refused = 5,
}

/// A query with one question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// The client's number for it.
    pub id: u16,
    /// The name, lower-case, without a dot at its end; `None` if it has bytes that no name of a container can have.
    pub name: Option<String>,
    /// The type of records that are wanted.
    pub kind: u16,
    /// The most that the client takes by UDP.
    pub udp_size: u16,
    /// Whether it speaks EDNS.
    pub has_edns: bool,
    flags: u16,
    question: Vec<u8>,
}

/// Read a query. What is none (an answer, or not even a header) is `Err(None)` and deserves no answer; what is wrong otherwise
/// is `Err` with the answer to it.
///
/// # Errors
/// As said.
pub fn parse(message: &[u8]) -> Result<Query, Option<Vec<u8>>> {
    let flags = u16_at(message, 2).filter(|flags| flags & RESPONSE == 0 && message.len() >= HEADER).ok_or(None)?;
    let id = u16_at(message, 0).ok_or(None)?;
    let refuse = |code: Code| Some(header(id, reply_flags(flags, code), [0; 4]));
    if flags & OPCODE != 0 {
        return Err(refuse(Code::NotImplemented));
    }
    read(message, id, flags).ok_or_else(|| refuse(Code::FormatError))
}

fn read(message: &[u8], id: u16, flags: u16) -> Option<Query> {
    if u16_at(message, 4)? != 1 {
        return None;
    }
    let (name, end) = read_name(message, HEADER)?;
    let (kind, class) = (u16_at(message, end)?, u16_at(message, end + 2)?);
    let question = message.get(HEADER..end + 4)?.to_vec();
    let records: usize = [6, 8, 10].iter().map(|at| u16_at(message, *at).map_or(0, usize::from)).sum();
    let (mut at, mut edns) = (end + 4, None);
    for _ in 0..records {
        let fixed = skip_name(message, at)?;
        if u16_at(message, fixed)? == OPT {
            edns = u16_at(message, fixed + 2);
        }
        at = fixed + 10 + usize::from(u16_at(message, fixed + 8)?);
        message.get(..at)?;
    }
    let name = name.filter(|_| matches!(class, IN | ANY));
    let udp_size = edns.unwrap_or(PLAIN_SIZE).clamp(PLAIN_SIZE, LARGEST_UDP);
    Some(Query { id, name, kind, udp_size, has_edns: edns.is_some(), flags, question })
}

/// The name of a question, which has nothing before it to be compressed by, and where it ends.
fn read_name(message: &[u8], start: usize) -> Option<(Option<String>, usize)> {
    let (mut text, mut is_plain, mut at) = (String::new(), true, start);
    loop {
        let length = usize::from(*message.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        if length > 63 || at + length - start >= LONGEST_NAME {
            return None;
        }
        let label = message.get(at..at + length)?;
        is_plain &= label.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'.');
        if !text.is_empty() {
            text.push('.');
        }
        text.extend(label.iter().map(|byte| char::from(byte.to_ascii_lowercase())));
        at += length;
    }
    Some((is_plain.then_some(text), at))
}

/// Where a name that may be compressed ends.
fn skip_name(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match usize::from(*message.get(at)?) {
            0 => return Some(at + 1),
            length @ 1..=63 => at += 1 + length,
            192.. => return Some(at + 2),
            _ => return None,
        }
    }
}

impl Query {
    /// An answer without records.
    pub fn refuse(&self, code: Code) -> Vec<u8> {
        self.reply(code, 0, 0, &[])
    }

    /// An answer of addresses of the type that was asked for, as many as fit in `limit` bytes.
    pub fn addresses(&self, addresses: &[IpAddr], limit: usize) -> Vec<u8> {
        let wanted = |address: &&IpAddr| match self.kind {
            A => address.is_ipv4(),
            AAAA => address.is_ipv6(),
            kind => kind == ANY,
        };
        let records = addresses.iter().filter(wanted).map(|address| match address {
            IpAddr::V4(ip) => record(A, &ip.octets()),
            IpAddr::V6(ip) => record(AAAA, &ip.octets()),
        });
        self.answer(records.collect(), limit)
    }

    /// An answer of one name.
    pub fn pointer(&self, name: &str, limit: usize) -> Vec<u8> {
        match encode_name(name) {
            Some(data) => self.answer(vec![record(PTR, &data)], limit),
            None => self.refuse(Code::ServerFailure),
        }
    }

    fn answer(&self, records: Vec<Vec<u8>>, limit: usize) -> Vec<u8> {
        let room = limit.saturating_sub(HEADER + self.question.len() + if self.has_edns { 11 } else { 0 });
        let (mut body, mut count) = (Vec::new(), 0_u16);
        for record in &records {
            if body.len() + record.len() > room {
                break;
            }
            body.extend(record);
            count = count.saturating_add(1);
        }
        let cut = if usize::from(count) < records.len() { TRUNCATED } else { 0 };
        self.reply(Code::NoError, cut, count, &body)
    }

    fn reply(&self, code: Code, more_flags: u16, count: u16, records: &[u8]) -> Vec<u8> {
        let flags = reply_flags(self.flags, code) | more_flags;
        let mut message = header(self.id, flags, [1, count, 0, u16::from(self.has_edns)]);
        message.extend(&self.question);
        message.extend(records);
        if self.has_edns {
            // Root, type, buffer size in place of the class, nothing in place of the lifetime, no options.
            message.push(0);
            message.extend([OPT, OWN_SIZE, 0, 0, 0].iter().flat_map(|number| number.to_be_bytes()));
        }
        message
    }

    /// Whether a message is an answer to this query as it was passed on under the number `id`.
    pub fn is_answered_by(&self, message: &[u8], id: u16) -> bool {
        let is_response = u16_at(message, 2).is_some_and(|flags| flags & RESPONSE != 0);
        let echoed = message.get(HEADER..HEADER + self.question.len());
        is_response
            && u16_at(message, 0) == Some(id)
            && u16_at(message, 4) == Some(1)
            && echoed.is_some_and(|echoed| echoed.eq_ignore_ascii_case(&self.question))
    }

    /// An answer of another server, made one to the client: its number, and no longer than `limit`.
    pub fn relay(&self, mut message: Vec<u8>, limit: usize) -> Vec<u8> {
        if message.len() > limit {
            let flags = u16_at(&message, 2).unwrap_or(RESPONSE) | TRUNCATED;
            message = header(self.id, flags, [1, 0, 0, 0]);
            message.extend(&self.question);
        }
        renumber(&mut message, self.id);
        message
    }
}

/// Whether a server's answer says that another should be asked: it failed, or does not want to.
pub fn is_failure(message: &[u8]) -> bool {
    let code = u16_at(message, 2).map_or(0, |flags| flags & RCODE);
    code == Code::ServerFailure as u16 || code == Code::Refused as u16 || code == Code::NotImplemented as u16
}

/// Give a message another number.
pub fn renumber(message: &mut [u8], id: u16) {
    if let Some(bytes) = message.get_mut(..2) {
        bytes.copy_from_slice(&id.to_be_bytes());
    }
}

/// As Docker answers: recursion is available, and nobody claims to be the authority.
fn reply_flags(query: u16, code: Code) -> u16 {
    RESPONSE | query & (OPCODE | RECURSION_DESIRED) | RECURSION_AVAILABLE | code as u16
}

fn header(id: u16, flags: u16, counts: [u16; 4]) -> Vec<u8> {
    [&[id, flags][..], &counts].concat().iter().flat_map(|number| number.to_be_bytes()).collect()
}

/// A record of the name in the question. It is not to be kept: names come and go with containers.
fn record(kind: u16, data: &[u8]) -> Vec<u8> {
    const NAME_OF_QUESTION: u16 = 0xc000 | HEADER as u16;
    let length = u16::try_from(data.len()).unwrap_or(0);
    let fixed = [NAME_OF_QUESTION, kind, IN, 0, 0, length];
    let mut bytes: Vec<u8> = fixed.iter().flat_map(|number| number.to_be_bytes()).collect();
    bytes.extend(data);
    bytes
}

fn encode_name(name: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(name.len() + 2);
    for label in name.split('.') {
        bytes.push(u8::try_from(label.len()).ok().filter(|length| (1..=63).contains(length))?);
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    (bytes.len() <= LONGEST_NAME).then_some(bytes)
}

/// The address that a name below in-addr.arpa or ip6.arpa is of (RFC 1035, 3.5; RFC 3596, 2.5).
pub fn address_of(name: &str) -> Option<IpAddr> {
    if let Some(rest) = name.strip_suffix(".in-addr.arpa") {
        let mut octets = [0_u8; 4];
        let mut labels = rest.split('.').rev();
        for octet in &mut octets {
            *octet = labels.next()?.parse().ok()?;
        }
        return labels.next().is_none().then(|| Ipv4Addr::from(octets).into());
    }
    let mut number = 0_u128;
    let mut count = 0;
    for label in name.strip_suffix(".ip6.arpa")?.split('.').rev() {
        let digit = label.chars().next().filter(|_| label.len() == 1)?.to_digit(16)?;
        number = number << 4 | u128::from(digit);
        count += 1;
    }
    (count == 32).then(|| Ipv6Addr::from(number).into())
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn question(name: &str, kind: u16, edns: Option<u16>) -> Vec<u8> {
        let mut message = header(7, RECURSION_DESIRED, [1, 0, 0, u16::from(edns.is_some())]);
        message.extend(encode_name(name).unwrap());
        message.extend([kind, IN].iter().flat_map(|number| number.to_be_bytes()));
        if let Some(size) = edns {
            message.push(0);
            message.extend([OPT, size, 0, 0, 0].iter().flat_map(|number| number.to_be_bytes()));
        }
        message
    }

    #[test]
    fn queries_are_read() {
        let query = parse(&question("Web.One", A, None)).unwrap();
        assert_eq!((query.name.as_deref(), query.kind, query.udp_size), (Some("web.one"), A, 512));
        assert_eq!(parse(&question("a", A, Some(1232))).unwrap().udp_size, 1232);
        assert_eq!(parse(&question("a", A, Some(1))).unwrap().udp_size, 512);
        assert_eq!(parse(&question("a", A, Some(65535))).unwrap().udp_size, LARGEST_UDP);
    }

    #[test]
    fn what_is_no_query_is_answered_accordingly() {
        let good = question("a", A, None);
        let changed = |at: usize, byte: u8| {
            let mut message = good.clone();
            message[at] = byte;
            parse(&message)
        };
        assert_eq!(parse(&good[..11]), Err(None));
        assert_eq!(changed(2, 0x80), Err(None), "an answer");
        let code = |parsed: Result<Query, Option<Vec<u8>>>| parsed.unwrap_err().unwrap()[3] & 0xf;
        assert_eq!(code(changed(2, 0x20)), Code::NotImplemented as u8);
        for (at, byte) in [(5, 2), (12, 0xc0), (12, 64), (11, 1)] {
            assert_eq!(code(changed(at, byte)), Code::FormatError as u8, "{at}");
        }
        assert_eq!(changed(13, b'.').unwrap().name, None);
    }

    #[test]
    fn answers_have_what_was_asked_for() {
        let addresses: Vec<IpAddr> = vec!["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()];
        let query = parse(&question("a", A, Some(1232))).unwrap();
        let answer = query.addresses(&addresses, 512);
        assert_eq!(&answer[..HEADER], [0, 7, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 1]);
        assert_eq!(&answer[HEADER + 7..][..16], [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 10, 0, 0, 1]);
        let six = parse(&question("a", AAAA, None)).unwrap().addresses(&addresses[..1], 512);
        assert_eq!(&six[2..8], [0x81, 0x80, 0, 1, 0, 0], "it exists, and has none");
        let pointer = parse(&question("a", PTR, None)).unwrap().pointer("web.one", 512);
        assert!(pointer.ends_with(&[0, 9, 3, b'w', b'e', b'b', 3, b'o', b'n', b'e', 0]));
    }

    #[test]
    fn what_does_not_fit_is_cut_and_marked() {
        let addresses: Vec<IpAddr> = (0..100).map(|last| Ipv4Addr::new(10, 0, 0, last).into()).collect();
        let query = parse(&question("a", A, None)).unwrap();
        let cut = query.addresses(&addresses, 512);
        assert!(cut.len() <= 512 && cut[2] & 2 != 0 && cut[7] == 30, "{} {}", cut.len(), cut[7]);
        let whole = query.addresses(&addresses, 65535);
        assert!(whole[2] & 2 == 0 && whole[7] == 100);
        let relayed = query.relay(whole.clone(), 512);
        assert!(relayed.len() < 512 && relayed[2] & 2 != 0 && query.is_answered_by(&relayed, 7));
        assert_eq!(query.relay(whole.clone(), 65535), whole);
        assert!(!query.is_answered_by(&whole, 8) && query.is_answered_by(&whole, 7));
    }

    #[test]
    fn names_of_addresses() {
        assert_eq!(address_of("2.0.18.172.in-addr.arpa"), Some("172.18.0.2".parse().unwrap()));
        let six = "2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.0.d.f.ip6.arpa";
        assert_eq!(address_of(six), Some("fd08::2".parse().unwrap()));
        for wrong in ["in-addr.arpa", "0.18.172.in-addr.arpa", "1.2.0.18.172.in-addr.arpa", "256.0.0.1.in-addr.arpa"] {
            assert_eq!(address_of(wrong), None, "{wrong}");
        }
        assert_eq!(address_of(&six[2..]), None);
    }

    proptest! {
        #[test]
        fn hostile_messages_never_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..200), counts in any::<[u8; 8]>(), limit in 0_usize..600
        ) {
            let mut shaped = bytes.clone();
            if shaped.len() >= HEADER {
                shaped[2] &= 0x07;
                shaped[4..HEADER].copy_from_slice(&counts.map(|count| count & 1));
            }
            for message in [&bytes, &shaped] {
                if let Ok(query) = parse(message) {
                    prop_assert_eq!(u16_at(message, 0), Some(query.id));
                    let _ = query.addresses(&[Ipv4Addr::LOCALHOST.into()], limit);
                    let _ = query.is_answered_by(&bytes, query.id);
                    let relayed = query.relay(bytes.clone(), limit.max(300));
                    prop_assert!(relayed.len() <= limit.max(300));
                }
                let _ = is_failure(message);
            }
        }

        #[test]
        fn any_name_is_looked_at(name in "[0-9a-f.]{0,80}(\\.in-addr\\.arpa|\\.ip6\\.arpa)?") {
            let _ = address_of(&name);
        }
    }
}
