//! A few threads for many tasks.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::error::{Error, Result};

/// Do tasks `0..count`, at most `threads` at a time; the first error of any ends it. Gives the results in order.
pub(crate) fn for_each<T: Send>(
    threads: usize,
    count: usize,
    task: impl Fn(usize) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    let next = AtomicUsize::new(0);
    let done: Mutex<Result<Vec<(usize, T)>>> = Mutex::new(Ok(Vec::with_capacity(count)));
    let lock = || done.lock().unwrap_or_else(PoisonError::into_inner);
    std::thread::scope(|scope| {
        for _ in 0..threads.min(count) {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= count || lock().is_err() {
                        return;
                    }
                    let result = task(index);
                    match (&mut *lock(), result) {
                        (Ok(all), Ok(value)) => all.push((index, value)),
                        (all @ Ok(_), Err(error)) => *all = Err(error),
                        (Err(_), _) => {}
                    }
                }
            });
        }
    });
    let mut all = done.into_inner().unwrap_or_else(PoisonError::into_inner)?;
    if all.len() < count {
        return Err(Error::Archive("internal error in a thread".into()));
    }
    all.sort_by_key(|(index, _)| *index);
    Ok(all.into_iter().map(|(_, value)| value).collect())
}
