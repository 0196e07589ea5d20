//! Blocks of addresses, "10.1.0.0/16" and "fd00::/64" (RFC 4632, RFC 4291).

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

macro_rules! block {
    ($name:ident, $address:ty, $number:ty, $bits:literal, $words:literal) => {
        #[doc = $words]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name {
            /// An address of it, the first if it is aligned.
            pub address: $address,
            /// Length of the prefix, bits.
            pub prefix: u8,
        }

        impl $name {
            /// A block by an address and its prefix length, which is at most the address' length.
            pub const fn of(address: $address, prefix: u8) -> Self {
                let prefix = if prefix > $bits { $bits } else { prefix };
                Self { address, prefix }
            }

            /// The bits of the prefix.
            pub fn mask(self) -> $number {
                <$number>::MAX.checked_shl($bits - u32::from(self.prefix)).unwrap_or(0)
            }

            /// No bit is set beyond the prefix.
            pub fn is_aligned(self) -> bool {
                <$number>::from(self.address) & !self.mask() == 0
            }

            /// The block that this one's address is in.
            pub fn aligned(self) -> Self {
                Self { address: (<$number>::from(self.address) & self.mask()).into(), ..self }
            }

            /// The address that is `offset` beyond the first.
            pub fn nth(self, offset: u32) -> $address {
                (<$number>::from(self.address) & self.mask()).wrapping_add(<$number>::from(offset)).into()
            }

            /// The last address.
            pub fn last(self) -> $address {
                (<$number>::from(self.address) | !self.mask()).into()
            }

            /// Whether an address is in it.
            pub fn contains(self, address: $address) -> bool {
                (<$number>::from(address) ^ <$number>::from(self.address)) & self.mask() == 0
            }

            /// Whether all of another is in it.
            pub fn holds(self, other: Self) -> bool {
                self.prefix <= other.prefix && self.contains(other.address)
            }

            /// Whether the two share addresses.
            pub fn overlaps(self, other: Self) -> bool {
                self.contains(other.address) || other.contains(self.address)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}/{}", self.address, self.prefix)
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self> {
                let bad = || Error::BadBlock(text.into());
                let (address, prefix) = text.split_once('/').ok_or_else(bad)?;
                let address = address.parse().map_err(|_| bad())?;
                // `parse` would take a sign.
                if prefix.is_empty() || !prefix.bytes().all(|byte| byte.is_ascii_digit()) {
                    return Err(bad());
                }
                let prefix = prefix.parse().ok().filter(|prefix| *prefix <= $bits).ok_or_else(bad)?;
                Ok(Self { address, prefix })
            }
        }

        impl TryFrom<String> for $name {
            type Error = Error;

            fn try_from(text: String) -> Result<Self> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(block: $name) -> String {
                block.to_string()
            }
        }
    };
}

block!(Cidr4, Ipv4Addr, u32, 32, "A block of IPv4 addresses.");
block!(Cidr6, Ipv6Addr, u128, 128, "A block of IPv6 addresses.");

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn blocks_are_read_and_shown() {
        for text in ["10.0.0.0/8", "0.0.0.0/0", "1.2.3.4/32"] {
            assert_eq!(text.parse::<Cidr4>().unwrap().to_string(), text);
        }
        assert_eq!("fd00:0::/64".parse::<Cidr6>().unwrap().to_string(), "fd00::/64");
        for bad in ["", "/", "10.0.0.0", "10.0.0.0/33", "10.0.0.0/+8", "10.0.0.0/", "10.0.0/8", "fd00::/8"] {
            assert!(bad.parse::<Cidr4>().is_err(), "{bad:?}");
        }
        assert_eq!("10.1.2.3/16".parse::<Cidr4>().unwrap().aligned().to_string(), "10.1.0.0/16");
    }

    proptest! {
        #[test]
        fn overlap_means_a_shared_address(a in any::<u32>(), b in any::<u32>(), p in 0_u8..=32, q in 0_u8..=32) {
            let (one, other) = (Cidr4::of(a.into(), p).aligned(), Cidr4::of(b.into(), q).aligned());
            let shared = u32::from(one.address).max(other.address.into()) <= u32::from(one.last()).min(other.last().into());
            prop_assert_eq!(one.overlaps(other), shared);
            prop_assert_eq!(one.overlaps(other), other.overlaps(one));
        }
    }
}
