//! `ctr commit`: an image of what a container has made of its own.

use std::collections::BTreeMap;
use std::io::{self, Write};

use anyhow::{Context, bail, ensure};
use coracle_image_oci::Reference;
use serde_json::{Map, Value, json};

use super::create::store;
use super::pause::while_frozen;
use super::record::{self, Config, Record};
use super::{events, limits, paths, reaper, time};

/// `commit`.
#[derive(clap::Args)]
pub struct Args {
    /// Author, such as "Jane Doe <jane@example.com>"
    #[arg(short, long)]
    author: Option<String>,

    /// Change the image's configuration by a Containerfile's instruction
    #[arg(short, long, value_name = "INSTRUCTION")]
    change: Vec<String>,

    /// A word about it
    #[arg(short, long)]
    message: Option<String>,

    /// Pause the container meanwhile
    #[arg(short, long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true,
          default_missing_value = "true")]
    pause: bool,

    /// Container, by name or id
    container: String,

    /// Name of the image
    #[arg(value_name = "REPOSITORY[:TAG]")]
    image: Option<Reference>,
}

/// Make the image and print its id.
pub fn commit(args: &Args) -> anyhow::Result<i32> {
    let id = record::resolve(&args.container)?;
    reaper::sweep(&id)?;
    let record = Record::load(&id)?;
    ensure!(!record.image.is_empty(), "the container stands on a directory (--rootfs), not on an image");
    let store = store()?;
    let base = store.resolve(&record.image).context("the container's image is gone")?;
    let _hold = store.hold()?;
    let to_pause = limits::open(&id).filter(|_| args.pause && record.state.running && !record.state.paused);
    let upper = paths::container(&id).join("upper");
    let layer = while_frozen(to_pause.as_ref(), || Ok(store.add_upper(&upper)?))?;
    let mut layers = store.layers_of(&base);
    layers.push(layer);
    let mut config = config_of(&record.config);
    for change in &args.change {
        apply(&mut config, change)?;
    }
    let mut document = base.document().clone();
    document["config"] = config.into();
    let now = time::now();
    document["created"] = now.clone().into();
    if let Some(author) = &args.author {
        document["author"] = author.clone().into();
    }
    let mut entry = json!({ "created": now, "created_by": record.command_line() });
    for (key, value) in [("author", &args.author), ("comment", &args.message)] {
        if let Some(value) = value {
            entry[key] = value.clone().into();
        }
    }
    match document["history"].as_array_mut() {
        Some(history) => history.push(entry),
        None => document["history"] = json!([entry]),
    }
    let names: Vec<_> = args.image.iter().cloned().collect();
    let image = store.create_image(document, &layers, &names)?;
    let name = args.image.as_ref().map(Reference::familiar).unwrap_or_default();
    events::of_container(
        &record,
        "commit",
        &[("comment", args.message.clone().unwrap_or_default()), ("imageRef", name)],
    );
    writeln!(io::stdout(), "{}", image.id())?;
    Ok(0)
}

/// A container's configuration as an image has it.
fn config_of(config: &Config) -> Map<String, Value> {
    let mut all = Map::new();
    let mut put = |key: &str, value: Value, empty: bool| {
        if !empty {
            all.insert(key.into(), value);
        }
    };
    let paths =
        |map: &BTreeMap<String, BTreeMap<String, String>>| map.keys().map(|key| (key.clone(), json!({}))).collect();
    put("User", json!(config.user), config.user.is_empty());
    put("ExposedPorts", paths(&config.exposed_ports), config.exposed_ports.is_empty());
    put("Env", json!(config.env), config.env.is_empty());
    put("Entrypoint", json!(config.entrypoint), config.entrypoint.is_empty());
    put("Cmd", json!(config.cmd), config.cmd.is_empty());
    put("Volumes", paths(&config.volumes), config.volumes.is_empty());
    put("WorkingDir", json!(config.working_dir), config.working_dir.is_empty());
    put("Labels", json!(config.labels), config.labels.is_empty());
    put("StopSignal", json!(config.stop_signal), config.stop_signal.is_empty());
    put("Healthcheck", json!(config.healthcheck), config.healthcheck.is_none());
    all
}

