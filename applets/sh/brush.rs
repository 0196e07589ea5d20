//! The shell language as executed by the `brush` crates.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use anyhow::Context as _;
use brush_builtins::{BuiltinSet, ShellBuilderExt as _};
use brush_core::escape::{QuoteMode, quote_if_needed};
use brush_core::extensions::{ErrorFormatter, ShellExtensionsImpl};
use brush_core::openfiles::{OpenFile, OpenFiles};
use brush_core::{
    ExecutionControlFlow, ExecutionResult, ProfileLoadBehavior, RcLoadBehavior, ShellExtensions, ShellVariable,
    SourceInfo,
};
use tokio::runtime::Runtime;

use super::engine::{Completion, Engine, Flow, Prompt, Settings};
use super::kill::Kill;

/// Threads for the parts of a pipeline that brush runs inside the process. A part that blocks on a pipe holds its thread, so
/// there must be more of them than a pipeline of compound commands has parts, however few processors there are.
const WORKERS: usize = 16;

/// Prompt of a shell that was given none: user@host:directory, then # for root or $.
const DEFAULT_PS1: &str = r"\u@\h:\w\$ ";

type Shell = brush_core::Shell<ShellExtensionsImpl<Messages>>;

/// Errors as a Unix shell words them: `sh: what went wrong`.
#[derive(Clone, Default)]
struct Messages;

impl ErrorFormatter for Messages {
    fn format_error(&self, error: &brush_core::Error, shell: &brush_core::Shell<impl ShellExtensions>) -> String {
        let name = shell.current_shell_name();
        format!("{}: {error:#}\n", name.as_deref().unwrap_or("sh"))
    }
}

/// A brush shell and the runtime that it needs.
pub struct Brush {
    runtime: Runtime,
    shell: Shell,
    settings: Settings,
    trap_is_done: bool,
}

impl Brush {
    /// Make a shell with the given behaviour.
    ///
    /// # Errors
    /// When the runtime's threads or the shell's view of the process (working directory, descriptors) cannot be had.
    pub fn new(settings: Settings) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(WORKERS)
            .enable_all()
            .build()
            .context("cannot start the shell's threads")?;
        let shell = runtime.block_on(build(&settings)).context("cannot start the shell")?;
        Ok(Self { runtime, shell, settings, trap_is_done: false })
    }

    /// Take what running something gave: the status, and whether to go on.
    fn settle(&mut self, result: Result<ExecutionResult, brush_core::Error>) -> Flow {
        match result {
            Ok(result) if matches!(result.next_control_flow, ExecutionControlFlow::ExitShell) => {
                self.shell.set_last_exit_status(result.exit_code.into());
                Flow::Exit
            }
            Ok(_) => Flow::Continue,
            Err(error) => {
                // Nothing is left to tell it to when stderr is gone.
                let _ = self.shell.display_error(&mut self.shell.stderr(), &error);
                let status = error.into_result(&self.shell).exit_code.into();
                self.shell.set_last_exit_status(status);
                Flow::Continue
            }
        }
    }
}

async fn build(settings: &Settings) -> Result<Shell, brush_core::Error> {
    let mut builder = brush_core::Shell::builder_with_extensions::<ShellExtensionsImpl<Messages>>()
        .enable_options(settings.enabled.clone())
        .disable_options(settings.disabled.clone())
        .profile(ProfileLoadBehavior::Skip)
        .rc(RcLoadBehavior::Skip)
        .interactive(settings.interactive)
        .login(settings.login)
        .read_commands_from_stdin(settings.from_stdin)
        .command_string_mode(settings.from_command)
        .shell_name(settings.name.clone())
        .shell_args(settings.args.clone())
        .error_formatter(Messages)
        .fds(unbuffered_stdin())
        .default_builtins(BuiltinSet::BashMode)
        .builtin("kill", brush_core::builtins::simple_builtin::<Kill, _>());
    if settings.interactive && std::env::var_os("PS1").is_none() {
        builder = builder.var("PS1", ShellVariable::new(DEFAULT_PS1));
    }
    if let Some(file) = &settings.history_file {
        builder = builder.var("HISTFILE", ShellVariable::new(file.as_str()));
    }
    builder.build().await
}

/// Standard input as a plain file: the standard library's buffer would take what belongs to the next command.
fn unbuffered_stdin() -> HashMap<brush_core::ShellFd, OpenFile> {
    let stdin = io::stdin().as_fd().try_clone_to_owned();
    stdin.map(|fd| (OpenFiles::STDIN_FD, OpenFile::from(File::from(fd)))).into_iter().collect()
}

