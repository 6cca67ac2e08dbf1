//! Flags of docker that nothing here can carry out: each says so, in docker's words where docker refuses them too.

use anyhow::bail;

use crate::cli::container::Run;

/// Refuses what cannot be done, and modes that there are none of.
pub(super) fn refuse(run: &Run) -> anyhow::Result<()> {
    if let Some(isolation) = run.isolation.as_deref().filter(|isolation| *isolation != "default") {
        bail!("Invalid isolation: {isolation:?} - linux only supports 'default'");
    }
    if let Some(platform) = &run.platform
        && platform.parse::<shale_oci::Platform>().is_err()
    {
        bail!(
            "error parsing specified platform: {platform:?}: cannot parse platform specifier: invalid argument"
        );
    }
    let is_container = |mode: &str| mode.strip_prefix("container:").is_some_and(|name| !name.is_empty());
    let (pid, uts) = (run.pid.as_deref().unwrap_or_default(), run.uts.as_deref().unwrap_or_default());
    if !["", "host"].contains(&pid) && !is_container(pid) {
        bail!("--pid: invalid PID mode");
    }
    if !["", "host"].contains(&uts) {
        bail!("--uts: invalid UTS mode");
    }
    if run.userns.as_deref().is_some_and(|mode| mode != "host") {
        bail!("--userns: invalid USER mode");
    }
    if run.cgroupns.as_deref().is_some_and(|mode| !["private", "host"].contains(&mode)) {
        bail!("--cgroupns: invalid CGROUP mode");
    }
    if run.log_driver.as_deref() == Some("none") && !run.log_options.is_empty() {
        bail!("invalid logging opts for driver none");
    }
    let publishes = !run.publish.is_empty() || run.publish_all;
    if publishes && run.network.as_deref() != Some("host") {
        bail!(
            "publishing ports is not supported: there is no network between container and host; with --network host the \
             container's ports are the host's"
        );
    }
    run.impossible.iter().try_for_each(|(flag, value)| refuse_flag(flag, value))
}

fn refuse_flag(flag: &str, value: &str) -> anyhow::Result<()> {
    match flag {
        "disable-content-trust" if !is_false(value) => Ok(()),
        "use-api-socket" if is_false(value) => Ok(()),
        "disable-content-trust" => bail!(
            "--disable-content-trust=false is not supported: there are no signatures of Notary any more; name the image by \
             its digest"
        ),
        "use-api-socket" => {
            bail!("--use-api-socket is not supported: there is no daemon whose socket could be given")
        }
        "cpu-count" | "cpu-percent" | "io-maxbandwidth" | "io-maxiops" => {
            bail!("\"--{flag}\" is only supported on windows, and containers here run on linux")
        }
        "gpus" => bail!(
            "could not select device driver \"\" with capabilities: [[gpu]]; give its nodes with --device"
        ),
        "ip" if value.parse::<std::net::Ipv4Addr>().is_err() => bail!("invalid IPv4 address: {value}"),
        "ip6" if value.parse::<std::net::Ipv6Addr>().is_err() => bail!("invalid IPv6 address: {value}"),
        "ip" | "ip6" => bail!("user specified IP address is supported on user defined networks only"),
        "network-alias" => bail!("network-scoped aliases are only supported for user-defined networks"),
        "mac-address" if !is_mac_address(value) => bail!("{value} is not a valid mac address"),
        "mac-address" | "link-local-ip" => {
            bail!("--{flag} is not supported: the networks \"none\" and \"host\" have no addresses to give")
        }
        "link" => bail!(
            "--link is not supported: there is no network between containers; with --network container:NAME two share one"
        ),
        "kernel-memory" => {
            bail!("--kernel-memory is not supported: kernels have no such limit any more; use --memory")
        }
        "storage-opt" if !value.contains('=') => bail!("invalid storage option"),
        "storage-opt" => {
            bail!("--storage-opt is supported only for overlay over xfs with 'pquota' mount option")
        }
        _ => bail!("--{flag} is not supported"),
    }
}

fn is_false(value: &str) -> bool {
    ["0", "f", "F", "false", "FALSE", "False"].contains(&value)
}

fn is_mac_address(value: &str) -> bool {
    let parts: Vec<&str> = value.split([':', '-']).collect();
    parts.len() == 6
        && parts.iter().all(|part| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_hexdigit()))
}
