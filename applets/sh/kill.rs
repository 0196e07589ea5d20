//! The builtin `kill`: that of the applet, and `%JOB` (POSIX kill(1)). brush's own knows no `-9`, and sends KILL where TERM is due.

use std::io::Write as _;

use brush_core::builtins::{ContentOptions, ContentType, SimpleCommand};
use brush_core::{Error, ExecutionContext, ExecutionResult, ShellExtensions};

use crate::system::kill::{Request, parse, send};

/// The builtin.
pub struct Kill;

impl SimpleCommand for Kill {
    fn get_content(_: &str, _: ContentType, _: &ContentOptions) -> Result<String, Error> {
        Ok("kill: kill [-s SIGNAL | -SIGNAL] PID|%JOB... or kill -l [SIGNAL | STATUS]...\n".into())
    }

    fn execute<SE: ShellExtensions, I: Iterator<Item = S>, S: AsRef<str>>(
        mut context: ExecutionContext<'_, SE>,
        args: I,
    ) -> Result<ExecutionResult, Error> {
        let words: Vec<String> = args.skip(1).map(|word| word.as_ref().to_owned()).collect();
        let mut failed = false;
        match parse(&words) {
            Ok(Request::Say(text)) => context.stdout().write_all(text.as_bytes())?,
            Ok(Request::Send(signal, operands)) => {
                for operand in operands {
                    let target = match operand.starts_with('%') {
                        true => job(&mut context, &operand),
                        false => Ok(operand),
                    };
                    if let Err(message) = target.and_then(|target| send(signal, &target)) {
                        writeln!(context.stderr(), "kill: {message}")?;
                        failed = true;
                    }
                }
            }
            Err(message) => {
                writeln!(context.stderr(), "kill: {message}")?;
                failed = true;
            }
        }
        Ok(if failed { ExecutionResult::general_error() } else { ExecutionResult::success() })
    }
}

/// What to signal for a job: its process group, or its process where jobs have no group of their own.
fn job<SE: ShellExtensions>(context: &mut ExecutionContext<'_, SE>, spec: &str) -> Result<String, String> {
    let grouped = context.shell.options().enable_job_control;
    let found = context.shell.jobs_mut().resolve_job_spec(spec);
    let pid =
        found.and_then(|job| if grouped { job.process_group_id().map(|pid| -pid) } else { job.representative_pid() });
    pid.map(|pid| pid.to_string()).ok_or_else(|| format!("{spec}: no such job"))
}
