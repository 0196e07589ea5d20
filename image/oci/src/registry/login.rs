//! Logging in: trying credentials, and keeping them where docker and podman look (containers-auth.json(5), Docker's config.json).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use coracle_abi::atomic_write::{self, Durability};
use serde_json::{Map, Value, json};
use ureq::http::{Method, StatusCode};

use super::credentials::{docker_config, names_registry, usual_places};
use super::{Client, Credentials, Payload, RegistryOptions};
use crate::error::{Context, Error, Result};
use crate::reference::{DEFAULT_REGISTRY, Reference};

/// What Docker calls its own registry in files of credentials.
const DOCKER_HUB: &str = "https://index.docker.io/v1/";

/// A registry to log in to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    host: String,
}

impl Server {
    /// `HOST[:PORT]`, perhaps with a scheme and a path, as Docker takes it; nothing stands for Docker Hub.
    ///
    /// # Errors
    /// If it is no registry's name.
    pub fn parse(text: &str) -> Result<Server> {
        let bare = text.trim_start_matches("https://").trim_start_matches("http://");
        let host = bare.split('/').next().unwrap_or(bare);
        if matches!(host, "" | "docker.io" | "index.docker.io" | "registry-1.docker.io") {
            return Ok(Server { host: DEFAULT_REGISTRY.into() });
        }
        // A name without a dot would be taken for a part of a repository's.
        let server = Server { host: host.into() };
        if host.contains(['.', ':']) || host == "localhost" {
            server.repository()?;
            return Ok(server);
        }
        Err(Error::invalid(format!("registry {text:?}"), "want HOST[:PORT], with a dot or a port"))
    }

    /// As files of credentials have it.
    fn key(&self) -> &str {
        if self.host == DEFAULT_REGISTRY { DOCKER_HUB } else { &self.host }
    }

    /// As Docker calls it in messages.
    pub fn name(&self) -> &str {
        self.key()
    }

    /// Any repository of it.
    fn repository(&self) -> Result<Reference> {
        format!("{}/login", self.host).parse()
    }

    /// Try credentials.
    ///
    /// # Errors
    /// If the registry does not take them, or gives no answer.
    pub fn verify(&self, credentials: &Credentials, options: &RegistryOptions) -> Result<()> {
        let options = RegistryOptions { credentials: Some(credentials.clone()), ..options.clone() };
        let mut client = Client::new(&self.repository()?, &options)?;
        // A token for nothing in particular.
        client.scopes.push(String::new());
        let url = format!("{}/v2/", client.endpoint()?.base);
        let (url, response) = client.exchange(&Method::GET, &url, &[], Payload::Empty)?;
        match response.status() {
            StatusCode::OK => Ok(()),
            status => Err(Error::LoginRefused { url, status: status.to_string() }),
        }
    }

    /// Keep credentials, in the file that is named, in the one that has some of this registry already, or in Docker's. Gives which.
    ///
    /// # Errors
    /// If the file cannot be read or written.
    pub fn keep(&self, credentials: &Credentials, named: Option<&Path>) -> Result<PathBuf> {
        let has = |path: &PathBuf| read(path).is_ok_and(|file| self.keys(&file).next().is_some());
        let path = match named {
            Some(path) => path.to_owned(),
            None => usual_places().into_iter().find(has).or_else(docker_config).ok_or_else(|| {
                Error::invalid("environment", "neither HOME nor DOCKER_CONFIG says where to keep credentials")
            })?,
        };
        let mut file = read(&path)?;
        let encoded = STANDARD.encode(format!("{}:{}", credentials.user, credentials.password));
        let auths = file.entry("auths").or_insert_with(|| json!({}));
        let Some(auths) = auths.as_object_mut() else {
            return Err(Error::invalid(format!("auth file {}", path.display()), "its `auths` is no object"));
        };
        auths.insert(self.key().into(), json!({ "auth": encoded }));
        write(&path, file)?;
        Ok(path)
    }

    /// Forget credentials, in the file that is named or wherever there are some. Says whether there were any.
    ///
    /// # Errors
    /// If a file cannot be read or written.
    pub fn forget(&self, named: Option<&Path>) -> Result<bool> {
        let places = named.map_or_else(usual_places, |path| vec![path.to_owned()]);
        let mut found = false;
        for path in places {
            let mut file = read(&path)?;
            let keys: Vec<String> = self.keys(&file).cloned().collect();
            let Some(auths) = file.get_mut("auths").and_then(Value::as_object_mut) else { continue };
            if keys.is_empty() {
                continue;
            }
            auths.retain(|key, _| !keys.contains(key));
            write(&path, file)?;
            found = true;
        }
        Ok(found)
    }

    /// The user that is on record.
    ///
    /// # Errors
    /// If a file of credentials is damaged.
    pub fn user(&self, named: Option<&Path>) -> Result<Option<String>> {
        Ok(super::credentials::find(&self.repository()?, named)?.map(|credentials| credentials.user))
    }

    fn keys<'a>(&self, file: &'a Map<String, Value>) -> impl Iterator<Item = &'a String> {
        let host = self.host.clone();
        let auths = file.get("auths").and_then(Value::as_object);
        auths.into_iter().flat_map(Map::keys).filter(move |key| names_registry(key, &host))
    }
}

fn read(path: &Path) -> Result<Map<String, Value>> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Map::new());
        }
        Err(error) => return Err(error).at("reading the auth file", path),
    };
    if text.iter().all(u8::is_ascii_whitespace) {
        return Ok(Map::new());
    }
    crate::json::object(&text).map_err(|reason| Error::invalid(format!("auth file {}", path.display()), reason))
}

/// For its owner only; what the link leads to if it is one.
fn write(path: &Path, file: Map<String, Value>) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    if let Some(dir) = path.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).at("creating", dir)?;
    }
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let text = serde_json::to_vec_pretty(&Value::Object(file)).unwrap_or_default();
    atomic_write::write(&target, &text, 0o600, Durability::Durable).at("writing the auth file", path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn servers() {
        let name = |text: &str| Server::parse(text).map(|server| server.name().to_owned());
        assert_eq!(name("").unwrap(), DOCKER_HUB);
        assert_eq!(name("docker.io").unwrap(), DOCKER_HUB);
        assert_eq!(name("https://quay.io/v1/").unwrap(), "quay.io");
        assert_eq!(name("localhost:5000").unwrap(), "localhost:5000");
        for bad in ["registry", "a b.io", ":"] {
            assert!(name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn credentials_are_kept_beside_what_there_is_and_forgotten() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("new/config.json");
        let server = Server::parse("quay.io").unwrap();
        let credentials = Credentials::parse("me:se:cret").unwrap();
        assert!(!server.forget(Some(&path)).unwrap());
        assert_eq!(server.keep(&credentials, Some(&path)).unwrap(), path);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(server.user(Some(&path)).unwrap().as_deref(), Some("me"));
        fs::write(
            &path,
            r#"{"auths":{"https://quay.io/v1/":{"auth":"YTpi"},"quay.io":{"auth":"YTpi"},"b.io":{}},"detachKeys":"x"}"#,
        )
        .unwrap();
        server.keep(&credentials, Some(&path)).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains("detachKeys") && text.contains("b.io"), "{text}");
        assert!(server.forget(Some(&path)).unwrap());
        let text = fs::read_to_string(&path).unwrap();
        assert!(!text.contains("quay.io") && text.contains("detachKeys") && text.contains("b.io"), "{text}");
        fs::write(&path, "[]").unwrap();
        assert!(server.keep(&credentials, Some(&path)).is_err());
    }
}
