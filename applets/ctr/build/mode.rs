//! `--chmod`: octal, or symbolic as chmod(1) has it.

/// A change of permission bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// To these bits.
    Octal(u32),
    /// One after another.
    Symbolic(Vec<Clause>),
}

/// One of `u+rwX,go-w`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clause {
    /// Classes, as the bits that they cover.
    who: u32,
    operator: char,
    /// Permissions for every class, `X` apart.
    bits: u32,
    /// `X`: execution where it makes sense.
    conditional: bool,
}

const SETUID: u32 = 0o4000;
const SETGID: u32 = 0o2000;
const STICKY: u32 = 0o1000;

impl Change {
    /// Read it.
    ///
    /// # Errors
    /// If it is neither form.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("invalid chmod parameter: '{text}'. it should be octal string and between 0 and 07777");
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            let mode = u32::from_str_radix(text, 8).ok().filter(|&mode| mode <= 0o7777);
            return mode.map(Change::Octal).ok_or_else(wrong);
        }
        text.split(',').map(Clause::parse).collect::<Option<_>>().map(Change::Symbolic).ok_or_else(wrong)
    }

    /// The bits that come of `mode`.
    pub fn apply(&self, mode: u32, is_folder: bool) -> u32 {
        match self {
            Change::Octal(mode) => *mode,
            Change::Symbolic(clauses) => {
                clauses.iter().fold(mode & 0o7777, |mode, clause| clause.apply(mode, is_folder))
            }
        }
    }
}

impl Clause {
    fn parse(text: &str) -> Option<Self> {
        let at = text.find(['+', '-', '='])?;
        let (classes, rest) = text.split_at(at);
        let mut who = if classes.is_empty() { 0o7777 } else { 0 };
        for class in classes.chars() {
            who |= match class {
                'u' => SETUID | 0o700,
                'g' => SETGID | 0o070,
                'o' => STICKY | 0o007,
                'a' => 0o7777,
                _ => return None,
            };
        }
        let mut chars = rest.chars();
        let operator = chars.next()?;
        let (mut bits, mut conditional) = (0, false);
        for permission in chars {
            match permission {
                'r' => bits |= 0o444,
                'w' => bits |= 0o222,
                'x' => bits |= 0o111,
                'X' => conditional = true,
                's' => bits |= SETUID | SETGID,
                't' => bits |= STICKY,
                _ => return None,
            }
        }
        Some(Clause { who, operator, bits, conditional })
    }

    fn apply(&self, mode: u32, is_folder: bool) -> u32 {
        let execute = self.conditional && (is_folder || mode & 0o111 != 0);
        // The sticky bit belongs to no class.
        let who = if self.bits & STICKY != 0 { self.who | STICKY } else { self.who };
        let bits = (self.bits | if execute { 0o111 } else { 0 }) & who;
        match self.operator {
            '+' => mode | bits,
            '-' => mode & !bits,
            _ => (mode & !(self.who & 0o777)) | bits,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        for (text, mode, folder, expected) in [
            ("755", 0o600, false, 0o755),
            ("04755", 0, false, 0o4755),
            ("u+x", 0o644, false, 0o744),
            ("u=rwX,go=rX", 0o640, false, 0o644),
            ("u=rwX,go=rX", 0o750, false, 0o755),
            ("u=rwX,go=rX", 0o600, true, 0o755),
            ("+x", 0o644, false, 0o755),
            ("a-w", 0o666, false, 0o444),
            ("u+s", 0o755, false, 0o4755),
            ("+t", 0o777, true, 0o1777),
        ] {
            assert_eq!(Change::parse(text).unwrap().apply(mode, folder), expected, "{text}");
        }
        for wrong in ["", "888", "10000", "x", "u", "u+y", "z+x", "u+x,"] {
            assert!(Change::parse(wrong).is_err(), "{wrong}");
        }
    }
}
