use proptest::prelude::*;

use super::*;
use crate::digest::Digest;
use crate::store::Store;
use crate::unpack::DevicePolicy;

fn member(tar: &mut tar::Builder<Vec<u8>>, kind: tar::EntryType, name: &str, link: &str, data: &[u8]) {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(data.len() as u64);
    header.set_mode(0o755);
    header.set_mtime(7);
    header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
    header.set_link_name_literal(link).unwrap();
    header.set_cksum();
    tar.append(&header, data).unwrap();
}

/// Into a store and out of it again.
fn rewritten(archive: &[u8]) -> Result<Vec<u8>> {
    let temp = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
    let store = Store::open(&temp.path().join("images")).unwrap();
    let layer = store.add_archive(&mut &archive[..], DevicePolicy::Create)?;
    assert_eq!(layer.diff_id, Digest::of(archive));
    let mut bytes = Vec::new();
    store.layer_archive(&layer.diff_id)?.read_to_end(&mut bytes).doing(|| "reading".into())?;
    Ok(bytes)
}

#[test]
fn what_was_replaced_is_written_again() {
    use tar::EntryType as Type;
    let mut tar = tar::Builder::new(Vec::new());
    member(&mut tar, Type::Regular, "dir/a", "", b"first");
    member(&mut tar, Type::Regular, "dir/b", "", &[9; 1000]);
    member(&mut tar, Type::Regular, "dir/a", "", b"second");
    member(&mut tar, Type::Link, "hard", "dir/a", b"");
    member(&mut tar, Type::Symlink, "dir", "elsewhere", b"");
    member(&mut tar, Type::Regular, "dir", "", b"third");
    member(&mut tar, Type::Directory, "dir/", "", b"");
    member(&mut tar, Type::Regular, "dir/a", "", b"fourth");
    member(&mut tar, Type::Regular, "dir/.wh.gone", "", b"");
    member(&mut tar, Type::Regular, "zeros", "", &[0; 200_000]);
    let mut archive = tar.into_inner().unwrap();
    // GNU tar pads to its record.
    archive.resize(archive.len().next_multiple_of(10240), 0);
    assert!(rewritten(&archive).unwrap() == archive);
}

#[test]
fn a_sparse_file() {
    let mut header = tar::Header::new_gnu();
    header.set_path("sparse").unwrap();
    header.set_entry_type(tar::EntryType::GNUSparse);
    header.set_size(512);
    header.set_mode(0o644);
    let gnu = header.as_gnu_mut().unwrap();
    gnu.sparse[0].offset = *b"00001000000\0";
    gnu.sparse[0].numbytes = *b"00000001000\0";
    gnu.set_real_size(1 << 20);
    header.set_cksum();
    let mut archive = header.as_bytes().to_vec();
    archive.extend([5; 512]);
    archive.extend([0; 1024]);
    assert!(rewritten(&archive).unwrap() == archive);
}

#[test]
fn a_file_that_changed_is_no_archive() {
    let temp = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
    let store = Store::open(&temp.path().join("images")).unwrap();
    let mut tar = tar::Builder::new(Vec::new());
    member(&mut tar, tar::EntryType::Regular, "a", "", b"content");
    let archive = tar.into_inner().unwrap();
    let layer = store.add_archive(&mut &archive[..], DevicePolicy::Refuse).unwrap();
    let diff = store.layer_path(&layer.diff_id);
    std::fs::write(diff.join("a"), "con").unwrap();
    let error = store.layer_archive(&layer.diff_id).unwrap().read_to_end(&mut Vec::new()).unwrap_err();
    assert!(error.to_string().contains("shorter"), "{error}");
    std::fs::remove_file(diff.with_file_name("recipe")).unwrap();
    assert!(matches!(store.layer_archive(&layer.diff_id), Err(Error::NoRecipe(_))));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Few names, so that much is replaced.
    #[test]
    fn any_archive_is_written_again(members in proptest::collection::vec((0..4u8, "[ab](/[ab]){0,2}", 0..3000usize), 0..30)) {
        let mut tar = tar::Builder::new(Vec::new());
        for (kind, name, length) in &members {
            match kind {
                0 => member(&mut tar, tar::EntryType::Directory, name, "", b""),
                1 => member(&mut tar, tar::EntryType::Fifo, name, "", b""),
                _ => member(&mut tar, tar::EntryType::Regular, name, "", &vec![*kind + 1; *length]),
            }
        }
        let archive = tar.into_inner().unwrap();
        // A file where a directory is needed: refused, which is another test's matter.
        if let Ok(again) = rewritten(&archive) {
            prop_assert!(again == archive);
        }
    }
}
