//! Walks a template's tree over the data: Go's `text/template/exec.go`.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::functions::{self, is_true, print_value};
use super::parse::{Base, Command, Node, Operand, Pipeline};
use super::{Error, Mode};

/// Fields whose value is a map rather than a struct in Docker's types: a key that is not there is no mistake.
const MAPS: [&str; 15] = [
    "Annotations",
    "Attributes",
    "DriverOpts",
    "ExposedPorts",
    "GenericResources",
    "Labels",
    "Networks",
    "Options",
    "PortBindings",
    "Ports",
    "StorageOpt",
    "Sysctls",
    "Tmpfs",
    "UsageData",
    "Volumes",
];

/// What one execution may come to, in bytes of text that is made. Ranges in ranges, and variables that double, know no end.
const WORK_MAX: usize = 1 << 25;
/// What a node, a call of a function, or an element of a range counts as.
const STEP: usize = 8;

type Val<'a> = Cow<'a, Value>;

/// How a list of nodes ended.
#[derive(PartialEq)]
enum Flow {
    Next,
    Break,
    Continue,
}

/// Execute a template.
pub fn execute(nodes: &[Node], data: &Value, mode: Mode<'_>) -> Result<String, Error> {
    let root = Cow::Borrowed(data);
    let mut machine = Machine { variables: vec![("$", root.clone())], out: String::new(), mode, left: WORK_MAX };
    machine.list(nodes, &root)?;
    Ok(machine.out)
}

struct Machine<'t, 'd> {
    variables: Vec<(&'t str, Val<'d>)>,
    out: String,
    mode: Mode<'d>,
    /// Of [`WORK_MAX`].
    left: usize,
}

/// An error at a place in the template.
fn at(place: (usize, usize), text: &str, what: impl std::fmt::Display) -> Error {
    let shown = if text.len() > 20 { format!("{}...", text.chars().take(20).collect::<String>()) } else { text.into() };
    Error::new(format!("template: :{}:{}: executing \"\" at <{shown}>: {what}", place.0, place.1))
}

impl<'t, 'd> Machine<'t, 'd> {
    fn list(&mut self, nodes: &'t [Node], dot: &Val<'d>) -> Result<Flow, Error> {
        for node in nodes {
            self.charge(STEP)?;
            let flow = self.node(node, dot)?;
            if flow != Flow::Next {
                return Ok(flow);
            }
        }
        Ok(Flow::Next)
    }

    fn node(&mut self, node: &'t Node, dot: &Val<'d>) -> Result<Flow, Error> {
        match node {
            Node::Text(text) => {
                self.charge(text.len())?;
                self.out.push_str(text);
            }
            Node::Action(pipeline) => {
                let value = self.pipeline(pipeline, dot)?;
                if pipeline.variables.is_empty() {
                    let before = self.out.len();
                    print_value(&mut self.out, &value);
                    self.charge(self.out.len() - before)?;
                }
            }
            Node::If(condition, then, otherwise) => {
                return self.scoped(|machine| {
                    let holds = is_true(&*machine.pipeline(condition, dot)?);
                    machine.list(if holds { then } else { otherwise }, dot)
                });
            }
            Node::With(pipeline, body, otherwise) => {
                return self.scoped(|machine| {
                    let value = machine.pipeline(pipeline, dot)?;
                    if is_true(&value) { machine.list(body, &value) } else { machine.list(otherwise, dot) }
                });
            }
            Node::Range(pipeline, body, otherwise) => {
                return self.scoped(|machine| machine.range(pipeline, body, otherwise, dot));
            }
            Node::Break => return Ok(Flow::Break),
            Node::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::Next)
    }

    fn charge(&mut self, work: usize) -> Result<(), Error> {
        let too_much = || Error::new("template: it goes on for too long, or makes too much text");
        self.left = self.left.checked_sub(work).ok_or_else(too_much)?;
        Ok(())
    }

    /// Variables that are declared within are gone after it.
    fn scoped<T>(&mut self, act: impl FnOnce(&mut Self) -> Result<T, Error>) -> Result<T, Error> {
        let scope = self.variables.len();
        let result = act(self);
        self.variables.truncate(scope);
        result
    }

