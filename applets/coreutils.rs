//! The coreutils: the `uu_*` crates of uutils (MIT), each an applet of its own.
//!
//! `true` and `false` are not among them: they must not pay for a localizer and an option parser (see `truth.rs`); `kill`,
//! `hostname`, `more` and `uptime` are ours, and `stdbuf` needs a shared library, which a static system has no use for.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::Path;
use std::vec::IntoIter;

use crate::registry::{Applet, Dir};

/// Declare the table: command, other names, folder, crate, summary.
macro_rules! coreutils {
    ($($name:literal $aliases:tt $dir:ident $package:ident $summary:literal;)*) => {
        /// The commands that uutils implements, sorted by name.
        pub const APPLETS: &[&Applet] = &[$(
            &Applet {
                name: $name,
                aliases: &$aliases,
                dir: Dir::$dir,
                summary: $summary,
                run: |args| run($name, args, |args| $package::uumain(args)),
            },
        )*];
    };
}

coreutils! {
    "arch" [] Bin uu_arch "Print the machine's architecture";
    "b2sum" [] Bin uu_b2sum "Print or check BLAKE2 checksums";
    "base32" [] Bin uu_base32 "Encode or decode base32";
    "base64" [] Bin uu_base64 "Encode or decode base64";
    "basename" [] Bin uu_basename "Strip folder and suffix from file names";
    "basenc" [] Bin uu_basenc "Encode or decode base16, base32, base64 and more";
    "cat" [] Bin uu_cat "Concatenate files to standard output";
    "chgrp" [] Bin uu_chgrp "Change the group of files";
    "chmod" [] Bin uu_chmod "Change the mode of files";
    "chown" [] Bin uu_chown "Change the owner of files";
    "chroot" [] Sbin uu_chroot "Run a command with another root folder";
    "cksum" [] Bin uu_cksum "Print or check checksums by algorithm";
    "comm" [] Bin uu_comm "Compare two sorted files line by line";
    "cp" [] Bin uu_cp "Copy files and folders";
    "csplit" [] Bin uu_csplit "Split a file by context";
    "cut" [] Bin uu_cut "Print selected parts of lines";
    "date" [] Bin uu_date "Print or set the date and time";
    "dd" [] Bin uu_dd "Convert and copy a file by blocks";
    "df" [] Bin uu_df "Report free space of file systems";
    "dir" [] Bin uu_dir "List a folder in columns";
    "dircolors" [] Bin uu_dircolors "Set up the colours of ls";
    "dirname" [] Bin uu_dirname "Strip the last component from file names";
    "du" [] Bin uu_du "Estimate the space that files use";
    "echo" [] Bin uu_echo "Print its arguments";
    "env" [] Bin uu_env "Run a command in a changed environment";
    "expand" [] Bin uu_expand "Convert tabs to spaces";
    "expr" [] Bin uu_expr "Evaluate an expression";
    "factor" [] Bin uu_factor "Print prime factors";
    "fmt" [] Bin uu_fmt "Reformat paragraphs";
    "fold" [] Bin uu_fold "Wrap lines to a width";
    "groups" [] Bin uu_groups "Print the groups of a user";
    "head" [] Bin uu_head "Print the first part of files";
    "hostid" [] Bin uu_hostid "Print the host's numeric identifier";
    "id" [] Bin uu_id "Print user and group ids";
    "install" [] Bin uu_install "Copy files and set their attributes";
    "join" [] Bin uu_join "Join lines of two files on a field";
    "link" [] Bin uu_link "Make a hard link";
    "ln" [] Bin uu_ln "Make links between files";
    "logname" [] Bin uu_logname "Print the login name";
    "ls" [] Bin uu_ls "List the contents of folders";
    "md5sum" [] Bin uu_md5sum "Print or check MD5 checksums";
    "mkdir" [] Bin uu_mkdir "Make folders";
    "mkfifo" [] Bin uu_mkfifo "Make named pipes";
    "mknod" [] Bin uu_mknod "Make device nodes and pipes";
    "mktemp" [] Bin uu_mktemp "Make a temporary file or folder";
    "mv" [] Bin uu_mv "Move and rename files";
    "nice" [] Bin uu_nice "Run a command with changed niceness";
    "nl" [] Bin uu_nl "Number lines";
    "nohup" [] Bin uu_nohup "Run a command that survives hang-ups";
    "nproc" [] Bin uu_nproc "Print the number of processors";
    "numfmt" [] Bin uu_numfmt "Convert numbers from and to human form";
    "od" [] Bin uu_od "Dump files in octal and other formats";
    "paste" [] Bin uu_paste "Merge lines of files";
    "pathchk" [] Bin uu_pathchk "Check that file names are portable";
    "pinky" [] Bin uu_pinky "Print who is logged in, briefly";
    "pr" [] Bin uu_pr "Paginate files for printing";
    "printenv" [] Bin uu_printenv "Print environment variables";
    "printf" [] Bin uu_printf "Format and print its arguments";
    "ptx" [] Bin uu_ptx "Print a permuted index";
    "pwd" [] Bin uu_pwd "Print the working folder";
    "readlink" [] Bin uu_readlink "Print where a symbolic link points";
    "realpath" [] Bin uu_realpath "Print the resolved path";
    "rm" [] Bin uu_rm "Remove files and folders";
    "rmdir" [] Bin uu_rmdir "Remove empty folders";
    "seq" [] Bin uu_seq "Print a sequence of numbers";
    "sha1sum" [] Bin uu_sha1sum "Print or check SHA-1 checksums";
    "sha224sum" [] Bin uu_sha224sum "Print or check SHA-224 checksums";
    "sha256sum" [] Bin uu_sha256sum "Print or check SHA-256 checksums";
    "sha384sum" [] Bin uu_sha384sum "Print or check SHA-384 checksums";
    "sha512sum" [] Bin uu_sha512sum "Print or check SHA-512 checksums";
    "shred" [] Bin uu_shred "Overwrite a file to hide its contents";
    "shuf" [] Bin uu_shuf "Print lines in random order";
    "sleep" [] Bin uu_sleep "Wait for some time";
    "sort" [] Bin uu_sort "Sort lines";
    "split" [] Bin uu_split "Split a file into pieces";
    "stat" [] Bin uu_stat "Print the status of files";
    "stty" [] Bin uu_stty "Print or change terminal settings";
    "sum" [] Bin uu_sum "Print BSD or System V checksums";
    "sync" [] Bin uu_sync "Write cached data to disk";
    "tac" [] Bin uu_tac "Print files with lines reversed";
    "tail" [] Bin uu_tail "Print the last part of files";
    "tee" [] Bin uu_tee "Copy standard input to files and standard output";
    "test" ["["] Bin uu_test "Evaluate a condition";
    "timeout" [] Bin uu_timeout "Run a command with a time limit";
    "touch" [] Bin uu_touch "Change the times of files";
    "tr" [] Bin uu_tr "Translate or delete characters";
    "truncate" [] Bin uu_truncate "Shrink or grow a file";
    "tsort" [] Bin uu_tsort "Sort topologically";
    "tty" [] Bin uu_tty "Print the terminal's name";
    "uname" [] Bin uu_uname "Print system information";
    "unexpand" [] Bin uu_unexpand "Convert spaces to tabs";
    "uniq" [] Bin uu_uniq "Filter repeated lines";
    "unlink" [] Bin uu_unlink "Remove one file";
    "users" [] Bin uu_users "Print the names of logged-in users";
    "vdir" [] Bin uu_vdir "List a folder in long form";
    "wc" [] Bin uu_wc "Count lines, words and bytes";
    "who" [] Bin uu_who "Print who is logged in";
    "whoami" [] Bin uu_whoami "Print the effective user's name";
    "yes" [] Bin uu_yes "Print a line until stopped";
}

