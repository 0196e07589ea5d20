//! Parser of POSIX basic and extended regular expressions (XBD 9.3, 9.4) with GNU's additions:
//! `\+ \? \|` in basic ones, and in both `\w \W \s \S \< \> \b \B`, `` \` `` and `\'`, and back-references.

use anyhow::{Result, bail};

use super::ast::{Assert, Class, ClassItem, Named, Node};

/// Greatest repetition count: glibc's RE_DUP_MAX.
const REPEAT_MAX: u32 = 32767;
/// Deepest nesting of groups: keeps recursion on hostile patterns within the stack.
const DEPTH_MAX: usize = 200;

/// How a pattern is written.
#[derive(Clone, Copy, Debug, Default)]
pub struct Syntax {
    /// Extended instead of basic.
    pub extended: bool,
    /// sed's escapes `\n \t \f \v \a \r \xHH \oNNN \dNNN` name characters, in brackets too.
    pub escapes: bool,
}

/// Parse `pattern`; its first group gets the number `first_group`. Gives the expression and the number of its groups.
///
/// # Errors
/// What is wrong with the pattern, in GNU's words where it has some.
pub fn parse(pattern: &[u8], syntax: Syntax, first_group: usize) -> Result<(Node, usize)> {
    let mut parser =
        Parser { input: symbols(pattern), at: 0, syntax, first_group, groups: 0, closed: Vec::new(), depth: 0 };
    let node = parser.alternatives()?;
    if parser.at < parser.input.len() {
        // Only an unmatched basic `\)` stops the parser before the end; an extended one is taken literally in `atom`.
        bail!("Unmatched ) or \\)");
    }
    Ok((node, parser.groups))
}

/// A character of the pattern, or a byte that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Symbol {
    Char(char),
    Byte(u8),
}

fn symbols(pattern: &[u8]) -> Vec<Symbol> {
    let mut out = Vec::with_capacity(pattern.len());
    for chunk in pattern.utf8_chunks() {
        out.extend(chunk.valid().chars().map(Symbol::Char));
        out.extend(chunk.invalid().iter().copied().map(Symbol::Byte));
    }
    out
}

struct Parser {
    input: Vec<Symbol>,
    at: usize,
    syntax: Syntax,
    first_group: usize,
    groups: usize,
    /// Groups whose end has been seen: only these can be referred to.
    closed: Vec<usize>,
    depth: usize,
}

impl Parser {
    fn char_at(&self, offset: usize) -> Option<char> {
        match self.input.get(self.at + offset) {
            Some(Symbol::Char(c)) => Some(*c),
            _ => None,
        }
    }

    /// Whether the operator `c` stands here: bare in extended syntax, after a backslash in basic.
    fn operator(&self, c: char) -> bool {
        if self.syntax.extended {
            self.char_at(0) == Some(c)
        } else {
            self.char_at(0) == Some('\\') && self.char_at(1) == Some(c)
        }
    }

    fn operator_width(&self) -> usize {
        if self.syntax.extended { 1 } else { 2 }
    }

    fn take_operator(&mut self, c: char) -> bool {
        let found = self.operator(c);
        if found {
            self.at += self.operator_width();
        }
        found
    }

    fn alternatives(&mut self) -> Result<Node> {
        let mut branches = vec![self.branch()?];
        while self.take_operator('|') {
            branches.push(self.branch()?);
        }
        Ok(if branches.len() == 1 { branches.swap_remove(0) } else { Node::Alternate(branches) })
    }

