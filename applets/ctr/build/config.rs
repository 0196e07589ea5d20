//! The configuration of an image that is being built: what an image document holds (image-spec config.md, and Docker's additions).

use std::collections::BTreeMap;

use coracle_image_oci::Platform;
use serde_json::{Map, Value, json};

use super::containerfile::{CommandLine, Health};

/// Docker's comment on what a build has done.
const COMMENT: &str = "buildkit.dockerfile.v0";

/// An image document under way.
#[derive(Clone, Debug)]
pub struct Config {
    document: Value,
    /// Whether this stage has set a command: an entry point puts one away that came with the base.
    has_cmd: bool,
}

impl Config {
    /// Of an empty image.
    pub fn scratch(platform: &Platform) -> Self {
        let mut document = json!({
            "architecture": platform.architecture, "os": platform.os,
            "config": { "Env": [crate::runtime::PATH], "WorkingDir": "/" },
            "history": [],
        });
        if let Some(variant) = &platform.variant {
            document["variant"] = variant.as_str().into();
        }
        Config { document, has_cmd: false }
    }

    /// Of what is built on an image.
    pub fn on(document: &Value) -> Self {
        let mut config = Config { document: document.clone(), has_cmd: false };
        if !config.document["config"].is_object() {
            config.document["config"] = json!({});
        }
        if !config.document["history"].is_array() {
            config.document["history"] = json!([]);
        }
        if config.env().iter().all(|entry| !entry.starts_with("PATH=")) {
            config.set_env("PATH", crate::runtime::PATH.trim_start_matches("PATH="));
        }
        config
    }

    /// Of a `config` alone.
    pub fn of_container(config: Map<String, Value>) -> Self {
        Config { document: json!({ "config": config }), has_cmd: false }
    }

    /// The `config` alone.
    pub fn into_container(mut self) -> Map<String, Value> {
        match self.document["config"].take() {
            Value::Object(config) => config,
            _ => Map::new(),
        }
    }

    /// The document, without its layers.
    pub fn document(&self) -> &Value {
        &self.document
    }

    /// The next stage begins with this one's image.
    pub fn next_stage(self) -> Self {
        Config { has_cmd: false, ..self }
    }

    /// Change the part that says how it runs.
    fn set(&mut self, key: &str, value: impl Into<Value>) {
        self.document["config"][key] = value.into();
    }

    fn remove(&mut self, key: &str) {
        if let Value::Object(map) = &mut self.document["config"] {
            map.remove(key);
        }
    }

    /// A member that is an object, made one if it is not.
    fn object(&mut self, key: &str) -> &mut Value {
        let member = &mut self.document["config"][key];
        if !member.is_object() {
            *member = json!({});
        }
        member
    }

    fn strings(&self, key: &str) -> Vec<String> {
        let list = self.document["config"][key].as_array();
        list.into_iter().flatten().filter_map(|value| value.as_str().map(Into::into)).collect()
    }

    fn text(&self, key: &str) -> &str {
        self.document["config"][key].as_str().unwrap_or_default()
    }

    /// `KEY=VALUE`, in their order.
    pub fn env(&self) -> Vec<String> {
        self.strings("Env")
    }

    /// Set a variable, in place if it is there.
    pub fn set_env(&mut self, key: &str, value: &str) {
        let mut env = self.env();
        let entry = format!("{key}={value}");
        match env.iter_mut().find(|other| other.split('=').next() == Some(key)) {
            Some(other) => *other = entry,
            None => env.push(entry),
        }
        self.set("Env", env);
    }

    /// The shell of shell forms.
    pub fn shell(&self) -> Vec<String> {
        let shell = self.strings("Shell");
        if shell.is_empty() { ["/bin/sh", "-c"].map(Into::into).to_vec() } else { shell }
    }

    /// `SHELL`.
    pub fn set_shell(&mut self, shell: &[String]) {
        self.set("Shell", shell);
    }

    /// A command in words: the shell's if it is in shell form.
    pub fn words(&self, command: &CommandLine) -> Vec<String> {
        match command {
            CommandLine::Exec(words) => words.clone(),
            CommandLine::Shell(text) if text.is_empty() => Vec::new(),
            CommandLine::Shell(text) => self.shell().into_iter().chain([text.clone()]).collect(),
        }
    }

    /// `CMD`.
    pub fn set_cmd(&mut self, words: &[String]) {
        self.has_cmd = true;
        self.set("Cmd", words);
    }

