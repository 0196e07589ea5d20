//! What a POSIX pattern means, before it is run by one engine or the other.

/// One expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// Matches the empty string.
    Empty,
    /// One character.
    Char(char),
    /// One byte that is no part of valid UTF-8.
    Byte(u8),
    /// `.`
    Any,
    /// A bracket expression, or one of `\w \W \s \S`.
    Class(Class),
    /// A condition on the position.
    Assert(Assert),
    /// `\(...\)`, numbered from 1.
    Group(usize, Box<Node>),
    /// `\1` to `\9`.
    BackReference(usize),
    /// One after another.
    Concat(Vec<Node>),
    /// One of them.
    Alternate(Vec<Node>),
    /// Repeated `min` to `max` times, without an upper end when `max` is `None`.
    Repeat {
        /// What is repeated.
        node: Box<Node>,
        /// Least number of times.
        min: u32,
        /// Greatest number of times.
        max: Option<u32>,
    },
}

/// A set of characters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Class {
    /// Matches what is not in the set.
    pub negated: bool,
    /// The members.
    pub items: Vec<ClassItem>,
}

/// A part of a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClassItem {
    /// From the first character to the second, both included.
    Range(char, char),
    /// `[:name:]`
    Named(Named),
}

/// The character classes of POSIX, XBD 7.3.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are POSIX's")]
pub enum Named {
    Alnum,
    Alpha,
    Blank,
    Cntrl,
    Digit,
    Graph,
    Lower,
    Print,
    Punct,
    Space,
    Upper,
    Xdigit,
}

impl Named {
    /// The class of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "alnum" => Self::Alnum,
            "alpha" => Self::Alpha,
            "blank" => Self::Blank,
            "cntrl" => Self::Cntrl,
            "digit" => Self::Digit,
            "graph" => Self::Graph,
            "lower" => Self::Lower,
            "print" => Self::Print,
            "punct" => Self::Punct,
            "space" => Self::Space,
            "upper" => Self::Upper,
            "xdigit" => Self::Xdigit,
            _ => return None,
        })
    }

    /// Whether `c` belongs to the class.
    pub fn contains(self, c: char) -> bool {
        match self {
            Self::Alnum => c.is_alphanumeric(),
            Self::Alpha => c.is_alphabetic(),
            Self::Blank => c == ' ' || c == '\t',
            Self::Cntrl => c.is_control(),
            Self::Digit => c.is_ascii_digit(),
            Self::Graph => !c.is_control() && !c.is_whitespace(),
            Self::Lower => c.is_lowercase(),
            Self::Print => !c.is_control(),
            Self::Punct => c.is_ascii_punctuation() || !(c.is_ascii() || c.is_alphanumeric() || c.is_whitespace()),
            Self::Space => c.is_whitespace(),
            Self::Upper => c.is_uppercase(),
            Self::Xdigit => c.is_ascii_hexdigit(),
        }
    }
}

impl Class {
    /// Whether the set, negation counted, holds `c`.
    pub fn contains(&self, c: char, ignore_case: bool) -> bool {
        let holds = |c: char| {
            self.items.iter().any(|item| match *item {
                ClassItem::Range(low, high) => (low..=high).contains(&c),
                ClassItem::Named(named) => named.contains(c),
            })
        };
        let found = holds(c) || (ignore_case && (c.to_lowercase().any(holds) || c.to_uppercase().any(holds)));
        found != self.negated
    }
}

/// A condition on the position between two characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Assert {
    /// `^`
    LineStart,
    /// `$`
    LineEnd,
    /// `` \` ``
    TextStart,
    /// `\'`
    TextEnd,
    /// `\<`
    WordStart,
    /// `\>`
    WordEnd,
    /// No word character before: where `grep -w` lets a match begin.
    NoWordBefore,
    /// No word character after: where `grep -w` lets a match end.
    NoWordAfter,
    /// `\b`
    WordEdge,
    /// `\B`
    NoWordEdge,
}

impl Node {
    /// Whether it refers back to a group: no automaton can match that.
    pub fn has_back_reference(&self) -> bool {
        self.any(&|node| matches!(node, Node::BackReference(_)))
    }

    /// Whether taking the first way that matches may end sooner than another way would: where POSIX wants the longest.
    pub fn may_prefer_shorter(&self) -> bool {
        self.any(&|node| match node {
            Node::Alternate(_) => true,
            Node::Repeat { node, .. } => !matches!(**node, Node::Char(_) | Node::Byte(_) | Node::Any | Node::Class(_)),
            _ => false,
        })
    }

    fn any(&self, test: &impl Fn(&Node) -> bool) -> bool {
        test(self)
            || match self {
                Node::Group(_, node) | Node::Repeat { node, .. } => node.any(test),
                Node::Concat(nodes) | Node::Alternate(nodes) => nodes.iter().any(|node| node.any(test)),
                _ => false,
            }
    }
}
