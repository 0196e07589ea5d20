//! The command line of tar, in its old form too (`tar xzf FILE`).

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, ValueEnum};

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use coracle_image_oci::tarball::Format;

/// What an option letter of the old form takes from the words that follow.
const WITH_VALUE: &[u8] = b"fCTXH";

/// The formats by name.
fn format_parser() -> impl TypedValueParser<Value = Format> {
    let gnu = PossibleValue::new("gnu").help("GNU tar's own: names and numbers of any length");
    let pax = PossibleValue::new("pax").help("POSIX 2001: any length, times to the nanosecond, extended attributes");
    let ustar = PossibleValue::new("ustar").help("POSIX 1988: names up to 256 bytes, files up to 8 GiB");
    PossibleValuesParser::new([gnu, pax.alias("posix"), ustar]).map(|name| match name.as_str() {
        "ustar" => Format::Ustar,
        "gnu" => Format::Gnu,
        _ => Format::Pax,
    })
}

#[derive(Parser, Debug)]
#[command(name = "tar", about = "Make, list and unpack archives", disable_help_flag = true)]
#[command(group = clap::ArgGroup::new("mode").required(true))]
#[command(override_usage = "tar -c|-x|-t|-r|-u [-f ARCHIVE] [OPTIONS] [NAME]...")]
pub struct Options {
    /// Make an archive
    #[arg(short = 'c', long, group = "mode")]
    pub create: bool,
    /// Unpack an archive
    #[arg(short = 'x', long, visible_alias = "get", group = "mode")]
    pub extract: bool,
    /// List an archive
    #[arg(short = 't', long, group = "mode")]
    pub list: bool,
    /// Add to the end of an archive
    #[arg(short = 'r', long, group = "mode")]
    pub append: bool,
    /// Add what is newer than in the archive
    #[arg(short = 'u', long, group = "mode")]
    pub update: bool,

    /// The archive; -, or without this option, is standard input or output
    #[arg(short = 'f', long, value_name = "ARCHIVE")]
    pub file: Option<PathBuf>,
    /// Change to a folder; for the names that follow
    #[arg(short = 'C', long, value_name = "DIR")]
    directory: Vec<PathBuf>,
    /// Compress with gzip
    #[arg(short = 'z', long, visible_aliases = ["gunzip", "ungzip"], group = "compression")]
    pub gzip: bool,
    /// Compress with zstd
    #[arg(long, visible_alias = "unzstd", group = "compression")]
    pub zstd: bool,
    /// Compress as the archive's suffix says
    #[arg(short = 'a', long, group = "compression")]
    pub auto_compress: bool,
    #[arg(short = 'J', long, hide = true, group = "compression")]
    pub xz: bool,
    #[arg(short = 'j', long, hide = true, group = "compression")]
    pub bzip2: bool,
    /// Names as they go by; twice: more of them
    #[arg(short = 'v', long, action = clap::ArgAction::Count)]
    pub verbose: u8,

    /// Format of a new archive
    #[arg(short = 'H', long, value_parser = format_parser(), default_value = "gnu")]
    pub format: Format,
    /// Archive what links lead to
    #[arg(short = 'h', long)]
    pub dereference: bool,
    /// Do not descend into folders
    #[arg(long)]
    pub no_recursion: bool,
    /// Do not descend into other file systems
    #[arg(long)]
    pub one_file_system: bool,
    /// Order of a folder's files
    #[arg(long, value_enum, default_value = "none")]
    pub sort: Sort,
    /// Owner of all members: NAME, NAME:UID or UID
    #[arg(long, value_name = "NAME[:UID]")]
    pub owner: Option<String>,
    /// Group of all members: NAME, NAME:GID or GID
    #[arg(long, value_name = "NAME[:GID]")]
    pub group: Option<String>,
    /// Time of all members: @SECONDS, YYYY-MM-DD [HH:MM[:SS]] (UTC), or a file's (begins with / or .)
    #[arg(long, value_name = "TIME")]
    pub mtime: Option<String>,

    /// Take or store extended attributes
    #[arg(long)]
    pub xattrs: bool,
    /// Owners by number, not by name
    #[arg(long)]
    pub numeric_owner: bool,
    /// Keep / and .. in names
    #[arg(short = 'P', long)]
    pub absolute_names: bool,
    /// Leave out what matches the pattern
    #[arg(long, value_name = "PATTERN")]
    pub exclude: Vec<OsString>,
    /// Leave out what matches a pattern in the file
    #[arg(short = 'X', long, value_name = "FILE")]
    pub exclude_from: Vec<PathBuf>,
    /// Names from a file, one a line
    #[arg(short = 'T', long, value_name = "FILE")]
    files_from: Vec<PathBuf>,
    /// In the file of -T, names end in NUL
    #[arg(long)]
    pub null: bool,

