//! `COPY` and `ADD`.

use std::fs;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use coracle_image_oci::Digest;
use rustix::fs::FileType;

use super::builder::From;
use super::containerfile::{Add, Copy, Sources};
use super::context::{is_archive, unpack};
use super::copy::Target;
use super::digest::{Key, of_selection};
use super::ignore::Ignore;
use super::mode::Change;
use super::pattern::escape;
use super::steps::{Steps, Task};
use super::tree::{Rules, Selection, Tree, open_folder};
use super::view::View;
use super::{download, owner};

/// Files from one place that go to one destination.
struct Job<'t> {
    tree: Source<'t>,
    selection: Selection,
    /// Whom the copies belong to unless that is asked for.
    owner: Option<(u32, u32)>,
    /// An archive that is unpacked.
    archive: bool,
}

enum Source<'t> {
    Borrowed(&'t Tree),
    Own(Tree),
}

impl Source<'_> {
    fn tree(&self) -> &Tree {
        match self {
            Source::Borrowed(tree) => tree,
            Source::Own(tree) => tree,
        }
    }
}

/// What all sources of an instruction share, variables expanded.
struct Plan {
    word: &'static str,
    paths: Vec<String>,
    destination: String,
    chown: Option<String>,
    chmod: Option<Change>,
    link: bool,
    rules: Rules,
    created_by: String,
}

impl Plan {
    fn new(it: &Steps<'_, '_>, word: &'static str, sources: &Sources, parents: bool) -> anyhow::Result<Self> {
        let expand = |text: &Option<String>| text.as_deref().map(|text| it.expand(text)).transpose();
        let paths = sources.paths.iter().map(|path| it.expand(path)).collect::<anyhow::Result<Vec<_>>>()?;
        let written = it.expand(&sources.destination)?;
        let (chown, chmod) = (expand(&sources.chown)?, expand(&sources.chmod)?);
        let count = paths.len() + sources.inline.len();
        ensure!(
            count <= 1
                || parents
                || written.ends_with('/')
                || matches!(written.as_str(), "." | "..")
                || written.ends_with("/."),
            "When using {word} with more than one source file, the destination must be a directory and end with a /"
        );
        let exclude = sources.exclude.iter().map(|rule| it.expand(rule)).collect::<anyhow::Result<Vec<_>>>()?;
        let exclude = Ignore::new(exclude.iter().map(String::as_str)).map_err(anyhow::Error::msg)?;
        let options = [("chown", &chown), ("chmod", &chmod)];
        let options =
            options.iter().filter_map(|(name, value)| value.as_ref().map(|value| format!(" --{name}={value}")));
        let inline = sources.inline.iter().map(|file| format!(" <<{}", file.name));
        let shown: String = options.chain(paths.iter().map(|path| format!(" {path}"))).chain(inline).collect();
        let mut destination = it.config.resolve(&written);
        if parents && !destination.ends_with('/') {
            destination.push('/');
        }
        Ok(Plan {
            created_by: format!("{word}{shown} {written} # buildkit"),
            word,
            paths,
            destination,
            chown,
            chmod: chmod.map(|text| Change::parse(&text)).transpose().map_err(anyhow::Error::msg)?,
            link: sources.link,
            rules: Rules { exclude, parents },
        })
    }