    fn range(
        &mut self,
        pipeline: &'t Pipeline,
        body: &'t [Node],
        otherwise: &'t [Node],
        dot: &Val<'d>,
    ) -> Result<Flow, Error> {
        let over = self.commands(pipeline, dot)?;
        let elements = elements(over).map_err(|what| at(place(pipeline), &pipeline.to_string(), what))?;
        self.charge(elements.len() * STEP)?;
        if elements.is_empty() {
            return self.list(otherwise, dot);
        }
        for (key, element) in elements {
            let flow = self.scoped(|machine| {
                match &pipeline.variables[..] {
                    [value] => machine.set(value, element.clone(), pipeline.assigns),
                    [index, value] => {
                        machine.set(index, Cow::Owned(key), pipeline.assigns);
                        machine.set(value, element.clone(), pipeline.assigns);
                    }
                    _ => {}
                }
                machine.list(body, &element)
            })?;
            if flow == Flow::Break {
                break;
            }
        }
        Ok(Flow::Next)
    }

    fn set(&mut self, name: &'t str, value: Val<'d>, assigns: bool) {
        match self.variables.iter_mut().rev().find(|(other, _)| *other == name) {
            Some((_, old)) if assigns => *old = value,
            _ => self.variables.push((name, value)),
        }
    }

    fn pipeline(&mut self, pipeline: &'t Pipeline, dot: &Val<'d>) -> Result<Val<'d>, Error> {
        let value = self.commands(pipeline, dot)?;
        for name in &pipeline.variables {
            self.set(name, value.clone(), pipeline.assigns);
        }
        Ok(value)
    }

    fn commands(&mut self, pipeline: &'t Pipeline, dot: &Val<'d>) -> Result<Val<'d>, Error> {
        let mut value = None;
        for command in &pipeline.commands {
            value = Some(self.command(command, value, dot)?);
        }
        Ok(value.unwrap_or(Cow::Owned(Value::Null)))
    }

    fn command(&mut self, command: &'t Command, piped: Option<Val<'d>>, dot: &Val<'d>) -> Result<Val<'d>, Error> {
        let Some((first, arguments)) = command.split_first() else { return Ok(Cow::Owned(Value::Null)) };
        match &first.base {
            Base::Function(name) if first.fields.is_empty() => self.call(name, first, arguments, piped, dot),
            _ if first.fields.last().is_some_and(|field| field == "Label") && !arguments.is_empty() => {
                self.label(first, arguments, dot)
            }
            _ if arguments.is_empty() && piped.is_none() => self.operand(first, dot),
            Base::Constant(value) => {
                Err(at(first.place, &first.to_string(), format!("can't give argument to non-function {value}")))
            }
            _ => {
                let name = first.fields.last().cloned().unwrap_or_else(|| first.to_string());
                Err(at(first.place, &first.to_string(), format!("{name} is not a method but has arguments")))
            }
        }
    }

    /// `.Label "KEY"`, the one method that Docker's rows have.
    fn label(&mut self, first: &Operand, arguments: &'t [Operand], dot: &Val<'d>) -> Result<Val<'d>, Error> {
        let [argument] = arguments else {
            let what = format!("wrong number of args for Label: want 1 got {}", arguments.len());
            return Err(at(first.place, &first.to_string(), what));
        };
        let key = self.operand(argument, dot)?;
        let key = key.as_str().unwrap_or_default();
        let text = if self.mode.header {
            key.rsplit('.').next().unwrap_or_default().replace(['-', '_'], " ")
        } else {
            let value = self.mode.labels.and_then(|labels| labels.get(key)).and_then(Value::as_str);
            value.unwrap_or_default().to_owned()
        };
        Ok(Cow::Owned(text.into()))
    }

    fn call(
        &mut self,
        name: &str,
        first: &Operand,
        arguments: &'t [Operand],
        piped: Option<Val<'d>>,
        dot: &Val<'d>,
    ) -> Result<Val<'d>, Error> {
        if name == "and" || name == "or" {
            return self.short_circuit(name == "or", first, arguments, piped, dot);
        }
        let mut values = arguments.iter().map(|operand| self.operand(operand, dot)).collect::<Result<Vec<_>, _>>()?;
        values.extend(piped);
        let value = functions::call(name, values, self.mode.header).map_err(|what| {
            let words: Vec<_> = std::iter::once(first).chain(arguments).map(ToString::to_string).collect();
            at(first.place, &words.join(" "), what)
        })?;
        self.charge(STEP + made(&value))?;
        Ok(value)
    }

    /// `and` and `or` evaluate no more than they need.
    fn short_circuit(
        &mut self,
        until: bool,
        first: &Operand,
        arguments: &'t [Operand],
        piped: Option<Val<'d>>,
        dot: &Val<'d>,
    ) -> Result<Val<'d>, Error> {
        let mut last = None;
        for operand in arguments {
            let value = self.operand(operand, dot)?;
            if is_true(&value) == until {
                return Ok(value);
            }
            last = Some(value);
        }
        piped.or(last).ok_or_else(|| {
            let name = if until { "or" } else { "and" };
            at(first.place, name, format!("wrong number of args for {name}: want at least 1 got 0"))
        })
    }

    fn operand(&mut self, operand: &'t Operand, dot: &Val<'d>) -> Result<Val<'d>, Error> {
        let (mut value, mut parent) = match &operand.base {
            Base::Dot => (dot.clone(), ""),
            Base::Variable(name) => {
                let found = self.variables.iter().rev().find(|(other, _)| other == name);
                (found.map_or(Cow::Owned(Value::Null), |(_, value)| value.clone()), "")
            }
            Base::Constant(constant) => (Cow::Owned(constant.clone()), ""),
            Base::Pipeline(pipeline) => (self.scoped(|machine| machine.pipeline(pipeline, dot))?, ""),
            Base::Function(name) => (self.call(name, operand, &[], None, dot)?, ""),
        };
        for field in &operand.fields {
            value = self.field(value, field, parent).map_err(|what| at(operand.place, &operand.to_string(), what))?;
            parent = field;
        }
        self.charge(made(&value))?;
        Ok(value)
    }

    fn field(&self, value: Val<'d>, name: &str, parent: &str) -> Result<Val<'d>, String> {
        if value.is_null() {
            return Err(format!("nil pointer evaluating interface {{}}.{name}"));
        }
        if !value.is_object() {
            return Err(format!("can't evaluate field {name} in type {}", functions::type_name(&value)));
        }
        let found = match value {
            Cow::Borrowed(value) => value.get(name).map(Cow::Borrowed),
            Cow::Owned(mut value) => value.get_mut(name).map(|value| Cow::Owned(value.take())),
        };
        match (found, self.mode.type_name) {
            (Some(found), _) => Ok(found),
            _ if MAPS.contains(&parent) => Ok(Cow::Owned(Value::Null)),
            (None, Some(type_name)) => Err(format!("can't evaluate field {name} in type {type_name}")),
            (None, None) => Err(format!("map has no entry for key {name:?}")),
        }
    }
}

