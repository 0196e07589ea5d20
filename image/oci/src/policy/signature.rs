//! cosign's signatures of an image (cosign's SIGNATURE_SPEC.md): layers of a manifest of their own.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::identity::Identity;
use super::key::Key;
use super::payload;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::manifest::{self, Document};
use crate::reference::Reference;
use crate::registry::Client;

/// Type of the signed document.
const SIMPLE_SIGNING: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
/// Annotation with the signature of it.
const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
/// Most signatures of an image that are looked at.
const SIGNATURES_MAX: usize = 100;
/// Largest document that is signed.
const PAYLOAD_MAX: u64 = 256 << 10;

/// A signature that nobody has checked.
pub(crate) struct Candidate {
    /// The manifest or index in whose name it was found.
    pub of: Digest,
    pub payload: Vec<u8>,
    pub signature: Vec<u8>,
}

/// All that is found in the registry under the name of a manifest or index.
pub(crate) fn find(client: &Client, of: &Digest) -> Result<Vec<Candidate>> {
    let tag = format!("sha256-{}.sig", of.hex());
    let (bytes, content_type) = match client.manifest(&tag, None) {
        Err(Error::NotInRegistry(_)) => return Ok(Vec::new()),
        found => found?,
    };
    let Document::Manifest(manifest) = manifest::parse(&bytes, content_type.as_deref())? else {
        return Err(Error::invalid(format!("manifest {tag}"), "it is an index, not a list of signatures"));
    };
    let mut all = Vec::new();
    let is_signature = |layer: &&manifest::Descriptor| layer.media_type == SIMPLE_SIGNING;
    for layer in manifest.layers.iter().filter(is_signature).take(SIGNATURES_MAX) {
        let note = layer.annotations.as_ref().and_then(|notes| notes.get(SIGNATURE));
        let Some(signature) = note.and_then(|note| STANDARD.decode(note.trim()).ok()) else { continue };
        if layer.size > PAYLOAD_MAX {
            return Err(Error::Limit { what: "a signed document".into(), limit: format!("{PAYLOAD_MAX} bytes") });
        }
        all.push(Candidate { of: of.clone(), payload: client.small_blob(layer, "signed document")?, signature });
    }
    Ok(all)
}

/// Whether one of the signatures is by one of the keys, for this content and for this name.
pub(super) fn check(all: &[Candidate], keys: &[Key], identity: &Identity, image: &Reference) -> Result<(), String> {
    let mut reasons: Vec<String> = Vec::new();
    for candidate in all {
        match check_one(candidate, keys, identity, image) {
            Ok(()) => return Ok(()),
            Err(reason) if reasons.contains(&reason) => {}
            Err(reason) => reasons.push(reason),
        }
    }
    Err(match &reasons[..] {
        [] => "A signature was required, but no signature exists".into(),
        [reason] => reason.clone(),
        _ => format!("None of the signatures were accepted, reasons: {}", reasons.join("; ")),
    })
}

fn check_one(candidate: &Candidate, keys: &[Key], identity: &Identity, image: &Reference) -> Result<(), String> {
    if !keys.iter().any(|key| key.has_signed(&candidate.payload, &candidate.signature)) {
        return Err("cryptographic signature verification failed: invalid signature".into());
    }
    // Nothing of it is believed before this.
    let payload =
        payload::parse(&candidate.payload).map_err(|reason| format!("the signed document is invalid: {reason}"))?;
    if payload.digest != candidate.of {
        return Err(format!("Signature for digest {} does not match {}", payload.digest, candidate.of));
    }
    if !identity.accepts(&payload.reference, image) {
        return Err(format!("Signature for identity {:?} is not accepted", payload.reference));
    }
    Ok(())
}
