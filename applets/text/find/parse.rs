//! The parser of find's command line (POSIX.1-2024 XCU `find`, with GNU's additions).

use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::rc::Rc;

use anyhow::{Result, anyhow, bail};

use super::clock;
use super::entry::{quoted, stat_at};
use super::expression::{Action, Expression, Follow, Nanoseconds, Plan, Test};
use super::flavour::Flavour;
use crate::text::reason;

/// Deepest nesting of parentheses and negations: keeps recursion within the stack.
const DEPTH_MAX: usize = 500;

/// The command line asks for help instead of a walk.
#[derive(Debug, thiserror::Error)]
#[error("help was asked for")]
pub struct HelpWanted;

/// Reads the arguments one after another.
pub(super) struct Parser<'a> {
    arguments: &'a [Vec<u8>],
    at: usize,
    depth: usize,
    /// The plan as far as it is known.
    pub plan: Plan,
    /// There is an action besides -prune.
    pub acts: bool,
    pub flavour: Flavour,
    /// What ages are counted from for -daystart.
    pub day_start: Option<Nanoseconds>,
}

/// Parse the arguments after the command's name.
///
/// # Errors
/// What is wrong, in GNU's words where it has some; or [`HelpWanted`].
pub fn parse(arguments: &[Vec<u8>]) -> Result<Plan> {
    let plan = Plan {
        starting_points: Vec::new(),
        expression: Expression::Test(Test::Constant(true)),
        follow: Follow::Never,
        min_depth: 0,
        max_depth: usize::MAX,
        contents_first: false,
        one_file_system: false,
        ignore_races: false,
        outputs: vec![b"/dev/stdout".to_vec()],
        batches: Vec::new(),
        now: clock::now(),
    };
    let mut parser = Parser { arguments, at: 0, depth: 0, plan, acts: false, flavour: Flavour::Emacs, day_start: None };
    parser.leading_options();
    parser.starting_points();
    parser.whole_expression()?;
    let mut plan = parser.plan;
    if plan.starting_points.is_empty() {
        plan.starting_points.push(b".".to_vec());
    }
    Ok(plan)
}

/// Whether an argument begins the expression.
fn begins_expression(argument: &[u8]) -> bool {
    argument.len() > 1 && argument[0] == b'-' || matches!(argument, b"(" | b"!")
}

