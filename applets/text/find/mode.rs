//! `-perm`: modes, octal or symbolic (POSIX XCU `chmod`).

/// A condition on the permission bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModeTest {
    /// `MODE`: exactly these bits.
    Exactly(u32),
    /// `-MODE`: all of these.
    All(u32),
    /// `/MODE`: any of these, if there are some.
    Any(u32),
}

impl ModeTest {
    /// Parse the argument of `-perm`.
    pub fn parse(text: &[u8]) -> Option<Self> {
        match text.first()? {
            b'-' => parse_mode(&text[1..]).map(Self::All),
            b'/' => parse_mode(&text[1..]).map(Self::Any),
            _ => parse_mode(text).map(Self::Exactly),
        }
    }

    /// Whether `mode` is as told.
    pub fn holds(self, mode: u32) -> bool {
        let mode = mode & 0o7777;
        match self {
            Self::Exactly(bits) => mode == bits,
            Self::All(bits) => mode & bits == bits,
            Self::Any(0) => true,
            Self::Any(bits) => mode & bits != 0,
        }
    }
}

fn parse_mode(text: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(text).ok()?;
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        return u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o7777);
    }
    text.split(',').try_fold(0, apply_clause)
}

/// Apply one clause, such as `u+rw`, to `mode`. The umask has no part in it.
fn apply_clause(mut mode: u32, clause: &str) -> Option<u32> {
    let (who, mut rest) = clause.split_at(clause.find(['+', '-', '='])?);
    let who = who.chars().try_fold(0, |mask, c| Some(mask | who_mask(c)?))?;
    let who = if who == 0 { who_mask('a')? } else { who };
    while let Some(operator) = rest.chars().next() {
        rest = &rest[1..];
        let (permissions, more) = rest.split_at(rest.find(['+', '-', '=']).unwrap_or(rest.len()));
        rest = more;
        let bits = permission_bits(mode, permissions)? & who;
        match operator {
            '+' => mode |= bits,
            '-' => mode &= !bits,
            _ => mode = mode & !who | bits,
        }
    }
    Some(mode)
}

fn who_mask(c: char) -> Option<u32> {
    Some(match c {
        'u' => 0o4700,
        'g' => 0o2070,
        'o' => 0o1007,
        'a' => 0o7777,
        _ => return None,
    })
}

fn permission_bits(mode: u32, permissions: &str) -> Option<u32> {
    permissions.chars().try_fold(0, |bits, c| {
        Some(
            bits | match c {
                'r' => 0o444,
                'w' => 0o222,
                'x' => 0o111,
                'X' if mode & 0o111 != 0 => 0o111,
                'X' => 0,
                's' => 0o6000,
                't' => 0o1000,
                'u' => 0o111 * (mode >> 6 & 7),
                'g' => 0o111 * (mode >> 3 & 7),
                'o' => 0o111 * (mode & 7),
                _ => return None,
            },
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes() {
        for (text, mode) in [
            ("644", 0o644),
            ("u=rwx", 0o700),
            ("u=rwx,g=u,o=", 0o770),
            ("a+r", 0o444),
            ("+x", 0o111),
            ("u+s,g+s", 0o6000),
            ("+t", 0o1000),
            ("u=rw,g=r,o=r", 0o644),
            ("u+rwx-w", 0o500),
        ] {
            assert_eq!(ModeTest::parse(text.as_bytes()), Some(ModeTest::Exactly(mode)), "{text}");
        }
        assert_eq!(ModeTest::parse(b"-u+x,g=r"), Some(ModeTest::All(0o140)));
        for text in ["", "999", "q", "u", "u+q", "+111", "10000", "u=rwx,"] {
            assert_eq!(ModeTest::parse(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn conditions() {
        assert!(ModeTest::Exactly(0o644).holds(0o100_644));
        assert!(ModeTest::All(0o111).holds(0o755) && !ModeTest::All(0o111).holds(0o744));
        assert!(ModeTest::Any(0o111).holds(0o744) && !ModeTest::Any(0o111).holds(0o644));
        assert!(ModeTest::Any(0).holds(0o644));
    }
}
