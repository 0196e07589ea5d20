//! GUIDs in the mixed-endian form that GPT stores (UEFI 2.10, appendix A).

use std::fmt;
use std::fs::File;
use std::io::{self, Read};

use sha2::{Digest, Sha256};

/// A GUID as it lies on disk: the first three fields little-endian, the last two as written.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Guid([u8; 16]);

impl Guid {
    /// The GUID of an unused entry.
    pub const ZERO: Guid = Guid([0; 16]);

    /// The GUID from its textual fields: `aaaaaaaa-bbbb-cccc-dddd-dddddddddddd`.
    pub const fn from_fields(a: u32, b: u16, c: u16, d: [u8; 8]) -> Self {
        let (a, b, c) = (a.to_le_bytes(), b.to_le_bytes(), c.to_le_bytes());
        Guid([a[0], a[1], a[2], a[3], b[0], b[1], c[0], c[1], d[0], d[1], d[2], d[3], d[4], d[5], d[6], d[7]])
    }

    /// The GUID from its bytes on disk.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Guid(bytes)
    }

    /// The bytes on disk.
    pub const fn bytes(&self) -> [u8; 16] {
        self.0
    }

    /// A new GUID that no other is equal to (RFC 9562, version 4).
    ///
    /// # Errors
    /// When the kernel gives no random bytes.
    pub fn random() -> io::Result<Self> {
        let mut bytes = [0; 16];
        File::open("/dev/urandom")?.read_exact(&mut bytes)?;
        Ok(Self::versioned(bytes, 0x40))
    }

    /// Was this made by [`Guid::derive`]? An image has such identifiers; a disk gets its own.
    pub const fn is_derived(&self) -> bool {
        self.0[7] >> 4 == 8
    }

    /// The sixteen bytes in the order of the text, as ext4 stores them.
    pub const fn text_order(&self) -> [u8; 16] {
        let b = self.0;
        [b[3], b[2], b[1], b[0], b[5], b[4], b[7], b[6], b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]]
    }

    /// The GUID with these bytes in the order of the text.
    pub const fn from_text_order(bytes: [u8; 16]) -> Self {
        // The same exchange both ways.
        Guid(Guid(bytes).text_order())
    }

    /// A GUID that depends on nothing but `seed` and `purpose`, so that two builds of a version agree (RFC 9562, version 8).
    pub fn derive(seed: &str, purpose: &str) -> Self {
        let digest: [u8; 32] = Sha256::new()
            .chain_update(b"coracle\0")
            .chain_update(seed.as_bytes())
            .chain_update(b"\0")
            .chain_update(purpose.as_bytes())
            .finalize()
            .into();
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest[..16]);
        Self::versioned(bytes, 0x80)
    }

    const fn versioned(mut bytes: [u8; 16], version: u8) -> Self {
        // The version is the high nibble of the third field, which is little-endian here; the variant is in the ninth byte.
        bytes[7] = bytes[7] & 0x0f | version;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        Guid(bytes)
    }
}

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let b = self.text_order();
        write!(
            f,
            "{:02x}{:02x}{:02x}{:02x}-{:02x}{:02x}-{:02x}{:02x}",
            b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]
        )?;
        write!(
            f,
            "-{:02x}{:02x}-{:02x}{:02x}{:02x}{:02x}{:02x}{:02x}",
            b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]
        )
    }
}

impl fmt::Debug for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_guids_are_told_from_derived_ones() {
        let (one, other) = (Guid::random().unwrap(), Guid::random().unwrap());
        assert_ne!(one, other);
        assert_eq!(&one.to_string()[14..15], "4");
        assert!(!one.is_derived() && !Guid::ZERO.is_derived());
        assert!(Guid::derive("0.1.0", "disk").is_derived());
        assert_eq!(Guid::from_text_order(one.text_order()), one);
    }

    #[test]
    fn derived_guids_differ_by_seed_and_purpose_and_are_well_formed() {
        let guid = Guid::derive("0.1.0", "disk");
        assert_eq!(guid, Guid::derive("0.1.0", "disk"));
        assert_ne!(guid, Guid::derive("0.1.1", "disk"));
        assert_ne!(guid, Guid::derive("0.1.0", "esp"));
        let text = guid.to_string();
        assert_eq!(text.as_bytes()[14], b'8', "version 8: {text}");
        assert!(b"89ab".contains(&text.as_bytes()[19]), "RFC 9562 variant: {text}");
    }
}
