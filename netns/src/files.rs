//! Files of the state that hold JSON.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Error, Result};

/// Read a file that may not be there.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
        Err(error) => return Err(Error::file("read", path, error)),
    };
    serde_json::from_slice(&bytes).map(Some).map_err(|source| Error::BadState { path: path.into(), source })
}

/// Written atomically; not synced, for the folder is volatile. A temporary name is no lease (it does not end in an
/// address), and only the holder of the lock writes, so one name does.
pub(crate) fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let temporary = path.with_file_name(".new");
    let bytes = serde_json::to_vec(value).map_err(|source| Error::BadState { path: path.into(), source })?;
    fs::write(&temporary, bytes).map_err(|source| Error::file("write", &temporary, source))?;
    fs::rename(&temporary, path).map_err(|source| Error::file("write", path, source))
}
