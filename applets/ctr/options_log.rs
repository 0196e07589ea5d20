//! `--log-driver` and `--log-opt` of `ctr run`.

use std::collections::BTreeMap;

use anyhow::{Context, bail, ensure};
use coracle_cgroups::units::parse_size;

use super::logfile::Rotation;
use super::options_env::parse_pair;
use super::record_host::LogConfig;

/// Where output goes.
#[derive(clap::Args)]
pub struct LogOptions {
    /// Log driver: json-file, local or none
    #[arg(long, value_name = "DRIVER", default_value = "json-file", value_parser = parse_driver)]
    log_driver: String,

    /// Option of the log: max-size, max-file
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse_pair)]
    log_opt: Vec<(String, String)>,
}

impl LogOptions {
    /// Check them and put them on record.
    pub fn config(&self) -> anyhow::Result<LogConfig> {
        let config = LogConfig { driver: self.log_driver.clone(), config: self.log_opt.iter().cloned().collect() };
        for key in config.config.keys() {
            ensure!(config.driver != "none", "unknown log opt '{key}' for none log driver");
            let known = matches!(key.as_str(), "max-size" | "max-file");
            ensure!(known, "unknown log opt '{key}' for {} log driver", config.driver);
        }
        rotation(&config)?;
        Ok(config)
    }
}

fn parse_driver(text: &str) -> Result<String, String> {
    match text {
        "json-file" | "local" | "none" => Ok(text.into()),
        "" => Ok("json-file".into()),
        other => {
            Err(format!("logger: no log driver named '{other}' is registered: there are json-file, local and none"))
        }
    }
}

/// When to turn the log over; `None` for a container without a log.
pub fn rotation(config: &LogConfig) -> anyhow::Result<Option<Rotation>> {
    if config.driver == "none" {
        return Ok(None);
    }
    let mut rotation = Rotation::default();
    let get = |map: &BTreeMap<String, String>, key: &str| map.get(key).cloned();
    let size = get(&config.config, "max-size");
    if let Some(size) = &size {
        rotation.max_size = match size.as_str() {
            "-1" => u64::MAX,
            text => parse_size(text).with_context(|| format!("invalid max-size {text:?}"))?,
        };
        ensure!(rotation.max_size > 0, "invalid value for max-size: {size:?}");
        // A size without a number of files keeps one, as Docker has it.
        rotation.max_files = 1;
    }
    if let Some(count) = get(&config.config, "max-file") {
        rotation.max_files = match count.parse() {
            Ok(0) => bail!("invalid log opt max-file: max-file cannot be less than 1"),
            Ok(count) => count,
            Err(_) => bail!("invalid log opt max-file: {count:?} is no number"),
        };
    }
    Ok(Some(rotation))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rotations() {
        let of = |driver: &str, options: &[(&str, &str)]| {
            let config = options.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect();
            rotation(&LogConfig { driver: driver.into(), config })
        };
        assert_eq!(of("json-file", &[]).unwrap(), Some(Rotation::default()));
        assert_eq!(of("local", &[("max-size", "1k")]).unwrap(), Some(Rotation { max_size: 1024, max_files: 1 }));
        assert_eq!(
            of("local", &[("max-size", "1k"), ("max-file", "3")]).unwrap(),
            Some(Rotation { max_size: 1024, max_files: 3 })
        );
        assert_eq!(of("none", &[]).unwrap(), None);
        assert!(of("local", &[("max-size", "x")]).is_err() && of("local", &[("max-file", "0")]).is_err());
    }
}
