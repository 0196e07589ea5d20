//! Which image a signature says that it is for, and whether that is the one that was asked for (containers-policy.json(5),
//! "signedIdentity").

use serde::Deserialize;

use crate::reference::Reference;

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "type", deny_unknown_fields)]
pub(super) enum Identity {
    /// The same name and tag.
    #[serde(rename = "matchExact")]
    Exact {},
    /// The same name and tag; where a digest was asked for the same repository.
    #[serde(rename = "matchRepoDigestOrExact")]
    RepoDigestOrExact {},
    /// The same repository.
    #[serde(rename = "matchRepository")]
    Repository {},
    /// This name and tag, whatever was asked for.
    #[serde(rename = "exactReference")]
    ExactReference {
        #[serde(rename = "dockerReference")]
        docker_reference: String,
    },
    /// This repository, whatever was asked for.
    #[serde(rename = "exactRepository")]
    ExactRepository {
        #[serde(rename = "dockerRepository")]
        docker_repository: String,
    },
    /// As `matchRepoDigestOrExact`, after one beginning of the name that was asked for is replaced by another: for mirrors.
    #[serde(rename = "remapIdentity")]
    Remap {
        prefix: String,
        #[serde(rename = "signedPrefix")]
        signed_prefix: String,
    },
}

/// A name as it stands in a signature: cosign leaves the tag away.
struct Named {
    reference: Reference,
    has_tag: bool,
}

impl Named {
    fn parse(text: &str) -> Option<Named> {
        let has_tag = text.rsplit('/').next().is_some_and(|last| last.contains([':', '@']));
        Some(Named { reference: text.parse().ok()?, has_tag })
    }

    fn is(&self, other: &Reference) -> bool {
        self.has_tag && self.reference == *other
    }
}

impl Identity {
    /// Refuse what can never be met.
    pub(super) fn check(&self) -> Result<(), String> {
        match self {
            Identity::ExactReference { docker_reference } => match Named::parse(docker_reference) {
                Some(named) if named.has_tag => Ok(()),
                _ => Err(format!("dockerReference {docker_reference:?} has neither tag nor digest")),
            },
            Identity::ExactRepository { docker_repository } => match Named::parse(docker_repository) {
                Some(named) if !named.has_tag => Ok(()),
                _ => Err(format!("dockerRepository {docker_repository:?} is no repository's name")),
            },
            _ => Ok(()),
        }
    }

    /// Whether a signature for `signed` is one for the image that was asked for.
    pub(super) fn accepts(&self, signed: &str, asked: &Reference) -> bool {
        let Some(signed) = Named::parse(signed) else { return false };
        let same_repository = |other: &Reference| signed.reference.name() == other.name();
        match self {
            Identity::Exact {} => asked.digest().is_none() && signed.is(asked),
            Identity::RepoDigestOrExact {} => repo_digest_or_exact(&signed, asked),
            Identity::Repository {} => same_repository(asked),
            Identity::ExactReference { docker_reference } => {
                docker_reference.parse().is_ok_and(|wanted: Reference| signed.is(&wanted))
            }
            Identity::ExactRepository { docker_repository } => {
                docker_repository.parse().is_ok_and(|wanted: Reference| same_repository(&wanted))
            }
            Identity::Remap { prefix, signed_prefix } => {
                remapped(asked, prefix, signed_prefix).is_some_and(|asked| repo_digest_or_exact(&signed, &asked))
            }
        }
    }
}

fn repo_digest_or_exact(signed: &Named, asked: &Reference) -> bool {
    match asked.digest() {
        Some(_) => signed.reference.name() == asked.name(),
        None => signed.is(asked),
    }
}

/// The name with its beginning replaced, if it has that beginning.
fn remapped(asked: &Reference, prefix: &str, signed_prefix: &str) -> Option<Reference> {
    let text = asked.to_string();
    match text.strip_prefix(prefix) {
        Some(rest) if rest.is_empty() || rest.starts_with(['/', ':', '@']) => {
            format!("{signed_prefix}{rest}").parse().ok()
        }
        _ => Some(asked.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn rules() {
        let by_digest = format!("quay.io/a/b{DIGEST}");
        let exact = Identity::ExactReference { docker_reference: "quay.io/a/b:1".into() };
        let repository = Identity::ExactRepository { docker_repository: "quay.io/a/b".into() };
        let remap = Identity::Remap { prefix: "mirror.io/x".into(), signed_prefix: "quay.io/a".into() };
        for (rule, signed, asked, accepted) in [
            (&Identity::Exact {}, "quay.io/a/b:1", "quay.io/a/b:1", true),
            (&Identity::Exact {}, "quay.io/a/b", "quay.io/a/b:1", false),
            (&Identity::Exact {}, "quay.io/a/b", "quay.io/a/b", false),
            (&Identity::Exact {}, "quay.io/a/b:2", "quay.io/a/b:1", false),
            (&Identity::Exact {}, "quay.io/a/b:1", &by_digest, false),
            (&Identity::RepoDigestOrExact {}, "quay.io/a/b:1", "quay.io/a/b:1", true),
            (&Identity::RepoDigestOrExact {}, "quay.io/a/b", "quay.io/a/b:1", false),
            (&Identity::RepoDigestOrExact {}, "quay.io/a/b", &by_digest, true),
            (&Identity::RepoDigestOrExact {}, "quay.io/a/c", &by_digest, false),
            (&Identity::Repository {}, "quay.io/a/b", "quay.io/a/b:1", true),
            (&Identity::Repository {}, "quay.io/a/bb", "quay.io/a/b:1", false),
            (&Identity::Repository {}, "redis", "docker.io/library/redis:7", true),
            (&Identity::Repository {}, "not a name", "quay.io/a/b:1", false),
            (&exact, "quay.io/a/b:1", "other.io/c:9", true),
            (&exact, "quay.io/a/b:2", "quay.io/a/b:2", false),
            (&repository, "quay.io/a/b:5", "other.io/c:9", true),
            (&repository, "quay.io/a", "quay.io/a/b:1", false),
            (&remap, "quay.io/a/b:1", "mirror.io/x/b:1", true),
            (&remap, "quay.io/a/b:1", "mirror.io/xy/b:1", false),
            (&remap, "quay.io/a/b:1", "quay.io/a/b:1", true),
        ] {
            assert_eq!(rule.accepts(signed, &asked.parse().unwrap()), accepted, "{rule:?} {signed} {asked}");
        }
    }
}
