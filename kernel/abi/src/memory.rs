//! Giving memory back: for a process that has done its work and only waits from now on.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Bits of an entry of /proc/PID/pagemap (Documentation/admin-guide/mm/pagemap.rst): in memory; of a file, not a private copy.
const PRESENT: u64 = 1 << 63;
const OF_FILE: u64 = 1 << 61;

/// Entries that are looked at in one go.
const ENTRIES: usize = 256;

/// Below the stack pointer so much is left alone: what is called from there to make one system call, and the 128 bytes that the ABI of
/// x86-64 lets a function use without moving the pointer. (A signal's frame is put there and gone again in between, never during it.)
const STACK_KEPT: usize = 16 << 10;

/// Take out of this process' memory what it can do without while it waits: the pages of its program that are as they are in the file,
/// which come back when they are needed, and the stack below what is in use. For a process with one thread.
///
/// # Errors
/// When /proc/self/maps or /proc/self/pagemap cannot be read.
pub fn settle() -> io::Result<()> {
    let maps = std::fs::read_to_string("/proc/self/maps")?;
    let pagemap = File::open("/proc/self/pagemap")?;
    let page = rustix::param::page_size();
    for line in maps.lines() {
        let Some(mapping) = Mapping::parse(line) else { continue };
        if mapping.is_stack {
            drop_stack(mapping.start, page);
        } else if mapping.is_private_file {
            drop_file_pages(&pagemap, &mapping, page)?;
        }
    }
    Ok(())
}

struct Mapping {
    start: usize,
    end: usize,
    is_private_file: bool,
    is_stack: bool,
}

impl Mapping {
    /// One line of /proc/PID/maps (proc_pid_maps(5)).
    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.split_ascii_whitespace();
        let (start, end) = fields.next()?.split_once('-')?;
        let permissions = fields.next()?;
        let inode = fields.nth(2)?;
        let name = fields.next().unwrap_or_default();
        Some(Self {
            start: usize::from_str_radix(start, 16).ok()?,
            end: usize::from_str_radix(end, 16).ok()?,
            is_private_file: permissions.ends_with('p') && inode != "0",
            is_stack: name == "[stack]",
        })
    }
}

/// Unmap the pages of a mapping that are the file's own.
fn drop_file_pages(pagemap: &File, mapping: &Mapping, page: usize) -> io::Result<()> {
    let mut bytes = [0; ENTRIES * 8];
    let mut at = mapping.start;
    while at < mapping.end {
        let count = ENTRIES.min((mapping.end - at) / page);
        let bytes = &mut bytes[..count * 8];
        pagemap.read_exact_at(bytes, (at / page * 8) as u64)?;
        let clean = |entry: &[u8]| {
            let entry = entry.first_chunk().map_or(0, |bytes| u64::from_ne_bytes(*bytes));
            entry & (PRESENT | OF_FILE) == PRESENT | OF_FILE
        };
        let mut run = 0;
        for (index, entry) in bytes.chunks(8).chain([&[0; 8][..]]).enumerate() {
            if clean(entry) {
                run += 1;
            } else if run > 0 {
                dont_need(at + (index - run) * page, run * page);
                run = 0;
            }
        }
        at += count * page;
    }
    Ok(())
}

/// Unmap the part of the stack that no frame is in.
fn drop_stack(start: usize, page: usize) {
    let end = stack_pointer().saturating_sub(STACK_KEPT) / page * page;
    if end > start {
        dont_need(start, end - start);
    }
}

/// Everything that a frame is in lies above, but for what [`STACK_KEPT`] says. The address of a local variable would not do: it is
/// anywhere in a frame that, by inlining, can be its caller's caller's.
#[inline(always)]
fn stack_pointer() -> usize {
    let address: usize;
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a register is read.
    unsafe {
        std::arch::asm!("mov {}, rsp", out(reg) address, options(nomem, nostack, preserves_flags));
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: a register is read.
    unsafe {
        std::arch::asm!("mov {}, sp", out(reg) address, options(nomem, nostack, preserves_flags));
    }
    address
}

fn dont_need(start: usize, length: usize) {
    // SAFETY: the callers name either pages that are the same in the file that they are mapped from, by what the kernel says of each,
    // or stack below every frame that is in use; this process has no other thread that could have changed or entered either since.
    unsafe { libc::madvise(std::ptr::with_exposed_provenance_mut(start), length, libc::MADV_DONTNEED) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mappings() {
        let file =
            Mapping::parse("0201b000-020e6000 rw-p 01019000 fe:00 5505079                            /a b").unwrap();
        assert_eq!((file.start, file.end, file.is_private_file, file.is_stack), (0x201_b000, 0x20e_6000, true, false));
        let stack = Mapping::parse("7ffc1f143000-7ffc1f164000 rw-p 00000000 00:00 0            [stack]").unwrap();
        assert!(stack.is_stack && !stack.is_private_file);
        assert!(Mapping::parse("").is_none() && Mapping::parse("x-y rw-p 0 0:0 1").is_none());
    }
}
