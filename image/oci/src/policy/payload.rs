//! What a signature signs: the "simple signing" document (containers-signature(5); cosign's SIGNATURE_SPEC.md).

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::digest::Digest;
use crate::json;

/// What cosign says that it has signed.
const COSIGN: &str = "cosign container image signature";

/// A document that has the right form.
#[derive(Debug, PartialEq, Eq)]
pub struct Payload {
    /// The image that it is for.
    pub reference: String,
    /// The manifest that it is for.
    pub digest: Digest,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    critical: Critical,
    #[allow(dead_code, reason = "must be known, means nothing")]
    optional: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Critical {
    identity: Identity,
    image: Image,
    r#type: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Identity {
    #[serde(rename = "docker-reference")]
    docker_reference: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Image {
    #[serde(rename = "docker-manifest-digest")]
    docker_manifest_digest: Digest,
}

/// Read a document whose signature was verified.
///
/// # Errors
/// What is wrong with it.
pub fn parse(bytes: &[u8]) -> Result<Payload, String> {
    let Document { critical, .. } = json::object(bytes)?;
    if critical.r#type != COSIGN {
        return Err(format!("its type is {:?}, not {COSIGN:?}", critical.r#type));
    }
    Ok(Payload { reference: critical.identity.docker_reference, digest: critical.image.docker_manifest_digest })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_known_form() {
        let digest = Digest::of(b"x");
        let good = format!(
            r#"{{"critical":{{"identity":{{"docker-reference":"a.io/b"}},"image":{{"docker-manifest-digest":"{digest}"}},"type":"{COSIGN}"}},"optional":{{"creator":"x"}}}}"#
        );
        assert_eq!(parse(good.as_bytes()).unwrap(), Payload { reference: "a.io/b".into(), digest });
        for (from, to) in [
            (COSIGN, "atomic container signature"),
            (r#""optional""#, r#""more""#),
            (r#""type""#, r#""other":1,"type""#),
            (r#""type""#, r#""type":"x","type""#),
            ("docker-manifest-digest", "digest"),
            ("sha256:", "sha512:"),
        ] {
            assert!(parse(good.replacen(from, to, 1).as_bytes()).is_err(), "{from}");
        }
        assert!(parse(b"").is_err() && parse(b"[]").is_err() && parse(b"null").is_err());
    }
}
