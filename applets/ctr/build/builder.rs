//! A build from its beginning to its image: which stages are needed, what each begins with, and what becomes of the result.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context as _, bail, ensure};
use coracle_image_oci::{Image, Layer, Platform, PullOptions, Store};

use super::super::{pull, time};
use super::args::{BuildArgs, NamedContext};
use super::config::Config;
use super::containerfile::{Expander, File, Instruction, Mount, Stage};
use super::context::{Context, further};
use super::progress::{Progress, Vertex};
use super::session::Session;
use super::steps::Steps;
use super::tree::Tree;
use super::view::View;

/// Variables about proxies: they need no ARG, and leave no trace in the image.
pub const PROXY_ARGS: [&str; 10] = [
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "FTP_PROXY",
    "ftp_proxy",
    "NO_PROXY",
    "no_proxy",
    "ALL_PROXY",
    "all_proxy",
];

/// What files and images are dated with, instead of now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epoch {
    /// Seconds since 1970.
    pub seconds: i64,
    /// Also what is older; otherwise only what is newer (`SOURCE_DATE_EPOCH`).
    pub all: bool,
}

/// What a stage has come to.
#[derive(Clone)]
pub struct Done {
    /// Its image's configuration.
    pub config: Config,
    /// Its layers, base first.
    pub layers: Vec<Layer>,
}

/// Where `--from` leads.
pub enum From {
    /// The layers of a stage or an image, mounted as long as this lives.
    View(View),
    /// A folder.
    Folder(Tree),
}

impl From {
    /// The files.
    ///
    /// # Errors
    /// If there are no more descriptors.
    pub fn tree(&self) -> anyhow::Result<Tree> {
        match self {
            From::View(view) => view.tree(),
            From::Folder(tree) => tree.try_clone(),
        }
    }
}

/// A build under way.
pub struct Builder<'a> {
    /// What was asked for.
    pub args: &'a BuildArgs,
    /// Images.
    pub store: &'a Store,
    /// Working directory.
    pub session: &'a Session,
    /// The context.
    pub context: &'a Context,
    /// The Containerfile.
    pub file: &'a File,
    /// What is told.
    pub progress: Progress,
    /// Date of all that is new.
    pub epoch: Option<Epoch>,
    /// `--build-arg`.
    pub build_args: BTreeMap<String, String>,
    /// Those of them that an ARG has asked for.
    pub consumed: BTreeSet<String>,
    /// Global ARGs and those about platforms.
    pub global_args: BTreeMap<String, String>,
    stages: Vec<Option<Done>>,
    images: BTreeMap<String, Image>,
}

impl<'a> Builder<'a> {
    /// Prepare a build.
    ///
    /// # Errors
    /// If a global argument cannot be expanded.
    pub fn new(
        args: &'a BuildArgs,
        store: &'a Store,
        session: &'a Session,
        context: &'a Context,
        file: &'a File,
        progress: Progress,
    ) -> anyhow::Result<Self> {
        let build_args = build_args(&args.build_arg);
        let mut builder = Builder {
            epoch: epoch(args, &build_args)?,
            global_args: platform_args(&Platform::host()),
            stages: vec![None; file.stages.len()],
            images: BTreeMap::new(),
            consumed: BTreeSet::new(),
            args,
            store,
            session,
            context,
            file,
            progress,
            build_args,
        };
        builder.expand_global_args()?;
        Ok(builder)
    }

    fn expand_global_args(&mut self) -> anyhow::Result<()> {
        for (name, default) in &self.file.args {
            let value = match self.build_args.get(name) {
                Some(value) => Some(value.clone()),
                None => default.as_deref().map(|text| self.expand_global(text)).transpose()?,
            };
            self.consumed.insert(name.clone());
            if let Some(value) = value {
                self.global_args.insert(name.clone(), value);
            }
        }
        Ok(())
    }

    /// Expand what FROM holds.
    fn expand_global(&self, text: &str) -> anyhow::Result<String> {
        let lookup = |name: &str| self.global_args.get(name).cloned();
        Expander::new(self.file.escape, &lookup).word(text).map_err(anyhow::Error::msg)
    }

    /// When something is made.
    pub fn now(&self) -> String {
        self.epoch.map_or_else(time::now, |epoch| {
            let time = UNIX_EPOCH + Duration::from_secs(u64::try_from(epoch.seconds).unwrap_or(0));
            // As Go has it: a fraction that is zero is left out.
            time::format_rfc3339(time).replace(".000000000Z", "Z")
        })
    }

    /// Build the stage that was asked for, and those that it needs.
    ///
    /// # Errors
    /// Of the first step that fails.
    pub fn build(&mut self) -> anyhow::Result<Done> {
        let target = self.target()?;
        for index in needed(self.file, target)? {
            self.stage(index)?;
        }
        self.stage(target)
    }

