//! Public keys as `cosign generate-key-pair` writes them (PEM of RFC 7468 with a SubjectPublicKeyInfo of RFC 5280), and what they sign.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{self, UnparsedPublicKey, VerificationAlgorithm};

const BEGIN: &str = "-----BEGIN PUBLIC KEY-----";
const END: &str = "-----END PUBLIC KEY-----";

/// Object identifiers, as DER has them.
const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const P384: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x22];
const ED25519: &[u8] = &[0x2b, 0x65, 0x70];
const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];

const SEQUENCE: u8 = 0x30;
const OBJECT: u8 = 0x06;
const BITS: u8 = 0x03;

/// A public key that can check signatures.
#[derive(Clone)]
pub(super) struct Key {
    algorithm: &'static dyn VerificationAlgorithm,
    bytes: Vec<u8>,
}

impl Key {
    /// Read a PEM file's content.
    pub(super) fn parse(pem: &str) -> Result<Key, &'static str> {
        let begin = pem.find(BEGIN).ok_or("no PEM of a PUBLIC KEY")? + BEGIN.len();
        let rest = &pem[begin..];
        let end = rest.find(END).ok_or("its PEM has no end")?;
        let encoded: String = rest[..end].split_ascii_whitespace().collect();
        let der = STANDARD.decode(encoded).map_err(|_| "its PEM is not base64")?;
        Key::from_der(&der).ok_or("not an ECDSA P-256 or P-384, Ed25519 or RSA public key")
    }

    fn from_der(der: &[u8]) -> Option<Key> {
        let (info, rest) = element(der, SEQUENCE)?;
        let (algorithm, bits) = element(info, SEQUENCE)?;
        let (kind, parameters) = element(algorithm, OBJECT)?;
        let (bits, after) = element(bits, BITS)?;
        // No bits are unused in the last byte.
        let (&0, bytes) = bits.split_first()? else { return None };
        if !rest.is_empty() || !after.is_empty() {
            return None;
        }
        let curve = element(parameters, OBJECT).map(|(curve, _)| curve);
        let algorithm: &'static dyn VerificationAlgorithm = match (kind, curve) {
            (EC, Some(P256)) => &signature::ECDSA_P256_SHA256_ASN1,
            (EC, Some(P384)) => &signature::ECDSA_P384_SHA256_ASN1,
            (ED25519, None) => &signature::ED25519,
            (RSA, None) => &signature::RSA_PKCS1_2048_8192_SHA256,
            _ => return None,
        };
        Some(Key { algorithm, bytes: bytes.to_vec() })
    }

    /// Whether this key has signed these bytes.
    pub(super) fn has_signed(&self, bytes: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(self.algorithm, &self.bytes).verify(bytes, signature).is_ok()
    }
}

/// Content of a DER element of this type, and what follows it.
fn element(der: &[u8], kind: u8) -> Option<(&[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, mut rest) = rest.split_first()?;
    if tag != kind {
        return None;
    }
    let mut length = usize::from(first);
    if first & 0x80 != 0 {
        let digits = usize::from(first & 0x7f);
        if digits == 0 || digits > 3 {
            return None;
        }
        let (bytes, after) = rest.split_at_checked(digits)?;
        length = bytes.iter().fold(0, |length, &byte| length << 8 | usize::from(byte));
        rest = after;
    }
    rest.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_no_key() {
        for bad in [
            "",
            BEGIN,
            "-----BEGIN PUBLIC KEY-----\n***\n-----END PUBLIC KEY-----",
            "-----BEGIN PUBLIC KEY-----\nMAA=\n-----END PUBLIC KEY-----",
        ] {
            assert!(Key::parse(bad).is_err(), "{bad}");
        }
    }

    /// Made by OpenSSL: `openssl genrsa`, `openssl dgst -sha256 -sign`.
    #[test]
    fn openssl_agrees() {
        for (key, text, signature) in super::super::tests::openssl() {
            let key = Key::parse(&key).unwrap();
            assert!(key.has_signed(text, &signature));
            assert!(!key.has_signed(b"something else", &signature));
            assert!(!key.has_signed(text, &signature[1..]));
        }
    }

    proptest! {
        #[test]
        fn never_panics(der in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Key::from_der(&der);
            let _ = Key::from_der(&[&[0x30, 0x10, 0x30, 0x05][..], &der].concat());
        }
    }
}
