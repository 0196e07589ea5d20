//! nf_tables messages and expressions: as much of `include/uapi/linux/netfilter/nf_tables.h` as [`crate::nat`] needs.

use crate::netlink::{Message, NLM_F_ACK, NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL, Socket};
use crate::{Error, Result};

const SUBSYSTEM: u16 = 10;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const NFPROTO_INET: u8 = 1;

const NEWTABLE: u16 = 0;
const GETTABLE: u16 = 1;
const DELTABLE: u16 = 2;
const NEWCHAIN: u16 = 3;
const NEWRULE: u16 = 6;
const NEWSET: u16 = 9;
const NEWSETELEM: u16 = 12;
const DELSETELEM: u16 = 14;

/// Names' attribute in tables; the table's in everything else.
const TABLE: u16 = 1;
const LIST_ELEM: u16 = 1;
const EXPR_NAME: u16 = 1;
const EXPR_DATA: u16 = 2;
const DATA_VALUE: u16 = 1;
const DATA_VERDICT: u16 = 2;

/// First 16-byte register, the same as the first four 4-byte ones.
pub(crate) const REG_1: u32 = 1;
/// Second 4-byte register.
pub(crate) const REG32_01: u32 = 9;
/// Third 4-byte register.
pub(crate) const REG32_02: u32 = 10;

/// Fifth 4-byte register: behind an IPv6 address in the first.
pub(crate) const REG32_04: u32 = 12;
/// Sixth 4-byte register.
pub(crate) const REG32_05: u32 = 13;

/// `nft`'s numbers of data types, kept by the kernel for it to list a set with (`datatypes` in nft's datatype.h).
pub(crate) const TYPE_IPV4: u32 = 7;
pub(crate) const TYPE_IPV6: u32 = 8;
pub(crate) const TYPE_PROTOCOL: u32 = 12;
pub(crate) const TYPE_SERVICE: u32 = 13;

/// The type of a concatenation.
pub(crate) const fn concatenated(one: u32, other: u32) -> u32 {
    one << 6 | other
}

/// A transaction on one table of family inet: all or nothing.
pub(crate) struct Batch {
    table: &'static str,
    messages: Vec<Message>,
}

/// Where a base chain hooks in.
pub(crate) struct Hook {
    /// "nat" or "filter".
    pub kind: &'static str,
    /// `NF_INET_*`: 0 prerouting, 1 input, 2 forward, 3 output, 4 postrouting.
    pub number: u32,
    /// Order among chains of one hook.
    pub priority: i32,
}

/// A map of fixed-size keys to fixed-size values.
pub(crate) struct Map {
    pub name: &'static str,
    pub key_type: u32,
    pub key_length: u32,
    pub data_type: u32,
    pub data_length: u32,
}

fn generic(kind: u16, flags: u16) -> Message {
    Message::new(SUBSYSTEM << 8 | kind, flags).fixed(&[NFPROTO_INET, 0, 0, 0])
}

fn batch_mark(kind: u16) -> Message {
    let [high, low] = SUBSYSTEM.to_be_bytes();
    Message::new(kind, 0).fixed(&[0, 0, high, low])
}

impl Batch {
    pub(crate) fn new(table: &'static str) -> Self {
        Batch { table, messages: vec![batch_mark(BATCH_BEGIN)] }
    }

    /// Make the table if it is not there.
    pub(crate) fn add_table(&mut self) {
        self.messages.push(generic(NEWTABLE, NLM_F_CREATE).string(TABLE, self.table));
    }

    pub(crate) fn delete_table(&mut self) {
        self.messages.push(generic(DELTABLE, 0).string(TABLE, self.table));
    }

    pub(crate) fn add_chain(&mut self, name: &str, hook: &Hook) {
        let message = generic(NEWCHAIN, NLM_F_CREATE).string(TABLE, self.table).string(3, name);
        let message = message.nested(4, |m| m.be32(1, hook.number).be32(2, hook.priority.cast_unsigned()));
        // Policy accept: other tables have their say.
        self.messages.push(message.be32(5, 1).string(7, hook.kind));
    }

