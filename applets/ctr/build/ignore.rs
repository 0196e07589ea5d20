//! `.containerignore` and `.dockerignore`: what of a folder is not part of the context.

use super::pattern::{Pattern, clean};

/// Rules in their order; the last that fits a path decides.
#[derive(Clone, Debug, Default)]
pub struct Ignore(Vec<Rule>);

#[derive(Clone, Debug)]
struct Rule {
    pattern: Pattern,
    /// `!`: take it in again.
    exception: bool,
}

impl Ignore {
    /// Read an ignore file.
    ///
    /// # Errors
    /// Names the line that is no pattern.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let lines = text.lines().filter(|line| !line.starts_with('#')).map(str::trim);
        Self::new(lines.filter(|line| !line.is_empty()))
    }

    /// From rules, each a pattern, with `!` before it for an exception.
    ///
    /// # Errors
    /// Names the one that is no pattern.
    pub fn new<'a>(rules: impl Iterator<Item = &'a str>) -> Result<Self, String> {
        let mut all = Vec::new();
        for rule in rules {
            let (exception, pattern) = rule.strip_prefix('!').map_or((false, rule), |rest| (true, rest.trim()));
            if pattern.is_empty() {
                return Err(format!("illegal exclusion pattern: {rule:?}"));
            }
            // Whatever stands for the whole context excludes nothing by itself.
            let pattern = clean(pattern);
            if !pattern.is_empty() {
                all.push(Rule { pattern: Pattern::new(&pattern)?, exception });
            }
        }
        Ok(Ignore(all))
    }

    /// Whether a path of the context is left out: by a rule for it, or for a folder that it is in.
    pub fn excludes(&self, path: &str) -> bool {
        let mut excluded = false;
        for rule in &self.0 {
            // One that would change nothing need not be looked at.
            if rule.exception != excluded {
                continue;
            }
            let folders = path.char_indices().filter(|&(_, c)| c == '/').map(|(at, _)| &path[..at]);
            if rule.pattern.matches(path) || { folders }.any(|folder| rule.pattern.matches(folder)) {
                excluded = !rule.exception;
            }
        }
        excluded
    }

    /// Whether something in a folder that is left out may be taken in all the same.
    pub fn has_exceptions(&self) -> bool {
        self.0.iter().any(|rule| rule.exception)
    }

    /// Whether there are no rules.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn excludes(rules: &str, path: &str) -> bool {
        Ignore::parse(rules).unwrap().excludes(path)
    }

    #[test]
    fn dockers_examples() {
        for (rules, path, expected) in [
            ("*/temp*", "somedir/temporary.txt", true),
            ("*/temp*", "a/b/temp", false),
            ("*/*/temp*", "a/b/temporary.txt", true),
            ("temp?", "tempa", true),
            ("temp?", "temp", false),
            ("**/*.go", "a/b/c.go", true),
            ("*.md\n!README.md", "README.md", false),
            ("*.md\n!README.md", "x.md", true),
            ("*.md\n!README*.md\nREADME-secret.md", "README-secret.md", true),
            ("*.md\nREADME-secret.md\n!README*.md", "README-secret.md", false),
            ("dir", "dir/a/b", true),
            ("dir\n!dir/a", "dir/a/b", false),
            ("dir\n!dir/a", "dir/b", true),
            ("/foo/bar", "foo/bar", true),
            ("foo/", "foo/x", true),
            ("# x\n\n  a  ", "a", true),
            ("*", "a/b", true),
            ("*\n!a/**/x", "a/b/x", false),
            (".\n./a/../b", "b", true),
            ("**", "a", true),
            ("../x", "x", true),
        ] {
            assert_eq!(excludes(rules, path), expected, "{rules:?} {path}");
        }
        assert!(Ignore::parse("!").is_err());
        assert!(Ignore::parse("[").is_err());
    }

    proptest! {
        #[test]
        fn an_excluded_folder_takes_all_along(rules in prop::collection::vec("[a-c*?/]{1,6}", 1..4), path in "[a-c]{1,2}(/[a-c]{1,2}){0,2}") {
            let ignore = Ignore::new(rules.iter().map(String::as_str)).unwrap();
            if ignore.excludes(&path) {
                let below = format!("{path}/x");
                prop_assert!(ignore.excludes(&below));
            }
        }

        #[test]
        fn never_panics(text in "(?s)[ -~\n]{0,40}") {
            if let Ok(ignore) = Ignore::parse(&text) {
                let _ = ignore.excludes("a/b");
            }
        }
    }
}
