//! `HEALTHCHECK` and `--health-…`: what is run, how often, and what is known of it.

use std::time::Duration;

use serde_json::{Value, json};
use shale_oci::{Healthcheck, RunConfig};
use shale_runtime::{Health, HealthCheck};

use super::Record;

/// Why a check of a container's health was refused. The messages are Docker's.
///
/// Source: moby `daemon/container.go` `validateHealthCheck` at v20.10.24.
#[derive(Debug, thiserror::Error)]
pub enum HealthError {
    /// A time shorter than Docker's clock.
    #[error("{0} in Healthcheck cannot be less than 1ms")]
    TooShort(&'static str),
    /// Less than no retries.
    #[error("Retries in Healthcheck cannot be negative")]
    Retries,
}

/// Refuses numbers that mean nothing.
pub(super) fn validate(config: &RunConfig) -> Result<(), HealthError> {
    let Some(check) = &config.healthcheck else { return Ok(()) };
    let times = [
        ("Interval", check.interval),
        ("Timeout", check.timeout),
        ("StartPeriod", check.start_period),
        ("StartInterval", check.start_interval),
    ];
    for (name, nanoseconds) in times {
        if nanoseconds != 0 && nanoseconds < 1_000_000 {
            return Err(HealthError::TooShort(name));
        }
    }
    if check.retries < 0 { Err(HealthError::Retries) } else { Ok(()) }
}

/// Fills what the user left open from the image.
pub(super) fn merge(user: Option<Healthcheck>, image: Option<&Healthcheck>) -> Option<Healthcheck> {
    let (Some(mut user), Some(image)) = (user.clone(), image) else { return user.or_else(|| image.cloned()) };
    if user.test.as_ref().is_none_or(Vec::is_empty) {
        user.test.clone_from(&image.test);
    }
    for (own, of_image) in [
        (&mut user.interval, image.interval),
        (&mut user.timeout, image.timeout),
        (&mut user.start_period, image.start_period),
        (&mut user.start_interval, image.start_interval),
        (&mut user.retries, image.retries),
    ] {
        if *own == 0 {
            *own = of_image;
        }
    }
    Some(user)
}

/// Returns what the supervisor is to do; `None` where nothing is checked.
///
/// Source: moby `daemon/health.go` at v20.10.24; the start interval is that of v25.
pub(super) fn check(config: &RunConfig) -> Option<HealthCheck> {
    let check = config.healthcheck.as_ref()?;
    let (kind, words) = check.test.as_deref()?.split_first()?;
    let args = match kind.as_str() {
        "CMD" => words.to_vec(),
        "CMD-SHELL" => {
            let shell = config.shell.clone().filter(|shell| !shell.is_empty());
            let shell = shell.unwrap_or_else(|| vec!["/bin/sh".to_owned(), "-c".to_owned()]);
            [shell, words.to_vec()].concat()
        }
        _ => return None,
    };
    let time = |nanoseconds: i64, default: u64| match u64::try_from(nanoseconds) {
        Ok(nanoseconds @ 1..) => Duration::from_nanos(nanoseconds),
        _ => Duration::from_secs(default),
    };
    (!args.is_empty()).then(|| HealthCheck {
        args,
        interval: time(check.interval, 30),
        timeout: time(check.timeout, 30),
        start_period: time(check.start_period, 0),
        start_interval: time(check.start_interval, 5),
        retries: u32::try_from(check.retries).ok().filter(|retries| *retries > 0).unwrap_or(3),
    })
}

/// Returns what Docker's record has of it.
pub(super) fn document(health: &Health) -> Value {
    let result = |result: &shale_runtime::HealthResult| {
        json!({
            "Start": result.start, "End": result.end, "ExitCode": result.exit_code, "Output": result.output,
        })
    };
    json!({
        "Status": health.status.word(),
        "FailingStreak": health.failing_streak,
        "Log": health.log.iter().map(result).collect::<Vec<_>>(),
    })
}

impl Record {
    /// Whether its health is checked while it runs.
    pub fn has_health_check(&self) -> bool {
        let test = &self.document["Config"]["Healthcheck"]["Test"];
        // `NONE` alone switches off what the image has.
        test.as_array().is_some_and(|words| words.len() > 1)
    }

    /// Returns its health in Docker's word; `None` where nothing is checked.
    pub fn health(&self) -> Option<&str> {
        let status = self.document["State"]["Health"]["Status"].as_str();
        status.filter(|status| !status.is_empty() && *status != "none")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(test: &[&str]) -> RunConfig {
        let test = Some(test.iter().map(|word| (*word).to_owned()).collect());
        RunConfig {
            healthcheck: Some(Healthcheck { test, ..Healthcheck::default() }),
            ..RunConfig::default()
        }
    }

    #[test]
    fn what_is_run_follows_the_first_word() {
        // The defaults of Docker's documentation: 30s, 30s, 0s, 5s, 3.
        let found = check(&config(&["CMD-SHELL", "true"])).unwrap();
        assert_eq!(found.args, ["/bin/sh", "-c", "true"]);
        assert_eq!((found.interval.as_secs(), found.timeout.as_secs(), found.retries), (30, 30, 3));
        assert_eq!(check(&config(&["CMD", "a", "b"])).unwrap().args, ["a", "b"]);
        assert_eq!(check(&config(&["NONE"])), None);
        assert_eq!(check(&config(&[])), None);
    }
}