    fn target(&self) -> anyhow::Result<usize> {
        let last = self.file.stages.len() - 1;
        let Some(name) = &self.args.target else { return Ok(last) };
        let found = find_stage(self.file, name, last + 1);
        found.with_context(|| format!("target stage {name:?} could not be found"))
    }

    /// A stage, built if it has not been yet.
    ///
    /// # Errors
    /// Of the first step that fails.
    pub fn stage(&mut self, index: usize) -> anyhow::Result<Done> {
        if let Some(done) = &self.stages[index] {
            return Ok(done.clone());
        }
        let stage = &self.file.stages[index];
        let done = Steps::begin(self, stage, index)?.run()?;
        self.stages[index] = Some(done.clone());
        Ok(done)
    }

    /// What a stage begins with, and its name as it is shown.
    ///
    /// # Errors
    /// If the image cannot be had, or is of another platform.
    pub fn base(&mut self, stage: &Stage, index: usize) -> anyhow::Result<(Done, String)> {
        if let Some(platform) = &stage.platform {
            let text = self.expand_global(platform)?;
            let platform: Platform = text.parse().with_context(|| format!("failed to parse platform {text:?}"))?;
            check_platform(&platform)?;
        }
        let name = self.expand_global(&stage.base)?;
        ensure!(!name.is_empty(), "base name ({}) should not be blank", stage.base);
        if name == "scratch" {
            return Ok((Done { config: Config::scratch(&Platform::host()), layers: Vec::new() }, name));
        }
        let name = match self.named(&name) {
            Some(NamedContext::Image(image)) => image.clone(),
            Some(NamedContext::Folder(folder)) => {
                bail!("FROM {name}: {} is a folder, which COPY --from={name} takes", folder.display())
            }
            None => name,
        };
        if let Some(earlier) = find_stage(self.file, &name, index) {
            let done = self.stage(earlier)?;
            return Ok((Done { config: done.config.next_stage(), layers: done.layers }, name));
        }
        let image = self.image(&name)?;
        let shown = image.names().first().map_or_else(|| name.clone(), ToString::to_string);
        Ok((Done { config: Config::on(image.document()), layers: self.store.layers_of(&image) }, shown))
    }

    /// An image, pulled if it is not there.
    ///
    /// # Errors
    /// If it cannot be had, or is of another platform.
    pub fn image(&mut self, name: &str) -> anyhow::Result<Image> {
        if let Some(image) = self.images.get(name) {
            return Ok(image.clone());
        }
        let found = if self.args.pull { None } else { self.store.resolve(name).ok() };
        let image = match found {
            Some(image) => image,
            None => pull::pull(self.store, name, &PullOptions::default(), self.args.quiet)
                .with_context(|| format!("{name}: failed to resolve source metadata"))?,
        };
        let (os, architecture) = (image.config().os().to_string(), image.config().architecture().to_string());
        let own = Platform::host();
        ensure!(
            os == own.os && architecture == own.architecture,
            "{name} is for {os}/{architecture}; this machine builds for {own} only"
        );
        self.images.insert(name.into(), image.clone());
        Ok(image)
    }

    /// The context of `--build-context` by that name.
    fn named(&self, name: &str) -> Option<&'a NamedContext> {
        let lower = name.to_ascii_lowercase();
        self.args.build_context.iter().rev().find(|(other, _)| *other == lower).map(|(_, context)| context)
    }

    /// What `--from` names: a further context, an earlier stage, or an image.
    ///
    /// # Errors
    /// If it is none of them.
    pub fn from(&mut self, from: &str, current: usize) -> anyhow::Result<From> {
        match self.named(from) {
            Some(NamedContext::Folder(folder)) => return Ok(From::Folder(further(folder)?)),
            Some(NamedContext::Image(name)) => return self.layers_of(name),
            None => {}
        }
        if let Some(index) = find_stage(self.file, from, current) {
            let layers = self.stage(index)?.layers;
            return Ok(From::View(View::mount(self.session, &self.store.layer_paths(&layers)?)?));
        }
        if from.bytes().all(|byte| byte.is_ascii_digit()) {
            bail!("invalid stage index {from}");
        }
        if find_stage(self.file, from, current + 1).is_some() {
            bail!("circular dependency detected on stage: {from}");
        }
        self.layers_of(from)
    }

    fn layers_of(&mut self, image: &str) -> anyhow::Result<From> {
        let image = self.image(image)?;
        Ok(From::View(View::mount(self.session, &self.store.layers(&image)?)?))
    }

    /// `--build-arg` that no ARG has asked for.
    pub fn unconsumed(&self) -> Vec<&str> {
        let known = |name: &&String| {
            self.consumed.contains(*name) || PROXY_ARGS.contains(&name.as_str()) || *name == "SOURCE_DATE_EPOCH"
        };
        self.build_args.keys().filter(|name| !known(name)).map(String::as_str).collect()
    }

    /// Tell that something begins.
    pub fn begin(&mut self, name: &str) -> Vertex {
        self.progress.begin(name)
    }
}

