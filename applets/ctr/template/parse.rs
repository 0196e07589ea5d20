//! From tokens to a tree: Go's `text/template/parse/parse.go`, without `define`, `block` and `template`.

use serde_json::Value;

use super::Error;
use super::functions;
use super::lexer::{Item, Token, lex};

/// How deep actions and parentheses may be nested.
const MAX_DEPTH: usize = 64;

/// What is executed in turn.
#[derive(Clone, Debug)]
pub enum Node {
    /// Printed as it is.
    Text(String),
    /// Its value is printed, unless it declares or assigns.
    Action(Pipeline),
    /// `if`: condition, then, else.
    If(Pipeline, Vec<Node>, Vec<Node>),
    /// `with`: value, body, else.
    With(Pipeline, Vec<Node>, Vec<Node>),
    /// `range`: what over, body, else.
    Range(Pipeline, Vec<Node>, Vec<Node>),
    /// Leave the innermost `range`.
    Break,
    /// Go on with its next element.
    Continue,
}

/// Commands, each of which gets the value of the one before as its last argument.
#[derive(Clone, Debug)]
pub struct Pipeline {
    /// Variables that get the value.
    pub variables: Vec<String>,
    /// They exist already.
    pub assigns: bool,
    /// The commands, at least one.
    pub commands: Vec<Command>,
}

/// A function, a field or a constant, and its arguments.
pub type Command = Vec<Operand>;

/// One argument.
#[derive(Clone, Debug)]
pub struct Operand {
    /// Where it starts from.
    pub base: Base,
    /// The fields that are looked up from there, one in the other.
    pub fields: Vec<String>,
    /// Line and column, for messages.
    pub place: (usize, usize),
}

/// What an operand starts from.
#[derive(Clone, Debug)]
pub enum Base {
    /// `.`.
    Dot,
    /// `$NAME`.
    Variable(String),
    /// A function's name.
    Function(String),
    /// A constant.
    Constant(Value),
    /// In parentheses.
    Pipeline(Box<Pipeline>),
}

impl std::fmt::Display for Operand {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.base {
            Base::Dot if self.fields.is_empty() => f.write_str(".")?,
            Base::Dot => {}
            Base::Variable(name) | Base::Function(name) => f.write_str(name)?,
            Base::Constant(Value::Null) => f.write_str("nil")?,
            Base::Constant(value) => write!(f, "{value}")?,
            Base::Pipeline(pipeline) => write!(f, "({pipeline})")?,
        }
        self.fields.iter().try_for_each(|field| write!(f, ".{field}"))
    }
}

impl std::fmt::Display for Pipeline {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if !self.variables.is_empty() {
            write!(f, "{} {} ", self.variables.join(", "), if self.assigns { "=" } else { ":=" })?;
        }
        for (index, command) in self.commands.iter().enumerate() {
            let words: Vec<_> = command.iter().map(ToString::to_string).collect();
            write!(f, "{}{}", if index > 0 { " | " } else { "" }, words.join(" "))?;
        }
        Ok(())
    }
}

/// Parse a template.
pub fn parse(source: &str) -> Result<Vec<Node>, Error> {
    let mut parser = Parser { source, items: lex(source)?, next: 0, variables: vec!["$".into()], ranges: 0, depth: 0 };
    let (nodes, end) = parser.list()?;
    match end {
        None => Ok(nodes),
        Some(end) => Err(parser.error(format!("unexpected {{{{{end}}}}}"))),
    }
}

struct Parser<'a> {
    source: &'a str,
    items: Vec<Item>,
    next: usize,
    /// Those that are in scope.
    variables: Vec<String>,
    /// How many `range` are open.
    ranges: usize,
    depth: usize,
}

