//! Programs of a few system calls, made as instructions: calls of every ABI, past any C library and without a compiler.
//!
//! A program makes its calls one after the other and exits with the errno of the last, or 0.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up fails")]
#![allow(dead_code, reason = "a suite uses what it needs")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// By which door the kernel is entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Abi {
    X86_64,
    /// Numbers with bit 30 set.
    X32,
    /// `int 0x80`.
    I386,
}

/// An argument of a call.
#[derive(Clone, Copy)]
pub enum Arg<'a> {
    Value(i64),
    /// The address of these bytes, which may be written to.
    Data(&'a [u8]),
    /// What the call before has given.
    Result,
}

/// A number, and up to six arguments.
pub type Call<'a> = (u32, &'a [Arg<'a>]);

const BASE: u32 = 0x40_0000;
/// Of the ELF header with one program header.
const HEADERS: u32 = 64 + 56;
const X32_BIT: u32 = 0x4000_0000;

/// Write such a program.
pub fn write(path: &Path, abi: Abi, calls: &[Call]) {
    fs::write(path, program(abi, calls)).unwrap();
    fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
}

/// The program as an ELF file (elf(5)): one segment that holds everything.
fn program(abi: Abi, calls: &[Call]) -> Vec<u8> {
    // The data follows the code, whose length does not depend on where the data is.
    let length = code(abi, calls, 0).0.len() as u32;
    let (mut body, data) = code(abi, calls, BASE + HEADERS + length);
    body.extend(data);
    let size = u64::from(HEADERS) + body.len() as u64;
    let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0\x01\0\0\0".to_vec();
    for word in [u64::from(BASE + HEADERS), 64, 0] {
        elf.extend(word.to_le_bytes());
    }
    elf.extend(b"\0\0\0\0\x40\0\x38\0\x01\0\0\0\0\0\0\0");
    // PT_LOAD, to be read, written and executed.
    elf.extend(b"\x01\0\0\0\x07\0\0\0");
    for word in [0, BASE.into(), BASE.into(), size, size, 0x1000] {
        elf.extend(word.to_le_bytes());
    }
    elf.extend(body);
    elf
}

/// Instructions and data; `at` is the address of the latter.
fn code(abi: Abi, calls: &[Call], at: u32) -> (Vec<u8>, Vec<u8>) {
    // `mov REGISTER, imm64` and `mov REGISTER, r12`, in the order of the ABI's arguments.
    let registers: [(&[u8], &[u8]); 6] = match abi {
        Abi::X86_64 | Abi::X32 => [
            (b"\x48\xbf", b"\x4c\x89\xe7"),
            (b"\x48\xbe", b"\x4c\x89\xe6"),
            (b"\x48\xba", b"\x4c\x89\xe2"),
            (b"\x49\xba", b"\x4d\x89\xe2"),
            (b"\x49\xb8", b"\x4d\x89\xe0"),
            (b"\x49\xb9", b"\x4d\x89\xe1"),
        ],
        Abi::I386 => [
            (b"\x48\xbb", b"\x4c\x89\xe3"),
            (b"\x48\xb9", b"\x4c\x89\xe1"),
            (b"\x48\xba", b"\x4c\x89\xe2"),
            (b"\x48\xbe", b"\x4c\x89\xe6"),
            (b"\x48\xbf", b"\x4c\x89\xe7"),
            (b"\x48\xbd", b"\x4c\x89\xe5"),
        ],
    };
    let (mut code, mut data) = (Vec::new(), Vec::new());
    for (number, args) in calls {
        for (arg, (immediate, result)) in args.iter().zip(registers) {
            let value = match arg {
                Arg::Result => {
                    code.extend(result);
                    continue;
                }
                Arg::Value(value) => *value,
                Arg::Data(bytes) => {
                    let address = at + data.len() as u32;
                    data.extend(*bytes);
                    // Structures want to be aligned.
                    data.resize(data.len().next_multiple_of(8), 0);
                    address.into()
                }
            };
            code.extend(immediate);
            code.extend(value.to_le_bytes());
        }
        // mov eax, NUMBER; syscall; mov r12, rax
        let number = if abi == Abi::X32 { number | X32_BIT } else { *number };
        code.push(0xb8);
        code.extend(number.to_le_bytes());
        code.extend(if abi == Abi::I386 { b"\xcd\x80" } else { b"\x0f\x05" });
        code.extend(b"\x49\x89\xc4");
    }
    // xor edi, edi; test eax, eax; jns over; mov edi, eax; neg edi; over: mov eax, SYS_exit; syscall
    code.extend(b"\x31\xff\x85\xc0\x79\x04\x89\xc7\xf7\xdf\xb8\x3c\0\0\0\x0f\x05");
    (code, data)
}
