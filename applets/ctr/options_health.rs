//! `--health-*`, `--no-healthcheck` and `--restart` of `ctr run`.

use std::time::Duration;

use anyhow::ensure;

use super::record_config::Healthcheck;
use super::record_host::RestartPolicy;
use crate::duration::parse_duration;

/// How a container is watched.
#[derive(clap::Args)]
pub struct HealthOptions {
    /// Command that tells whether it is healthy
    #[arg(long, value_name = "COMMAND")]
    health_cmd: Option<String>,

    /// Time from one check to the next (30s)
    #[arg(long, value_name = "DURATION", value_parser = parse_nanos)]
    health_interval: Option<i64>,

    /// Time that a check may take (30s)
    #[arg(long, value_name = "DURATION", value_parser = parse_nanos)]
    health_timeout: Option<i64>,

    /// Failures in a row that make it unhealthy (3)
    #[arg(long, value_name = "NUMBER", allow_hyphen_values = true, value_parser = parse_retries)]
    health_retries: Option<i64>,

    /// Time after the start in which failures do not count
    #[arg(long, value_name = "DURATION", value_parser = parse_nanos)]
    health_start_period: Option<i64>,

    /// Time from one check to the next until then (5s)
    #[arg(long, value_name = "DURATION", value_parser = parse_nanos)]
    health_start_interval: Option<i64>,

    /// Do without the image's health check
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true",
          action = clap::ArgAction::Set)]
    no_healthcheck: bool,
}

impl HealthOptions {
    /// The check: the image's, changed by what was given.
    pub fn healthcheck(&self, image: Option<&Healthcheck>) -> anyhow::Result<Option<Healthcheck>> {
        let given = Healthcheck {
            test: self.health_cmd.iter().flat_map(|command| ["CMD-SHELL".into(), command.clone()]).collect(),
            interval: self.health_interval.unwrap_or(0),
            timeout: self.health_timeout.unwrap_or(0),
            start_period: self.health_start_period.unwrap_or(0),
            start_interval: self.health_start_interval.unwrap_or(0),
            retries: self.health_retries.unwrap_or(0),
        };
        if self.no_healthcheck {
            ensure!(given == Healthcheck::default(), "--no-healthcheck conflicts with --health-* options");
            return Ok(Some(Healthcheck { test: vec!["NONE".into()], ..given }));
        }
        let Some(image) = image else { return Ok((given != Healthcheck::default()).then_some(given)) };
        let or = |one: i64, other: i64| if one == 0 { other } else { one };
        Ok(Some(Healthcheck {
            test: if given.test.is_empty() { image.test.clone() } else { given.test },
            interval: or(given.interval, image.interval),
            timeout: or(given.timeout, image.timeout),
            start_period: or(given.start_period, image.start_period),
            start_interval: or(given.start_interval, image.start_interval),
            retries: or(given.retries, image.retries),
        }))
    }
}

/// A duration as Go writes it, in nanoseconds; 0 is the default, and less than 1 ms is refused.
fn parse_nanos(text: &str) -> Result<i64, String> {
    if text == "0" {
        return Ok(0);
    }
    let duration =
        parse_duration(text).ok_or_else(|| format!("invalid duration {text:?}: wanted one such as 1m30s"))?;
    if !duration.is_zero() && duration < Duration::from_millis(1) {
        return Err("a time of a health check cannot be less than 1ms".into());
    }
    i64::try_from(duration.as_nanos()).map_err(|_| format!("{text:?} is too long"))
}

fn parse_retries(text: &str) -> Result<i64, String> {
    match text.parse::<i64>() {
        Ok(number) if number >= 0 => Ok(number),
        Ok(_) => Err("--health-retries cannot be negative".into()),
        Err(_) => Err("wanted a number".into()),
    }
}

/// Read `--restart`.
pub fn parse_restart(text: &str) -> Result<RestartPolicy, String> {
    let (name, count) = match text.split_once(':') {
        Some((name, count)) => (name, Some(count)),
        None => (text, None),
    };
    let policy = |maximum_retry_count| RestartPolicy { name: name.into(), maximum_retry_count };
    match (name, count) {
        ("", None) => Ok(RestartPolicy::default()),
        ("no" | "always" | "unless-stopped" | "on-failure", None) => Ok(policy(0)),
        ("on-failure", Some(count)) => count
            .parse::<i64>()
            .map_err(|_| "invalid restart policy format: maximum retry count must be an integer".to_owned())
            .and_then(|count| {
                u32::try_from(count)
                    .map_err(|_| "invalid restart policy: maximum retry count cannot be negative".into())
            })
            .map(policy),
        ("no" | "always" | "unless-stopped", Some(_)) => {
            Err("invalid restart policy: maximum retry count can only be used with 'on-failure'".into())
        }
        _ => Err(format!(
            "invalid restart policy: unknown policy '{name}'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn restart_policies() {
        let policy = |text| parse_restart(text).map(|policy| (policy.name, policy.maximum_retry_count));
        assert_eq!(policy("on-failure:3"), Ok(("on-failure".into(), 3)));
        assert_eq!(policy(""), Ok(("no".into(), 0)));
        for right in ["no", "always", "unless-stopped", "on-failure"] {
            assert_eq!(policy(right), Ok((right.into(), 0)));
        }
        for wrong in ["sometimes", "always:3", "on-failure:x", "on-failure:-1", "on-failure:1:2"] {
            assert!(policy(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn durations_have_a_least() {
        assert_eq!(parse_nanos("1m30s"), Ok(90_000_000_000));
        assert_eq!(parse_nanos("100ms"), Ok(100_000_000));
        assert!(parse_nanos("10us").is_err() && parse_nanos("x").is_err() && parse_nanos("10").is_err());
    }
}
