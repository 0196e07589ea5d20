//! The archive as a stream: a file, standard input or output, compressed or not.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, BufWriter, IsTerminal, Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use coracle_abi::atomic_write::{AtomicFile, Durability};
use coracle_image_oci::decompress::{self, Compression};
use flate2::write::GzEncoder;

use super::options::Options;
use crate::archive::zstd_format;

const BUFFER: usize = 128 << 10;
const GZIP_LEVEL: u32 = 6;

/// The archive's name in messages.
pub fn shown(options: &Options) -> String {
    match options.file.as_deref() {
        Some(path) if !options.is_stream() => path.display().to_string(),
        _ if options.create => "standard output".into(),
        _ => "standard input".into(),
    }
}

/// Which compression was asked for, by an option or the archive's suffix.
fn asked(options: &Options) -> anyhow::Result<Option<Compression>> {
    ensure!(!options.xz && !options.bzip2, "xz and bzip2 are not supported; use -z or --zstd");
    if options.gzip {
        return Ok(Some(Compression::Gzip));
    }
    if options.zstd {
        return Ok(Some(Compression::Zstd));
    }
    if !options.auto_compress {
        return Ok(None);
    }
    let name = options.file.as_deref().and_then(Path::file_name).unwrap_or_default().to_string_lossy().into_owned();
    let ends = |suffixes: &[&str]| suffixes.iter().any(|suffix| name.ends_with(suffix));
    ensure!(!ends(&[".xz", ".txz", ".bz2", ".tbz2", ".lzma"]), "{name}: xz and bzip2 are not supported");
    Ok(if ends(&[".gz", ".tgz", ".taz"]) {
        Some(Compression::Gzip)
    } else if ends(&[".zst", ".tzst"]) {
        Some(Compression::Zstd)
    } else {
        None
    })
}

/// Open the archive to be read; how it is compressed is told by its first bytes.
///
/// # Errors
/// If it cannot be read, or is not compressed as was said.
pub fn open(options: &Options) -> anyhow::Result<Box<dyn BufRead + Send>> {
    let asked = if options.auto_compress { None } else { asked(options)? };
    let source: Box<dyn Read + Send> = match options.file.as_deref() {
        Some(path) if !options.is_stream() => {
            Box::new(File::open(path).with_context(|| format!("{}: cannot open", path.display()))?)
        }
        _ => {
            ensure!(!io::stdin().is_terminal(), "refusing to read an archive from a terminal; name one with -f");
            Box::new(io::stdin())
        }
    };
    let source = BufReader::with_capacity(BUFFER, source);
    let (found, reader) = decompress::reader(source).with_context(|| shown(options))?;
    match asked {
        Some(wanted) if wanted != found => bail!("{}: not in {} format", shown(options), name_of(wanted)),
        _ => Ok(Box::new(BufReader::with_capacity(BUFFER, reader))),
    }
}

fn name_of(compression: Compression) -> &'static str {
    match compression {
        Compression::Gzip => "gzip",
        Compression::Zstd => "zstd",
        Compression::Plain => "tar",
    }
}

/// A new archive.
pub struct Output {
    sink: Sink,
    /// Device and inode of the file, which must not become its own member.
    pub identity: Option<(u64, u64)>,
}

enum Sink {
    Plain(BufWriter<Target>),
    Gzip(Box<GzEncoder<BufWriter<Target>>>),
    Zstd(Box<zstd_format::Encoder<BufWriter<Target>>>),
}

/// Where the bytes go.
enum Target {
    Stdout(io::Stdout),
    /// A device or pipe, or an archive that is added to.
    File(File),
    /// A file that takes its name when it is complete.
    New(Box<AtomicFile>),
}

impl Output {
    /// Begin a new archive.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn create(options: &Options) -> anyhow::Result<Self> {
        let compression = asked(options)?;
        let (target, identity) = match options.file.as_deref() {
            Some(path) if !options.is_stream() => {
                create_file(path).with_context(|| format!("{}: cannot open", path.display()))?
            }
            _ => {
                let out = io::stdout();
                ensure!(!out.is_terminal(), "refusing to write an archive to a terminal; name one with -f");
                (Target::Stdout(out), None)
            }
        };
        let target = BufWriter::with_capacity(BUFFER, target);
        let sink = match compression {
            Some(Compression::Gzip) => {
                let level = flate2::Compression::new(GZIP_LEVEL);
                Sink::Gzip(Box::new(flate2::GzBuilder::new().operating_system(3).write(target, level)))
            }
            Some(Compression::Zstd) => Sink::Zstd(Box::new(zstd_format::Encoder::new(target))),
            _ => Sink::Plain(target),
        };
        Ok(Self { sink, identity })
    }

    /// Go on with an archive at the place where `file` stands.
    ///
    /// # Errors
    /// If the file cannot be examined.
    pub fn go_on(file: File) -> io::Result<Self> {
        let meta = file.metadata()?;
        let identity = Some((meta.dev(), meta.ino()));
        Ok(Self { sink: Sink::Plain(BufWriter::with_capacity(BUFFER, Target::File(file))), identity })
    }

    /// Complete the archive; only now does a file have its name.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn finish(self) -> io::Result<()> {
        let target = match self.sink {
            Sink::Plain(out) => out,
            Sink::Gzip(encoder) => encoder.finish()?,
            Sink::Zstd(encoder) => encoder.finish()?,
        };
        match target.into_inner().map_err(io::IntoInnerError::into_error)? {
            Target::Stdout(mut out) => out.flush(),
            Target::File(_) => Ok(()),
            Target::New(file) => file.commit(Durability::Volatile),
        }
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.sink {
            Sink::Plain(out) => out.write(bytes),
            Sink::Gzip(out) => out.write(bytes),
            Sink::Zstd(out) => out.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Write for Target {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Target::Stdout(out) => out.write(bytes),
            Target::File(file) => file.write(bytes),
            Target::New(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn create_file(path: &Path) -> io::Result<(Target, Option<(u64, u64)>)> {
    let old = fs::metadata(path).ok();
    let is_special = old.as_ref().is_some_and(|meta| {
        let kind = meta.file_type();
        kind.is_char_device() || kind.is_block_device() || kind.is_fifo()
    });
    // /dev/stdout is a file that others have open: it must be that one which is written.
    if is_special || path.starts_with("/dev") || path.starts_with("/proc") {
        let file = File::options().write(true).custom_flags(libc::O_NOCTTY).open(path)?;
        let meta = file.metadata()?;
        return Ok((Target::File(file), meta.is_file().then(|| (meta.dev(), meta.ino()))));
    }
    // A link to an archive stays one.
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let mut file = match AtomicFile::create(&target) {
        // A folder that cannot be written may hold an archive that can.
        Err(error) if old.is_some() && error.kind() == io::ErrorKind::PermissionDenied => {
            let file = File::options().write(true).truncate(true).open(&target)?;
            let meta = file.metadata()?;
            return Ok((Target::File(file), Some((meta.dev(), meta.ino()))));
        }
        other => other?,
    };
    match old {
        Some(meta) => file.take_attributes(&meta)?,
        None => file.set_mode(0o666 & !crate::archive::umask())?,
    }
    let meta = file.file().metadata()?;
    Ok((Target::New(Box::new(file)), Some((meta.dev(), meta.ino()))))
}
