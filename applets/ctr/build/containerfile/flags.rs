//! The options of an instruction, `--name[=value]`.

/// Options that are taken one by one; what is left then is unknown.
pub struct Flags(Vec<(String, Option<String>)>);

impl Flags {
    /// Understand them as names and values.
    pub fn new(flags: Vec<String>) -> Self {
        let pair = |flag: String| match flag.split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
            None => (flag, None),
        };
        Flags(flags.into_iter().map(pair).collect())
    }

    fn take(&mut self, name: &str) -> Vec<Option<String>> {
        let (taken, left) = std::mem::take(&mut self.0).into_iter().partition(|(other, _)| other == name);
        self.0 = left;
        let taken: Vec<(String, Option<String>)> = taken;
        taken.into_iter().map(|(_, value)| value).collect()
    }

    fn take_one(&mut self, name: &str) -> Result<Option<Option<String>>, String> {
        let mut taken = self.take(name);
        if taken.len() > 1 { Err(format!("duplicate flag specified: --{name}")) } else { Ok(taken.pop()) }
    }

    /// One that is given at most once, with a value.
    ///
    /// # Errors
    /// If it is given twice, or without a value.
    pub fn text(&mut self, name: &str) -> Result<Option<String>, String> {
        match self.take_one(name)? {
            Some(None) => Err(format!("missing a value on flag: --{name}")),
            value => Ok(value.flatten()),
        }
    }

    /// One that may be given several times.
    ///
    /// # Errors
    /// If one has no value.
    pub fn texts(&mut self, name: &str) -> Result<Vec<String>, String> {
        self.take(name)
            .into_iter()
            .map(|value| value.ok_or_else(|| format!("missing a value on flag: --{name}")))
            .collect()
    }

    /// One that is `true`, `false`, or just there.
    ///
    /// # Errors
    /// If it is given twice, or has another value.
    pub fn boolean(&mut self, name: &str) -> Result<bool, String> {
        match self.take_one(name)? {
            None => Ok(false),
            Some(None) => Ok(true),
            Some(Some(value)) => match value.to_ascii_lowercase().as_str() {
                "true" => Ok(true),
                "false" => Ok(false),
                "" => Err(format!("missing a value on flag: --{name}")),
                _ => Err(format!("expecting boolean value for flag --{name}, not: {value}")),
            },
        }
    }

    /// Whether all have been taken.
    ///
    /// # Errors
    /// Names the first that has not.
    pub fn finish(self) -> Result<(), String> {
        match self.0.first() {
            Some((name, _)) => Err(format!("unknown flag: --{name}")),
            None => Ok(()),
        }
    }
}
