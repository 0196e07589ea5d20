//! Names and numbers of signals (signal(7)).

use nix::sys::signal::Signal;

/// A signal to send; `None` asks only whether the process is there (kill(2), signal 0).
pub type Choice = Option<Signal>;

/// Parse a number, or a name with or without SIG, in any case.
///
/// # Errors
/// A message that names the word.
pub fn parse(word: &str) -> Result<Choice, String> {
    let unknown = || format!("{word}: unknown signal; `kill -l` lists the names");
    if let Ok(number) = word.parse::<i32>() {
        if number == 0 {
            return Ok(None);
        }
        return Signal::try_from(number).map(Some).map_err(|_| unknown());
    }
    let upper = word.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let name = match name {
        "EXIT" => return Ok(None),
        "CLD" => "CHLD",
        "POLL" => "IO",
        name => name,
    };
    format!("SIG{name}").parse().map(Some).map_err(|_| unknown())
}

/// The name without SIG.
pub fn name(signal: Signal) -> &'static str {
    signal.as_str().trim_start_matches("SIG")
}

/// All signals in the order of their numbers, as `N) SIGNAME` in columns.
pub fn table() -> String {
    let cells: Vec<String> = Signal::iterator().map(|signal| format!("{:2}) {:<10}", signal as i32, signal)).collect();
    let rows: Vec<String> = cells.chunks(5).map(|row| row.join(" ").trim_end().to_owned()).collect();
    rows.join("\n") + "\n"
}

/// What `kill -l WORD` says: a name for a number (or an exit status above 128), a number for a name.
///
/// # Errors
/// When there is no such signal.
pub fn translate(word: &str) -> Result<String, String> {
    match word.parse::<i32>() {
        Ok(number) => {
            let number = if number > 128 { number - 128 } else { number };
            Ok(parse(&number.to_string())?.map_or("EXIT", name).to_owned())
        }
        Err(_) => Ok(parse(word)?.map_or(0, |signal| signal as i32).to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        assert_eq!(parse("9"), Ok(Some(Signal::SIGKILL)));
        assert_eq!(parse("term"), Ok(Some(Signal::SIGTERM)));
        assert_eq!(parse("SIGHUP"), Ok(Some(Signal::SIGHUP)));
        assert_eq!(parse("0"), Ok(None));
        assert!(parse("99").is_err() && parse("FROB").is_err() && parse("").is_err());
        assert_eq!(translate("15"), Ok("TERM".into()));
        assert_eq!(translate("137"), Ok("KILL".into()));
        assert_eq!(translate("INT"), Ok("2".into()));
    }
}
