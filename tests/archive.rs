//! The archivers and compressors against the GNU tools and zstd of the host; see `compare`.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

mod cases {
    pub mod gzip;
    pub mod tar;
    pub mod zstd;
}
mod compare;
mod fixture;

use compare::compare;

#[test]
fn gzip() {
    compare("gzip", cases::gzip::CASES);
}

#[test]
fn zstd() {
    compare("zstd", cases::zstd::CASES);
    for script in cases::zstd::REFUSED {
        let args: Vec<&str> = script.split(' ').collect();
        let output = std::process::Command::new(fixture::binary()).args(args).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{script}");
    }
}

#[test]
fn tar() {
    compare("tar", cases::tar::CASES);
}

/// A ustar member by hand: name, kind, link, mode, what its header says is its size, data.
fn member(name: &str, kind: u8, link: &str, mode: u32, size: usize, data: &[u8]) -> Vec<u8> {
    let mut block = [0u8; 512];
    let mut put = |at: usize, text: &str| block[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, name);
    put(100, &format!("{mode:07o}"));
    put(108, "0000000");
    put(116, "0000000");
    put(124, &format!("{size:011o}"));
    put(136, "00000000001");
    put(148, "        ");
    put(157, link);
    put(257, "ustar\x0000");
    block[156] = kind;
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    let mut all = block.to_vec();
    all.extend(data);
    all.resize(all.len().next_multiple_of(512), 0);
    all
}

fn file(name: &str) -> Vec<u8> {
    member(name, b'0', "", 0o644, 4, b"evil")
}

/// Unpack in `inner` of a folder that holds `outside/victim`; status, and what the whole folder is afterwards.
fn unpack(parts: &[Vec<u8>], options: &[&str]) -> (i32, String) {
    let dir = tempfile::tempdir().unwrap();
    for folder in ["inner", "outside"] {
        std::fs::create_dir(dir.path().join(folder)).unwrap();
    }
    std::fs::write(dir.path().join("outside/victim"), "good").unwrap();
    std::fs::write(dir.path().join("a.tar"), [parts.concat(), vec![0; 1024]].concat()).unwrap();
    let inner = dir.path().join("inner");
    let unpacked = std::process::Command::new(fixture::binary())
        .args(["tar", "-xf", "../a.tar"])
        .args(options)
        .current_dir(&inner)
        .output()
        .unwrap();
    let script = "find outside -printf '%p %m %n %s\\n' | sort; cat outside/victim; ls / | grep -c '^coracle-test' ";
    let state = std::process::Command::new("sh").args(["-c", script]).current_dir(dir.path()).output().unwrap();
    let inner = std::process::Command::new("sh")
        .args(["-c", "find . -mindepth 1 -printf '%P %y %l\\n' | sort"])
        .current_dir(&inner)
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&state.stdout),
        "outside 755 2 4096\noutside/victim 644 1 4\ngood0\n",
        "{}",
        String::from_utf8_lossy(&unpacked.stderr)
    );
    (unpacked.status.code().unwrap(), String::from_utf8(inner.stdout).unwrap())
}

#[test]
fn a_hostile_archive_stays_in_its_folder() {
    // Names that lead out are cut, as GNU tar does.
    let names = [file("../outside/victim"), file("/coracle-test"), file("a/../../outside/new")];
    assert_eq!(unpack(&names, &[]), (0, "coracle-test f \noutside d \noutside/new f \noutside/victim f \n".into()));
    // Through a link, relative, absolute, of links, and one that stands where a folder's attributes are set at the end.
    let link = |name: &str, target: &str| member(name, b'2', target, 0o777, 0, b"");
    let through = [link("l", "../outside"), file("l/victim"), file("l/new")];
    assert_eq!(unpack(&through, &[]), (2, "l l ../outside\n".into()));
    let chain = [link("a", "."), link("a/b", ".."), file("b/outside/victim")];
    assert_eq!(unpack(&chain, &[]).0, 2);
    assert_eq!(unpack(&[link("r", "/"), file("r/coracle-test")], &[]), (2, "r l /\n".into()));
    let folder = |name: &str| member(name, b'5', "", 0o777, 0, b"");
    let swapped = [folder("d"), link("d", "../outside"), folder("d/x")];
    assert_eq!(unpack(&swapped, &[]), (2, "d l ../outside\n".into()));
    assert_eq!(unpack(&[link("d", "../outside"), folder("d/")], &[]), (0, "d d \n".into()));
    // A link's last name is replaced, not followed.
    assert_eq!(unpack(&[link("v", "../outside/victim"), file("v")], &[]), (0, "v f \n".into()));
    assert_eq!(unpack(&[link("v", "../outside/victim"), file("v")], &["--overwrite"]), (0, "v f \n".into()));
    // A hard link to what is outside.
    let hard = |target: &str| member("h", b'1', target, 0o644, 0, b"");
    assert_eq!(unpack(&[hard("../outside/victim"), file("h")], &[]).0, 2);
    assert_eq!(unpack(&[link("l", "../outside"), hard("l/victim")], &[]).0, 2);
    // A link within the folder is a way like any other: /lib -> usr/lib.
    let merged = [folder("usr"), folder("usr/lib"), link("lib", "usr/lib"), file("lib/x")];
    assert_eq!(unpack(&merged, &[]), (0, "lib l usr/lib\nusr d \nusr/lib d \nusr/lib/x f \n".into()));
}

/// The size in the pax header counts, not the one in the ustar header; else a hidden archive within a file is listed.
#[test]
fn cve_2025_62518_a_pax_size_counts_as_it_does_for_gnu_tar() {
    let hidden = file("hidden");
    let record = format!("13 size={:04}\n", hidden.len());
    assert_eq!(record.len(), 13);
    let archive = [
        member("./PaxHeaders/outer", b'x', "", 0o644, record.len(), record.as_bytes()),
        member("outer", b'0', "", 0o644, 0, &hidden),
        file("last"),
        vec![0; 1024],
    ]
    .concat();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.tar");
    std::fs::write(&path, archive).unwrap();
    let list = |program: &std::path::Path, first: &[&str]| {
        let output = std::process::Command::new(program).args(first).arg("-tf").arg(&path).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(list(&fixture::binary(), &["tar"]), "outer\nlast\n");
    if std::path::Path::new("/usr/bin/tar").exists() {
        assert_eq!(list(std::path::Path::new("/usr/bin/tar"), &[]), "outer\nlast\n");
    }
}