    /// Restore permission bits as they are (default for root)
    #[arg(short = 'p', long, visible_alias = "same-permissions", overrides_with = "no_same_permissions")]
    pub preserve_permissions: bool,
    /// Apply the umask to permission bits
    #[arg(long, overrides_with = "preserve_permissions")]
    pub no_same_permissions: bool,
    /// Restore owners (default for root)
    #[arg(long, overrides_with = "no_same_owner")]
    pub same_owner: bool,
    /// What is unpacked is one's own
    #[arg(short = 'o', long, overrides_with = "same_owner")]
    pub no_same_owner: bool,
    /// Do not restore times
    #[arg(short = 'm', long)]
    pub touch: bool,
    /// Take so many folders from the front of each name
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub strip_components: usize,
    /// Never replace a file: an error
    #[arg(short = 'k', long, group = "old")]
    pub keep_old_files: bool,
    /// Never replace a file: say nothing
    #[arg(long, group = "old")]
    pub skip_old_files: bool,
    /// Never replace a file that is newer
    #[arg(long, group = "old")]
    pub keep_newer_files: bool,
    /// Write into a file that is there, do not make a new one
    #[arg(long, group = "old")]
    pub overwrite: bool,
    /// Remove a file before its like is unpacked (the default)
    #[arg(short = 'U', long, group = "old")]
    pub unlink_first: bool,
    /// Unpack to standard output
    #[arg(short = 'O', long)]
    pub to_stdout: bool,
    /// Names on the command line are patterns
    #[arg(long)]
    pub wildcards: bool,

    /// Print help
    #[arg(long, action = clap::ArgAction::Help)]
    help: Option<bool>,
    /// Files and folders, or members of the archive
    names: Vec<OsString>,
    /// Names and folders in the order in which they were given.
    #[arg(skip)]
    pub steps: Vec<Step>,
}

/// Order of a folder's files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Sort {
    /// As it comes; here by name too.
    None,
    /// By name.
    Name,
}

/// One word whose place on the command line counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// `-C`.
    Directory(PathBuf),
    /// A file or member.
    Name(Vec<u8>),
    /// `-T`.
    List(PathBuf),
}

/// Parse; help and complaints are printed.
///
/// # Errors
/// The exit status if there is nothing to do.
pub fn parse(args: &[OsString]) -> Result<Options, i32> {
    let parsed = Options::command().try_get_matches_from(modern(args)).and_then(|matches| {
        let mut options = Options::from_arg_matches(&matches)?;
        options.steps = steps(&matches, &options);
        Ok(options)
    });
    parsed.map_err(|error| {
        // A closed pipe while printing help is no failure of ours.
        let _ = error.print();
        if error.use_stderr() { 2 } else { 0 }
    })
}

fn steps(matches: &ArgMatches, options: &Options) -> Vec<Step> {
    let at = |id: &str| matches.indices_of(id).into_iter().flatten().collect::<Vec<_>>();
    let mut steps: Vec<(usize, Step)> = Vec::new();
    steps.extend(at("directory").into_iter().zip(options.directory.iter().cloned().map(Step::Directory)));
    steps.extend(at("files_from").into_iter().zip(options.files_from.iter().cloned().map(Step::List)));
    let names = options.names.iter().map(|name| Step::Name(name.as_bytes().to_vec()));
    steps.extend(at("names").into_iter().zip(names));
    steps.sort_by_key(|(index, _)| *index);
    steps.into_iter().map(|(_, step)| step).collect()
}

/// Rewrite the old form, letters without a dash that take their values from the words after them in turn.
fn modern(args: &[OsString]) -> Vec<OsString> {
    let old = args.get(1).map(|word| word.as_bytes()).filter(|word| !word.is_empty() && word[0] != b'-');
    let Some(letters) = old else { return args.to_vec() };
    let mut new = args[..1].to_vec();
    let mut rest = args[2..].iter();
    for letter in letters {
        new.push(OsString::from_vec(vec![b'-', *letter]));
        if WITH_VALUE.contains(letter) {
            new.extend(rest.next().cloned());
        }
    }
    new.extend(rest.cloned());
    new
}

impl Options {
    /// Whether the archive is standard input or output.
    pub fn is_stream(&self) -> bool {
        self.file.as_deref().is_none_or(|file| file.as_os_str() == OsStr::new("-"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Options, i32> {
        let words: Vec<OsString> = line.split(' ').map(Into::into).collect();
        parse(&words)
    }

    #[test]
    fn the_old_form() {
        let options = parsed("tar xzfC a.tgz / -v").unwrap();
        assert!(options.extract && options.gzip && options.verbose == 1);
        assert_eq!(options.file.unwrap(), PathBuf::from("a.tgz"));
        assert_eq!(options.steps, [Step::Directory("/".into())]);
    }

    #[test]
    fn order_counts() {
        let options = parsed("tar -cf x a -C d b -T l c").unwrap();
        let name = |text: &str| Step::Name(text.into());
        let expected = [name("a"), Step::Directory("d".into()), name("b"), Step::List("l".into()), name("c")];
        assert_eq!(options.steps, expected);
    }

    #[test]
    fn what_is_refused() {
        for line in [
            "tar",
            "tar -xc",
            "tar -f x",
            "tar -dxf x",
            "tar --delete -f x",
            "tar -Af x y",
            "tar -xzf x --zstd",
            "tar -cSf x y",
        ] {
            assert_eq!(parsed(line).unwrap_err(), 2, "{line}");
        }
        assert_eq!(parsed("tar --help").unwrap_err(), 0);
    }
}
