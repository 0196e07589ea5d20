//! A layer on its way into the store: made in the staging directory, published by a rename.

use std::cell::RefCell;
use std::fs;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use crate::digest::Digest;
use crate::error::{Context, Error, Result};
use crate::fs::{open_dir, sync_dir, unique_name};
use crate::layer::{Expected, unpack_stream};
use crate::recipe::Recorder;
use crate::store::{OPAQUE_ROOT, SIZE, Store, remove_staged};
use crate::unpack::{Budget, DevicePolicy};

/// A layer that comes in.
pub(crate) struct Incoming<'a> {
    /// The archive, plain or compressed.
    pub source: &'a mut (dyn Read + Send),
    /// What the stream must be, if that is known.
    pub expected: Option<Expected<'a>>,
    /// What it must unpack to, if that is known.
    pub diff_id: Option<&'a Digest>,
    pub devices: DevicePolicy,
    pub budget: &'a Budget,
}

/// A layer that is unpacked and verified, not yet in the store. It is gone if it is dropped.
pub(crate) struct Staged<'a> {
    store: &'a Store,
    path: PathBuf,
    /// Open from the beginning: syncfs(2) tells of write errors since then, not of earlier ones.
    dir: OwnedFd,
    diff_id: Digest,
    /// Of the uncompressed archive.
    length: u64,
}

impl Store {
    /// Unpack a layer and put it into the store. Gives what it is.
    pub(crate) fn add_layer(&self, incoming: Incoming<'_>) -> Result<Digest> {
        self.stage_layer(incoming)?.publish()
    }

    /// Unpack a layer beside the store's.
    pub(crate) fn stage_layer(&self, incoming: Incoming<'_>) -> Result<Staged<'_>> {
        let path = self.staging_path().join(unique_name());
        fs::create_dir(&path).at("creating", &path)?;
        let dir = open_dir(&path)?;
        // Dropped on any error from here on.
        let mut staged = Staged { store: self, path, dir, diff_id: Digest::of(b""), length: 0 };
        let dir = staged.make()?;
        let Incoming { source, expected, diff_id, devices, budget } = incoming;
        let recorder = RefCell::new(Recorder::new(&staged.path, budget)?);
        let (actual, length, report) = unpack_stream(source, expected, dir, devices, budget, &recorder)?;
        recorder.into_inner().finish(&staged.path)?;
        if let Some(wanted) = diff_id
            && *wanted != actual
        {
            let what = "uncompressed layer".to_owned();
            return Err(Error::DigestMismatch { what, expected: wanted.clone(), actual });
        }
        let size = staged.path.join(SIZE);
        fs::write(&size, format!("{} {length}\n", report.bytes)).at("writing", &size)?;
        if report.opaque_root {
            let mark = staged.path.join(OPAQUE_ROOT);
            fs::write(&mark, []).at("writing", &mark)?;
        }
        (staged.diff_id, staged.length) = (actual, length);
        Ok(staged)
    }
}

impl Staged<'_> {
    fn make(&self) -> Result<OwnedFd> {
        let diff = self.path.join("diff");
        fs::create_dir(&diff).at("creating", &diff)?;
        let dir = open_dir(&diff)?;
        // The archive may have no entry for the root itself.
        rustix::fs::fchmod(&dir, rustix::fs::Mode::from_raw_mode(0o755)).at("setting the mode of", &diff)?;
        Ok(dir)
    }

    /// Put it into the store: the data is on the disk before its name is.
    pub(crate) fn publish(self) -> Result<Digest> {
        rustix::fs::syncfs(&self.dir).at("writing to disk", &self.path)?;
        let target = self.target();
        match fs::rename(&self.path, &target) {
            Ok(()) => sync_dir(target.parent().unwrap_or(Path::new("."))).at("writing to disk", &target)?,
            // Someone else was as fast; what they made has the same digest.
            Err(_) if self.store.has_layer(&self.diff_id) => {}
            Err(error) => return Err(error).at("moving the finished layer to", &target),
        }
        Ok(self.diff_id.clone())
    }

    /// Length of the uncompressed archive in bytes.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    fn target(&self) -> PathBuf {
        self.store.root().join("layers").join(self.diff_id.hex())
    }
}

impl Drop for Staged<'_> {
    fn drop(&mut self) {
        // After a success nothing is there; what cannot be removed now is removed by the next process.
        let _ = remove_staged(&self.path);
    }
}
