//! How a process is scheduled and what it is told of the machine: sched_setattr(2), ioprio_set(2), personality(2).

use std::io;

/// ioprio_set(2): the target is one process.
const IOPRIO_WHO_PROCESS: libc::c_int = 1;
/// Where the class begins in an I/O priority.
const IOPRIO_CLASS_SHIFT: u32 = 13;

/// `SCHED_*` of linux/sched.h.
pub mod policy {
    /// Round-robin time-sharing.
    pub const OTHER: u32 = 0;
    /// First in, first out, real-time.
    pub const FIFO: u32 = 1;
    /// Round-robin, real-time.
    pub const RR: u32 = 2;
    /// Batch processing.
    pub const BATCH: u32 = 3;
    /// Very low priority.
    pub const IDLE: u32 = 5;
    /// Earliest deadline first.
    pub const DEADLINE: u32 = 6;
}

/// How a thread is scheduled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scheduling {
    /// One of [`policy`].
    pub policy: u32,
    /// `SCHED_FLAG_*`.
    pub flags: u64,
    /// For the time-sharing policies, -20 to 19.
    pub nice: i32,
    /// For the real-time policies, 1 to 99.
    pub priority: u32,
    /// For the deadline policy, in nanoseconds.
    pub runtime: u64,
    /// For the deadline policy, in nanoseconds.
    pub deadline: u64,
    /// For the deadline policy, in nanoseconds.
    pub period: u64,
}

/// `struct sched_attr` of linux/sched/types.h, second version.
#[repr(C)]
struct SchedAttr {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
    util_min: u32,
    util_max: u32,
}

fn check(result: libc::c_long) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Set how the calling thread is scheduled.
///
/// # Errors
/// `EPERM` without CAP_SYS_NICE for what needs it, `EBUSY` when a deadline cannot be kept, `EINVAL` for a value out of range.
pub fn set_scheduler(wanted: &Scheduling) -> io::Result<()> {
    let &Scheduling { policy, flags, nice, priority, runtime, deadline, period } = wanted;
    let size = size_of::<SchedAttr>() as u32;
    let attr = SchedAttr { size, policy, flags, nice, priority, runtime, deadline, period, util_min: 0, util_max: 0 };
    // SAFETY: attr is a valid sched_attr that says its size and outlives the call; 0 is the calling thread.
    check(unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attr, 0) })
}

/// Set the calling thread's I/O priority: class 1 real-time, 2 best effort, 3 idle; level 0 (highest) to 7.
///
/// # Errors
/// `EPERM` without CAP_SYS_NICE for the real-time class, `EINVAL` for a value out of range.
pub fn set_io_priority(class: u32, level: u32) -> io::Result<()> {
    let value = class << IOPRIO_CLASS_SHIFT | level;
    // SAFETY: numbers only; 0 is the calling thread.
    check(unsafe { libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, value) })
}

/// Set the calling process' execution domain (`PER_*` of linux/personality.h).
///
/// # Errors
/// `EINVAL` when the kernel does not know it.
pub fn set_personality(persona: u32) -> io::Result<()> {
    // SAFETY: a number only; programs that are executed later see its effect.
    check(unsafe { libc::syscall(libc::SYS_personality, libc::c_ulong::from(persona)) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batch_with_a_nice_value() {
        // In a thread of its own: all three are a thread's.
        let text = std::thread::spawn(|| {
            set_scheduler(&Scheduling { policy: policy::BATCH, nice: 7, ..Scheduling::default() }).unwrap();
            set_io_priority(2, 6).unwrap();
            set_personality(8).unwrap();
            assert!(set_io_priority(5, 0).is_err());
            std::fs::read_to_string("/proc/thread-self/stat").unwrap()
        });
        let text = text.join().unwrap();
        let fields: Vec<&str> = text.rsplit_once(')').unwrap().1.split_ascii_whitespace().collect();
        assert_eq!((fields[16], fields[38]), ("7", "3"), "nice value and policy in {text}");
    }
}