    fn branch(&mut self) -> Result<Node> {
        let mut nodes = Vec::new();
        while self.at < self.input.len() && !self.operator('|') && !self.closes_group() {
            let at_start = nodes.is_empty() || (!self.syntax.extended && nodes == [Node::Assert(Assert::LineStart)]);
            // After an anchor, a basic operator that repeats is an ordinary character.
            let nothing_to_repeat = at_start || !self.syntax.extended && matches!(nodes.last(), Some(Node::Assert(_)));
            let mut node = self.atom(at_start, nothing_to_repeat)?;
            if self.syntax.extended || !matches!(node, Node::Assert(_)) {
                node = self.repeats(node)?;
            }
            nodes.push(node);
        }
        Ok(match nodes.len() {
            0 => Node::Empty,
            1 => nodes.swap_remove(0),
            _ => Node::Concat(nodes),
        })
    }

    /// An extended `)` without a group is an ordinary character; a basic one is an error.
    fn closes_group(&self) -> bool {
        self.operator(')') && (self.depth > 0 || !self.syntax.extended)
    }

    fn atom(&mut self, at_start: bool, nothing_to_repeat: bool) -> Result<Node> {
        let symbol = self.input[self.at];
        let Symbol::Char(c) = symbol else {
            self.at += 1;
            let Symbol::Byte(byte) = symbol else { return Ok(Node::Empty) };
            return Ok(Node::Byte(byte));
        };
        if self.operator('(') {
            return self.group();
        }
        match c {
            '\\' => self.escape(),
            '.' => self.single(Node::Any),
            '[' => self.bracket(),
            '^' if self.syntax.extended || at_start && !self.after_line_start() => {
                self.single(Node::Assert(Assert::LineStart))
            }
            '$' if self.syntax.extended || self.ends_branch(1) => self.single(Node::Assert(Assert::LineEnd)),
            '*' if nothing_to_repeat && !self.syntax.extended => self.single(Node::Char('*')),
            // With nothing to repeat, an extended operator repeats the empty string.
            '*' | '+' | '?' if self.syntax.extended => Ok(Node::Empty),
            '{' if self.syntax.extended && at_start && self.interval()?.is_some() => {
                bail!("Invalid preceding regular expression")
            }
            c => self.single(Node::Char(c)),
        }
    }

    fn single(&mut self, node: Node) -> Result<Node> {
        self.at += 1;
        Ok(node)
    }

    /// In `^^` the second one is an ordinary character (basic syntax).
    fn after_line_start(&self) -> bool {
        self.at > 0 && self.input[self.at - 1] == Symbol::Char('^') && !self.preceded_by_bracket_or_escape()
    }

    fn preceded_by_bracket_or_escape(&self) -> bool {
        self.at > 1 && self.input[self.at - 2] == Symbol::Char('\\')
    }

    /// Whether the branch ends `offset` symbols from here (basic syntax: decides whether `$` is an anchor).
    fn ends_branch(&self, offset: usize) -> bool {
        match self.char_at(offset) {
            None => self.at + offset >= self.input.len(),
            Some('\\') => matches!(self.char_at(offset + 1), Some(')' | '|')),
            Some(_) => false,
        }
    }