    pub(crate) fn add_map(&mut self, map: &Map, id: u32) {
        const NFT_SET_MAP: u32 = 8;
        self.messages.push(
            generic(NEWSET, NLM_F_CREATE)
                .string(TABLE, self.table)
                .string(2, map.name)
                .be32(3, NFT_SET_MAP)
                .be32(4, map.key_type)
                .be32(5, map.key_length)
                .be32(6, map.data_type)
                .be32(7, map.data_length)
                .be32(10, id),
        );
    }

    /// Append a rule.
    pub(crate) fn add_rule(&mut self, chain: &str, expressions: Vec<Expression>) {
        let message = generic(NEWRULE, NLM_F_CREATE | NLM_F_APPEND).string(TABLE, self.table).string(2, chain);
        let message = message.nested(4, |list| {
            expressions.into_iter().fold(list, |list, expression| {
                list.nested(LIST_ELEM, |element| {
                    element.string(EXPR_NAME, expression.name).nested(EXPR_DATA, expression.data)
                })
            })
        });
        self.messages.push(message);
    }

    /// Add to a map; a key that is there already makes the whole transaction fail with `EEXIST`.
    pub(crate) fn add_element(&mut self, map: &str, key: &[u8], value: &[u8]) {
        let message = generic(NEWSETELEM, NLM_F_CREATE | NLM_F_EXCL);
        self.element(message, map, |element| element.nested(1, data(key)).nested(2, data(value)));
    }

    /// Take from a map; a key that is not there makes the whole transaction fail with `ENOENT`.
    pub(crate) fn delete_element(&mut self, map: &str, key: &[u8]) {
        self.element(generic(DELSETELEM, 0), map, |element| element.nested(1, data(key)));
    }

    fn element(&mut self, message: Message, map: &str, fill: impl FnOnce(Message) -> Message) {
        let message = message.string(TABLE, self.table).string(2, map);
        self.messages.push(message.nested(3, |list| list.nested(LIST_ELEM, fill)));
    }

    /// Carry it out.
    pub(crate) fn commit(mut self, action: &str) -> Result<()> {
        // One acknowledgement, of the last message, stands for the whole batch.
        let Some(last) = self.messages.pop().filter(|_| !self.messages.is_empty()) else { return Ok(()) };
        self.messages.push(last.with_flags(NLM_F_ACK));
        self.messages.push(batch_mark(BATCH_END));
        Socket::netfilter()?.execute(self.messages).map_err(|refusal| Error::kernel(action, refusal.source))
    }
}

/// Whether a table is there.
pub(crate) fn table_exists(table: &str) -> Result<bool> {
    let message = generic(GETTABLE, 0).string(TABLE, table);
    match Socket::netfilter()?.query(message, "look for the packet filter's table", |_| ()) {
        Ok(()) => Ok(true),
        Err(error) if error.is(rustix::io::Errno::NOENT) => Ok(false),
        Err(error) => Err(error),
    }
}

fn data(value: &[u8]) -> impl FnOnce(Message) -> Message + '_ {
    move |message| message.attribute(DATA_VALUE, value)
}

type Fill = Box<dyn FnOnce(Message) -> Message>;

/// One step of a rule.
pub(crate) struct Expression {
    name: &'static str,
    data: Fill,
}

impl Expression {
    fn new(name: &'static str, data: impl FnOnce(Message) -> Message + 'static) -> Self {
        Expression { name, data: Box::new(data) }
    }
}

/// What a packet's metadata says.
#[derive(Clone, Copy)]
pub(crate) enum Meta {
    /// Name of the interface it came in by.
    InputName = 6,
    /// Name of the interface that it leaves by.
    OutputName = 7,
    /// Network protocol family, one byte.
    Family = 15,
    /// Transport protocol, one byte.
    Transport = 16,
}

