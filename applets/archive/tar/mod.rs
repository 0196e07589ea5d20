//! `tar`: make, list and unpack archives (GNU tar's command line and output).
//!
//! Reading is `coracle_image_oci::tarball`'s, the reader that image layers go through; what readers in the field would understand
//! differently it refuses. Headers are written by its `encode`. `place` keeps what is unpacked in its folder.

mod append;
mod create;
mod extract;
mod list;
mod names;
mod options;
mod overrides;
mod owners;
mod place;
mod stream;
mod xattrs;

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

use anyhow::Context as _;
use coracle_image_oci::decompress;
use coracle_image_oci::tarball::Archive;

use crate::common;
use crate::registry::{Applet, Dir};
use create::{Creator, Known};
use extract::Extractor;
use list::Lister;
use names::{Excludes, Selection, quoted};
use options::{Options, Step};

/// `tar`.
pub const APPLET: Applet =
    Applet { name: "tar", aliases: &[], dir: Dir::Bin, summary: "make, list and unpack archives", run };

/// Exit status if files changed while they were read.
const CHANGED: i32 = 1;
/// Exit status of every other trouble.
const FAILED: i32 = 2;

fn run(args: &[OsString]) -> i32 {
    let name = common::called_as(args);
    let options = match options::parse(args) {
        Ok(options) => options,
        Err(status) => return status,
    };
    let mut report = Report::new(&name);
    let result = work(&options, &mut report);
    let trouble = result.is_err();
    let status = common::finish(&name, result.map(|()| report.status()));
    if trouble && status != 0 { FAILED } else { status }
}

fn work(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let steps = &options.steps;
    if options.create {
        anyhow::ensure!(
            steps.iter().any(|step| !matches!(step, Step::Directory(_))),
            "Cowardly refusing to create an empty archive"
        );
        let out = stream::Output::create(options)?;
        return Creator::new(out, 0, Known::new(), options, report)?.run(steps);
    }
    if options.append || options.update {
        return append::run(options, report);
    }
    let mut selection = Selection::new(all_names(options)?, options.wildcards);
    let mut archive = Archive::new(stream::open(options)?);
    if options.list {
        list(&mut archive, options, &mut selection)?;
    } else {
        Extractor::new(steps, options, report)?.run(&mut archive, &mut selection)?;
    }
    anyhow::ensure!(archive.position() > 0, "{}: this does not look like a tar archive", stream::shown(options));
    // To its very end: a checksum may stand there, and a writer may still be at work.
    archive.drain().with_context(|| stream::shown(options))?;
    for name in selection.missing() {
        report.error(name, "Not found in archive");
    }
    Ok(())
}

/// Unpack an archive, compressed or not, into a folder that nothing in it can lead out of. Owners, if they are kept, go by number. Says
/// whether all went well; what did not has been printed under `name`.
///
/// # Errors
/// If the archive is damaged.
pub fn unpack_into(
    folder: OwnedFd,
    source: &mut (dyn io::BufRead + Send),
    name: &str,
    same_owner: bool,
) -> anyhow::Result<bool> {
    let owner = if same_owner { "--same-owner" } else { "--no-same-owner" };
    let words = ["tar", "-x", "-p", "--numeric-owner", "--xattrs", owner].map(OsString::from);
    let options = options::parse(&words).map_err(|_| anyhow::anyhow!("wrong options of tar"))?;
    let mut report = Report::new(name);
    let mut archive = Archive::new(io::BufReader::new(decompress::reader(source)?.1));
    Extractor::at(folder, &options, &mut report).run(&mut archive, &mut Selection::new(Vec::new(), false))?;
    anyhow::ensure!(archive.position() > 0, "this does not look like a tar archive");
    archive.drain().context("cannot read the archive to its end")?;
    Ok(report.status == 0)
}

fn list(archive: &mut Archive<impl io::BufRead>, options: &Options, selection: &mut Selection) -> anyhow::Result<()> {
    let excludes = Excludes::new(options)?;
    let mut lister = Lister::new(options.numeric_owner);
    let mut out = io::BufWriter::new(io::stdout().lock());
    let result = loop {
        match archive.next_entry() {
            Ok(Some(entry)) if excludes.fits(&entry.path) || !selection.takes(&entry.path) => {}
            Ok(Some(entry)) => writeln!(out, "{}", lister.line(&entry, options.verbose > 0))?,
            Ok(None) => break Ok(()),
            Err(error) => break Err(explain(error)),
        }
    };
    out.flush()?;
    result
}

/// Names of the members that were asked for.
fn all_names(options: &Options) -> anyhow::Result<Vec<Vec<u8>>> {
    let mut names = Vec::new();
    for step in &options.steps {
        match step {
            Step::Directory(_) => {}
            Step::Name(name) => names.push(name.clone()),
            Step::List(path) => names.extend(names_in(path, options.null)?),
        }
    }
    Ok(names)
}

/// Names in a file of `-T`; `-` is standard input.
fn names_in(path: &Path, null: bool) -> anyhow::Result<Vec<Vec<u8>>> {
    let text = if path.as_os_str() == "-" {
        let mut text = Vec::new();
        io::stdin().read_to_end(&mut text).context("standard input: cannot read names")?;
        text
    } else {
        fs::read(path).with_context(|| format!("{}: cannot read names", path.display()))?
    };
    let end = if null { 0 } else { b'\n' };
    Ok(text.split(|byte| *byte == end).filter(|name| !name.is_empty()).map(<[u8]>::to_vec).collect())
}

/// An error of the reader, without its words about layers.
fn explain(error: coracle_image_oci::Error) -> anyhow::Error {
    use coracle_image_oci::Error;
    match error {
        Error::Archive(reason) => anyhow::anyhow!(reason),
        Error::Entry { entry, reason } => anyhow::anyhow!("{}: {reason}", quoted(entry.as_bytes())),
        other => other.into(),
    }
}

/// What went wrong with single members.
pub struct Report {
    name: String,
    status: i32,
    said: HashSet<String>,
}

impl Report {
    fn new(name: &str) -> Self {
        Self { name: name.to_owned(), status: 0, said: HashSet::new() }
    }

    fn say(&self, text: &str) {
        let _ = writeln!(io::stderr(), "{}: {text}", self.name);
    }

    fn once(&mut self, text: &str) {
        if self.said.insert(text.to_owned()) {
            self.say(text);
        }
    }

    /// Something to know that is no trouble.
    fn notice(&self, path: &[u8], text: &str) {
        self.say(&format!("{}: {text}", quoted(path)));
    }

    /// A file changed while it was read.
    fn changed(&mut self, path: &[u8], text: &str) {
        self.notice(path, text);
        self.status = self.status.max(CHANGED);
    }

    fn error(&mut self, path: &[u8], text: &str) {
        self.notice(path, text);
        self.status = FAILED;
    }

    fn failed(&mut self, path: &[u8], doing: &str, error: io::Error) {
        let kernel = super::compressor::kernel_text(&error);
        let hint = match error.raw_os_error() {
            Some(libc::EXDEV) => " (a link leads out of the folder)",
            _ => "",
        };
        self.error(path, &format!("{doing}: {kernel}{hint}"));
    }

    fn status(&self) -> i32 {
        if self.status == FAILED {
            self.say("Exiting with failure status due to previous errors");
        }
        self.status
    }
}
