//! The edit script: which lines of two files have no counterpart in the other.
//!
//! Myers, "An O(ND) Difference Algorithm and Its Variations" (1986), in its linear-space form, with GNU diff's refinements: lines that
//! only one file has take no part in the search; a search that becomes too expensive settles for a good division instead of the
//! best one, unless the smallest script is asked for; runs of changes are slid together and downwards where that changes nothing.

use std::collections::HashSet;
use std::ops::Range;

/// Lines `a` of the first file are replaced by lines `b` of the second; one of both may be empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub a: Range<usize>,
    pub b: Range<usize>,
}

/// Compare two files, given as the classes of their lines: lines of one class are equal.
pub fn compare(a: &[u32], b: &[u32], minimal: bool) -> Vec<Change> {
    let before = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    let (a, b) = (&a[before..], &b[before..]);
    let after = a.iter().rev().zip(b.iter().rev()).take_while(|(a, b)| a == b).count();
    let mut changes = compare_middle(&a[..a.len() - after], &b[..b.len() - after], minimal);
    for change in &mut changes {
        change.a = change.a.start + before..change.a.end + before;
        change.b = change.b.start + before..change.b.end + before;
    }
    changes
}

/// Compare what is left without the lines that both files begin and end with.
fn compare_middle(a: &[u32], b: &[u32], minimal: bool) -> Vec<Change> {
    let mut changed = [vec![false; a.len()], vec![false; b.len()]];
    let (a_kept, b_kept) = (kept(a, b, &mut changed[0]), kept(b, a, &mut changed[1]));
    let pick = |lines: &[u32], kept: &[usize]| kept.iter().map(|index| lines[*index]).collect::<Vec<_>>();
    let (a_lines, b_lines) = (pick(a, &a_kept), pick(b, &b_kept));
    let mut search = Search::new(&a_lines, &b_lines);
    search.run(minimal, |side, at| changed[side][if side == 0 { a_kept[at] } else { b_kept[at] }] = true);
    slide(a, b, changes(&changed))
}

/// The lines that the other file has too; the others are marked as changed.
fn kept(lines: &[u32], other: &[u32], changed: &mut [bool]) -> Vec<usize> {
    let known: HashSet<u32> = other.iter().copied().collect();
    let mut kept = Vec::with_capacity(lines.len());
    for (index, line) in lines.iter().enumerate() {
        if known.contains(line) {
            kept.push(index);
        } else {
            changed[index] = true;
        }
    }
    kept
}

fn changes(changed: &[Vec<bool>; 2]) -> Vec<Change> {
    let is_changed = |side: usize, at: usize| changed[side].get(at) == Some(&true);
    let mut out = Vec::new();
    let (mut a, mut b) = (0, 0);
    while a < changed[0].len() || b < changed[1].len() {
        let (a_start, b_start) = (a, b);
        while is_changed(0, a) {
            a += 1;
        }
        while is_changed(1, b) {
            b += 1;
        }
        if a > a_start || b > b_start {
            out.push(Change { a: a_start..a, b: b_start..b });
        } else {
            a += 1;
            b += 1;
        }
    }
    out
}

/// A part of both files that is still to be compared.
#[derive(Clone)]
struct Part {
    a: Range<usize>,
    b: Range<usize>,
    minimal: bool,
}

/// Where to divide a part, and whether its parts need the smallest script.
struct Division {
    a: usize,
    b: usize,
    first_minimal: bool,
    second_minimal: bool,
}

struct Search<'l> {
    a: &'l [u32],
    b: &'l [u32],
    /// For each diagonal (a minus b), the furthest point reached from the start and from the end.
    forward: Vec<isize>,
    backward: Vec<isize>,
    /// The diagonal at index 0.
    origin: isize,
    /// The number of steps after which a division need not be the best.
    patience: usize,
}