impl Parser<'_> {
    fn peek(&self) -> Option<&[u8]> {
        self.arguments.get(self.at).map(Vec::as_slice)
    }

    /// The next argument, which belongs to the predicate `name`.
    pub(super) fn argument(&mut self, name: &str) -> Result<Vec<u8>> {
        let argument = self.arguments.get(self.at).cloned();
        self.at += 1;
        argument.ok_or_else(|| anyhow!("missing argument to `{name}'"))
    }

    /// `argument`, as text.
    pub(super) fn text_argument(&mut self, name: &str) -> Result<String> {
        let argument = self.argument(name)?;
        String::from_utf8(argument)
            .map_err(|error| anyhow!("invalid argument `{}' to `{name}'", String::from_utf8_lossy(error.as_bytes())))
    }

    fn leading_options(&mut self) {
        while let Some(argument) = self.peek() {
            self.plan.follow = match argument {
                b"-P" => Follow::Never,
                b"-H" => Follow::StartingPoints,
                b"-L" => Follow::Always,
                b"--" => {
                    self.at += 1;
                    return;
                }
                _ => return,
            };
            self.at += 1;
        }
    }

    fn starting_points(&mut self) {
        while let Some(argument) = self.peek().filter(|argument| !begins_expression(argument)) {
            let argument = argument.to_vec();
            self.plan.starting_points.push(argument);
            self.at += 1;
        }
    }

    fn whole_expression(&mut self) -> Result<()> {
        let mut expression = Expression::Test(Test::Constant(true));
        if self.peek().is_some() {
            expression = self.list()?;
            match self.peek() {
                None => {}
                Some(b")") => bail!("invalid expression; you have too many ')'"),
                Some(other) => bail!("paths must precede expression: `{}'", String::from_utf8_lossy(other)),
            }
        }
        if !self.acts {
            let print = Expression::Action(Action::Print { output: 0, end: b'\n' });
            expression = Expression::And(vec![expression, print]);
        }
        self.plan.expression = expression;
        Ok(())
    }

    fn list(&mut self) -> Result<Expression> {
        self.series(&[b","], Self::any, Expression::List)
    }

    fn any(&mut self) -> Result<Expression> {
        self.series(&[b"-o", b"-or"], Self::all, Expression::Or)
    }

    /// Operands between which one of `operators` stands.
    fn series(
        &mut self,
        operators: &[&[u8]],
        operand: impl Fn(&mut Self) -> Result<Expression>,
        join: impl Fn(Vec<Expression>) -> Expression,
    ) -> Result<Expression> {
        let mut operands = vec![operand(self)?];
        while let Some(operator) = self.peek().filter(|argument| operators.contains(argument)) {
            let operator = String::from_utf8_lossy(operator).into_owned();
            self.at += 1;
            if self.peek().is_none() {
                bail!("expected an expression after '{operator}'");
            }
            operands.push(operand(self)?);
        }
        Ok(if operands.len() == 1 { operands.swap_remove(0) } else { join(operands) })
    }

    fn all(&mut self) -> Result<Expression> {
        let mut operands = vec![self.operand()?];
        loop {
            match self.peek() {
                None | Some(b"," | b"-o" | b"-or" | b")") => break,
                Some(operator @ (b"-a" | b"-and")) => {
                    let operator = String::from_utf8_lossy(operator).into_owned();
                    self.at += 1;
                    if self.peek().is_none() {
                        bail!("expected an expression after '{operator}'");
                    }
                    operands.push(self.operand()?);
                }
                Some(_) => operands.push(self.operand()?),
            }
        }
        Ok(if operands.len() == 1 { operands.swap_remove(0) } else { Expression::And(operands) })
    }

    fn operand(&mut self) -> Result<Expression> {
        let Some(name) = self.peek() else { bail!("invalid expression") };
        let name = String::from_utf8_lossy(name).into_owned();
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            bail!("invalid expression; it is nested more than {DEPTH_MAX} deep");
        }
        self.at += 1;
        let expression = match name.as_str() {
            "(" => self.parentheses()?,
            "!" | "-not" if self.peek().is_none() => bail!("expected an expression after '{name}'"),
            "!" | "-not" => Expression::Not(Box::new(self.operand()?)),
            "-o" | "-or" | "-a" | "-and" | "," => {
                bail!("invalid expression; you have used a binary operator '{name}' with nothing before it.")
            }
            ")" => bail!("invalid expression; expected an expression before ')'"),
            name if name.starts_with('-') => self.predicate(name)?,
            name => bail!("paths must precede expression: `{name}'"),
        };
        self.depth -= 1;
        Ok(expression)
    }

    fn parentheses(&mut self) -> Result<Expression> {
        if self.peek() == Some(b")") {
            bail!("invalid expression; empty parentheses are not allowed.");
        }
        let unclosed = || {
            anyhow!(
                "invalid expression; expected to find a ')' but didn't see one. \
                 Perhaps you need an extra predicate after '('"
            )
        };
        if self.peek().is_none() {
            return Err(unclosed());
        }
        let inner = self.list()?;
        if self.peek() != Some(b")") {
            return Err(unclosed());
        }
        self.at += 1;
        Ok(inner)
    }

    fn predicate(&mut self, name: &str) -> Result<Expression> {
        if matches!(name, "-help" | "--help") {
            return Err(HelpWanted.into());
        }
        if self.option(name)? {
            return Ok(Expression::Test(Test::Constant(true)));
        }
        if let Some(test) = self.test(name)? {
            return Ok(Expression::Test(test));
        }
        match self.action(name)? {
            Some(action) => {
                self.acts |= !matches!(action, Action::Prune);
                Ok(Expression::Action(action))
            }
            None => bail!("unknown predicate `{name}'"),
        }
    }

    /// Take an option, which is always true; false if `name` is none.
    fn option(&mut self, name: &str) -> Result<bool> {
        match name {
            "-d" | "-depth" => self.plan.contents_first = true,
            "-daystart" => self.day_start = Some(clock::midnight(self.plan.now)),
            "-files0-from" => self.starting_points_of_file()?,
            "-follow" => self.plan.follow = Follow::Always,
            "-ignore_readdir_race" => self.plan.ignore_races = true,
            "-noignore_readdir_race" => self.plan.ignore_races = false,
            "-maxdepth" => self.plan.max_depth = self.level(name)?,
            "-mindepth" => self.plan.min_depth = self.level(name)?,
            "-mount" | "-xdev" => self.plan.one_file_system = true,
            // Both tell what is always so here: no link count is trusted, and few warnings are given.
            "-noleaf" | "-nowarn" => {}
            "-regextype" => {
                let flavour = self.text_argument(name)?;
                self.flavour = Flavour::from_name(&flavour)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn level(&mut self, name: &str) -> Result<usize> {
        let text = self.text_argument(name)?;
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        match text.parse() {
            Ok(level) if digits => Ok(level),
            _ => bail!("Expected a positive decimal integer argument to {name}, but got ‘{text}’"),
        }
    }

    /// The starting points that a file lists, each with a zero byte after it.
    fn starting_points_of_file(&mut self) -> Result<()> {
        let path = self.argument("-files0-from")?;
        if let Some(first) = self.plan.starting_points.first() {
            bail!(
                "extra operand ‘{}’; file operands cannot be combined with -files0-from",
                String::from_utf8_lossy(first)
            );
        }
        let mut text = Vec::new();
        let read = if path == b"-" {
            std::io::stdin().lock().read_to_end(&mut text).map(|_| ())
        } else {
            std::fs::read(OsStr::from_bytes(&path)).map(|content| text = content)
        };
        read.map_err(|error| anyhow!("{}: {}", quoted(&path), reason(&error)))?;
        self.plan.starting_points =
            text.split(|byte| *byte == 0).filter(|name| !name.is_empty()).map(<[u8]>::to_vec).collect();
        if self.plan.starting_points.is_empty() {
            bail!("-files0-from names no starting point");
        }
        Ok(())
    }

    /// The words of a command up to `;`, or up to `+` after `{}`; true for the latter.
    pub(super) fn command(&mut self, name: &str, may_batch: bool) -> Result<(Vec<Vec<u8>>, bool)> {
        let start = self.at;
        let rest = &self.arguments[start..];
        let plus = |at: usize| may_batch && at > 0 && rest[at] == b"+" && rest[at - 1] == b"{}";
        let Some(length) = (0..rest.len()).find(|at| rest[*at] == b";" || plus(*at)) else {
            bail!("missing argument to `{name}'")
        };
        self.at += length + 1;
        let batched = rest[length] == b"+";
        let mut words = rest[..length].to_vec();
        if batched {
            words.pop();
            if words.iter().any(|word| word == b"{}") {
                bail!("Only one instance of {{}} is supported with {name} ... +");
            }
        }
        if words.is_empty() {
            bail!("missing argument to `{name}'");
        }
        Ok((words, batched))
    }

    /// The index of an output file.
    pub(super) fn output(&mut self, name: &str) -> Result<usize> {
        let path = self.argument(name)?;
        let outputs = &mut self.plan.outputs;
        Ok(outputs.iter().position(|known| *known == path).unwrap_or_else(|| {
            outputs.push(path);
            outputs.len() - 1
        }))
    }

    /// What a reference file is looked at for: links are followed as the walk follows starting points.
    pub(super) fn reference(&mut self, name: &str) -> Result<rustix::fs::Statx> {
        let path = self.argument(name)?;
        let follow = self.plan.follow != Follow::Never;
        stat_at(rustix::fs::CWD, &path, follow).map_err(|error| anyhow!("{}: {}", quoted(&path), reason(&error.into())))
    }

    pub(super) fn compile(&self, pattern: &[u8], ignore_case: bool) -> Result<Test> {
        let regex = self.flavour.compile(pattern, ignore_case).map_err(|error| {
            anyhow!("failed to compile regular expression '{}': {error:#}", String::from_utf8_lossy(pattern))
        })?;
        Ok(Test::Regex(Rc::new(regex)))
    }
}
