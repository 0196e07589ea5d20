//! One stage: its instructions, carried out one after another.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use coracle_image_oci::{Digest, Layer};

use super::builder::{Builder, Done};
use super::cache::{self, Record};
use super::config::{Config, env_map};
use super::containerfile::{Expander, Instruction, Stage, Step};
use super::copy::Target;
use super::digest::Key;
use super::owner;
use super::progress::{Vertex, excerpt};
use super::view::View;
use super::{add, change, epoch, run};

/// The value of a variable: the image's, or an ARG's.
fn variable(env: &BTreeMap<String, String>, args: &[(String, Option<String>)], name: &str) -> Option<String> {
    let arg = || args.iter().rev().find(|(other, _)| other == name).and_then(|(_, value)| value.clone());
    env.get(name).cloned().or_else(arg)
}

/// A stage under way.
pub struct Steps<'a, 'b> {
    /// The build.
    pub builder: &'b mut Builder<'a>,
    /// Number of the stage.
    pub index: usize,
    /// The image so far.
    pub config: Config,
    /// Its layers.
    pub layers: Vec<Layer>,
    /// ARGs that have been declared, in their order, with their values.
    pub args: Vec<(String, Option<String>)>,
    name: String,
    steps: Vec<Step>,
    /// Of the steps that make layers: which this is, and how many there are.
    position: (usize, usize),
}

/// What a step that makes a layer is, for the cache and for people.
pub struct Task {
    /// Digest of all that goes into it.
    pub key: Digest,
    /// As the image's history has it.
    pub created_by: String,
}

impl<'a, 'b> Steps<'a, 'b> {
    /// Begin a stage with its base.
    ///
    /// # Errors
    /// If the base cannot be had.
    pub fn begin(builder: &'b mut Builder<'a>, stage: &Stage, index: usize) -> anyhow::Result<Self> {
        let name = stage.name.clone().unwrap_or_else(|| format!("stage-{index}"));
        let (base, shown) = match builder.base(stage, index) {
            Ok(base) => base,
            Err(error) => return Err(located(builder, stage.span, &stage.text, Vec::new(), error)),
        };
        let mut config = base.config;
        let triggers = config.take_triggers();
        let escape = builder.file.escape;
        // A trigger's place is the line that brought it.
        let trigger = |text: &String| Ok(Step { span: stage.span, ..Step::parse_trigger(text, escape)? });
        let mut steps = triggers.iter().map(trigger).collect::<anyhow::Result<Vec<_>>>()?;
        steps.extend(stage.steps.iter().cloned());
        let total = 1 + steps.iter().filter(|step| makes_layer(&step.instruction)).count();
        let it =
            Steps { builder, index, config, layers: base.layers, args: Vec::new(), name, steps, position: (1, total) };
        let label = it.label(&format!("FROM {shown}"));
        it.builder.begin(&label).done();
        Ok(it)
    }

    fn label(&self, text: &str) -> String {
        let (at, total) = self.position;
        let stage = if self.builder.file.stages.len() > 1 { format!("{} ", self.name) } else { String::new() };
        format!("[{stage}{at:>width$}/{total}] {text}", width = total.to_string().len())
    }

    /// Carry out all steps.
    ///
    /// # Errors
    /// Of the first that fails; its place in the file has been shown.
    pub fn run(mut self) -> anyhow::Result<Done> {
        for step in std::mem::take(&mut self.steps) {
            if makes_layer(&step.instruction) {
                self.position.0 += 1;
                self.layer_step(&step)?;
            } else if let Err(error) = self.note(&step) {
                return Err(located(self.builder, step.span, &step.text, Vec::new(), error));
            }
        }
        Ok(Done { config: self.config, layers: self.layers })
    }

    /// The value of a variable: the image's, or an ARG's.
    pub fn variable(&self, env: &BTreeMap<String, String>, name: &str) -> Option<String> {
        variable(env, &self.args, name)
    }