    fn job<'t>(&self, tree: Source<'t>, paths: &[String], owner: Option<(u32, u32)>) -> anyhow::Result<Job<'t>> {
        let selection = tree.tree().select(paths, &self.rules).context("failed to compute cache key")?;
        Ok(Job { tree, selection, owner, archive: false })
    }

    /// Find the result in the cache, or copy.
    fn carry_out(&self, it: &mut Steps<'_, '_>, jobs: &[Job<'_>]) -> anyhow::Result<bool> {
        let session = it.builder.session;
        let owner = match &self.chown {
            None => None,
            Some(text) => {
                let layers = it.layer_paths()?;
                let mut view = None;
                Some(owner::find(text, || view.insert(View::mount(session, &layers)?).tree())?)
            }
        };
        // What is linked does not depend on the files that it comes to lie upon.
        let mut key = if self.link { Key::default() } else { it.key(self.word) };
        if self.link {
            key.add("link");
        }
        key.add(&self.destination).add(format!("{owner:?} {:?}", self.chmod));
        for job in jobs {
            let keeps = owner.is_none() && job.owner.is_none();
            key.add([u8::from(job.archive), u8::from(keeps)]);
            key.add(of_selection(job.tree.tree(), &job.selection, keeps)?.hex());
        }
        let task = Task { key: key.finish(), created_by: self.created_by.clone() };
        it.layer(&task, |it| {
            let below = if self.link { Vec::new() } else { it.layer_paths()? };
            let view = View::mount(session, &below)?;
            for job in jobs {
                let target = Target {
                    root: view.root(),
                    owner: owner.or(job.owner),
                    mode: self.chmod.clone(),
                    replace: job.archive,
                };
                let mut destination = self.destination.clone();
                if job.archive && !destination.ends_with('/') {
                    destination.push('/');
                }
                target.copy(job.tree.tree(), &job.selection, &destination)?;
            }
            Ok(view.into_upper())
        })
    }
}

/// `COPY`. Says whether its result was there.
///
/// # Errors
/// If a source is not there, or cannot be copied.
pub fn copy(it: &mut Steps<'_, '_>, copy: &Copy) -> anyhow::Result<bool> {
    let plan = Plan::new(it, "COPY", &copy.sources, copy.parents)?;
    let mut jobs = Vec::new();
    let context = it.builder.context;
    // Mounted for as long as it is copied from.
    let from = copy.from.as_deref().map(|from| it.builder.from(from, it.index)).transpose()?;
    if !plan.paths.is_empty() {
        jobs.push(match &from {
            None => plan.job(Source::Borrowed(&context.tree), &plan.paths, Some((0, 0)))?,
            Some(From::Folder(tree)) => plan.job(Source::Borrowed(tree), &plan.paths, Some((0, 0)))?,
            Some(From::View(view)) => plan.job(Source::Own(view.tree()?), &plan.paths, None)?,
        });
    }
    jobs.extend(inline(it, &copy.sources)?);
    plan.carry_out(it, &jobs)
}

/// Files that the Containerfile holds itself.
fn inline(it: &Steps<'_, '_>, sources: &Sources) -> anyhow::Result<Option<Job<'static>>> {
    if sources.inline.is_empty() {
        return Ok(None);
    }
    let dir = it.builder.session.new_dir("inline")?;
    let mut names = Vec::new();
    for file in &sources.inline {
        ensure!(!file.name.contains('/'), "the heredoc {:?} has no file name", file.name);
        let text = if file.expand { it.expand_text(&file.text)? } else { file.text.clone() };
        let path = dir.join(&file.name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        set_mode(&path, 0o644)?;
        names.push(escape(&file.name));
    }
    let tree = Tree::new(open_folder(&dir)?);
    let selection = tree.select(&names, &Rules::default())?;
    Ok(Some(Job { tree: Source::Own(tree), selection, owner: Some((0, 0)), archive: false }))
}

fn set_mode(path: &Path, mode: u32) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .with_context(|| format!("cannot set the mode of {}", path.display()))
}

/// `ADD`. Says whether its result was there.
///
/// # Errors
/// If a source is not there, cannot be copied, unpacked or fetched.
pub fn add(it: &mut Steps<'_, '_>, add: &Add) -> anyhow::Result<bool> {
    let plan = Plan::new(it, "ADD", &add.sources, false)?;
    let checksum = match &add.checksum {
        Some(text) => Some(it.expand(text)?.parse::<Digest>().context("--checksum")?),
        None => None,
    };
    let mut jobs = Vec::new();
    for path in &plan.paths {
        if is_git(path) {
            bail!("ADD {path}: git repositories are not fetched; copy a clone");
        }
        if path.starts_with("http://") || path.starts_with("https://") {
            jobs.push(fetched(it, &plan, path, checksum.as_ref(), add.unpack.unwrap_or(false))?);
            continue;
        }
        ensure!(checksum.is_none(), "checksum can't be specified for non-HTTP(S) sources");
        local(it, &plan, path, add.unpack.unwrap_or(true), &mut jobs)?;
    }
    jobs.extend(inline(it, &add.sources)?);
    plan.carry_out(it, &jobs)
}