/// Refuse another platform than this machine's: there is no emulation.
///
/// # Errors
/// Names both.
pub fn check_platform(wanted: &Platform) -> anyhow::Result<()> {
    let own = Platform::host();
    let same = wanted.os == own.os
        && wanted.architecture == own.architecture
        && (wanted.variant.is_none() || wanted.variant == own.variant || own.variant.is_none());
    ensure!(same, "platform {wanted} is not supported: this machine builds for {own} only");
    Ok(())
}

/// A stage before `end`, by its name or its number. Of a name that comes twice the later counts.
fn find_stage(file: &File, name: &str, end: usize) -> Option<usize> {
    let lower = name.to_ascii_lowercase();
    let named = file.stages[..end].iter().rposition(|stage| stage.name.as_deref() == Some(&lower));
    let is_number = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit());
    named.or_else(|| name.parse().ok().filter(|&index: &usize| is_number && index < end))
}

/// The stages that a stage is built from, itself included, in their order.
fn needed(file: &File, target: usize) -> anyhow::Result<BTreeSet<usize>> {
    let mut all = BTreeSet::new();
    let mut open = vec![target];
    while let Some(index) = open.pop() {
        if !all.insert(index) {
            continue;
        }
        let stage = &file.stages[index];
        open.extend(find_stage(file, &stage.base, index));
        for step in &stage.steps {
            match &step.instruction {
                Instruction::Copy(copy) => {
                    open.extend(copy.from.as_deref().and_then(|from| find_stage(file, from, index)));
                }
                Instruction::Run(run) => {
                    for text in &run.mounts {
                        let mount = Mount::parse(text, &|value| Ok(value.to_owned())).ok();
                        open.extend(mount.and_then(|mount| find_stage(file, &mount.from?, index)));
                    }
                }
                _ => {}
            }
        }
    }
    Ok(all)
}

/// `NAME=VALUE`, or `NAME` for the caller's variable.
fn build_args(given: &[String]) -> BTreeMap<String, String> {
    let pair = |text: &String| match text.split_once('=') {
        Some((name, value)) => Some((name.to_owned(), value.to_owned())),
        None => std::env::var(text).ok().map(|value| (text.clone(), value)),
    };
    // As docker has it, the date of all is passed on without being asked for.
    let epoch = std::env::var("SOURCE_DATE_EPOCH").ok().map(|value| ("SOURCE_DATE_EPOCH".to_owned(), value));
    epoch.into_iter().chain(given.iter().filter_map(pair)).collect()
}

fn platform_args(platform: &Platform) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for side in ["BUILD", "TARGET"] {
        all.insert(format!("{side}PLATFORM"), platform.to_string());
        all.insert(format!("{side}OS"), platform.os.clone());
        all.insert(format!("{side}ARCH"), platform.architecture.clone());
        all.insert(format!("{side}VARIANT"), platform.variant.clone().unwrap_or_default());
    }
    all
}

fn epoch(args: &BuildArgs, build_args: &BTreeMap<String, String>) -> anyhow::Result<Option<Epoch>> {
    if let Some(seconds) = args.timestamp {
        ensure!(seconds >= 0, "--timestamp must not be negative");
        return Ok(Some(Epoch { seconds, all: true }));
    }
    let Some(text) = build_args.get("SOURCE_DATE_EPOCH").filter(|text| !text.is_empty()) else { return Ok(None) };
    let seconds = text.parse().ok().filter(|&seconds: &i64| seconds >= 0);
    let seconds = seconds.with_context(|| format!("invalid SOURCE_DATE_EPOCH: {text}"))?;
    Ok(Some(Epoch { seconds, all: false }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_needed() {
        let file = File::parse(
            "FROM a AS one\nFROM b AS two\nFROM one AS three\nCOPY --from=1 / /\nFROM c\nRUN --mount=from=three,target=/x y\nFROM d\n",
        )
        .unwrap();
        let list = |target| needed(&file, target).unwrap().into_iter().collect::<Vec<_>>();
        assert_eq!(list(0), [0]);
        assert_eq!(list(2), [0, 1, 2]);
        assert_eq!(list(3), [0, 1, 2, 3]);
        assert_eq!(list(4), [4]);
    }

    #[test]
    fn stages_by_name_and_number() {
        let file = File::parse("FROM a AS x\nFROM b AS x\nFROM c\n").unwrap();
        assert_eq!(find_stage(&file, "X", 3), Some(1));
        assert_eq!(find_stage(&file, "x", 1), Some(0));
        assert_eq!(find_stage(&file, "2", 3), Some(2));
        assert_eq!(find_stage(&file, "2", 2), None);
        assert_eq!(find_stage(&file, "", 2), None);
    }
}