impl Parser<'_> {
    fn peek(&self) -> Option<&Token> {
        self.items.get(self.next).map(|item| &item.token)
    }

    fn take(&mut self) -> Option<Token> {
        let token = self.peek().cloned();
        self.next += 1;
        token
    }

    fn skip_space(&mut self) {
        while self.peek() == Some(&Token::Space) {
            self.next += 1;
        }
    }

    fn line_and_column(&self, pos: usize) -> (usize, usize) {
        let before = self.source.get(..pos).unwrap_or_default();
        let start = before.rfind('\n').map_or(0, |at| at + 1);
        (1 + before.matches('\n').count(), pos - start)
    }

    fn error(&self, what: impl std::fmt::Display) -> Error {
        let at = self.next.saturating_sub(1).min(self.items.len().saturating_sub(1));
        let line = self.items.get(at).map_or(1, |item| self.line_and_column(item.pos).0);
        Error::new(format!("template: :{line}: {what}"))
    }

    fn unexpected(&self, token: Option<&Token>, context: &str) -> Error {
        self.error(format!("unexpected {} in {context}", describe(token)))
    }

    /// Go one level deeper.
    fn nested<T>(&mut self, parse: impl FnOnce(&mut Self) -> Result<T, Error>) -> Result<T, Error> {
        if self.depth == MAX_DEPTH {
            return Err(self.error("too deeply nested"));
        }
        self.depth += 1;
        let parsed = parse(self);
        self.depth -= 1;
        parsed
    }

    /// Nodes up to `{{end}}`, `{{else ...` or the text's end; which of the words it was. After `else` the rest of that action is still
    /// to be read.
    fn list(&mut self) -> Result<(Vec<Node>, Option<&'static str>), Error> {
        let mut nodes = Vec::new();
        loop {
            match self.take() {
                None => return Ok((nodes, None)),
                Some(Token::Text(text)) => nodes.push(Node::Text(text)),
                Some(_) => {
                    self.skip_space();
                    let word = match self.peek() {
                        Some(Token::Identifier(word)) => word.clone(),
                        _ => String::new(),
                    };
                    match word.as_str() {
                        "end" => {
                            self.next += 1;
                            self.close("end")?;
                            return Ok((nodes, Some("end")));
                        }
                        "else" => {
                            self.next += 1;
                            return Ok((nodes, Some("else")));
                        }
                        _ => nodes.push(self.nested(|parser| parser.action(&word))?),
                    }
                }
            }
        }
    }

    fn close(&mut self, context: &str) -> Result<(), Error> {
        self.skip_space();
        match self.take() {
            Some(Token::Close) => Ok(()),
            other => Err(self.unexpected(other.as_ref(), context)),
        }
    }

    fn action(&mut self, word: &str) -> Result<Node, Error> {
        match word {
            "if" | "with" | "range" => {
                self.next += 1;
                self.control(word)
            }
            "break" | "continue" => {
                self.next += 1;
                if self.ranges == 0 {
                    return Err(self.error(format!("{{{{{word}}}}} outside {{{{range}}}}")));
                }
                self.close(word)?;
                Ok(if word == "break" { Node::Break } else { Node::Continue })
            }
            "define" | "block" | "template" => Err(self.error(format!("{{{{{word}}}}} is not supported"))),
            _ => {
                let pipeline = self.pipeline("command", false)?;
                self.close("command")?;
                Ok(Node::Action(pipeline))
            }
        }
    }

    fn control(&mut self, word: &str) -> Result<Node, Error> {
        let scope = self.variables.len();
        let pipeline = self.pipeline(word, word == "range")?;
        self.close(word)?;
        self.ranges += usize::from(word == "range");
        let (body, mut end) = self.list()?;
        self.ranges -= usize::from(word == "range");
        let mut otherwise = Vec::new();
        if end == Some("else") {
            self.skip_space();
            let chained = matches!(self.peek(), Some(Token::Identifier(next)) if next == word && word != "range");
            if chained {
                self.next += 1;
                otherwise.push(self.nested(|parser| parser.control(word))?);
                end = Some("end");
            } else {
                self.close("else")?;
                (otherwise, end) = self.list()?;
            }
        }
        self.variables.truncate(scope);
        match end {
            Some("end") => {}
            Some(other) => return Err(self.error(format!("expected end; found {{{{{other}}}}}"))),
            None => return Err(self.error("unexpected EOF")),
        }
        Ok(match word {
            "if" => Node::If(pipeline, body, otherwise),
            "with" => Node::With(pipeline, body, otherwise),
            _ => Node::Range(pipeline, body, otherwise),
        })
    }

    fn pipeline(&mut self, context: &str, in_range: bool) -> Result<Pipeline, Error> {
        self.skip_space();
        let (variables, assigns) = self.declarations(in_range)?;
        let mut commands: Vec<Command> = Vec::new();
        loop {
            let command = self.command(context)?;
            if let (Some(first), false) = (command.first(), commands.is_empty())
                && first.fields.is_empty()
                && matches!(first.base, Base::Constant(_) | Base::Dot)
            {
                return Err(self.error(format!("non executable command in pipeline stage {}", commands.len() + 1)));
            }
            if command.is_empty() {
                return Err(self.error(format!("missing value for {context}")));
            }
            commands.push(command);
            if self.peek() != Some(&Token::Pipe) {
                break;
            }
            self.next += 1;
            self.skip_space();
        }
        if !assigns {
            // In scope from here on, not in its own value.
            self.variables.extend(variables.iter().cloned());
        }
        Ok(Pipeline { variables, assigns, commands })
    }

    /// `$x :=`, `$x =`, and in a range also `$i, $x :=`.
    fn declarations(&mut self, in_range: bool) -> Result<(Vec<String>, bool), Error> {
        let start = self.next;
        let mut names = Vec::new();
        while let Some(Token::Variable(name)) = self.peek().cloned() {
            self.next += 1;
            self.skip_space();
            names.push(name);
            match self.take() {
                Some(Token::Declare) => {
                    self.skip_space();
                    return Ok((names, false));
                }
                Some(Token::Assign) => {
                    if let Some(missing) = names.iter().find(|name| !self.variables.contains(name)) {
                        return Err(self.error(format!("undefined variable {missing:?}")));
                    }
                    self.skip_space();
                    return Ok((names, true));
                }
                Some(Token::Comma) if in_range && names.len() < 2 => self.skip_space(),
                Some(Token::Comma) => return Err(self.error("too many declarations in command")),
                _ => break,
            }
        }
        self.next = start;
        Ok((Vec::new(), false))
    }

    fn command(&mut self, context: &str) -> Result<Command, Error> {
        let mut command = Vec::new();
        loop {
            self.skip_space();
            match self.peek() {
                Some(Token::Close | Token::RightParen | Token::Pipe) => return Ok(command),
                _ => command.push(self.operand(context)?),
            }
            if !matches!(self.peek(), Some(Token::Space | Token::Close | Token::RightParen | Token::Pipe)) {
                let token = self.take();
                return Err(self.unexpected(token.as_ref(), "operand"));
            }
        }
    }

    fn operand(&mut self, context: &str) -> Result<Operand, Error> {
        let mut pos = self.items.get(self.next).map_or(0, |item| item.pos);
        let mut fields = Vec::new();
        let base = match self.take() {
            Some(Token::Dot) => Base::Dot,
            Some(Token::Field(name)) => {
                fields.push(name);
                Base::Dot
            }
            Some(Token::Variable(name)) if self.variables.contains(&name) => Base::Variable(name),
            Some(Token::Variable(name)) => return Err(self.error(format!("undefined variable {name:?}"))),
            Some(Token::Identifier(name)) if functions::exists(&name) => Base::Function(name),
            Some(Token::Identifier(name)) => return Err(self.error(format!("function {name:?} not defined"))),
            Some(Token::Constant(value)) => Base::Constant(value),
            Some(Token::LeftParen) => {
                let pipeline = self.nested(|parser| parser.pipeline("parenthesized pipeline", false))?;
                self.skip_space();
                match self.take() {
                    Some(Token::RightParen) => Base::Pipeline(Box::new(pipeline)),
                    other => return Err(self.unexpected(other.as_ref(), "parenthesized pipeline")),
                }
            }
            other => return Err(self.unexpected(other.as_ref(), context)),
        };
        while let Some(Token::Field(name)) = self.peek().cloned() {
            if let Base::Constant(_) = base {
                return Err(self.error("unexpected . after term"));
            }
            // Go counts from the second field on.
            pos = self.items.get(self.next).map_or(pos, |item| if fields.len() == 1 { item.pos } else { pos });
            fields.push(name);
            self.next += 1;
        }
        Ok(Operand { base, fields, place: self.line_and_column(pos) })
    }
}

fn describe(token: Option<&Token>) -> String {
    match token {
        None => "EOF".into(),
        Some(Token::Text(text)) => format!("{text:?}"),
        Some(Token::Open) => "\"{{\"".into(),
        Some(Token::Close) => "\"}}\"".into(),
        Some(Token::Space) => "\" \"".into(),
        Some(Token::Dot) => "<.>".into(),
        Some(Token::Field(name)) => format!("<.{name}>"),
        Some(Token::Variable(name) | Token::Identifier(name)) => format!("<{name}>"),
        Some(Token::Constant(value)) => value.to_string(),
        Some(Token::Declare) => "\":=\"".into(),
        Some(Token::Assign) => "\"=\"".into(),
        Some(Token::Comma) => "\",\"".into(),
        Some(Token::Pipe) => "\"|\"".into(),
        Some(Token::LeftParen) => "\"(\"".into(),
        Some(Token::RightParen) => "\")\"".into(),
    }
}