    fn group(&mut self) -> Result<Node> {
        self.at += self.operator_width();
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            bail!("groups are nested more than {DEPTH_MAX} deep");
        }
        let number = self.groups + 1;
        self.groups = number;
        let node = self.alternatives()?;
        if !self.take_operator(')') {
            bail!("Unmatched ( or \\(");
        }
        self.depth -= 1;
        self.closed.push(number);
        Ok(Node::Group(self.first_group + number - 1, Box::new(node)))
    }

    fn escape(&mut self) -> Result<Node> {
        let Some(symbol) = self.input.get(self.at + 1).copied() else { bail!("Trailing backslash") };
        let c = match symbol {
            Symbol::Char(c) => c,
            Symbol::Byte(byte) => {
                self.at += 2;
                return Ok(Node::Byte(byte));
            }
        };
        if self.syntax.escapes
            && let Some((node, length)) = self.named_character(c)?
        {
            self.at += 1 + length;
            return Ok(node);
        }
        if !self.syntax.extended && c == '{' {
            bail!("Invalid preceding regular expression");
        }
        self.at += 2;
        Ok(match c {
            'w' | 'W' => Node::Class(word_class(c == 'W')),
            's' | 'S' => Node::Class(Class { negated: c == 'S', items: vec![ClassItem::Named(Named::Space)] }),
            '<' => Node::Assert(Assert::WordStart),
            '>' => Node::Assert(Assert::WordEnd),
            'b' => Node::Assert(Assert::WordEdge),
            'B' => Node::Assert(Assert::NoWordEdge),
            '`' => Node::Assert(Assert::TextStart),
            '\'' => Node::Assert(Assert::TextEnd),
            '1'..='9' => {
                let number = c as usize - '0' as usize;
                if !self.closed.contains(&number) {
                    bail!("Invalid back reference");
                }
                Node::BackReference(self.first_group + number - 1)
            }
            // GNU: a basic `\+` or `\?` with nothing before it is that character.
            c => Node::Char(c),
        })
    }

    /// sed's name for a character: what it is, and how many symbols it takes after the backslash.
    fn named_character(&self, c: char) -> Result<Option<(Node, usize)>> {
        let simple = |c| Ok(Some((Node::Char(c), 1)));
        let (radix, most) = match c {
            'n' => return simple('\n'),
            't' => return simple('\t'),
            'f' => return simple('\x0c'),
            'v' => return simple('\x0b'),
            'a' => return simple('\x07'),
            'r' => return simple('\r'),
            'x' => (16, 2),
            'o' => (8, 3),
            'd' => (10, 3),
            _ => return Ok(None),
        };
        let digits: String =
            (2..2 + most).map_while(|offset| self.char_at(offset).filter(|c| c.is_digit(radix))).collect();
        if digits.is_empty() {
            return Ok(None);
        }
        let Ok(byte) = u8::from_str_radix(&digits, radix) else { bail!("\\{c}{digits} is more than a byte holds") };
        let node = if byte.is_ascii() { Node::Char(char::from(byte)) } else { Node::Byte(byte) };
        Ok(Some((node, 1 + digits.len())))
    }

    fn repeats(&mut self, mut node: Node) -> Result<Node> {
        loop {
            let (min, max, width) = match self.char_at(0) {
                Some('*') => (0, None, 1),
                _ if self.operator('+') => (1, None, self.operator_width()),
                _ if self.operator('?') => (0, Some(1), self.operator_width()),
                _ if self.operator('{') => match self.interval()? {
                    Some(interval) => interval,
                    None => return Ok(node),
                },
                _ => return Ok(node),
            };
            self.at += width;
            if node != Node::Empty {
                node = Node::Repeat { node: Box::new(node), min, max };
            }
        }
    }

    /// The interval that stands here: least, greatest, width. An extended `{` that begins none is an ordinary character.
    fn interval(&self) -> Result<Option<(u32, Option<u32>, usize)>> {
        let extended = self.syntax.extended;
        let open = self.operator_width();
        let mut offset = open;
        let mut text = String::new();
        while let Some(c) = self.char_at(offset).filter(|c| c.is_ascii_digit() || *c == ',') {
            text.push(c);
            offset += 1;
        }
        let closed = if extended {
            self.char_at(offset) == Some('}')
        } else {
            self.char_at(offset) == Some('\\') && self.char_at(offset + 1) == Some('}')
        };
        let bounds = parse_bounds(&text);
        let (true, Some((min, max))) = (closed, bounds) else {
            if extended {
                return Ok(None);
            }
            bail!(if closed { "Invalid content of \\{\\}" } else { "Unmatched { or \\{" });
        };
        if min > REPEAT_MAX || max.is_some_and(|max| max > REPEAT_MAX) {
            bail!("Regular expression too big");
        }
        if max.is_some_and(|max| max < min) {
            bail!("Invalid content of \\{{\\}}");
        }
        Ok(Some((min, max, offset + open)))
    }

    fn bracket(&mut self) -> Result<Node> {
        let mut class = Class::default();
        let mut bytes = Vec::new();
        self.at += 1;
        if self.char_at(0) == Some('^') {
            class.negated = true;
            self.at += 1;
        }
        let first = self.at;
        loop {
            let Some(symbol) = self.input.get(self.at).copied() else { bail!("Unmatched [, [^, [:, [., or [=") };
            match symbol {
                Symbol::Byte(byte) => {
                    bytes.push(byte);
                    self.at += 1;
                }
                Symbol::Char(']') if self.at > first => break,
                Symbol::Char('[') if self.char_at(1) == Some(':') => class.items.push(self.named_class()?),
                Symbol::Char(_) => self.range(&mut class)?,
            }
        }
        self.at += 1;
        if bytes.is_empty() {
            return Ok(Node::Class(class));
        }
        if class.negated {
            bail!("a negated bracket expression with a byte that is no UTF-8 is not supported");
        }
        let alternatives = bytes.into_iter().map(Node::Byte).chain(std::iter::once(Node::Class(class)));
        Ok(Node::Alternate(alternatives.collect()))
    }

    fn named_class(&mut self) -> Result<ClassItem> {
        let name = self.delimited(':')?;
        Named::from_name(&name).map(ClassItem::Named).ok_or_else(|| anyhow::anyhow!("Invalid character class name"))
    }

    /// The text between `[:`, `[.` or `[=` and its end.
    fn delimited(&mut self, mark: char) -> Result<String> {
        let mut name = String::new();
        let mut offset = 2;
        loop {
            match self.char_at(offset) {
                None => bail!("Unmatched [, [^, [:, [., or [="),
                Some(c) if c == mark && self.char_at(offset + 1) == Some(']') => break,
                Some(c) => name.push(c),
            }
            offset += 1;
        }
        self.at += offset + 2;
        Ok(name)
    }

    fn range(&mut self, class: &mut Class) -> Result<()> {
        let low = self.range_end()?;
        if self.char_at(0) != Some('-') || matches!(self.char_at(1), Some(']') | None) {
            class.items.push(ClassItem::Range(low, low));
            return Ok(());
        }
        self.at += 1;
        let high = self.range_end()?;
        if high < low {
            bail!("Invalid range end");
        }
        class.items.push(ClassItem::Range(low, high));
        Ok(())
    }

    fn range_end(&mut self) -> Result<char> {
        let Some(c) = self.char_at(0) else { bail!("Invalid range end") };
        if c == '[' && matches!(self.char_at(1), Some('.' | '=')) {
            let mark = if self.char_at(1) == Some('.') { '.' } else { '=' };
            let name = self.delimited(mark)?;
            let mut chars = name.chars();
            return match (chars.next(), chars.next()) {
                (Some(c), None) => Ok(c),
                _ => bail!("Invalid collation character"),
            };
        }
        if c == '\\' && self.syntax.escapes {
            let next = self.char_at(1);
            if let Some((Node::Char(named), length)) =
                next.map(|next| self.named_character(next)).transpose()?.flatten()
            {
                self.at += 1 + length;
                return Ok(named);
            }
        }
        self.at += 1;
        Ok(c)
    }
}

/// `m`, `m,`, `,n` or `m,n`.
fn parse_bounds(text: &str) -> Option<(u32, Option<u32>)> {
    let number = |text: &str| text.parse::<u32>().ok();
    match text.split_once(',') {
        None => number(text).map(|n| (n, Some(n))),
        Some(("", "")) => Some((0, None)),
        Some(("", max)) => number(max).map(|max| (0, Some(max))),
        Some((min, "")) => number(min).map(|min| (min, None)),
        Some((min, max)) => Some((number(min)?, Some(number(max)?))),
    }
}

/// `\w`, or its complement.
pub fn word_class(negated: bool) -> Class {
    Class { negated, items: vec![ClassItem::Named(Named::Alnum), ClassItem::Range('_', '_')] }
}
