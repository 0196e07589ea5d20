use super::*;
use proptest::prelude::*;
use std::io::Read;

fn builder() -> tar::Builder<Vec<u8>> {
    tar::Builder::new(Vec::new())
}

fn header(kind: tar::EntryType, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(0o644);
    header.set_uid(1);
    header.set_gid(2);
    header.set_mtime(3);
    header
}

fn read(bytes: &[u8]) -> Result<Vec<(Entry, Vec<u8>)>> {
    let mut archive = Archive::new(bytes);
    let mut all = Vec::new();
    while let Some(entry) = archive.next_entry()? {
        let mut body = Vec::new();
        loop {
            let piece = archive.data().doing(|| "reading".into())?;
            if piece.is_empty() {
                break;
            }
            let length = piece.len();
            body.extend_from_slice(piece);
            archive.consume(length);
        }
        all.push((entry, body));
    }
    Ok(all)
}

#[test]
fn names_short_and_long() {
    let long = "d/".repeat(200) + "file";
    let mut tar = builder();
    tar.append_data(&mut header(tar::EntryType::Regular, 3), "a", &b"abc"[..]).unwrap();
    tar.append_data(&mut header(tar::EntryType::Regular, 2), &long, &b"xy"[..]).unwrap();
    tar.append_link(&mut header(tar::EntryType::Symlink, 0), "link", &long).unwrap();
    let all = read(&tar.into_inner().unwrap()).unwrap();
    assert_eq!(all.len(), 3);
    assert_eq!((all[0].0.path.as_slice(), all[0].1.as_slice()), (&b"a"[..], &b"abc"[..]));
    assert_eq!((all[1].0.path.as_slice(), all[1].1.as_slice()), (long.as_bytes(), &b"xy"[..]));
    assert_eq!((all[2].0.kind, all[2].0.link.as_slice()), (Kind::Symlink, long.as_bytes()));
    assert_eq!((all[0].0.uid, all[0].0.gid, all[0].0.mtime), (1, 2, (3, 0)));
}

#[test]
fn pax_overrides() {
    let mut tar = builder();
    tar.append_pax_extensions([
        ("path", &b"other"[..]),
        ("size", b"5"),
        ("uid", b"3000000000"),
        ("mtime", b"-1.5"),
        ("SCHILY.xattr.user.x", b"v\0\n="),
    ])
    .unwrap();
    // The header's own size is 0: readers that overlook the pax size would see the body as headers.
    let mut plain = header(tar::EntryType::Regular, 0);
    plain.set_path("name").unwrap();
    plain.set_cksum();
    tar.append(&plain, &b"hello"[..]).unwrap();
    tar.append_data(&mut header(tar::EntryType::Regular, 1), "after", &b"!"[..]).unwrap();
    let all = read(&tar.into_inner().unwrap()).unwrap();
    assert_eq!((all[0].0.path.as_slice(), all[0].1.as_slice()), (&b"other"[..], &b"hello"[..]));
    assert_eq!((all[0].0.uid, all[0].0.mtime), (3_000_000_000, (-2, 500_000_000)));
    assert_eq!(all[0].0.xattrs, vec![(b"user.x".to_vec(), b"v\0\n=".to_vec())]);
    assert_eq!(all[1].0.path, b"after");
}

#[test]
fn ambiguous_archives_are_refused() {
    let mut zeros = builder();
    zeros.append_data(&mut header(tar::EntryType::Regular, 0), "a", &b""[..]).unwrap();
    let mut bytes = zeros.into_inner().unwrap();
    bytes.truncate(512);
    let hidden = [&bytes[..], &[0; 512], &bytes].concat();
    assert!(read(&hidden).unwrap_err().to_string().contains("zeros"));

    let mut link = builder();
    let mut fat = header(tar::EntryType::Symlink, 512);
    fat.set_path("l").unwrap();
    fat.set_cksum();
    link.append(&fat, &[0u8; 512][..]).unwrap();
    assert!(read(&link.into_inner().unwrap()).unwrap_err().to_string().contains("only a file may have data"));

    let mut owner = builder();
    owner.append_pax_extensions([("uid", &b"4294967295"[..])]).unwrap();
    owner.append_data(&mut header(tar::EntryType::Regular, 0), "a", &b""[..]).unwrap();
    assert!(read(&owner.into_inner().unwrap()).unwrap_err().to_string().contains("32 bits"));
}

#[test]
fn long_names_are_bounded() {
    let mut tar = builder();
    let mut name = header(tar::EntryType::GNULongName, 8 << 30);
    name.set_cksum();
    tar.append(&name, io::empty()).unwrap();
    assert!(read(&tar.into_inner().unwrap()).unwrap_err().to_string().contains("limit"));
}

#[test]
fn truncation_is_an_error() {
    let mut tar = builder();
    tar.append_data(&mut header(tar::EntryType::Regular, 3000), "a", io::repeat(7).take(3000)).unwrap();
    let bytes = tar.into_inner().unwrap();
    for cut in [1, 100, 511, 513, 2000, 3511] {
        assert!(read(&bytes[..cut]).is_err(), "{cut}");
    }
    // Without the final zeros it is still whole.
    assert_eq!(read(&bytes[..512 + 3072]).unwrap().len(), 1);
}

#[test]
fn sparse_maps() {
    let extent = |offset, length| Extent { offset, length };
    assert!(sparse::check(&[extent(0, 4), extent(10, 2)], 20, 6).is_ok());
    assert!(sparse::check(&[extent(4, 4), extent(6, 2)], 20, 6).is_err());
    assert!(sparse::check(&[extent(0, 4)], 3, 4).is_err());
    assert!(sparse::check(&[extent(u64::MAX, 4)], 3, 4).is_err());
    assert!(sparse::check(&[extent(0, 4)], 4, 5).is_err());

    let mut body = b"2\n0\n3\n1000\n2\n".to_vec();
    body.resize(512, 0);
    body.extend_from_slice(b"abcde");
    let mut tar = builder();
    tar.append_pax_extensions([
        ("GNU.sparse.major", &b"1"[..]),
        ("GNU.sparse.minor", b"0"),
        ("GNU.sparse.name", b"real"),
        ("GNU.sparse.realsize", b"5000"),
    ])
    .unwrap();
    tar.append_data(&mut header(tar::EntryType::Regular, body.len() as u64), "GNUSparseFile.0/real", &body[..])
        .unwrap();
    let all = read(&tar.into_inner().unwrap()).unwrap();
    assert_eq!((all[0].0.path.as_slice(), all[0].0.size, all[0].1.as_slice()), (&b"real"[..], 5000, &b"abcde"[..]));
    assert_eq!(all[0].0.sparse, Some(vec![extent(0, 3), extent(1000, 2)]));
}

proptest! {
    #[test]
    fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..3000)) {
        let _ = read(&bytes);
    }

    #[test]
    fn damaged_headers_never_panic(at in 0usize..512, value: u8, kind in "[0-7xgLKSVDM]") {
        let mut bytes = [0u8; 2048];
        bytes[..3].copy_from_slice(b"abc");
        bytes[257..265].copy_from_slice(b"ustar  \0");
        bytes[156] = kind.as_bytes()[0];
        bytes[at] = value;
        bytes[148..156].fill(b' ');
        let sum: u32 = bytes[..512].iter().map(|&byte| u32::from(byte)).sum();
        bytes[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        let _ = read(&bytes);
    }
}
