//! `--secret`: what RUN may see and no image holds.

use std::path::PathBuf;
use std::str::FromStr;

use anyhow::Context;

/// Largest secret, as Docker has it.
const MAX: u64 = 500 << 10;

/// One secret, not read yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secret {
    /// What RUN calls it.
    pub id: String,
    source: Source,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Source {
    File(PathBuf),
    Variable(String),
}

impl FromStr for Secret {
    type Err = String;

    /// `id=NAME[,src=FILE|,env=VARIABLE]`; without a source it is the variable of that name, or the file.
    fn from_str(text: &str) -> Result<Self, String> {
        let (mut id, mut file, mut variable, mut kind) = (None, None, None, None);
        for field in text.split(',') {
            let (key, value) =
                field.split_once('=').ok_or_else(|| format!("invalid field '{field}' must be a key=value pair"))?;
            match key.to_ascii_lowercase().as_str() {
                "id" => id = Some(value),
                "src" | "source" => file = Some(value),
                "env" => variable = Some(value),
                "type" if matches!(value, "file" | "env") => kind = Some(value),
                "type" => return Err(format!("unsupported secret type {value:?}")),
                _ => return Err(format!("unexpected key '{key}' in '{field}'")),
            }
        }
        let id = id.or(variable).filter(|id| !id.is_empty()).ok_or("a secret needs an id")?;
        let source = match (file, variable) {
            // As Docker has it, `type=env,src=NAME` names a variable.
            (Some(name), None) if kind == Some("env") => Source::Variable(name.into()),
            (Some(path), None) => Source::File(path.into()),
            (None, Some(name)) => Source::Variable(name.into()),
            (None, None) if kind != Some("file") && std::env::var_os(id).is_some() => Source::Variable(id.into()),
            (None, None) => Source::File(id.into()),
            (Some(_), Some(_)) => return Err("a secret is a file or a variable, not both".into()),
        };
        Ok(Secret { id: id.into(), source })
    }
}

impl Secret {
    /// What it holds.
    ///
    /// # Errors
    /// If it cannot be read or is too large.
    pub fn read(&self) -> anyhow::Result<Vec<u8>> {
        use std::io::Read;
        let mut bytes = Vec::new();
        match &self.source {
            Source::Variable(name) => {
                let value = std::env::var_os(name).with_context(|| format!("secret {}: {name} is not set", self.id))?;
                bytes = value.into_encoded_bytes();
            }
            Source::File(path) => {
                let words = || format!("secret {}: cannot read {}", self.id, path.display());
                std::fs::File::open(path)
                    .and_then(|file| file.take(MAX + 1).read_to_end(&mut bytes))
                    .with_context(words)?;
            }
        }
        anyhow::ensure!(bytes.len() as u64 <= MAX, "invalid secret size {} (limit: 500 KiB)", self.id);
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources() {
        let file = |id: &str, path: &str| Secret { id: id.into(), source: Source::File(path.into()) };
        let variable = |id: &str, name: &str| Secret { id: id.into(), source: Source::Variable(name.into()) };
        for (text, expected) in [
            ("id=a,src=/x", file("a", "/x")),
            ("id=a,env=B", variable("a", "B")),
            ("type=env,id=a,src=B", variable("a", "B")),
            ("type=file,id=PATH", file("PATH", "PATH")),
            ("id=PATH", variable("PATH", "PATH")),
        ] {
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
        for wrong in ["", "a", "src=x", "id=", "id=a,src=b,env=c", "id=a,x=y", "id=a,type=z"] {
            assert!(wrong.parse::<Secret>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn size_is_limited() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("big");
        std::fs::File::create(&path).unwrap().set_len(MAX + 1).unwrap();
        let secret = Secret { id: "a".into(), source: Source::File(path) };
        assert!(secret.read().unwrap_err().to_string().contains("invalid secret size"));
    }
}
