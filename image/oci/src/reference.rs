//! Image references: `[REGISTRY/]REPOSITORY[:TAG][@DIGEST]`, in the grammar of the distribution project
//! (github.com/distribution/reference) with Docker's defaults: registry `docker.io`, its repository prefix `library/`, tag `latest`.

use std::fmt;
use std::str::FromStr;

use crate::digest::Digest;
use crate::error::{Error, Result};

/// The registry that a reference without one means.
pub const DEFAULT_REGISTRY: &str = "docker.io";
const DEFAULT_PREFIX: &str = "library";
const DEFAULT_TAG: &str = "latest";
/// Longest name (registry and repository), as the reference grammar limits it.
const NAME_MAX: usize = 255;
const TAG_MAX: usize = 128;

/// A validated, normalised image reference. Its `Display` is the full form and parses to itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    /// Host and perhaps port of the registry, `docker.io` if none was written.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// Where the registry is asked: Docker Hub answers under another name than its references use.
    pub fn registry_host(&self) -> &str {
        if self.registry == DEFAULT_REGISTRY { "registry-1.docker.io" } else { &self.registry }
    }

    /// Path of the repository in the registry.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag, if one was written or none but a digest was: a reference without both gets `latest`.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, if one was written.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// What the registry is asked for: the digest, which cannot be moved, or else the tag.
    pub fn selector(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.clone(),
            (None, None) => DEFAULT_TAG.into(),
        }
    }

    /// What an image is called that came by this reference: with a digest the tag does not count, as under Docker.
    pub fn canonical(&self) -> Reference {
        let tag = if self.digest.is_some() { None } else { self.tag.clone() };
        Reference { tag, ..self.clone() }
    }

    /// `REGISTRY/REPOSITORY`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// The name as short as Docker prints it: without `docker.io/library/`.
    pub fn familiar_name(&self) -> String {
        if self.registry != DEFAULT_REGISTRY {
            return self.name();
        }
        let short = match self.repository.strip_prefix("library/") {
            Some(short) if !short.contains('/') => short,
            _ => &self.repository,
        };
        // `docker.io/evil.io/a` is not `evil.io/a`, which is on another registry.
        if split_registry(short) == (DEFAULT_REGISTRY, short) { short.to_owned() } else { self.name() }
    }

    /// The short form of the whole reference.
    pub fn familiar(&self) -> String {
        format!("{}{}", self.familiar_name(), self.suffix())
    }

    fn suffix(&self) -> String {
        let tag = self.tag.as_ref().map(|tag| format!(":{tag}")).unwrap_or_default();
        let digest = self.digest.as_ref().map(|digest| format!("@{digest}")).unwrap_or_default();
        tag + &digest
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}{}", self.registry, self.repository, self.suffix())
    }
}

impl FromStr for Reference {
    type Err = Error;

    fn from_str(text: &str) -> Result<Reference> {
        parse(text).map_err(|reason| Error::Reference { text: text.chars().take(300).collect(), reason })
    }
}

fn parse(text: &str) -> Result<Reference, &'static str> {
    if text.is_empty() {
        return Err("it is empty");
    }
    let (rest, digest) = match text.split_once('@') {
        Some((rest, digest)) => {
            let digest =
                digest.parse().map_err(|_| "the digest must be sha256: and 64 lowercase hexadecimal digits")?;
            (rest, Some(digest))
        }
        None => (text, None),
    };
    if digest.is_none() && rest.len() == 64 && rest.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err("64 hexadecimal digits are an image ID, not a name");
    }
    let (name, tag) = split_tag(rest);
    if let Some(tag) = tag {
        check_tag(tag)?;
    }
    let (registry, path) = split_registry(name);
    check_registry(registry)?;
    check_repository(path)?;
    let registry = if registry == "index.docker.io" { DEFAULT_REGISTRY } else { registry };
    let repository = if registry == DEFAULT_REGISTRY && !path.contains('/') {
        format!("{DEFAULT_PREFIX}/{path}")
    } else {
        path.to_owned()
    };
    if registry.len() + 1 + repository.len() > NAME_MAX {
        return Err("the name is longer than 255 characters");
    }
    let tag = tag.map(str::to_owned).or_else(|| digest.is_none().then(|| DEFAULT_TAG.to_owned()));
    Ok(Reference { registry: registry.to_owned(), repository, tag, digest })
}