impl<'l> Search<'l> {
    fn new(a: &'l [u32], b: &'l [u32]) -> Self {
        let diagonals = a.len() + b.len() + 3;
        Self {
            a,
            b,
            forward: vec![0; diagonals],
            backward: vec![0; diagonals],
            origin: -signed(b.len() + 1),
            patience: diagonals.isqrt().max(4096),
        }
    }

    /// Tell of each line without a counterpart: its side, 0 or 1, and its index.
    fn run(&mut self, minimal: bool, mut change: impl FnMut(usize, usize)) {
        let mut parts = vec![Part { a: 0..self.a.len(), b: 0..self.b.len(), minimal }];
        while let Some(mut part) = parts.pop() {
            self.trim(&mut part);
            if part.a.is_empty() {
                part.b.for_each(|at| change(1, at));
            } else if part.b.is_empty() {
                part.a.for_each(|at| change(0, at));
            } else {
                let at = self.divide(&part);
                parts.push(Part { a: part.a.start..at.a, b: part.b.start..at.b, minimal: at.first_minimal });
                parts.push(Part { a: at.a..part.a.end, b: at.b..part.b.end, minimal: at.second_minimal });
            }
        }
    }

    /// Leave out what is equal at the start and at the end.
    fn trim(&self, part: &mut Part) {
        while !part.a.is_empty() && !part.b.is_empty() && self.a[part.a.start] == self.b[part.b.start] {
            part.a.start += 1;
            part.b.start += 1;
        }
        while !part.a.is_empty() && !part.b.is_empty() && self.a[part.a.end - 1] == self.b[part.b.end - 1] {
            part.a.end -= 1;
            part.b.end -= 1;
        }
    }

    fn index(&self, diagonal: isize) -> usize {
        (diagonal - self.origin).unsigned_abs()
    }

    /// Search from both ends at once, until the searches meet.
    fn divide(&mut self, part: &Part) -> Division {
        let (a_start, a_end) = (signed(part.a.start), signed(part.a.end));
        let (b_start, b_end) = (signed(part.b.start), signed(part.b.end));
        let (least, most) = (a_start - b_end, a_end - b_start);
        let (first, last) = (a_start - b_start, a_end - b_end);
        let odd = (first - last) & 1 != 0;
        let (mut forward_low, mut forward_high) = (first, first);
        let (mut backward_low, mut backward_high) = (last, last);
        let (at_first, at_last) = (self.index(first), self.index(last));
        self.forward[at_first] = a_start;
        self.backward[at_last] = a_end;
        for steps in 1_usize.. {
            widen(&mut forward_low, &mut forward_high, least, most, |diagonal| {
                let at = (diagonal - self.origin).unsigned_abs();
                self.forward[at] = -1;
            });
            let mut diagonal = forward_high;
            while diagonal >= forward_low {
                let x = self.step_forward(diagonal, a_end, b_end);
                if odd && (backward_low..=backward_high).contains(&diagonal) && self.backward[self.index(diagonal)] <= x
                {
                    return Division::best(x, diagonal);
                }
                diagonal -= 2;
            }
            widen(&mut backward_low, &mut backward_high, least, most, |diagonal| {
                let at = (diagonal - self.origin).unsigned_abs();
                self.backward[at] = isize::MAX;
            });
            let mut diagonal = backward_high;
            while diagonal >= backward_low {
                let x = self.step_backward(diagonal, a_start, b_start);
                if !odd && (forward_low..=forward_high).contains(&diagonal) && x <= self.forward[self.index(diagonal)] {
                    return Division::best(x, diagonal);
                }
                diagonal -= 2;
            }
            if !part.minimal && steps >= self.patience {
                return self.settle(part, (forward_low, forward_high), (backward_low, backward_high));
            }
        }
        // The searches meet after at most as many steps as there are lines.
        Division::best(a_start, first)
    }

