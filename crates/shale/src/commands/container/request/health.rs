//! `--health-…` → how a container's health is checked.

use anyhow::bail;
use shale_oci::Healthcheck;

use crate::cli::container::Run;

/// Returns the check that was asked for; `None` leaves the image's.
///
/// Source: docker CLI 28.2 `cli/command/container/opts.go` `parse`.
pub(super) fn healthcheck(run: &Run) -> anyhow::Result<Option<Healthcheck>> {
    let health = &run.health;
    let numbers = [
        ("interval", health.interval),
        ("timeout", health.timeout),
        ("retries", health.retries),
        ("start-period", health.start_period),
        ("start-interval", health.start_interval),
    ];
    let is_given =
        health.command.is_some() || numbers.iter().any(|(_, number)| number.is_some_and(|n| n != 0));
    if run.no_healthcheck {
        if is_given {
            bail!("--no-healthcheck conflicts with --health-* options");
        }
        return Ok(Some(Healthcheck { test: Some(vec!["NONE".to_owned()]), ..Healthcheck::default() }));
    }
    if !is_given {
        return Ok(None);
    }
    for (name, number) in numbers {
        if number.is_some_and(|number| number < 0) {
            bail!("--health-{name} cannot be negative");
        }
    }
    let test = health.command.as_ref().map(|command| vec!["CMD-SHELL".to_owned(), command.clone()]);
    Ok(Some(Healthcheck {
        test,
        interval: health.interval.unwrap_or(0),
        timeout: health.timeout.unwrap_or(0),
        start_period: health.start_period.unwrap_or(0),
        start_interval: health.start_interval.unwrap_or(0),
        retries: health.retries.unwrap_or(0),
    }))
}
