//! seccomp profiles: compiled, and what comes out is a program that the kernel could take.
#![no_main]
#![allow(dead_code, reason = "the runtime is part of a program, and here is only what reads")]

use oci_spec::runtime::LinuxSeccomp;

#[path = "../../applets/runtime/mod.rs"]
mod runtime;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Ok((profile, _)) = runtime::from_json::<LinuxSeccomp>(data) else { return };
    let Ok(filter) = runtime::compile_seccomp(&profile) else { return };
    let program = filter.program();
    // Every jump ends within the program, and its last instruction is a return (kernel/seccomp.c, bpf_check_classic).
    for (at, instruction) in program.iter().enumerate() {
        let reach = match instruction.code {
            0x05 => instruction.k as usize,
            code if code & 0x07 == 0x05 => usize::from(instruction.jt.max(instruction.jf)),
            _ => continue,
        };
        assert!(at + reach + 1 < program.len());
    }
    assert!(program.last().is_some_and(|last| last.code == 0x06));
});