/// A colon after the last slash starts the tag; one before it belongs to the registry's port.
fn split_tag(text: &str) -> (&str, Option<&str>) {
    let last = text.rfind('/').map_or(0, |slash| slash + 1);
    match text[last..].find(':') {
        Some(colon) => (&text[..last + colon], Some(&text[last + colon + 1..])),
        None => (text, None),
    }
}

/// The first component is a registry if it cannot be a repository's: it has a dot, a port or upper case, or is `localhost`.
fn split_registry(name: &str) -> (&str, &str) {
    match name.split_once('/') {
        Some((first, rest))
            if first == "localhost"
                || first.contains(['.', ':', '['])
                || first.bytes().any(|byte| byte.is_ascii_uppercase()) =>
        {
            (first, rest)
        }
        _ => (DEFAULT_REGISTRY, name),
    }
}

fn check_tag(tag: &str) -> Result<(), &'static str> {
    let mut bytes = tag.bytes();
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    if !bytes.next().is_some_and(word) || !bytes.all(|byte| word(byte) || byte == b'.' || byte == b'-') {
        return Err("a tag is made of letters, digits, _ . - and begins with a letter, a digit or _");
    }
    if tag.len() > TAG_MAX { Err("the tag is longer than 128 characters") } else { Ok(()) }
}

fn check_registry(registry: &str) -> Result<(), &'static str> {
    const BAD: &str = "the registry must be a host name or address with an optional port";
    let (host, port) = match registry.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']').ok_or(BAD)?;
            address.parse::<std::net::Ipv6Addr>().map_err(|_| BAD)?;
            match port {
                "" => return Ok(()),
                _ => ("v6", Some(port.strip_prefix(':').ok_or(BAD)?)),
            }
        }
        None => match registry.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (registry, None),
        },
    };
    if let Some(port) = port {
        if port.is_empty() || !port.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(BAD);
        }
        port.parse::<u16>().map_err(|_| BAD)?;
    }
    let label = |label: &str| {
        let inner = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        !label.is_empty() && inner && !label.starts_with('-') && !label.ends_with('-')
    };
    if host.split('.').all(label) { Ok(()) } else { Err(BAD) }
}

