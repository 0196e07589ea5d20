//! The file of past commands: `$HISTFILE`, or `~/.sh_history` where that can be written.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Lines kept in memory and, when the file has grown to twice as many, in the file.
const LIMIT: usize = 1000;
/// A longer file is not ours; it is left alone.
const MAX_FILE_BYTES: u64 = 4 << 20;

/// Past commands, oldest first, each appended to the file as it is entered: a machine that is switched off loses none.
pub struct History {
    lines: Vec<String>,
    file: Option<(PathBuf, File)>,
}

impl History {
    /// Open the user's history. Without a writable file it lives in memory only.
    pub fn open() -> Self {
        let path = match std::env::var_os("HISTFILE") {
            Some(path) if path.is_empty() => None,
            Some(path) => Some(PathBuf::from(path)),
            None => super::home().map(|home| home.join(".sh_history")),
        };
        path.and_then(|path| Self::load(path).ok()).unwrap_or(Self { lines: Vec::new(), file: None })
    }

    fn load(path: PathBuf) -> io::Result<Self> {
        let mut file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(&path)?;
        if !file.metadata()?.is_file() || file.metadata()?.len() > MAX_FILE_BYTES {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "not a history file"));
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let text = String::from_utf8_lossy(&bytes);
        let mut lines: Vec<String> = text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect();
        if lines.len() > 2 * LIMIT {
            lines.drain(..lines.len() - LIMIT);
            file = rewrite(&path, &lines)?;
        }
        Ok(Self { lines, file: Some((path, file)) })
    }

    /// The file in use.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_ref().map(|(path, _)| path.as_path())
    }

    /// Past commands, oldest first.
    pub fn lines(&self) -> &[String] {
        &self.lines
    }

    /// Append a command, unless it repeats the last or begins with a space. One of several lines becomes several entries.
    pub fn add(&mut self, entry: &str) {
        if entry.is_empty() || entry.starts_with(' ') || self.lines.last().is_some_and(|last| last == entry) {
            return;
        }
        self.lines.push(entry.to_owned());
        if let Some((_, file)) = &mut self.file {
            // History is a convenience; a full disk must not stop the shell.
            let _ = file.write_all(format!("{entry}\n").as_bytes());
        }
    }
}

/// Replace the file in one step.
fn rewrite(path: &Path, lines: &[String]) -> io::Result<File> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}", std::process::id()));
    let temporary = PathBuf::from(name);
    let mut file = OpenOptions::new().append(true).create_new(true).mode(0o600).open(&temporary)?;
    file.write_all((lines.join("\n") + "\n").as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_survive_and_repeats_are_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("history");
        let mut history = History::load(path.clone()).unwrap();
        for entry in ["ls", "ls", " secret", "pwd"] {
            history.add(entry);
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "ls\npwd\n");
        assert_eq!(History::load(path).unwrap().lines(), ["ls", "pwd"]);
    }

    #[test]
    fn a_long_file_is_cut() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("history");
        let text: String = (0..2 * LIMIT + 1).map(|n| format!("echo {n}\n")).collect();
        std::fs::write(&path, text).unwrap();
        let history = History::load(path.clone()).unwrap();
        assert_eq!(history.lines().len(), LIMIT);
        assert_eq!(std::fs::read_to_string(path).unwrap().lines().count(), LIMIT);
    }

    #[test]
    fn a_device_is_no_history() {
        assert!(History::load("/dev/null".into()).is_err());
    }
}
