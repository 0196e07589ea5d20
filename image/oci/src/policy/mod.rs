//! Which images may come in: `/etc/containers/policy.json` (containers-policy.json(5)).
//!
//! The most specific scope that fits an image decides, and all its requirements must be met. What is written in the file but not known
//! here makes it invalid, and then nothing comes in: a rule that is passed over protects nobody. Signatures are cosign's, by public key,
//! kept in the image's own repository under the tag `sha256-DIGEST.sig`.

mod identity;
mod key;
mod payload;
mod signature;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::error::{Context, Error, Result};
use crate::json;
use crate::reference::Reference;
use identity::Identity;
use key::Key;

pub use payload::{Payload, parse as parse_payload};
pub(crate) use signature::{Candidate, find};

/// Where the machine's policy is.
const SYSTEM: &str = "/etc/containers/policy.json";
/// The transport of images from registries.
pub(crate) const DOCKER: &str = "docker";

/// A policy that can be understood.
#[derive(Debug)]
pub struct Policy {
    file: File,
    /// For messages, and for keys whose path is relative.
    path: PathBuf,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    default: Vec<Requirement>,
    #[serde(default)]
    transports: BTreeMap<String, BTreeMap<String, Vec<Requirement>>>,
}

/// What must be so for an image to come in.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", deny_unknown_fields)]
enum Requirement {
    #[serde(rename = "insecureAcceptAnything")]
    Anything {},
    #[serde(rename = "reject")]
    Reject {},
    /// By GPG: not known here, so it lets nothing in.
    #[serde(rename = "signedBy", rename_all = "camelCase")]
    SignedBy {
        #[allow(dead_code, reason = "read so that the file is understood")]
        key_type: String,
        #[allow(dead_code, reason = "as above")]
        key_path: Option<String>,
        #[allow(dead_code, reason = "as above")]
        key_paths: Option<Vec<String>>,
        #[allow(dead_code, reason = "as above")]
        key_data: Option<String>,
        #[allow(dead_code, reason = "as above")]
        signed_identity: Option<Identity>,
    },
    #[serde(rename = "signedBaseLayer", rename_all = "camelCase")]
    SignedBaseLayer {
        #[allow(dead_code, reason = "as above")]
        base_layer_identity: Identity,
    },
    #[serde(rename = "sigstoreSigned")]
    Sigstore(Sigstore),
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Sigstore {
    key_path: Option<PathBuf>,
    key_paths: Option<Vec<PathBuf>>,
    key_data: Option<String>,
    key_datas: Option<Vec<String>>,
    fulcio: Option<serde::de::IgnoredAny>,
    pki: Option<serde::de::IgnoredAny>,
    rekor_public_key_path: Option<String>,
    rekor_public_key_paths: Option<Vec<String>>,
    rekor_public_key_data: Option<String>,
    rekor_public_key_datas: Option<Vec<String>>,
    signed_identity: Option<Identity>,
}

impl Policy {
    /// The user's own policy, or the machine's; `None` where there is neither: then anything is let in.
    ///
    /// # Errors
    /// If it cannot be read or understood.
    pub fn system() -> Result<Option<Policy>> {
        let home = std::env::var_os("HOME").filter(|home| !home.is_empty());
        let own = home.map(|home| PathBuf::from(home).join(".config/containers/policy.json"));
        for path in own.into_iter().chain([SYSTEM.into()]) {
            match std::fs::read(&path) {
                Ok(bytes) => return Policy::parse(&bytes, &path).map(Some),
                Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
                Err(error) => return Err(error).at("reading the signature policy", &path),
            }
        }
        Ok(None)
    }

    /// The policy in a file, which must exist.
    ///
    /// # Errors
    /// As [`Policy::system`].
    pub fn read(path: &Path) -> Result<Policy> {
        Policy::parse(&std::fs::read(path).at("reading the signature policy", path)?, path)
    }

    /// Understand a policy; `path` is where it was.
    ///
    /// # Errors
    /// If anything in it is not known, or can never be met.
    pub fn parse(bytes: &[u8], path: &Path) -> Result<Policy> {
        let bad = |reason: String| Error::invalid(format!("signature policy {}", path.display()), reason);
        let file: File = json::object(bytes).map_err(bad)?;
        let scopes = file.transports.values().flatten().map(|(_, requirements)| requirements);
        for requirements in scopes.chain([&file.default]) {
            if requirements.is_empty() {
                return Err(bad("a list of requirements is empty".into()));
            }
            requirements.iter().try_for_each(|requirement| requirement.check().map_err(bad))?;
        }
        Ok(Policy { file, path: path.into() })
    }

