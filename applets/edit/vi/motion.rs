//! Where motions lead (POSIX vi(1), "Command Descriptions").

use super::text::{Position, Text, at};

/// A way through the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Motion {
    /// `h`
    Left,
    /// `l`
    Right,
    /// `k`
    Up,
    /// `j`
    Down,
    /// `w`, `W`
    WordForward { big: bool },
    /// `b`, `B`
    WordBack { big: bool },
    /// `e`, `E`
    WordEnd { big: bool },
    /// `0`
    LineStart,
    /// `^`
    FirstText,
    /// `$`
    LineEnd,
    /// `|`
    Column,
    /// `G`: the line that the count says, or the last.
    Line,
    /// `gg`: the line that the count says, or the first.
    First,
    /// `+`, Return
    NextLine,
    /// `-`
    PreviousLine,
    /// `}`
    ParagraphForward,
    /// `{`
    ParagraphBack,
    /// `%`
    Bracket,
    /// `f`, `t`, `F`, `T`
    Find(Find),
    /// `;`, `,`
    FindAgain { reverse: bool },
    /// `n`, `N`
    SearchAgain { reverse: bool },
    /// `*`, `#`
    WordUnderCursor { back: bool },
    /// A mark's place (`` ` ``) or line (`'`).
    Mark { name: char, line: bool },
    /// `H`, `M`, `L`
    Window(Place),
}

/// A character to look for in the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Find {
    /// The character.
    pub target: char,
    /// Stop one before it.
    pub till: bool,
    /// Towards the start.
    pub back: bool,
}

/// Part of the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// First line.
    Top,
    /// Middle.
    Middle,
    /// Last line.
    Bottom,
}

/// What an operator takes of a motion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Up to the place.
    Exclusive,
    /// With the character at the place.
    Inclusive,
    /// Whole lines.
    Lines,
}

/// The extent of a motion.
pub fn extent(motion: Motion) -> Extent {
    use Motion::*;
    match motion {
        Up | Down | Line | First | NextLine | PreviousLine | Window(_) | Mark { line: true, .. } => Extent::Lines,
        WordEnd { .. } | LineEnd | Bracket => Extent::Inclusive,
        Find(find) if !find.back => Extent::Inclusive,
        _ => Extent::Exclusive,
    }
}

/// Motions that need nothing but the text; `None` if it leads nowhere, or is one that needs more.
pub fn go(motion: Motion, text: &Text, from: Position, count: Option<usize>) -> Option<Position> {
    let times = count.unwrap_or(1);
    let length = text.length(from.line);
    let to_line = |line: usize| at(line, first_text(text, line));
    Some(match motion {
        Motion::Left => at(from.line, from.column.checked_sub(1)?.saturating_sub(times - 1)),
        // An operator may take the last character too.
        Motion::Right if from.column < length => at(from.line, (from.column + times).min(length)),
        Motion::Right => return None,
        Motion::Up => at(from.line.checked_sub(times)?, from.column),
        Motion::Down => at(Some(from.line + times).filter(|line| *line <= text.last())?, from.column),
        Motion::NextLine => to_line(Some(from.line + times).filter(|line| *line <= text.last())?),
        Motion::PreviousLine => to_line(from.line.checked_sub(times)?),
        Motion::WordForward { big } => repeat(times, from, |place| word_forward(text, place, big))?,
        Motion::WordBack { big } => repeat(times, from, |place| word_back(text, place, big))?,
        Motion::WordEnd { big } => repeat(times, from, |place| word_end(text, place, big))?,
        Motion::LineStart => at(from.line, 0),
        Motion::FirstText => to_line(from.line),
        Motion::LineEnd => {
            let line = Some(from.line + times - 1).filter(|line| *line <= text.last())?;
            at(line, text.length(line).saturating_sub(1))
        }
        Motion::Column => at(from.line, (times - 1).min(length.saturating_sub(1))),
        Motion::Line => to_line(count.map_or(text.last(), |line| (line.max(1) - 1).min(text.last()))),
        Motion::First => to_line((times.max(1) - 1).min(text.last())),
        Motion::ParagraphForward => repeat(times, from, |place| paragraph_forward(text, place))?,
        Motion::ParagraphBack => repeat(times, from, |place| paragraph_back(text, place))?,
        Motion::Bracket => bracket(text, from)?,
        Motion::Find(find) => find_character(text, from, find, times, false)?,
        _ => return None,
    })
}

fn repeat(times: usize, from: Position, step: impl Fn(Position) -> Position) -> Option<Position> {
    let mut place = from;
    for _ in 0..times {
        let next = step(place);
        if next == place {
            break;
        }
        place = next;
    }
    (place != from).then_some(place)
}