    /// `ENTRYPOINT`; empty takes the base's away.
    pub fn set_entrypoint(&mut self, words: &[String]) {
        if words.is_empty() {
            self.remove("Entrypoint");
        } else {
            self.set("Entrypoint", words);
        }
        if !self.has_cmd {
            self.remove("Cmd");
        }
    }

    /// The user of commands, empty for root.
    pub fn user(&self) -> &str {
        self.text("User")
    }

    /// `USER`.
    pub fn set_user(&mut self, user: &str) {
        self.set("User", user);
    }

    /// The working directory, absolute.
    pub fn workdir(&self) -> String {
        super::super::options::normalize(self.text("WorkingDir"))
    }

    /// A path of the image as an instruction has it, absolute; a slash at its end stays.
    pub fn resolve(&self, path: &str) -> String {
        let joined = if path.starts_with('/') { path.to_owned() } else { format!("{}/{path}", self.workdir()) };
        let clean = super::super::options::normalize(&joined);
        let folder = path.ends_with('/') || path.ends_with("/.") || path.is_empty() || path == ".";
        if folder && clean != "/" { clean + "/" } else { clean }
    }

    /// The same without the slash.
    pub fn resolve_folder(&self, path: &str) -> String {
        let path = self.resolve(path);
        if path == "/" { path } else { path.trim_end_matches('/').to_owned() }
    }

    /// `WORKDIR`, absolute.
    pub fn set_workdir(&mut self, path: &str) {
        self.set("WorkingDir", path);
    }

    /// `EXPOSE`: `PORT/PROTOCOL`.
    pub fn expose(&mut self, port: &str) {
        self.object("ExposedPorts")[port] = json!({});
    }

    /// `VOLUME`.
    pub fn add_volume(&mut self, path: &str) {
        self.object("Volumes")[path] = json!({});
    }

    /// `LABEL`.
    pub fn set_label(&mut self, key: &str, value: &str) {
        self.object("Labels")[key] = value.into();
    }

    /// `MAINTAINER`.
    pub fn set_author(&mut self, name: &str) {
        self.document["author"] = name.into();
    }

    /// `STOPSIGNAL`.
    pub fn set_stop_signal(&mut self, signal: &str) {
        self.set("StopSignal", signal);
    }

    /// `HEALTHCHECK`, with Docker's field names; times in nanoseconds.
    pub fn set_healthcheck(&mut self, health: Option<&Health>) {
        let check = match health {
            None => json!({ "Test": ["NONE"] }),
            Some(health) => {
                let test: Vec<String> = match &health.command {
                    CommandLine::Exec(words) => std::iter::once("CMD".into()).chain(words.iter().cloned()).collect(),
                    CommandLine::Shell(text) => vec!["CMD-SHELL".into(), text.clone()],
                };
                let mut check = json!({ "Test": test });
                for (key, time) in [
                    ("Interval", health.interval),
                    ("Timeout", health.timeout),
                    ("StartPeriod", health.start_period),
                    ("StartInterval", health.start_interval),
                ] {
                    if !time.is_zero() {
                        check[key] = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX).into();
                    }
                }
                if health.retries > 0 {
                    check["Retries"] = health.retries.into();
                }
                check
            }
        };
        self.set("Healthcheck", check);
    }

    /// `ONBUILD`.
    pub fn add_trigger(&mut self, text: &str) {
        let mut triggers = self.strings("OnBuild");
        triggers.push(text.into());
        self.set("OnBuild", triggers);
    }

    /// The base's triggers, which are carried out now and not again.
    pub fn take_triggers(&mut self) -> Vec<String> {
        let triggers = self.strings("OnBuild");
        self.remove("OnBuild");
        triggers
    }

    /// When the last layer came into being, RFC 3339.
    pub fn created(&self) -> Option<&str> {
        let history = self.document["history"].as_array();
        let last = history.and_then(|history| history.last()).and_then(|entry| entry["created"].as_str());
        last.or_else(|| self.document["created"].as_str())
    }

    /// Put on record what an instruction has done, and when; without a time it is as old as the next thing that has one.
    pub fn add_history(&mut self, created: Option<&str>, created_by: &str, empty_layer: bool) {
        let mut entry = json!({ "created_by": created_by, "comment": COMMENT });
        if empty_layer {
            entry["empty_layer"] = true.into();
        }
        if let Some(created) = created {
            entry["created"] = created.into();
            self.document["created"] = created.into();
        }
        if let Value::Array(history) = &mut self.document["history"] {
            history.push(entry);
        }
    }

    /// Whether nothing in it has a date.
    pub fn is_undated(&self) -> bool {
        self.created().is_none()
    }

    /// Date what has no date yet: by what comes after it, or `now`.
    pub fn date(&mut self, now: &str) {
        let mut next = self.created().unwrap_or(now).to_owned();
        if let Value::Array(history) = &mut self.document["history"] {
            for entry in history.iter_mut().rev() {
                match entry["created"].as_str() {
                    Some(created) => next = created.into(),
                    None if entry["comment"] == COMMENT => entry["created"] = next.as_str().into(),
                    None => {}
                }
            }
        }
        if !self.document["created"].is_string() {
            self.document["created"] = self.created().unwrap_or(now).into();
        }
    }
}

