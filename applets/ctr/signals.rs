//! Signals by name and number.

use nix::sys::signal::Signal;

/// The highest signal, a real-time one.
const MAX: i32 = 64;

/// Read `TERM`, `SIGTERM`, `15` or `RTMIN+3`.
pub fn parse(text: &str) -> Result<i32, String> {
    let wrong = || format!("Invalid signal: {text}");
    if let Ok(number) = text.parse::<i32>() {
        return (1..=MAX).contains(&number).then_some(number).ok_or_else(wrong);
    }
    let name = text.to_ascii_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    if let Some(offset) = real_time(name) {
        return offset.ok_or_else(wrong);
    }
    format!("SIG{name}").parse::<Signal>().map(|signal| signal as i32).map_err(|_| wrong())
}

/// RTMIN is 34 for every C library: the kernel's first two are theirs.
fn real_time(name: &str) -> Option<Option<i32>> {
    let rest = name.strip_prefix("RTMIN")?;
    let offset =
        if rest.is_empty() { Some(0) } else { rest.strip_prefix('+').and_then(|number| number.parse::<i32>().ok()) };
    Some(offset.filter(|offset| (0..=30).contains(offset)).map(|offset| 34 + offset))
}

/// The name of a signal, or its number.
pub fn name(signal: i32) -> String {
    Signal::try_from(signal).map_or_else(|_| signal.to_string(), |signal| signal.as_str().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        for text in ["TERM", "SIGTERM", "term", "15"] {
            assert_eq!(parse(text), Ok(15), "{text}");
        }
        assert_eq!(parse("RTMIN+3"), Ok(37));
        for text in ["", "0", "65", "-1", "NOPE", "RTMIN+99", "RTMIN-1"] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert_eq!(name(9), "SIGKILL");
    }
}