/// One of the instructions that Docker takes for `--change`.
pub fn apply(config: &mut Map<String, Value>, change: &str) -> anyhow::Result<()> {
    let (word, rest) = change.trim().split_once(char::is_whitespace).unwrap_or((change.trim(), ""));
    let rest = rest.trim();
    ensure!(!rest.is_empty(), "--change {change:?}: {word} needs arguments");
    let words = || split(rest).with_context(|| format!("--change {change:?}"));
    match word.to_ascii_uppercase().as_str() {
        "CMD" => {
            config.insert("Cmd".into(), command(rest));
        }
        "ENTRYPOINT" => {
            config.insert("Entrypoint".into(), command(rest));
        }
        "USER" => {
            config.insert("User".into(), rest.into());
        }
        "WORKDIR" => {
            let old = config.get("WorkingDir").and_then(Value::as_str).unwrap_or_default();
            let path = if rest.starts_with('/') { rest.to_owned() } else { format!("{old}/{rest}") };
            config.insert("WorkingDir".into(), super::options::normalize(&path).into());
        }
        "STOPSIGNAL" => {
            super::signals::parse(rest).map_err(anyhow::Error::msg)?;
            config.insert("StopSignal".into(), rest.into());
        }
        "ONBUILD" => change_list(config, "OnBuild", |all| all.push(rest.into())),
        "ENV" => {
            for (key, value) in pairs(&words()?, rest)? {
                change_list(config, "Env", |all| {
                    all.retain(|entry| entry.as_str().and_then(|entry| entry.split('=').next()) != Some(&key));
                    all.push(format!("{key}={value}").into());
                });
            }
        }
        "LABEL" => {
            for (key, value) in pairs(&words()?, rest)? {
                config_entry(config, "Labels")[&key] = value.into();
            }
        }
        "EXPOSE" => {
            for port in words()? {
                let (number, protocol) = port.split_once('/').unwrap_or((&port, "tcp"));
                let valid = number.parse::<u16>().is_ok() && matches!(protocol, "tcp" | "udp" | "sctp");
                ensure!(valid, "--change {change:?}: invalid port {port:?}");
                config_entry(config, "ExposedPorts")[format!("{number}/{protocol}")] = json!({});
            }
        }
        "VOLUME" => {
            let paths: Vec<String> = serde_json::from_str(rest).map_or_else(|_| words(), Ok)?;
            for path in paths {
                config_entry(config, "Volumes")[&path] = json!({});
            }
        }
        other => bail!("{other} is not a valid change command"),
    }
    Ok(())
}

/// The form of JSON, or a line for the shell.
fn command(text: &str) -> Value {
    match serde_json::from_str::<Vec<String>>(text) {
        Ok(words) => words.into(),
        Err(_) => json!(["/bin/sh", "-c", text]),
    }
}

fn change_list(config: &mut Map<String, Value>, key: &str, change: impl FnOnce(&mut Vec<Value>)) {
    let mut all = config.remove(key).and_then(|value| value.as_array().cloned()).unwrap_or_default();
    change(&mut all);
    config.insert(key.into(), all.into());
}

/// An object of the configuration, made if it is not there.
fn config_entry<'a>(config: &'a mut Map<String, Value>, key: &str) -> &'a mut Value {
    config.entry(key).or_insert_with(|| json!({}))
}

/// `KEY=VALUE ...`, or the old form `KEY VALUE`.
fn pairs(words: &[String], text: &str) -> anyhow::Result<Vec<(String, String)>> {
    let first = words.first().context("no arguments")?;
    if !first.contains('=') {
        let (key, value) = text.split_once(char::is_whitespace).with_context(|| format!("{text:?} has no value"))?;
        return Ok(vec![(key.into(), value.trim().into())]);
    }
    let pair = |word: &String| word.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()));
    words.iter().map(|word| pair(word).with_context(|| format!("{word:?} is not KEY=VALUE"))).collect()
}

/// Words, with quotes and backslashes as in a Containerfile.
fn split(text: &str) -> anyhow::Result<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match (quote, letter) {
            (None, '"' | '\'') => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (Some(open), _) if open == letter => quote = None,
            (None | Some('"'), '\\') => word.get_or_insert_default().extend(letters.next()),
            (None, letter) if letter.is_whitespace() => words.extend(word.take()),
            (_, letter) => word.get_or_insert_default().push(letter),
        }
    }
    ensure!(quote.is_none(), "a quote is not closed");
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_a_containerfiles() {
        let mut config = config_of(&Config { env: vec!["A=1".into()], working_dir: "/w".into(), ..Config::default() });
        for change in [
            "CMD [\"a\", \"b\"]",
            "entrypoint run it",
            "ENV A=2 B=\"x y\"",
            "ENV C d e",
            "LABEL k=v",
            "EXPOSE 80 53/udp",
            "VOLUME [\"/x\"]",
            "VOLUME /y",
            "USER 5",
            "WORKDIR sub",
            "STOPSIGNAL SIGINT",
            "ONBUILD RUN x",
        ] {
            apply(&mut config, change).unwrap();
        }
        let wanted = json!({
            "Cmd": ["a", "b"], "Entrypoint": ["/bin/sh", "-c", "run it"], "Env": ["A=2", "B=x y", "C=d e"], "Labels": { "k": "v" },
            "ExposedPorts": { "80/tcp": {}, "53/udp": {} }, "Volumes": { "/x": {}, "/y": {} }, "User": "5", "WorkingDir": "/w/sub",
            "StopSignal": "SIGINT", "OnBuild": ["RUN x"],
        });
        assert_eq!(Value::from(config.clone()), wanted);
        for wrong in ["", "CMD", "RUN x", "ENV A", "EXPOSE x", "LABEL \"a", "STOPSIGNAL NOPE"] {
            assert!(apply(&mut config, wrong).is_err(), "{wrong}");
        }
    }
}