/// Column of the first character that is no blank.
pub fn first_text(text: &Text, line: usize) -> usize {
    let chars = text.chars(line);
    chars.iter().position(|c| !c.is_whitespace()).unwrap_or(chars.len().saturating_sub(1))
}

/// Blanks, letters and digits, the rest; a big word knows blanks only.
fn class(character: Option<&char>, big: bool) -> u8 {
    match character {
        None => 0,
        Some(c) if c.is_whitespace() => 0,
        Some(_) if big => 1,
        Some(c) if c.is_alphanumeric() || *c == '_' => 1,
        Some(_) => 2,
    }
}

fn word_forward(text: &Text, from: Position, big: bool) -> Position {
    let mut line = from.line;
    let mut chars = text.chars(line);
    let mut column = from.column;
    let here = class(chars.get(column), big);
    while here != 0 && column < chars.len() && class(chars.get(column), big) == here {
        column += 1;
    }
    loop {
        while column < chars.len() && class(chars.get(column), big) == 0 {
            column += 1;
        }
        if column < chars.len() {
            return at(line, column);
        }
        if line == text.last() {
            return at(line, chars.len());
        }
        line += 1;
        chars = text.chars(line);
        column = 0;
        if chars.is_empty() {
            return at(line, 0);
        }
    }
}

/// The end of the word that the cursor is in, and of others after it: what `cw` takes.
pub fn word_end_from_here(text: &Text, from: Position, big: bool, times: usize) -> Position {
    (1..times.max(1)).fold(word_end_from(text, from, big), |place, _| word_end(text, place, big))
}

fn word_end(text: &Text, from: Position, big: bool) -> Position {
    word_end_from(text, at(from.line, from.column + 1), big)
}

fn word_end_from(text: &Text, from: Position, big: bool) -> Position {
    let mut line = from.line;
    let mut chars = text.chars(line);
    let mut column = from.column;
    loop {
        while column < chars.len() && class(chars.get(column), big) == 0 {
            column += 1;
        }
        if column < chars.len() {
            break;
        }
        if line == text.last() {
            return at(line, chars.len().saturating_sub(1));
        }
        line += 1;
        chars = text.chars(line);
        column = 0;
    }
    let here = class(chars.get(column), big);
    while column + 1 < chars.len() && class(chars.get(column + 1), big) == here {
        column += 1;
    }
    at(line, column)
}

fn word_back(text: &Text, from: Position, big: bool) -> Position {
    let mut line = from.line;
    let mut chars = text.chars(line);
    let mut column = from.column.min(chars.len());
    loop {
        while column > 0 && class(chars.get(column - 1), big) == 0 {
            column -= 1;
        }
        if column > 0 {
            break;
        }
        if line == 0 {
            return at(0, 0);
        }
        line -= 1;
        chars = text.chars(line);
        column = chars.len();
        if chars.is_empty() {
            return at(line, 0);
        }
    }
    let here = class(chars.get(column - 1), big);
    while column > 0 && class(chars.get(column - 1), big) == here {
        column -= 1;
    }
    at(line, column)
}

fn paragraph_forward(text: &Text, from: Position) -> Position {
    let filled = (from.line..text.count()).find(|line| !text.line(*line).is_empty());
    let empty = filled.and_then(|filled| (filled..text.count()).find(|line| text.line(*line).is_empty()));
    empty.map_or_else(|| at(text.last(), text.length(text.last())), |line| at(line, 0))
}

fn paragraph_back(text: &Text, from: Position) -> Position {
    let filled = (0..from.line).rev().find(|line| !text.line(*line).is_empty());
    let empty = filled.and_then(|filled| (0..filled).rev().find(|line| text.line(*line).is_empty()));
    at(empty.unwrap_or(0), 0)
}

/// The other one of the bracket at or after the cursor.
fn bracket(text: &Text, from: Position) -> Option<Position> {
    const PAIRS: [(char, char); 3] = [('(', ')'), ('[', ']'), ('{', '}')];
    let chars = text.chars(from.line);
    let is_bracket = |c: &char| PAIRS.iter().any(|(open, close)| c == open || c == close);
    let column = from.column + chars.iter().skip(from.column).position(is_bracket)?;
    let here = chars[column];
    let (open, close) = PAIRS.into_iter().find(|(open, close)| here == *open || here == *close)?;
    let mut depth = 0;
    let mut step = |c: char| {
        depth += i32::from(c == open) - i32::from(c == close);
        depth == 0
    };
    if here == open {
        for line in from.line..text.count() {
            let start = if line == from.line { column } else { 0 };
            for (at_column, c) in text.chars(line).into_iter().enumerate().skip(start) {
                if step(c) {
                    return Some(at(line, at_column));
                }
            }
        }
    } else {
        for line in (0..=from.line).rev() {
            let chars = text.chars(line);
            let end = if line == from.line { column + 1 } else { chars.len() };
            for (at_column, c) in chars.into_iter().enumerate().take(end).rev() {
                if step(c) {
                    return Some(at(line, at_column));
                }
            }
        }
    }
    None
}

