//! Instructions that change an image's configuration and nothing else: of a build, and of `--change`.

use anyhow::{Context as _, bail, ensure};
use serde_json::{Map, Value};

use super::config::{Config, env_map, ports, quoted};
use super::containerfile::{Expander, Instruction, Step};

/// Carry out one; gives what an image's history says of it.
///
/// # Errors
/// If a variable cannot be expanded or a value is none, or if it is an instruction that makes a layer.
pub fn apply(config: &mut Config, step: &Step, expander: &Expander<'_>) -> anyhow::Result<String> {
    let expand = |text: &str| expander.word(text).map_err(anyhow::Error::msg);
    let expand_all = |pairs: &[(String, String)]| -> anyhow::Result<Vec<(String, String)>> {
        pairs.iter().map(|(key, value)| Ok((expand(key)?, expand(value)?))).collect()
    };
    let joined =
        |pairs: &[(String, String)]| pairs.iter().map(|(key, value)| format!(" {key}={value}")).collect::<String>();
    Ok(match &step.instruction {
        Instruction::Env(pairs) => {
            let pairs = expand_all(pairs)?;
            pairs.iter().for_each(|(key, value)| config.set_env(key, value));
            format!("ENV{}", joined(&pairs))
        }
        Instruction::Label(pairs) => {
            let pairs = expand_all(pairs)?;
            pairs.iter().for_each(|(key, value)| config.set_label(key, value));
            format!("LABEL{}", joined(&pairs))
        }
        Instruction::Cmd(command) => {
            let words = config.words(command);
            config.set_cmd(&words);
            format!("CMD {}", quoted(&words))
        }
        Instruction::Entrypoint(command) => {
            let words = config.words(command);
            config.set_entrypoint(&words);
            format!("ENTRYPOINT {}", quoted(&words))
        }
        Instruction::Expose(texts) => {
            let mut all = Vec::new();
            for text in texts {
                for word in expander.words(text).map_err(anyhow::Error::msg)? {
                    all.extend(ports(&word).map_err(anyhow::Error::msg)?);
                }
            }
            all.iter().for_each(|port| config.expose(port));
            format!("EXPOSE [{}]", all.join(" "))
        }
        Instruction::Healthcheck(health) => {
            config.set_healthcheck(health.as_ref());
            step.text.clone()
        }
        Instruction::Maintainer(name) => {
            config.set_author(name);
            format!("MAINTAINER {name}")
        }
        Instruction::Onbuild(text) => {
            config.add_trigger(text);
            format!("ONBUILD {text}")
        }
        Instruction::Shell(words) => {
            config.set_shell(words);
            format!("SHELL [{}]", words.join(" "))
        }
        Instruction::StopSignal(text) => {
            let signal = expand(text)?;
            super::super::signals::parse(&signal).map_err(anyhow::Error::msg)?;
            config.set_stop_signal(&signal);
            format!("STOPSIGNAL {signal}")
        }
        Instruction::User(text) => {
            let user = expand(text)?;
            config.set_user(&user);
            format!("USER {user}")
        }
        Instruction::Volume(paths) => {
            let paths = paths.iter().map(|path| expand(path)).collect::<anyhow::Result<Vec<_>>>()?;
            paths.iter().for_each(|path| config.add_volume(path));
            format!("VOLUME [{}]", paths.join(" "))
        }
        Instruction::Arg(_)
        | Instruction::Add(_)
        | Instruction::Copy(_)
        | Instruction::Run(_)
        | Instruction::Workdir(_) => {
            bail!("{} does not change the configuration alone", step.text)
        }
    })
}

/// Instructions that Docker takes for `--change`.
pub const CHANGES: [&str; 11] = [
    "CMD",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "HEALTHCHECK",
    "LABEL",
    "ONBUILD",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

/// Carry out what `--change` says, one instruction a text, on the `config` of an image document.
///
/// # Errors
/// If one is none of [`CHANGES`], or wrong.
pub fn apply_texts<'a>(
    config: Map<String, Value>,
    texts: impl IntoIterator<Item = &'a String>,
) -> anyhow::Result<Map<String, Value>> {
    let mut config = Config::of_container(config);
    for text in texts {
        apply_text(&mut config, text).with_context(|| format!("--change {text:?}"))?;
    }
    Ok(config.into_container())
}

fn apply_text(config: &mut Config, text: &str) -> anyhow::Result<()> {
    let (word, rest) = text.trim().split_once(char::is_whitespace).unwrap_or((text.trim(), ""));
    ensure!(!rest.trim().is_empty(), "{word} needs arguments");
    ensure!(CHANGES.contains(&word.to_ascii_uppercase().as_str()), "{word} is not a valid change command");
    let step = Step::parse(text, '\\')?;
    let env = env_map(&config.env());
    let lookup = |name: &str| env.get(name).cloned();
    let expander = Expander::new('\\', &lookup);
    if let Instruction::Workdir(path) = &step.instruction {
        // Nothing is made of it here.
        let path = expander.word(path).map_err(anyhow::Error::msg)?;
        config.set_workdir(&config.resolve_folder(&path));
        return Ok(());
    }
    apply(config, &step, &expander).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn apply(config: &mut Map<String, Value>, change: &str) -> anyhow::Result<()> {
        *config = apply_texts(config.clone(), [&change.to_owned()])?;
        Ok(())
    }

    #[test]
    fn changes_are_a_containerfiles() {
        let start = json!({ "Env": ["A=1"], "WorkingDir": "/w" });
        let changes = [
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
        ];
        let changes = changes.map(str::to_owned);
        let mut config = apply_texts(start.as_object().unwrap().clone(), &changes).unwrap();
        let wanted = json!({
            "Cmd": ["a", "b"], "Entrypoint": ["/bin/sh", "-c", "run it"], "Env": ["A=2", "B=x y", "C=d e"], "Labels": { "k": "v" },
            "ExposedPorts": { "80/tcp": {}, "53/udp": {} }, "Volumes": { "/x": {}, "/y": {} }, "User": "5", "WorkingDir": "/w/sub",
            "StopSignal": "SIGINT", "OnBuild": ["RUN x"],
        });
        assert_eq!(Value::from(config.clone()), wanted);
        for wrong in ["", "CMD", "RUN x", "ENV A", "EXPOSE x", "LABEL \"a", "STOPSIGNAL NOPE", "FROM x", "ARG A=b"] {
            assert!(apply(&mut config, wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn health_variables_and_an_entry_point() {
        let mut config = json!({ "Env": ["A=1"], "Cmd": ["base"] }).as_object().unwrap().clone();
        apply(&mut config, "HEALTHCHECK --interval=1m30s --retries=2 CMD true").unwrap();
        apply(&mut config, "ENV B=${A}2").unwrap();
        // As in a build it puts the base's command away.
        apply(&mut config, "ENTRYPOINT [\"x\"]").unwrap();
        let wanted = json!({
            "Env": ["A=1", "B=12"], "Entrypoint": ["x"],
            "Healthcheck": { "Test": ["CMD-SHELL", "true"], "Interval": 90_000_000_000_u64, "Retries": 2 },
        });
        assert_eq!(Value::from(config.clone()), wanted);
        apply(&mut config, "healthcheck none").unwrap();
        assert_eq!(config["Healthcheck"], json!({ "Test": ["NONE"] }));
    }
}
