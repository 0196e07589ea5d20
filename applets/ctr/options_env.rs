//! `-e`, `--env-file`, `-l`, `--label-file`, `--sysctl` and `--annotation` of `ctr run`: keys and values, by Docker's rules.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};

/// Longest file that is read.
const FILE_MAX: u64 = 16 << 20;

/// The environment: the image's, then the files', then `-e`; a name that comes again replaces its value in place, and one that has none
/// anywhere takes the image's away.
pub fn environment(image: &[String], files: &[PathBuf], given: &[String]) -> anyhow::Result<Vec<String>> {
    let mut all = image.to_vec();
    for file in files {
        for entry in read_file(file)? {
            if entry.contains('=') || std::env::var_os(&entry).is_some() {
                set_variable(&mut all, &entry)?;
            }
        }
    }
    given.iter().try_for_each(|entry| set_variable(&mut all, entry))?;
    Ok(all)
}

/// The entries of a file of variables or labels: what follows a line's leading white space; `#` begins a comment line.
fn read_file(path: &Path) -> anyhow::Result<Vec<String>> {
    let words = || format!("cannot read {}", path.display());
    let size = std::fs::metadata(path).with_context(words)?.len();
    ensure!(size <= FILE_MAX, "{} is too long for a file of variables", path.display());
    let bytes = std::fs::read(path).with_context(words)?;
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    let mut all = Vec::new();
    for (number, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let Ok(line) = std::str::from_utf8(line) else {
            bail!("env file {} contains invalid utf8 bytes at line {}", path.display(), number + 1);
        };
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let key = line.split('=').next().unwrap_or_default();
        ensure!(!key.is_empty(), "invalid env file ({}): no variable name on line '{line}'", path.display());
        ensure!(
            !key.contains(char::is_whitespace),
            "invalid env file ({}): variable '{key}' contains whitespaces",
            path.display()
        );
        all.push(line.to_owned());
    }
    Ok(all)
}

/// `KEY=VALUE`, or `KEY` to pass on the caller's value, or to take the key away if the caller has none.
pub fn set_variable(all: &mut Vec<String>, entry: &str) -> anyhow::Result<()> {
    let (key, value) = match entry.split_once('=') {
        Some((key, value)) => (key, Some(value.to_owned())),
        None => (entry, std::env::var(entry).ok()),
    };
    ensure!(!key.is_empty(), "invalid environment variable: {entry}");
    let same = |other: &String| other.split('=').next() == Some(key);
    let Some(value) = value else {
        all.retain(|other| !same(other));
        return Ok(());
    };
    let entry = format!("{key}={value}");
    match all.iter_mut().find(|other| same(other)) {
        Some(other) => *other = entry,
        None => all.push(entry),
    }
    Ok(())
}

/// Labels: the image's, then the files', then the given ones.
pub fn all_labels(
    image: BTreeMap<String, String>,
    files: &[PathBuf],
    given: &[String],
) -> anyhow::Result<BTreeMap<String, String>> {
    let mut all = image;
    for file in files {
        all = labels(all, &read_file(file)?);
    }
    Ok(labels(all, given))
}

/// Labels over others.
pub fn labels(before: BTreeMap<String, String>, given: &[String]) -> BTreeMap<String, String> {
    let given = given.iter().map(|label| label.split_once('=').unwrap_or((label, "")));
    before.into_iter().chain(given.map(|(key, value)| (key.to_owned(), value.to_owned()))).collect()
}

/// Check one `-l`.
pub fn parse_label(text: &str) -> Result<String, String> {
    if text.split('=').next().is_none_or(str::is_empty) {
        Err(format!("invalid label '{text}': empty name"))
    } else {
        Ok(text.into())
    }
}

/// Read `KEY=VALUE` of `--sysctl` and `--annotation`.
pub fn parse_pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.into(), value.into())),
        _ => Err(format!("'{text}' is no KEY=VALUE")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn environment_is_replaced_in_place() {
        let image = ["A=1".to_owned(), "B=2".to_owned()];
        let given = ["A=3".to_owned(), "C=x=y".to_owned(), "CORACLE_NO_SUCH_VARIABLE".to_owned()];
        assert_eq!(environment(&image, &[], &given).unwrap(), ["A=3", "B=2", "C=x=y"]);
        assert!(environment(&[], &[], &["=x".to_owned()]).is_err());
        let taken = ["CORACLE_NO_SUCH_VARIABLE=1".to_owned()];
        assert!(environment(&taken, &[], &["CORACLE_NO_SUCH_VARIABLE".to_owned()]).unwrap().is_empty());
    }

    #[test]
    fn files_of_variables() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("env");
        let read = |text: &[u8]| {
            std::fs::write(&path, text).unwrap();
            environment(&[], std::slice::from_ref(&path), &[]).map_err(|error| error.to_string())
        };
        let text = b"\xef\xbb\xbf# comment\r\n  A='quoted' # kept \nB=\n\nCORACLE_NO_SUCH_VARIABLE\nC=1=2";
        assert_eq!(read(text).unwrap(), ["A='quoted' # kept ", "B=", "C=1=2"]);
        assert!(read(b"a b=1").unwrap_err().contains("variable 'a b' contains whitespaces"));
        assert!(read(b"=1").unwrap_err().contains("no variable name on line '=1'"));
        assert!(read(b"A=\xff").unwrap_err().contains("invalid utf8 bytes at line 1"));
    }
}
