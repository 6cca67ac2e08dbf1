//! The query of `POST /build`, as the values that it means.

use std::collections::BTreeMap;

use http::StatusCode;
use serde::Deserialize;
use shale_build::{BuildOptions, Resources, Rlimit, RunNetwork, Supervisor};
use shale_engine::images::tag::parse_tag_target;
use shale_oci::Reference;

use crate::daemon::Experiments;
use crate::failure::Failure;
use crate::request::Query;

/// What a client wants to have built.
pub(crate) struct Wanted {
    pub(crate) options: BuildOptions,
    pub(crate) tags: Vec<Reference>,
    /// The Dockerfile's path in the context.
    pub(crate) file: String,
    pub(crate) is_quiet: bool,
    /// Images that steps which were done before may be taken from; if any are named and none is here, none is taken.
    pub(crate) cache_from: Vec<String>,
    /// Whether a client hears of removed containers; those that are not removed have nothing to be kept for here.
    pub(crate) removes_containers: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Ulimit {
    name: String,
    soft: i64,
    hard: i64,
}

/// Reads the query. What cannot be done is refused.
///
/// Source: what dockerd 20.10.24 answers to the same queries.
pub(crate) fn read(
    query: &Query,
    supervisor: Option<Supervisor>,
    experiments: Experiments,
) -> Result<Wanted, Failure> {
    refuse_what_is_not_served(query, experiments)?;
    let build_arguments = json::<BTreeMap<String, Option<String>>>(query, "buildargs", "build args")?;
    let tags = query.list("t").into_iter().filter(|tag| !tag.is_empty());
    let tags = tags.map(|tag| parse_tag_target(&tag)).collect::<Result<_, _>>()?;
    let hosts =
        query.list("extrahosts").iter().map(|host| added_host(host)).collect::<Result<_, Failure>>()?;
    let ulimits = json::<Vec<Ulimit>>(query, "ulimits", "ulimits")?;
    let positive = |number: Option<i64>| number.filter(|number| *number > 0);
    let options = BuildOptions {
        target: query.text("target").map(str::to_owned),
        // Null means that the argument has no value.
        build_arguments: build_arguments
            .unwrap_or_default()
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)))
            .collect(),
        labels: json(query, "labels", "labels")?.unwrap_or_default(),
        no_cache: query.is_on("nocache"),
        squash: query.is_on("squash"),
        refresh_bases: query.is_on("pull"),
        platform: query.text("platform").map(str::parse).transpose()?,
        network: match query.text("networkmode") {
            None | Some("default" | "host" | "bridge") => RunNetwork::Host,
            Some("none") => RunNetwork::None,
            Some(other) => return Err(Failure::missing(format!("network {other} not found"))),
        },
        hosts,
        shm_size_bytes: positive(query.number("shmsize")?).and_then(|size| u64::try_from(size).ok()),
        resources: Resources {
            memory_bytes: positive(query.number("memory")?),
            memory_swap_bytes: query.number("memswap")?.filter(|swap| *swap != 0),
            cpu_period_us: query.number("cpuperiod")?.filter(|period| *period != 0),
            cpu_quota_us: query.number("cpuquota")?.filter(|quota| *quota != 0),
            cpu_shares: query.number("cpushares")?.filter(|shares| *shares != 0),
            cpuset_cpus: query.text("cpusetcpus").unwrap_or_default().to_owned(),
            cpuset_mems: query.text("cpusetmems").unwrap_or_default().to_owned(),
            ..Resources::default()
        },
        rlimits: ulimits
            .unwrap_or_default()
            .into_iter()
            // -1 is the largest there is: no limit.
            .map(|limit| Rlimit { name: limit.name, soft: limit.soft as u64, hard: limit.hard as u64 })
            .collect(),
        supervisor,
        ..BuildOptions::default()
    };
    let file = query.text("dockerfile").unwrap_or("Dockerfile").to_owned();
    let cache_from = json::<Vec<String>>(query, "cachefrom", "cache-from")?.unwrap_or_default();
    let removes_containers = query.is_on("forcerm") || query.is_on("rm") || query.text("rm").is_none();
    Ok(Wanted { options, tags, file, is_quiet: query.is_on("q"), cache_from, removes_containers })
}

fn refuse_what_is_not_served(query: &Query, experiments: Experiments) -> Result<(), Failure> {
    let not_served = |what: &str| Err(Failure::new(StatusCode::NOT_IMPLEMENTED, what));
    match query.text("version") {
        None | Some("1") => {}
        Some("2") => {
            return not_served(
                "shale daemon builds with the classic builder alone and does not speak BuildKit's protocol: set DOCKER_BUILDKIT=0, or build with \"shale build\", which knows BuildKit's Dockerfile",
            );
        }
        Some(other) => return Err(Failure::internal_text(format!("invalid version {other:?}"))),
    }
    match query.text("remote") {
        None => {}
        Some("client-session") => {
            return Err(Failure::invalid(
                "experimental session with v1 builder is no longer supported, use builder version v2 (BuildKit) instead",
            ));
        }
        Some(remote) => {
            return not_served(&format!(
                "building from {remote} is not served: fetch it, and build from what was fetched"
            ));
        }
    }
    let has_items = |name: &str| query.text(name).is_some_and(|value| !matches!(value, "[]" | "null"));
    if has_items("securityopt") {
        let text = "The daemon on this platform does not support setting security options on build";
        return Err(Failure::invalid(text));
    }
    if let Some(other) = query.text("isolation").filter(|name| !name.eq_ignore_ascii_case("default")) {
        return Err(Failure::invalid(format!("Unsupported isolation: {other:?}")));
    }
    if query.text("cgroupparent").is_some() {
        return not_served("a parent control group for builds is not supported");
    }
    if has_items("outputs") {
        return not_served(
            "outputs of a build are not served: the classic builder makes an image, and nothing else",
        );
    }
    if query.is_on("squash") && experiments == Experiments::Refused {
        return Err(Failure::invalid("squash is only supported with experimental mode"));
    }
    Ok(())
}

fn json<T: serde::de::DeserializeOwned>(query: &Query, name: &str, what: &str) -> Result<Option<T>, Failure> {
    let Some(text) = query.text(name) else { return Ok(None) };
    serde_json::from_str::<Option<T>>(text)
        .map_err(|error| Failure::invalid(format!("error reading {what}: {error}")))
}

fn added_host(text: &str) -> Result<(String, String), Failure> {
    let (name, address) = text.split_once(['=', ':']).unwrap_or((text, ""));
    let address = address.trim_start_matches('[').trim_end_matches(']');
    if name.is_empty() || address.parse::<std::net::IpAddr>().is_err() {
        return Err(Failure::invalid(format!("invalid IP address in add-host: {address:?}")));
    }
    Ok((name.to_owned(), address.to_owned()))
}
