//! How long a command line may be, for those that build one: find and xargs.

use std::os::unix::ffi::OsStrExt;

use rustix::process::{Resource, getrlimit};

/// What the kernel takes at least (execve(2), `ARG_MAX` of linux/limits.h).
const LEAST: usize = 128 << 10;
/// And at most: three quarters of `_STK_LIM`.
const MOST: usize = 6 << 20;
/// What POSIX leaves to the command for changing its environment.
const SLACK: usize = 2048;

/// What a word costs: its bytes, a zero byte, and the pointer to it.
pub fn cost(word: &[u8]) -> usize {
    word.len() + 1 + size_of::<usize>()
}

/// The bytes that the words of a command may take up, by `cost`, with this process's environment.
pub fn room() -> usize {
    let stack = getrlimit(Resource::Stack).current.unwrap_or(u64::MAX);
    let limit = usize::try_from(stack / 4).unwrap_or(usize::MAX).clamp(LEAST, MOST);
    let environment: usize =
        std::env::vars_os().map(|(name, value)| cost(name.as_bytes()) + value.as_bytes().len() + 1).sum();
    limit.saturating_sub(environment + SLACK)
}