fn check_repository(path: &str) -> Result<(), &'static str> {
    if path.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err("the repository must be in lower case");
    }
    if path.split('/').all(is_component) {
        Ok(())
    } else {
        Err("a repository is made of lowercase letters and digits, separated by / . _ __ or -")
    }
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_component(text: &str) -> bool {
    let alnum = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let (Some(first), Some(last)) = (text.bytes().next(), text.bytes().next_back()) else { return false };
    if !alnum(first) || !alnum(last) {
        return false;
    }
    text.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        .all(|separator| matches!(separator, "" | "." | "_" | "__") || separator.bytes().all(|byte| byte == b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn defaults() {
        for (text, full, short) in [
            ("redis", "docker.io/library/redis:latest", "redis:latest"),
            ("redis:7", "docker.io/library/redis:7", "redis:7"),
            ("me/app", "docker.io/me/app:latest", "me/app:latest"),
            ("docker.io/redis", "docker.io/library/redis:latest", "redis:latest"),
            ("index.docker.io/a/b", "docker.io/a/b:latest", "a/b:latest"),
            ("localhost/app", "localhost/app:latest", "localhost/app:latest"),
            ("localhost:5000/a/b/c:v1.2-x_y", "localhost:5000/a/b/c:v1.2-x_y", "localhost:5000/a/b/c:v1.2-x_y"),
            ("10.0.2.2:5000/redis", "10.0.2.2:5000/redis:latest", "10.0.2.2:5000/redis:latest"),
            ("[::1]:5000/redis", "[::1]:5000/redis:latest", "[::1]:5000/redis:latest"),
            ("quay.io/a__b/c.d-e---f", "quay.io/a__b/c.d-e---f:latest", "quay.io/a__b/c.d-e---f:latest"),
            ("UPPER/app", "UPPER/app:latest", "UPPER/app:latest"),
        ] {
            let reference: Reference = text.parse().unwrap();
            assert_eq!(reference.to_string(), full);
            assert_eq!(reference.familiar(), short);
            assert_eq!(short.parse::<Reference>().unwrap(), reference);
        }
    }

    #[test]
    fn a_short_form_never_names_another_registry() {
        for text in ["docker.io/evil.io/a", "docker.io/localhost/a", "docker.io/docker.io/a", "docker.io/a.b/c/d:1"] {
            let reference: Reference = text.parse().unwrap();
            assert_eq!(reference.registry(), "docker.io");
            assert_eq!(reference.familiar().parse::<Reference>().unwrap(), reference, "{text}");
        }
    }

    #[test]
    fn digests() {
        let reference: Reference = format!("redis@sha256:{HEX}").parse().unwrap();
        assert_eq!(reference.tag(), None);
        assert_eq!(reference.selector(), format!("sha256:{HEX}"));
        let both: Reference = format!("redis:7@sha256:{HEX}").parse().unwrap();
        assert_eq!((both.tag(), both.selector()), (Some("7"), format!("sha256:{HEX}")));
    }

    #[test]
    fn refused() {
        let long = "a".repeat(300);
        for bad in [
            "",
            ":",
            "@",
            "/",
            "Redis",
            "redis:",
            "redis:-a",
            "redis:a/b:c:d",
            "a//b",
            "/a",
            "a/",
            "a..b",
            "a._b",
            "-a",
            "a-",
            "a/../b",
            "..",
            "localhost:/a",
            "localhost:99999/a",
            "[::1/a",
            "a b",
            "redis\n",
            "https://quay.io/a",
            "redis@sha256:abc",
            "redis@md5:abc",
            HEX,
            &long,
            "a.b:5000/UP",
            "exa_mple.com/a",
        ] {
            assert!(bad.parse::<Reference>().is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn never_panics_and_is_stable(text in "\\PC{0,80}") {
            if let Ok(reference) = text.parse::<Reference>() {
                prop_assert_eq!(reference.to_string().parse::<Reference>().unwrap(), reference.clone());
                prop_assert_eq!(reference.familiar().parse::<Reference>().unwrap(), reference);
            }
        }

        #[test]
        fn what_the_grammar_makes_is_taken(
            registry in "([a-z][a-z0-9]{0,8}\\.[a-z]{2,3}(:[1-9][0-9]{0,3})?/)?",
            path in "[a-z0-9]{1,5}(__[a-z0-9]{1,5})?(/[a-z0-9]{1,5}(-{1,3}[a-z0-9]{1,3})?){0,3}",
            tag in "(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,20})?",
        ) {
            let text = format!("{registry}{path}{tag}");
            let reference = text.parse::<Reference>();
            prop_assert!(reference.is_ok(), "{}", text);
            let reference = reference.unwrap();
            prop_assert_eq!(reference.to_string().parse::<Reference>().unwrap(), reference);
        }

        #[test]
        fn repository_never_holds_a_traversal(text in "[a-z./:@_-]{0,40}") {
            if let Ok(reference) = text.parse::<Reference>() {
                prop_assert!(reference.repository().split('/').all(|part| !part.is_empty() && part != "." && part != ".."));
            }
        }
    }
}