/// Words as Go prints them in brackets with `%q`: `["a" "b"]`.
pub fn quoted(words: &[String]) -> String {
    let words: Vec<String> = words.iter().map(|word| format!("{word:?}")).collect();
    format!("[{}]", words.join(" "))
}

/// A port of EXPOSE, or a range of them, each as `PORT/PROTOCOL`.
///
/// # Errors
/// If it is none.
pub fn ports(text: &str) -> Result<Vec<String>, String> {
    let wrong = || format!("Invalid containerPort: {text}");
    let (range, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return Err(format!("Invalid proto: {protocol}"));
    }
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u16>().ok().filter(|_| digits).ok_or_else(wrong)
    };
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let (first, last) = (number(first)?, number(last)?);
    if first > last {
        return Err(wrong());
    }
    Ok((first..=last).map(|port| format!("{port}/{protocol}")).collect())
}

/// Variables as a map; of a name that comes twice the last counts.
pub fn env_map(env: &[String]) -> BTreeMap<String, String> {
    env.iter().filter_map(|entry| entry.split_once('=')).map(|(key, value)| (key.into(), value.into())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch() -> Config {
        Config::scratch(&Platform::host())
    }

    #[test]
    fn an_entry_point_puts_the_bases_command_away() {
        let words = |list: &[&str]| list.iter().map(|&word| word.into()).collect::<Vec<String>>();
        let mut base = scratch();
        base.set_cmd(&words(&["sh"]));
        let mut config = Config::on(base.document());
        config.set_entrypoint(&words(&["/x"]));
        assert!(config.document()["config"].get("Cmd").is_none());
        let mut config = Config::on(base.document());
        config.set_cmd(&words(&["a"]));
        config.set_entrypoint(&words(&["/x"]));
        assert_eq!(config.document()["config"]["Cmd"], json!(["a"]));
    }

    #[test]
    fn what_is_unknown_is_kept() {
        let config = Config::on(&json!({ "os": "linux", "custom": 1, "config": { "X": 2 } }));
        assert_eq!((&config.document()["custom"], &config.document()["config"]["X"]), (&json!(1), &json!(2)));
        let mut odd = Config::on(&json!({ "config": { "Labels": null, "Volumes": [], "Env": null } }));
        odd.set_label("a", "b");
        odd.add_volume("/v");
        odd.set_env("PATH", "/bin");
        assert_eq!(odd.document()["config"]["Labels"]["a"], "b");
        assert_eq!(odd.env(), ["PATH=/bin"]);
    }

    #[test]
    fn paths() {
        let mut config = scratch();
        config.set_workdir("/app");
        for (path, expected) in [
            ("x", "/app/x"),
            ("x/", "/app/x/"),
            (".", "/app/"),
            ("/", "/"),
            ("/a/.", "/a/"),
            ("../b", "/b"),
            ("./", "/app/"),
        ] {
            assert_eq!(config.resolve(path), expected, "{path}");
        }
        for (path, expected) in [("/", "/"), ("//", "/"), ("x/", "/app/x"), (".", "/app"), ("..", "/")] {
            assert_eq!(config.resolve_folder(path), expected, "{path}");
        }
    }

    #[test]
    fn exposed_ports() {
        assert_eq!(ports("80").unwrap(), ["80/tcp"]);
        assert_eq!(ports("8000-8001/UDP").unwrap(), ["8000/udp", "8001/udp"]);
        for wrong in ["", "x", "80/x", "2-1", "70000", "-1", "+1"] {
            assert!(ports(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn history_dates_the_image() {
        let mut config = scratch();
        assert_eq!(config.created(), None);
        config.add_history(None, "ENV x", true);
        assert!(config.is_undated());
        config.add_history(Some("2001-01-01T00:00:00Z"), "RUN x", false);
        config.date("now");
        assert_eq!(config.created(), Some("2001-01-01T00:00:00Z"));
        assert_eq!(config.document()["created"], "2001-01-01T00:00:00Z");
        assert_eq!(config.document()["history"][0]["created"], "2001-01-01T00:00:00Z");
    }
}