    /// Extend the forward search along a diagonal, and give how far into the first file it comes.
    fn step_forward(&mut self, diagonal: isize, a_end: isize, b_end: isize) -> isize {
        let at = self.index(diagonal);
        let (low, high) = (self.forward[at - 1], self.forward[at + 1]);
        let mut x = if low < high { high } else { low + 1 };
        while x < a_end && x - diagonal < b_end && self.a[x.unsigned_abs()] == self.b[(x - diagonal).unsigned_abs()] {
            x += 1;
        }
        self.forward[at] = x;
        x
    }

    fn step_backward(&mut self, diagonal: isize, a_start: isize, b_start: isize) -> isize {
        let at = self.index(diagonal);
        let (low, high) = (self.backward[at - 1], self.backward[at + 1]);
        let mut x = if low < high { low } else { high - 1 };
        while a_start < x
            && b_start < x - diagonal
            && self.a[(x - 1).unsigned_abs()] == self.b[(x - 1 - diagonal).unsigned_abs()]
        {
            x -= 1;
        }
        self.backward[at] = x;
        x
    }

    /// The division at the furthest point that either search has come to.
    fn settle(&self, part: &Part, forward: (isize, isize), backward: (isize, isize)) -> Division {
        let (a_start, a_end) = (signed(part.a.start), signed(part.a.end));
        let (b_start, b_end) = (signed(part.b.start), signed(part.b.end));
        let (mut front, mut front_sum) = ((a_start, b_start), -1);
        for diagonal in diagonals(forward) {
            let x = self.forward[self.index(diagonal)].min(a_end);
            let (x, y) = if x - diagonal > b_end { (b_end + diagonal, b_end) } else { (x, x - diagonal) };
            if front_sum < x + y {
                (front, front_sum) = ((x, y), x + y);
            }
        }
        let (mut back, mut back_sum) = ((a_end, b_end), isize::MAX);
        for diagonal in diagonals(backward) {
            let x = self.backward[self.index(diagonal)].max(a_start);
            let (x, y) = if x - diagonal < b_start { (b_start + diagonal, b_start) } else { (x, x - diagonal) };
            if x + y < back_sum {
                (back, back_sum) = ((x, y), x + y);
            }
        }
        let forward_is_further = (a_end + b_end) - back_sum < front_sum - (a_start + b_start);
        let (a, b) = if forward_is_further { front } else { back };
        Division {
            a: a.unsigned_abs(),
            b: b.unsigned_abs(),
            first_minimal: forward_is_further,
            second_minimal: !forward_is_further,
        }
    }
}

impl Division {
    fn best(x: isize, diagonal: isize) -> Self {
        Self { a: x.unsigned_abs(), b: (x - diagonal).unsigned_abs(), first_minimal: true, second_minimal: true }
    }
}

/// Every other diagonal, from the highest down.
fn diagonals((low, high): (isize, isize)) -> impl Iterator<Item = isize> {
    std::iter::successors(Some(high), |diagonal| Some(diagonal - 2)).take_while(move |diagonal| *diagonal >= low)
}

/// Take in one more diagonal on either side, within the limits; `fence` marks the one beyond.
fn widen(low: &mut isize, high: &mut isize, least: isize, most: isize, mut fence: impl FnMut(isize)) {
    if *low > least {
        *low -= 1;
        fence(*low - 1);
    } else {
        *low += 1;
    }
    if *high < most {
        *high += 1;
        fence(*high + 1);
    } else {
        *high -= 1;
    }
}

/// Line numbers are far below the greatest `isize`: each line takes memory.
fn signed(number: usize) -> isize {
    number.cast_signed()
}

