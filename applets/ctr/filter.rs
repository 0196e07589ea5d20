//! `--filter KEY=VALUE`: values of one key are alternatives, keys all have to be met.

use std::collections::BTreeMap;

use anyhow::{Context, bail};

/// One `--filter`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    key: String,
    value: String,
}

/// Read one `--filter`.
pub fn parse(text: &str) -> Result<Filter, String> {
    let (key, value) = text.split_once('=').ok_or("bad format of filter (expected name=value)")?;
    Ok(Filter { key: key.trim().to_lowercase(), value: value.trim().to_owned() })
}

/// All that were given.
#[derive(Debug, Default)]
pub struct Filters(BTreeMap<String, Vec<String>>);

impl Filters {
    /// From what was given; keys other than the `known` ones are refused.
    pub fn new(given: &[Filter], known: &[&str]) -> anyhow::Result<Self> {
        let mut all = Filters::default();
        for Filter { key, value } in given {
            if !known.contains(&key.as_str()) {
                bail!("invalid filter '{key}'");
            }
            all.0.entry(key.clone()).or_default().push(value.clone());
        }
        Ok(all)
    }

    /// All but those of a key.
    pub fn without(&self, key: &str) -> Filters {
        Filters(
            self.0
                .iter()
                .filter(|(other, _)| *other != key)
                .map(|(key, values)| (key.clone(), values.clone()))
                .collect(),
        )
    }

    /// The values of a key.
    pub fn values(&self, key: &str) -> &[String] {
        self.0.get(key).map_or(&[], Vec::as_slice)
    }

    /// Whether a key was given.
    pub fn has(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    /// Whether one of a key's values fits, or none was given.
    pub fn any(&self, key: &str, fits: impl FnMut(&String) -> bool) -> bool {
        let values = self.values(key);
        values.is_empty() || values.iter().any(fits)
    }

    /// The same, where a value is a text or a regular expression that is found in one of the texts.
    pub fn matches(&self, key: &str, texts: &[&str]) -> bool {
        self.any(key, |value| {
            let pattern = regex::Regex::new(value).ok();
            texts.iter().any(|text| text == value || pattern.as_ref().is_some_and(|pattern| pattern.is_match(text)))
        })
    }

    /// Whether all of `label` (`KEY` or `KEY=VALUE`) are there, and none of `label!`.
    pub fn labels(&self, labels: &BTreeMap<String, String>) -> bool {
        let has = |wanted: &String| match wanted.split_once('=') {
            Some((key, value)) => labels.get(key).is_some_and(|found| found == value),
            None => labels.contains_key(wanted),
        };
        self.values("label").iter().all(has) && !self.values("label!").iter().any(has)
    }

    /// A boolean, such as `dangling`.
    pub fn truth(&self, key: &str) -> anyhow::Result<Option<bool>> {
        let Some(value) = self.values(key).first() else { return Ok(None) };
        match value.as_str() {
            "1" | "t" | "true" | "True" | "TRUE" => Ok(Some(true)),
            "0" | "f" | "false" | "False" | "FALSE" => Ok(Some(false)),
            other => bail!("invalid filter '{key}={other}'"),
        }
    }

    /// Whether a time is before one of `until`.
    pub fn until(&self, time: &str) -> anyhow::Result<bool> {
        let Some(until) = self.values("until").first() else { return Ok(true) };
        let until = super::time::parse_since(until).map_err(anyhow::Error::msg).context("invalid filter 'until'")?;
        Ok(super::time::parse_rfc3339(time).is_none_or(|time| time < until))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filters(given: &[&str]) -> anyhow::Result<Filters> {
        let given: Vec<_> = given.iter().map(|text| parse(text).unwrap()).collect();
        Filters::new(&given, &["name", "label", "label!", "dangling", "until"])
    }

    #[test]
    fn alternatives_and_conditions() {
        let some = filters(&["name=^web$", "name=db", "label=a", "label=b=2", "label!=c"]).unwrap();
        assert!(some.matches("name", &["web"]) && some.matches("name", &["mydb2"]) && !some.matches("name", &["web2"]));
        let labels = |pairs: &[(&str, &str)]| {
            some.labels(&pairs.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect())
        };
        assert!(labels(&[("a", "1"), ("b", "2")]));
        assert!(
            !labels(&[("a", "1"), ("b", "3")])
                && !labels(&[("b", "2")])
                && !labels(&[("a", ""), ("b", "2"), ("c", "")])
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert!(parse("name").unwrap_err().contains("expected name=value"));
        assert_eq!(filters(&["nope=1"]).unwrap_err().to_string(), "invalid filter 'nope'");
        assert!(filters(&["dangling=maybe"]).unwrap().truth("dangling").is_err());
        assert_eq!(filters(&["dangling=1"]).unwrap().truth("dangling").unwrap(), Some(true));
        assert!(filters(&["until=10m"]).unwrap().until("2000-01-01T00:00:00Z").unwrap());
    }
}
