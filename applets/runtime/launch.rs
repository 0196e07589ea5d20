//! From a specification to a created process.

use super::{Created, Error, Exec, Launch};

pub(super) fn create(_launch: &Launch<'_>) -> Result<Created, Error> {
    Err(Error::spec("create", "not available yet"))
}

pub(super) fn exec(_exec: &Exec<'_>) -> Result<Created, Error> {
    Err(Error::spec("exec", "not available yet"))
}