/// Load metadata.
pub(crate) fn meta(key: Meta, register: u32) -> Expression {
    Expression::new("meta", move |m| m.be32(2, key as u32).be32(1, register))
}

/// Load `length` bytes of the packet; base 1 is the network header, 2 the transport header.
pub(crate) fn payload(base: u32, offset: u32, length: u32, register: u32) -> Expression {
    Expression::new("payload", move |m| m.be32(1, register).be32(2, base).be32(3, offset).be32(4, length))
}

/// Overwrite `length` bytes of the transport header from a register; its checksum, at `checksum`, is kept right.
pub(crate) fn rewrite(offset: u32, length: u32, checksum: u32, register: u32) -> Expression {
    const TRANSPORT_HEADER: u32 = 2;
    const CHECKSUM_OF_INTERNET: u32 = 1;
    Expression::new("payload", move |m| {
        let m = m.be32(5, register).be32(2, TRANSPORT_HEADER).be32(3, offset).be32(4, length);
        m.be32(6, CHECKSUM_OF_INTERNET).be32(7, checksum)
    })
}

/// Go on only if register 1 is (`equal`) or is not `value`.
pub(crate) fn compare(equal: bool, value: Vec<u8>) -> Expression {
    Expression::new("cmp", move |m| {
        m.be32(1, REG_1).be32(2, u32::from(!equal)).nested(3, |d| d.attribute(DATA_VALUE, &value))
    })
}

/// Register 1 `and` mask.
pub(crate) fn mask(mask: Vec<u8>) -> Expression {
    Expression::new("bitwise", move |m| {
        let length = u32::try_from(mask.len()).unwrap_or(0);
        let m = m.be32(1, REG_1).be32(2, REG_1).be32(3, length).nested(4, |d| d.attribute(DATA_VALUE, &mask));
        m.nested(5, |d| d.attribute(DATA_VALUE, &vec![0; mask.len()]))
    })
}

/// Replace the key from register 1 on by its value in a map; go on only if it is there.
pub(crate) fn lookup(map: &'static str, id: u32) -> Expression {
    Expression::new("lookup", move |m| m.string(1, map).be32(2, REG_1).be32(3, REG_1).be32(4, id))
}

/// Load a constant.
pub(crate) fn load(register: u32, value: Vec<u8>) -> Expression {
    Expression::new("immediate", move |m| m.be32(1, register).nested(2, |d| d.attribute(DATA_VALUE, &value)))
}

/// Load the type (`RTN_*`) of the destination address into register 1.
pub(crate) fn destination_type() -> Expression {
    const ADDRTYPE: u32 = 3;
    const DADDR: u32 = 2;
    Expression::new("fib", |m| m.be32(1, REG_1).be32(2, ADDRTYPE).be32(3, DADDR))
}

/// Load the connection's state (key 0) or status (key 2) into register 1.
pub(crate) fn connection(key: u32) -> Expression {
    Expression::new("ct", move |m| m.be32(2, key).be32(1, REG_1))
}

/// Redirect to the address, IPv4 or IPv6, in one register, the port in another.
pub(crate) fn dnat(ipv6: bool, address: u32, port: u32) -> Expression {
    const DNAT: u32 = 1;
    let family = if ipv6 { 10 } else { 2 };
    Expression::new("nat", move |m| m.be32(1, DNAT).be32(2, family).be32(3, address).be32(5, port))
}

/// Let the packet seem to come from the address of the interface that it leaves by.
pub(crate) fn masquerade() -> Expression {
    Expression::new("masq", |m| m)
}

/// End the chain: 0 drop, 1 accept.
fn verdict(code: u32) -> Expression {
    Expression::new("immediate", move |m| m.be32(1, 0).nested(2, |d| d.nested(DATA_VERDICT, |v| v.be32(1, code))))
}

pub(crate) fn drop_packet() -> Expression {
    verdict(0)
}

pub(crate) fn accept() -> Expression {
    verdict(1)
}