/// Bytes of a value that was made or copied.
fn made(value: &Val<'_>) -> usize {
    match value {
        Cow::Owned(Value::String(text)) => text.len(),
        Cow::Owned(Value::Array(list)) => list.len() * STEP,
        _ => 0,
    }
}

/// Where a pipeline starts.
fn place(pipeline: &Pipeline) -> (usize, usize) {
    pipeline.commands.first().and_then(|command| command.first()).map_or((1, 0), |operand| operand.place)
}

/// What a range goes over, each element with its index or key.
fn elements(over: Val<'_>) -> Result<Vec<(Value, Val<'_>)>, String> {
    let number = |index: usize| Value::from(index);
    Ok(match over {
        Cow::Borrowed(Value::Array(list)) => {
            list.iter().enumerate().map(|(index, value)| (number(index), Cow::Borrowed(value))).collect()
        }
        Cow::Borrowed(Value::Object(map)) => sorted(map),
        over => match over.into_owned() {
            Value::Null => Vec::new(),
            Value::Array(list) => {
                list.into_iter().enumerate().map(|(index, value)| (number(index), Cow::Owned(value))).collect()
            }
            Value::Object(map) => {
                let owned = |(key, value): (Value, Val<'_>)| (key, Cow::Owned(value.into_owned()));
                sorted(&map).into_iter().map(owned).collect()
            }
            Value::Number(count) => {
                let count =
                    count.as_u64().filter(|&count| count <= 1 << 20).ok_or("range can't iterate over that many")?;
                (0..count).map(|index| (Value::from(index), Cow::Owned(Value::from(index)))).collect()
            }
            other => return Err(format!("range can't iterate over {}", functions::plain(&other))),
        },
    })
}

fn sorted(map: &Map<String, Value>) -> Vec<(Value, Val<'_>)> {
    let mut all: Vec<_> = map.iter().collect();
    all.sort_by_key(|(key, _)| key.as_str());
    all.into_iter().map(|(key, value)| (Value::from(key.as_str()), Cow::Borrowed(value))).collect()
}