impl Engine for Brush {
    fn load_profile(&mut self) -> Flow {
        if self.settings.login {
            let load = self.shell.load_config(&ProfileLoadBehavior::LoadDefault, &RcLoadBehavior::Skip);
            let result = self.runtime.block_on(load);
            return self.settle(result.map(|()| ExecutionResult::success()));
        }
        let env = self.shell.env_str("ENV").map(|value| value.into_owned()).unwrap_or_default();
        if !self.settings.interactive || env.is_empty() || !Path::new(&env).is_file() {
            return Flow::Continue;
        }
        let params = self.shell.default_exec_params();
        let result = self.runtime.block_on(self.shell.source_script(&env, std::iter::empty::<String>(), &params));
        self.settle(result)
    }

    fn run(&mut self, text: &str) -> Flow {
        let params = self.shell.default_exec_params();
        let source = SourceInfo::from(if self.settings.from_command { "-c" } else { "main" });
        let result = self.runtime.block_on(async {
            if self.settings.from_command {
                self.shell.start_command_string_mode();
            }
            let result = self.shell.run_string(text, &source, &params).await;
            if self.settings.from_command {
                self.shell.end_command_string_mode()?;
            }
            self.shell.increment_interactive_line_offset(text.lines().count().max(1));
            result
        });
        self.settle(result)
    }

    fn run_file(&mut self, path: &Path, args: &[String]) -> Flow {
        let result = self.runtime.block_on(self.shell.run_script(path, args.iter().cloned()));
        // `run_script` has run the EXIT trap.
        self.trap_is_done = true;
        self.settle(result)
    }

    fn is_whole(&self, text: &str) -> bool {
        use brush_parser::ParseError;
        match self.shell.parse_string(text) {
            Err(ParseError::Tokenizing { inner, .. }) => !inner.is_incomplete(),
            Err(ParseError::ParsingAtEndOfInput) => false,
            _ => !ends_in_line_continuation(text),
        }
    }

    fn prompt(&mut self, which: Prompt) -> String {
        let text = self.runtime.block_on(async {
            match which {
                Prompt::Primary => {
                    // Done jobs are told about before the prompt, as POSIX asks.
                    let _ = self.shell.check_for_completed_jobs();
                    self.shell.compose_prompt().await
                }
                Prompt::Continuation => self.shell.compose_continuation_prompt().await,
            }
        });
        text.unwrap_or_else(|_| "$ ".into())
    }

    fn complete(&mut self, line: &str, cursor: usize) -> Completion {
        let Ok(found) = self.runtime.block_on(self.shell.complete(line, cursor)) else { return Completion::default() };
        let folder = self.shell.working_dir().to_path_buf();
        let files = found.options.treat_as_filenames;
        let spaced = !found.options.no_trailing_space_at_end_of_line;
        let mut candidates: Vec<String> = found
            .candidates
            .into_iter()
            .map(|word| {
                let is_dir = files && folder.join(&word).is_dir();
                let mut text = match files && !found.options.no_autoquote_filenames {
                    true => quote_if_needed(&word, QuoteMode::BackslashEscape).into_owned(),
                    false => word,
                };
                match is_dir {
                    true if !text.ends_with('/') => text.push('/'),
                    false if spaced => text.push(' '),
                    _ => {}
                }
                text
            })
            .collect();
        candidates.sort_unstable();
        candidates.dedup();
        let start = found.insertion_index.min(line.len());
        Completion { start, end: (start + found.delete_count).min(line.len()), candidates }
    }

    fn remember(&mut self, line: &str) {
        // The list is a convenience: a line that it refuses is still run.
        let _ = self.shell.add_to_history(line);
    }

    fn interrupted(&mut self) {
        self.shell.set_last_exit_status(130);
    }

    fn finish(&mut self) -> i32 {
        if !self.trap_is_done {
            self.trap_is_done = true;
            // An error in the trap has been printed; the status stays what it was.
            let _ = self.runtime.block_on(self.shell.on_exit());
        }
        i32::from(self.shell.last_exit_status())
    }
}

/// Lead a process group of our own in the foreground of the terminal, until the result is dropped.
///
/// # Errors
/// When the signal that the kernel sends to a background process cannot be ignored.
pub fn own_terminal() -> anyhow::Result<impl Drop> {
    brush_core::terminal::TerminalControl::acquire().context("cannot take the terminal")
}

/// Whether the last line ends in an unescaped backslash, which joins it to the next.
fn ends_in_line_continuation(text: &str) -> bool {
    let line = text.strip_suffix('\n').unwrap_or(text);
    line.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1
}