/// `f` and its kin. Repeated, a search that stops before the character must not stay where it is.
pub fn find_character(text: &Text, from: Position, find: Find, times: usize, again: bool) -> Option<Position> {
    let chars = text.chars(from.line);
    let skip = usize::from(again && find.till);
    let hits =
        |range: &mut dyn Iterator<Item = usize>| range.filter(|at| chars[*at] == find.target).nth(times.max(1) - 1);
    let column = match find.back {
        false => hits(&mut ((from.column + 1 + skip).min(chars.len())..chars.len()))? - usize::from(find.till),
        true => hits(&mut (0..from.column.saturating_sub(skip)).rev())? + usize::from(find.till),
    };
    Some(at(from.line, column))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moved(text: &str, from: (usize, usize), motion: Motion, count: Option<usize>) -> Option<(usize, usize)> {
        let text = Text::new(text.split('\n').map(str::to_owned).collect());
        go(motion, &text, at(from.0, from.1), count).map(|place| (place.line, place.column))
    }

    #[test]
    fn words() {
        let text = "foo.bar  baz\n\n  qux";
        let forward = |from, count, big| moved(text, from, Motion::WordForward { big }, Some(count));
        assert_eq!(forward((0, 0), 1, false), Some((0, 3)));
        assert_eq!(forward((0, 0), 3, false), Some((0, 9)));
        assert_eq!(forward((0, 0), 1, true), Some((0, 9)));
        assert_eq!(forward((0, 9), 1, false), Some((1, 0)));
        assert_eq!(forward((1, 0), 1, false), Some((2, 2)));
        assert_eq!(forward((2, 2), 1, false), Some((2, 5)));
        let end = |from| moved(text, from, Motion::WordEnd { big: false }, None);
        assert_eq!((end((0, 0)), end((0, 7)), end((0, 11))), (Some((0, 2)), Some((0, 11)), Some((2, 4))));
        let back = |from| moved(text, from, Motion::WordBack { big: false }, None);
        assert_eq!(
            (back((2, 2)), back((1, 0)), back((0, 4)), back((0, 0))),
            (Some((1, 0)), Some((0, 9)), Some((0, 3)), None)
        );
    }

    #[test]
    fn lines_and_columns() {
        let text = "abc\n  def\nghi";
        assert_eq!(moved(text, (0, 0), Motion::Line, None), Some((2, 0)));
        assert_eq!(moved(text, (0, 0), Motion::Line, Some(2)), Some((1, 2)));
        assert_eq!(moved(text, (0, 0), Motion::Line, Some(99)), Some((2, 0)));
        assert_eq!(moved(text, (0, 0), Motion::Down, Some(3)), None);
        assert_eq!(moved(text, (0, 0), Motion::LineEnd, Some(2)), Some((1, 4)));
        assert_eq!(moved(text, (0, 0), Motion::Left, None), None);
        assert_eq!(moved(text, (1, 4), Motion::FirstText, None), Some((1, 2)));
        assert_eq!(moved(text, (0, 0), Motion::Column, Some(9)), Some((0, 2)));
    }

    #[test]
    fn brackets_and_characters() {
        let text = "a(b[c]\nd)e";
        assert_eq!(moved(text, (0, 0), Motion::Bracket, None), Some((1, 1)));
        assert_eq!(moved(text, (1, 1), Motion::Bracket, None), Some((0, 1)));
        assert_eq!(moved(text, (0, 4), Motion::Bracket, None), Some((0, 3)));
        assert_eq!(moved("((", (0, 0), Motion::Bracket, None), None);
        let find = |target, till, back, from, count| {
            moved("a,b,c,d", (0, from), Motion::Find(Find { target, till, back }), Some(count))
        };
        assert_eq!(find(',', false, false, 0, 2), Some((0, 3)));
        assert_eq!(find(',', true, false, 1, 1), Some((0, 2)));
        assert_eq!(find(',', false, true, 6, 3), Some((0, 1)));
        assert_eq!(find('x', false, false, 0, 1), None);
    }

    #[test]
    fn paragraphs() {
        let text = "a\nb\n\n\nc\n";
        assert_eq!(moved(text, (0, 0), Motion::ParagraphForward, None), Some((2, 0)));
        assert_eq!(moved(text, (2, 0), Motion::ParagraphForward, None), Some((5, 0)));
        assert_eq!(moved(text, (4, 0), Motion::ParagraphBack, None), Some((0, 0)));
    }
}
