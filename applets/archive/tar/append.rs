//! `-r` and `-u`: more members at the end of an archive that is there.

use std::fs::File;
use std::io::{BufReader, Seek, SeekFrom};

use anyhow::{Context as _, ensure};
use coracle_image_oci::decompress::Compression;
use coracle_image_oci::tarball::Archive;

use super::create::{Creator, Known};
use super::options::Options;
use super::{Report, stream};
use coracle_image_oci::tarball::BLOCK;

/// Add what was named to the archive. What ends it now is written over; until the new end is there, it ends without a mark, which
/// readers accept.
///
/// # Errors
/// If it is compressed, damaged, or cannot be written.
pub fn run(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let path = match options.file.as_deref() {
        Some(path) if !options.is_stream() => path,
        _ => anyhow::bail!("only a file can be added to; name it with -f"),
    };
    ensure!(!(options.gzip || options.zstd || options.xz || options.bzip2), "a compressed archive cannot be added to");
    let opened = File::options().read(true).write(true).create(true).truncate(false).open(path);
    let mut file = opened.with_context(|| format!("{}: cannot open", path.display()))?;
    let (end, known) = read(&file).with_context(|| stream::shown(options))?;
    file.seek(SeekFrom::Start(end))?;
    file.set_len(end)?;
    let known = if options.update { known } else { Known::new() };
    Creator::new(stream::Output::go_on(file)?, end, known, options, report)?.run(&options.steps)
}

/// Where the last member ends, and what there is.
fn read(file: &File) -> anyhow::Result<(u64, Known)> {
    let mut source = BufReader::with_capacity(128 << 10, file);
    let head = std::io::BufRead::fill_buf(&mut source)?;
    ensure!(Compression::detect(head) == Compression::Plain, "a compressed archive cannot be added to");
    let mut archive = Archive::new(source);
    let (mut end, mut known) = (0, Known::new());
    while let Some(entry) = archive.next_entry().map_err(super::explain)? {
        end = (archive.position() + archive.remaining()).next_multiple_of(BLOCK as u64);
        let time = known.entry(entry.path).or_insert(entry.mtime.0);
        *time = (*time).max(entry.mtime.0);
    }
    Ok((end, known))
}