fn is_git(path: &str) -> bool {
    let address = path.split(['#', '?']).next().unwrap_or(path);
    ["git@", "git://", "ssh://"].iter().any(|scheme| path.starts_with(scheme))
        || (path.starts_with("http") && path.contains("://") && address.ends_with(".git"))
}

/// Files of the context; archives among them are unpacked.
fn local(it: &Steps<'_, '_>, plan: &Plan, path: &str, unpacks: bool, jobs: &mut Vec<Job<'_>>) -> anyhow::Result<()> {
    let context = it.builder.context;
    let mut job = plan.job(Source::Own(context.tree.try_clone()?), &[path.to_owned()], Some((0, 0)))?;
    if unpacks {
        // Only what is named is unpacked, not what lies in a folder that is.
        let has_folder = job.selection.entries.iter().any(|entry| entry.to.as_os_str().is_empty());
        let named = std::mem::take(&mut job.selection.entries);
        for entry in named {
            if !has_folder && entry.kind() == FileType::RegularFile {
                let file = context.tree.open_file(&entry.from)?;
                let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
                if is_archive(&path).with_context(|| format!("ADD {}", entry.from.display()))? {
                    jobs.push(unpacked(it, &path)?);
                    job.selection.sources -= 1;
                    continue;
                }
            }
            job.selection.entries.push(entry);
        }
    }
    if job.selection.sources > 0 {
        jobs.push(job);
    }
    Ok(())
}

/// What an archive holds; it belongs to whom the archive says.
fn unpacked(it: &Steps<'_, '_>, archive: &Path) -> anyhow::Result<Job<'static>> {
    let dir = it.builder.session.new_dir("unpacked")?;
    unpack(archive, &dir)?;
    let tree = Tree::new(open_folder(&dir)?);
    let selection = tree.select(&[".".to_owned()], &Rules::default())?;
    Ok(Job { tree: Source::Own(tree), selection, owner: None, archive: true })
}

/// A file from the network.
fn fetched(
    it: &Steps<'_, '_>,
    plan: &Plan,
    url: &str,
    checksum: Option<&Digest>,
    unpacks: bool,
) -> anyhow::Result<Job<'static>> {
    let dir = it.builder.session.new_dir("download")?;
    let name = download::file_name(url).unwrap_or_default();
    ensure!(!name.is_empty() || !plan.destination.ends_with('/'), "cannot determine filename for source {url}");
    let name = if name.is_empty() { "download".to_owned() } else { name };
    let path = dir.join(&name);
    download::fetch(url, &path, checksum)?;
    if unpacks {
        return unpacked(it, &path);
    }
    set_mode(&path, 0o600)?;
    let tree = Tree::new(open_folder(&dir)?);
    let selection = tree.select(&[escape(&name)], &Rules::default())?;
    Ok(Job { tree: Source::Own(tree), selection, owner: Some((0, 0)), archive: false })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn git_addresses() {
        for git in
            ["git@github.com:a/b", "https://github.com/a/b.git", "https://x/b.git#v1:dir", "ssh://h/x", "git://h/x"]
        {
            assert!(is_git(git), "{git}");
        }
        for other in ["https://x/a.tar", "x.git", "https://x/git"] {
            assert!(!is_git(other), "{other}");
        }
    }

    #[test]
    fn names_are_patterns_for_themselves() {
        for name in ["a*b", "[x]", "a\\b", "plain"] {
            assert!(super::super::pattern::Pattern::new(&escape(name)).unwrap().matches(name), "{name}");
        }
    }
}