    /// The requirements of the most specific scope that an image of a registry is in.
    fn of(&self, image: &Reference) -> &[Requirement] {
        let Some(scopes) = self.file.transports.get(DOCKER) else { return &self.file.default };
        let full = image.canonical().to_string();
        if let Some(found) = scopes.get(&full) {
            return found;
        }
        let name = image.name();
        let mut scope = name.as_str();
        loop {
            if let Some(found) = scopes.get(scope) {
                return found;
            }
            match scope.rsplit_once('/') {
                Some((parent, _)) => scope = parent,
                None => break,
            }
        }
        // `scope` is the host now: wildcards for its parents, the longest first.
        let mut host = scope;
        while let Some((_, parent)) = host.split_once('.') {
            if let Some(found) = scopes.get(&format!("*.{parent}")) {
                return found;
            }
            host = parent;
        }
        scopes.get("").unwrap_or(&self.file.default)
    }

    /// Judge an image of a registry. `signatures` gets what is signed of it, and is only asked if that matters.
    pub(crate) fn judge(
        &self,
        image: &Reference,
        signatures: &mut dyn FnMut() -> Result<Vec<Candidate>>,
    ) -> Result<()> {
        let rejected = |reason: String| Error::Rejected { image: image.to_string(), reason };
        for requirement in self.of(image) {
            match requirement {
                Requirement::Sigstore(rule) => {
                    let keys = rule.keys(&self.path)?;
                    signature::check(&signatures()?, &keys, &rule.identity(), image).map_err(rejected)?;
                }
                other => other.without_signatures().map_err(rejected)?,
            }
        }
        Ok(())
    }

    /// Judge an image from a file, which can carry no signature, by its transport: `docker-archive`, `oci`, ...
    ///
    /// # Errors
    /// [`Error::Rejected`].
    pub fn judge_file(&self, transport: &str, image: &str) -> Result<()> {
        let scopes = self.file.transports.get(transport);
        let requirements = scopes.and_then(|scopes| scopes.get("")).unwrap_or(&self.file.default);
        for requirement in requirements {
            requirement
                .without_signatures()
                .map_err(|reason| Error::Rejected { image: format!("{transport}:{image}"), reason })?;
        }
        Ok(())
    }
}

impl Requirement {
    fn check(&self) -> Result<(), String> {
        let Requirement::Sigstore(rule) = self else { return Ok(()) };
        if rule.fulcio.is_some() || rule.pki.is_some() {
            return Err("sigstoreSigned by certificates (fulcio, pki) is not supported; name a key".into());
        }
        let rekor = [rule.rekor_public_key_path.is_some(), rule.rekor_public_key_paths.is_some()];
        let rekor_data = [rule.rekor_public_key_data.is_some(), rule.rekor_public_key_datas.is_some()];
        if rekor.contains(&true) || rekor_data.contains(&true) {
            return Err("sigstoreSigned with a transparency log (rekorPublicKey...) is not supported".into());
        }
        let sources =
            [rule.key_path.is_some(), rule.key_paths.is_some(), rule.key_data.is_some(), rule.key_datas.is_some()];
        if sources.iter().filter(|is_some| **is_some).count() != 1 {
            return Err("sigstoreSigned wants exactly one of keyPath, keyPaths, keyData and keyDatas".into());
        }
        rule.signed_identity.as_ref().map_or(Ok(()), Identity::check)
    }

    /// What can be said without a look at signatures.
    fn without_signatures(&self) -> Result<(), String> {
        match self {
            Requirement::Anything {} => Ok(()),
            Requirement::Reject {} => Err("it is rejected by policy".into()),
            Requirement::SignedBy { .. } => {
                Err("the policy wants it signed by GPG (signedBy), which is not supported; use sigstoreSigned".into())
            }
            Requirement::SignedBaseLayer { .. } => Err("the policy has signedBaseLayer, which is not supported".into()),
            Requirement::Sigstore(_) => Err("A signature was required, but no signature exists".into()),
        }
    }
}

impl Sigstore {
    fn identity(&self) -> Identity {
        self.signed_identity.clone().unwrap_or(Identity::RepoDigestOrExact {})
    }

    fn keys(&self, policy: &Path) -> Result<Vec<Key>> {
        let mut keys = Vec::new();
        for path in self.key_path.iter().chain(self.key_paths.iter().flatten()) {
            let path = policy.parent().map_or_else(|| path.clone(), |dir| dir.join(path));
            let text = std::fs::read_to_string(&path).at("reading the public key", &path)?;
            let what = || format!("public key {}", path.display());
            keys.push(Key::parse(&text).map_err(|reason| Error::invalid(what(), reason))?);
        }
        for data in self.key_data.iter().chain(self.key_datas.iter().flatten()) {
            let bad = |reason: &str| Error::invalid("public key in the signature policy", reason);
            let text = STANDARD.decode(data.trim()).ok().and_then(|text| String::from_utf8(text).ok());
            keys.push(Key::parse(&text.ok_or_else(|| bad("its keyData is not base64"))?).map_err(bad)?);
        }
        Ok(keys)
    }
}

#[cfg(test)]
mod tests;