/// Slide changes that only delete or only insert, which may stand at several places with the same result: up to the change before, if that can be
/// reached, to be one with it; else down as far as possible, and to be one with the next if that is reached.
fn slide(a: &[u32], b: &[u32], changes: Vec<Change>) -> Vec<Change> {
    let mut done: Vec<Change> = Vec::with_capacity(changes.len());
    let mut waiting = changes;
    waiting.reverse();
    while let Some(mut change) = waiting.pop() {
        let Some((lines, run)) = change.only_side(a, b) else {
            done.push(change);
            continue;
        };
        if let Some(before) = done.last() {
            let gap = change.a.start - before.a.end;
            let reach = (0..gap).take_while(|up| lines[run.start - 1 - up] == lines[run.end - 1 - up]).count();
            if reach == gap {
                let (start_a, start_b) = (before.a.start, before.b.start);
                change = Change { a: start_a..change.a.end - gap, b: start_b..change.b.end - gap };
                done.pop();
                waiting.push(change);
                continue;
            }
        }
        let gap = waiting.last().map_or(a.len(), |next| next.a.start) - change.a.end;
        let reach = (0..gap).take_while(|down| lines[run.start + down] == lines[run.end + down]).count();
        change =
            Change { a: change.a.start + reach..change.a.end + reach, b: change.b.start + reach..change.b.end + reach };
        match waiting.last_mut() {
            Some(next) if reach == gap => {
                *next = Change { a: change.a.start..next.a.end, b: change.b.start..next.b.end }
            }
            _ => done.push(change),
        }
    }
    done
}

impl Change {
    /// The file that has lines where the other has none, and which they are; `None` if both have some.
    fn only_side<'l>(&self, a: &'l [u32], b: &'l [u32]) -> Option<(&'l [u32], Range<usize>)> {
        match (self.a.is_empty(), self.b.is_empty()) {
            (true, _) => Some((b, self.b.clone())),
            (_, true) => Some((a, self.a.clone())),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classes(text: &str) -> Vec<u32> {
        text.chars().map(u32::from).collect()
    }

    fn of(a: &str, b: &str) -> Vec<Change> {
        compare(&classes(a), &classes(b), false)
    }

    /// What the script makes of the first file.
    fn apply(a: &[u32], b: &[u32], changes: &[Change]) -> Vec<u32> {
        let (mut out, mut at) = (Vec::new(), 0);
        for change in changes {
            out.extend(&a[at..change.a.start]);
            out.extend(&b[change.b.clone()]);
            at = change.a.end;
        }
        out.extend(&a[at..]);
        out
    }

    /// The length of a longest common subsequence, by the book.
    fn longest_common(a: &[u32], b: &[u32]) -> usize {
        let mut row = vec![0; b.len() + 1];
        for x in a {
            let mut diagonal = 0;
            for (j, y) in b.iter().enumerate() {
                let above = row[j + 1];
                row[j + 1] = if x == y { diagonal + 1 } else { above.max(row[j]) };
                diagonal = above;
            }
        }
        row[b.len()]
    }

    #[test]
    fn changes_of_small_files() {
        assert_eq!(of("abc", "abc"), []);
        assert_eq!(of("", "ab"), [Change { a: 0..0, b: 0..2 }]);
        assert_eq!(of("abc", "axc"), [Change { a: 1..2, b: 1..2 }]);
        // Of two equal lines, the later one is new.
        assert_eq!(of("ab", "aab"), [Change { a: 1..1, b: 1..2 }]);
    }

    proptest::proptest! {
        #[test]
        fn a_script_makes_the_second_file_of_the_first(a in "[abc]{0,30}", b in "[abc]{0,30}", minimal: bool) {
            let (a, b) = (classes(&a), classes(&b));
            let changes = compare(&a, &b, minimal);
            proptest::prop_assert_eq!(apply(&a, &b, &changes), b.clone());
            let kept = a.len() - changes.iter().map(|change| change.a.len()).sum::<usize>();
            proptest::prop_assert_eq!(kept, longest_common(&a, &b));
        }

        #[test]
        fn a_settled_search_is_right_too(a in "[a-f]{0,60}", b in "[a-f]{0,60}") {
            let (a, b) = (classes(&a), classes(&b));
            let mut search = Search::new(&a, &b);
            search.patience = 1;
            let mut changed = [vec![false; a.len()], vec![false; b.len()]];
            search.run(false, |side, at| changed[side][at] = true);
            proptest::prop_assert_eq!(apply(&a, &b, &changes(&changed)), b.clone());
        }
    }
}