/// Run one utility as its own `main` would: messages first, then the command, then what stands in the buffer of stdout.
fn run(name: &'static str, args: &[OsString], main: fn(IntoIter<OsString>) -> i32) -> i32 {
    called_through_dispatcher(args);
    if let Err(error) = uucore::locale::setup_localization(messages_of(name)) {
        let _ = writeln!(io::stderr(), "{name}: load messages: {error}");
        return 1;
    }
    let owned = args.to_vec();
    let status = main(owned.into_iter());
    match io::stdout().flush() {
        Err(error) if status == 0 && error.kind() != io::ErrorKind::BrokenPipe => {
            let _ = writeln!(io::stderr(), "{name}: write to standard output: {error}");
            1
        }
        _ => status,
    }
}

/// uucore takes the command's name for messages (and `test`'s for its `[` form) from the process's own arguments: tell it
/// when that is the second one, as in `coracle ls`.
fn called_through_dispatcher(args: &[OsString]) {
    let own = std::env::args_os().next();
    let own = own.as_deref().map(|arg0| Path::new(arg0).file_name().unwrap_or(arg0));
    if own != args.first().map(OsString::as_os_str) {
        uucore::set_utility_is_second_arg();
    }
}

/// The crate whose messages a command uses.
fn messages_of(name: &'static str) -> &'static str {
    match name {
        "dir" | "vdir" => "ls",
        name => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_least_99_commands() {
        assert!(APPLETS.len() >= 99, "{}", APPLETS.len());
    }

    /// uucore's build script embeds the messages of every `uu_*` crate that it finds unpacked beside itself, in English and
    /// in the language of `LANG`: exactly ours in English keeps the build reproducible (`.cargo/config.toml` pins `LANG`).
    #[test]
    fn messages_are_exactly_those_of_our_commands() {
        let embedded =
            |name: &str, locale: &str| uucore::locale::get_embedded_locale(&format!("{name}/{locale}.ftl")).is_some();
        for applet in APPLETS {
            assert!(embedded(messages_of(applet.name), "en-US"), "no messages for {}", applet.name);
            for locale in ["de-DE", "es-ES", "fr-FR", "it-IT", "ja-JP", "pl-PL", "pt-BR", "ru-RU", "uk-UA", "zh-Hans"] {
                assert!(!embedded(applet.name, locale), "{} has messages in {locale}", applet.name);
            }
        }
        for foreign in ["chcon", "false", "hostname", "kill", "more", "runcon", "stdbuf", "true", "uptime"] {
            assert!(!embedded(foreign, "en-US"), "the registry holds uu_{foreign}, which is none of our dependencies");
        }
    }
}
