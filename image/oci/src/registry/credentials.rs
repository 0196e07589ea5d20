//! Credentials from Docker's config.json and its relatives (containers-auth.json(5)).

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::error::{Context, Error, Result};
use crate::json;
use crate::reference::{DEFAULT_REGISTRY, Reference};

/// Who to be at a registry.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// User name.
    pub user: String,
    /// Password or access token.
    pub password: String,
}

impl Credentials {
    /// The `Authorization` header of RFC 7617.
    pub(super) fn basic(&self) -> String {
        format!("Basic {}", STANDARD.encode(format!("{}:{}", self.user, self.password)))
    }

    /// Read `USER:PASSWORD`.
    ///
    /// # Errors
    /// If there is no colon, or no user before it.
    pub fn parse(text: &str) -> Result<Credentials> {
        match text.split_once(':') {
            Some((user, password)) if !user.is_empty() => {
                Ok(Credentials { user: user.into(), password: password.into() })
            }
            _ => Err(Error::invalid("credentials", "want USER:PASSWORD")),
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials {{ user: {:?}, password: hidden }}", self.user)
    }
}

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    auths: HashMap<String, Auth>,
}

#[derive(Deserialize, Default)]
struct Auth {
    #[serde(default)]
    auth: Option<String>,
    #[serde(default)]
    username: Option<String>,
    #[serde(default)]
    password: Option<String>,
}

/// Look for credentials of the reference's registry: in `named`, which must exist, or in the places where podman and docker
/// keep them.
pub(super) fn find(reference: &Reference, named: Option<&Path>) -> Result<Option<Credentials>> {
    if let Some(path) = named {
        let text = std::fs::read(path).at("reading the auth file", path)?;
        return in_file(&text, path, reference);
    }
    for path in usual_places() {
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => continue,
            Err(error) => return Err(error).at("reading the auth file", &path),
        };
        if let Some(found) = in_file(&text, &path, reference)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

fn variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// Where podman and docker keep credentials.
pub(super) fn usual_places() -> Vec<PathBuf> {
    [
        variable("REGISTRY_AUTH_FILE"),
        variable("XDG_RUNTIME_DIR").map(|dir| dir.join("containers/auth.json")),
        variable("HOME").map(|dir| dir.join(".config/containers/auth.json")),
        docker_config(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Docker's own file.
pub(super) fn docker_config() -> Option<PathBuf> {
    let dir = variable("DOCKER_CONFIG").or_else(|| variable("HOME").map(|dir| dir.join(".docker")));
    dir.map(|dir| dir.join("config.json"))
}

/// Find the credentials of a reference's registry in the text of an auth file, which `path` names in messages.
///
/// # Errors
/// If it cannot be understood.
pub fn in_file(text: &[u8], path: &Path, reference: &Reference) -> Result<Option<Credentials>> {
    let what = || format!("auth file {}", path.display());
    let file: File = json::object(text).map_err(|reason| Error::invalid(what(), reason))?;
    let mut best: Option<(usize, &Auth)> = None;
    for (key, auth) in &file.auths {
        if let Some(length) = matches(key, reference)
            && best.is_none_or(|(longest, _)| length > longest)
        {
            best = Some((length, auth));
        }
    }
    let Some((_, auth)) = best else { return Ok(None) };
    if let (Some(user), Some(password)) = (&auth.username, &auth.password) {
        return Ok(Some(Credentials { user: user.clone(), password: password.clone() }));
    }
    let Some(encoded) = auth.auth.as_deref().filter(|auth| !auth.is_empty()) else { return Ok(None) };
    let bad = || Error::invalid(what(), "an `auth` in it is not the base64 of USER:PASSWORD");
    let decoded = STANDARD.decode(encoded.trim()).map_err(|_| bad())?;
    let decoded = String::from_utf8(decoded).map_err(|_| bad())?;
    Credentials::parse(decoded.trim_end_matches('\0')).map(Some).map_err(|_| bad())
}

/// Does the key name the registry, or a path in it that the repository is below? The longest such key counts.
fn matches(key: &str, reference: &Reference) -> Option<usize> {
    let (host, path) = split(key);
    let repository = reference.repository();
    let below = path.is_empty()
        || repository == path
        || repository.strip_prefix(path).is_some_and(|rest| rest.starts_with('/'));
    (host == reference.registry() && below).then_some(path.len())
}

/// Does the key name all of a registry?
pub(super) fn names_registry(key: &str, host: &str) -> bool {
    split(key) == (host, "")
}

/// Host and path of a key.
fn split(key: &str) -> (&str, &str) {
    let bare = key.trim_start_matches("https://").trim_start_matches("http://").trim_end_matches('/');
    let bare = bare.strip_suffix("/v1").or_else(|| bare.strip_suffix("/v2")).unwrap_or(bare);
    let (host, path) = bare.split_once('/').unwrap_or((bare, ""));
    (if matches!(host, "index.docker.io" | "registry-1.docker.io") { DEFAULT_REGISTRY } else { host }, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(file: &str, reference: &str) -> Option<String> {
        let found = in_file(file.as_bytes(), Path::new("x"), &reference.parse().unwrap()).unwrap();
        found.map(|credentials| format!("{}:{}", credentials.user, credentials.password))
    }

    #[test]
    fn of_docker_and_podman() {
        let file = r#"{"auths":{
            "https://index.docker.io/v1/":{"auth":"aHViOnNlY3JldA=="},
            "127.0.0.1:5000":{"auth":"YTpiOmM="},
            "quay.io":{"username":"u","password":"p"},
            "quay.io/team":{"auth":"dGVhbTp0"},
            "empty.io":{}},"credsStore":"desktop"}"#;
        assert_eq!(user(file, "redis").as_deref(), Some("hub:secret"));
        assert_eq!(user(file, "127.0.0.1:5000/x").as_deref(), Some("a:b:c"));
        assert_eq!(user(file, "quay.io/team/x").as_deref(), Some("team:t"));
        assert_eq!(user(file, "quay.io/teammate/x").as_deref(), Some("u:p"));
        assert_eq!(user(file, "empty.io/x"), None);
        assert_eq!(user(file, "ghcr.io/x/y"), None);
    }

    #[test]
    fn damaged_files_are_errors() {
        let reference = "a.io/b".parse().unwrap();
        for bad in ["", "[]", r#"{"auths":{"a.io":{"auth":"***"}}}"#, r#"{"auths":{"a.io":{"auth":"Zm9v"}}}"#] {
            assert!(in_file(bad.as_bytes(), Path::new("x"), &reference).is_err(), "{bad}");
        }
    }

    #[test]
    fn passwords_are_not_printed() {
        assert!(!format!("{:?}", Credentials::parse("u:secret").unwrap()).contains("secret"));
    }
}
