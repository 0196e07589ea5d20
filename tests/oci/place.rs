//! A store of its own, and a folder beside it that nothing may touch.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// Where a test takes place.
pub struct Place {
    dir: tempfile::TempDir,
    before: Vec<String>,
}

/// How a run of the binary ended.
pub struct Outcome {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Place {
    pub fn new() -> Place {
        // Not in /tmp, which may be in memory: interrupted downloads are kept on disks only.
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        for folder in ["input", "home", "outside/sub"] {
            fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        let mut place = Place { dir, before: Vec::new() };
        fs::write(place.outside().join("canary"), "untouched").unwrap();
        fs::write(place.outside().join("sub/file"), "untouched").unwrap();
        place.before = listing(&place.outside());
        place
    }

    /// The folder that is not to be touched; its files are `canary` and `sub/file`.
    pub fn outside(&self) -> PathBuf {
        self.dir.path().join("outside")
    }

    /// The image store.
    pub fn images(&self) -> PathBuf {
        self.dir.path().join("state/images")
    }

    /// Write a file to be given to the binary.
    pub fn input(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.dir.path().join("input").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = engine();
        command.args(args).stdin(Stdio::null()).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("HOME", self.dir.path().join("home"));
        command.env("CORACLE_STATE", self.dir.path().join("state")).env("CORACLE_RUN", self.dir.path().join("run"));
        command
    }

    pub fn ctr(&self, args: &[&str]) -> Outcome {
        outcome(self.command(args).output().unwrap())
    }

    /// It must succeed; gives what it printed.
    pub fn accepts(&self, args: &[&str]) -> String {
        let outcome = self.ctr(args);
        assert_eq!(outcome.code, Some(0), "{args:?}: {}", outcome.err);
        self.untouched();
        assert_eq!(names(&self.images().join("staging")), [""; 0], "left behind");
        outcome.out
    }

    /// It must fail with these words in its message, and leave nothing behind; gives the message.
    pub fn refuses(&self, args: &[&str], words: &[&str]) -> String {
        let outcome = self.ctr(args);
        outcome.failed(words);
        self.untouched();
        assert_eq!(self.kept(), [""; 0], "left behind, after: {}", outcome.err);
        outcome.err
    }

    pub fn untouched(&self) {
        assert_eq!(listing(&self.outside()), self.before, "something outside the store was touched");
        for name in names(self.dir.path()) {
            assert!(["input", "home", "outside", "state", "run"].contains(&name.as_str()), "{name} was made");
        }
    }

    /// Everything in the store: layers, blobs, names, what is in the making, downloads to go on with.
    pub fn kept(&self) -> Vec<String> {
        let mut kept = Vec::new();
        for folder in names(&self.images()).iter().filter(|name| *name != "lock") {
            kept.extend(names(&self.images().join(folder)).iter().map(|name| format!("{folder}/{name}")));
        }
        kept
    }

    /// The store's only layer.
    pub fn layer(&self) -> PathBuf {
        let layers = names(&self.images().join("layers"));
        assert_eq!(layers.len(), 1, "{layers:?}");
        self.images().join("layers").join(&layers[0]).join("diff")
    }
}

/// `ctr`, or what `CORACLE_OCI_COMMAND` names in its place: words that the arguments follow.
fn engine() -> Command {
    let given = std::env::var("CORACLE_OCI_COMMAND").unwrap_or_default();
    let mut words = given.split_whitespace();
    match words.next() {
        Some(program) => {
            let mut command = Command::new(program);
            command.args(words);
            command
        }
        None => {
            let mut command = Command::new(env!("CARGO_BIN_EXE_coracle"));
            command.arg("ctr");
            command
        }
    }
}

impl Outcome {
    pub fn failed(&self, words: &[&str]) {
        assert_eq!(self.code, Some(1), "stdout: {} stderr: {}", self.out, self.err);
        let text = self.err.to_lowercase();
        for word in words {
            assert!(text.contains(&word.to_lowercase()), "no {word:?} in: {}", self.err);
        }
        assert!(!text.contains("panicked"), "{}", self.err);
        assert!(!self.err.contains('\x1b'), "a control sequence in the message: {:?}", self.err);
    }
}

pub fn outcome(output: Output) -> Outcome {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Outcome { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
}

pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Names in a folder, sorted; of one that is not there, none.
pub fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// What is below a folder, with all that an attacker might change.
pub fn listing(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let meta = fs::symlink_metadata(&folder).unwrap();
        found.push(line(&folder, &meta));
        // Not by `names`: some are no text.
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let meta = fs::symlink_metadata(&path).unwrap();
            if meta.is_dir() {
                folders.push(path);
            } else {
                let content = if meta.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
                found.push(format!("{} {}", line(&path, &meta), String::from_utf8_lossy(&content)));
            }
        }
    }
    found.sort();
    found
}

fn line(path: &Path, meta: &fs::Metadata) -> String {
    let links = if meta.is_dir() { 0 } else { meta.nlink() };
    format!(
        "{} {:o} {}:{} {} {}.{}",
        path.display(),
        meta.mode(),
        meta.uid(),
        meta.gid(),
        links,
        meta.mtime(),
        meta.mtime_nsec()
    )
}