    /// Expand the variables of a text.
    ///
    /// # Errors
    /// If it cannot be understood.
    pub fn expand(&self, text: &str) -> anyhow::Result<String> {
        self.with_expander(|expander| expander.word(text))
    }

    /// Expand variables only: quotes are part of the text.
    ///
    /// # Errors
    /// If it cannot be understood.
    pub fn expand_text(&self, text: &str) -> anyhow::Result<String> {
        self.with_expander(|expander| Expander { plain_quotes: true, ..expander }.word(text))
    }

    fn with_expander<T>(&self, expand: impl FnOnce(Expander<'_>) -> Result<T, String>) -> anyhow::Result<T> {
        let env = env_map(&self.config.env());
        let lookup = |name: &str| self.variable(&env, name);
        expand(Expander::new(self.builder.file.escape, &lookup)).map_err(anyhow::Error::msg)
    }

    /// An instruction that changes the configuration only.
    fn note(&mut self, step: &Step) -> anyhow::Result<()> {
        if let Instruction::Arg(args) = &step.instruction {
            for (name, default) in args {
                let text = self.declare(name, default.as_deref())?;
                self.add_note(&format!("ARG {text}"));
            }
            return Ok(());
        }
        let env = env_map(&self.config.env());
        let args = &self.args;
        let lookup = |name: &str| variable(&env, args, name);
        let expander = Expander::new(self.builder.file.escape, &lookup);
        let created_by = change::apply(&mut self.config, step, &expander)?;
        self.add_note(&created_by);
        Ok(())
    }

    /// History without a layer: dated like the layer before, so that what is cached gives the same image again.
    fn add_note(&mut self, created_by: &str) {
        let created = match self.builder.epoch {
            Some(_) => Some(self.builder.now()),
            None => self.config.created().map(str::to_owned),
        };
        self.config.add_history(created.as_deref(), created_by, true);
    }

    /// `ARG`: what was given on the command line, else the default, else what is known globally.
    fn declare(&mut self, name: &str, default: Option<&str>) -> anyhow::Result<String> {
        let given = self.builder.build_args.get(name).cloned();
        self.builder.consumed.insert(name.into());
        let value = match (given, default) {
            (Some(value), _) => Some(value),
            (None, Some(text)) => Some(self.expand(text)?),
            (None, None) => self.builder.global_args.get(name).cloned(),
        };
        let text = value.as_ref().map_or_else(|| name.to_owned(), |value| format!("{name}={value}"));
        self.args.retain(|(other, _)| other != name);
        self.args.push((name.into(), value));
        Ok(text)
    }

    /// An instruction that makes a layer.
    fn layer_step(&mut self, step: &Step) -> anyhow::Result<()> {
        let label = self.label(&step.text.replace('\n', " "));
        let mut vertex = self.builder.begin(&label);
        match self.carry_out(step, &mut vertex) {
            Ok(true) => vertex.cached(),
            Ok(false) => vertex.done(),
            Err(error) => {
                let tail = vertex.failed(&format!("{error:#}"));
                return Err(located(self.builder, step.span, &label, tail, error));
            }
        }
        Ok(())
    }

    /// Says whether its result was there.
    fn carry_out(&mut self, step: &Step, vertex: &mut Vertex) -> anyhow::Result<bool> {
        match &step.instruction {
            Instruction::Run(instruction) => run::run(self, instruction, vertex),
            Instruction::Copy(copy) => add::copy(self, copy),
            Instruction::Add(instruction) => add::add(self, instruction),
            Instruction::Workdir(path) => self.workdir(path),
            _ => bail!("{} makes no layer", step.text),
        }
    }

    /// The directories of the layers so far.
    ///
    /// # Errors
    /// If one is gone.
    pub fn layer_paths(&self) -> anyhow::Result<Vec<PathBuf>> {
        Ok(self.builder.store.layer_paths(&self.layers)?)
    }

    /// A key that begins with what the step is, and the files that it finds.
    pub fn key(&self, what: &str) -> Key {
        let mut key = Key::default();
        key.add(what).add_all(self.layers.iter().map(|layer| layer.diff_id.hex()));
        if let Some(epoch) = self.builder.epoch {
            key.add(epoch.seconds.to_le_bytes()).add([u8::from(epoch.all)]);
        }
        key
    }

    /// Find a step's layer in the cache, or make it: `make` gives the directory that holds it. Says whether it was there.
    ///
    /// # Errors
    /// Of making it.
    pub fn layer(
        &mut self,
        task: &Task,
        make: impl FnOnce(&mut Self) -> anyhow::Result<PathBuf>,
    ) -> anyhow::Result<bool> {
        if !self.builder.args.no_cache
            && let Some(record) = cache::get(self.builder.store, &task.key)
        {
            self.push(record.layer(), &record.created, &task.created_by);
            return Ok(true);
        }
        let upper = make(self)?;
        let layer = self.commit(&upper)?;
        let created = self.builder.now();
        cache::put(&task.key, &Record::new(layer.as_ref(), &created, &task.created_by))?;
        self.push(layer, &created, &task.created_by);
        super::super::files::remove_tree(&upper).with_context(|| format!("cannot remove {}", upper.display()))?;
        Ok(false)
    }

    fn push(&mut self, layer: Option<Layer>, created: &str, created_by: &str) {
        self.config.add_history(Some(created), created_by, layer.is_none());
        self.layers.extend(layer);
    }

    /// A directory as a layer of the store; none if there is nothing in it.
    fn commit(&self, upper: &Path) -> anyhow::Result<Option<Layer>> {
        let words = || format!("cannot read {}", upper.display());
        if fs::read_dir(upper).with_context(words)?.next().is_none() {
            return Ok(None);
        }
        if let Some(epoch) = self.builder.epoch {
            epoch::apply(upper, epoch).context("cannot date the files of the layer")?;
        }
        Ok(Some(self.builder.store.add_upper(upper).context("cannot make a layer of what the step has changed")?))
    }

    /// `WORKDIR`: made if it is not there, for the user of commands.
    fn workdir(&mut self, text: &str) -> anyhow::Result<bool> {
        let path = self.expand(text)?;
        let path = self.config.resolve_folder(&path);
        let user = self.config.user().to_owned();
        let mut key = self.key("workdir");
        key.add(&path).add(&user);
        let task = Task { key: key.finish(), created_by: format!("WORKDIR {path}") };
        self.config.set_workdir(&path);
        self.layer(&task, |it| {
            let view = View::mount(it.builder.session, &it.layer_paths()?)?;
            let owner = if user.is_empty() { (0, 0) } else { owner::find(&user, || view.tree())? };
            let target = Target { root: view.root(), owner: Some(owner), mode: None, replace: false };
            target.make_folders(Path::new(path.trim_start_matches('/')))?;
            Ok(view.into_upper())
        })
    }
}

/// Whether an instruction may change files.
fn makes_layer(instruction: &Instruction) -> bool {
    matches!(instruction, Instruction::Add(_) | Instruction::Copy(_) | Instruction::Run(_) | Instruction::Workdir(_))
}

/// Show where in the file an error comes from, in docker's form.
fn located(
    builder: &Builder<'_>,
    span: (usize, usize),
    label: &str,
    tail: Vec<String>,
    error: anyhow::Error,
) -> anyhow::Error {
    if error.downcast_ref::<Shown>().is_some() {
        return error;
    }
    eprintln!("------\n > {label}:");
    tail.iter().for_each(|line| eprintln!("{line}"));
    eprintln!("------\n{}", excerpt(&builder.context.name, &builder.context.text, span));
    anyhow::Error::new(Shown(format!("{error:#}")))
}

/// An error whose place in the file has been shown.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Shown(String);
