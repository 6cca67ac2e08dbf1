//! The flags of `run` → what the engine is asked to make. The complaints are docker's.

mod health;
mod mount;
mod throttle;
mod unsupported;

use std::collections::BTreeMap;

use anyhow::{Context as _, anyhow, bail};
use serde_json::{Value, json};
use shale_engine::containers::HostConfig;
use shale_engine::containers::create::Create;
use shale_engine_api::units::parse_memory_size;
use shale_oci::{Empty, RunConfig};
use shale_runtime::spec::RLIMITS;

use crate::cli::container::Run;

/// Reads what was typed.
pub fn read(run: &Run) -> anyhow::Result<Create> {
    Ok(Create {
        image: run.image.clone(),
        name: run.name.clone(),
        config: run_config(run)?,
        host_config: host_config(run)?,
    })
}

fn run_config(run: &Run) -> anyhow::Result<RunConfig> {
    let attached = |stream: &str| match run.attach.is_empty() {
        true => !run.detach && (stream != "stdin" || run.interactive),
        false => run.attach.iter().any(|name| name.eq_ignore_ascii_case(stream)),
    };
    for name in &run.attach {
        if !["stdin", "stdout", "stderr"].contains(&name.to_ascii_lowercase().as_str()) {
            bail!(
                "invalid argument {name:?} for \"-a, --attach\" flag: valid streams are STDIN, STDOUT and STDERR"
            );
        }
    }
    let exposed = exposed_ports(&run.expose)?;
    // One path alone is a volume without a name.
    let anonymous = run.volumes.iter().filter(|volume| is_anonymous(volume));
    let volumes: BTreeMap<String, Empty> = anonymous.map(|path| (path.clone(), Empty {})).collect();
    Ok(RunConfig {
        hostname: run.hostname.clone().unwrap_or_default(),
        domainname: run.domainname.clone().unwrap_or_default(),
        user: run.user.clone().unwrap_or_default(),
        attach_stdin: attached("stdin"),
        attach_stdout: attached("stdout"),
        attach_stderr: attached("stderr"),
        exposed_ports: (!exposed.is_empty()).then_some(exposed),
        tty: run.tty,
        open_stdin: run.interactive,
        stdin_once: run.interactive && attached("stdin"),
        env: Some(environment(&run.env, &run.env_files)?),
        cmd: (!run.command.is_empty()).then(|| run.command.clone()),
        volumes: (!volumes.is_empty()).then_some(volumes),
        working_dir: run.working_dir.clone().unwrap_or_default(),
        entrypoint: run.entrypoint.clone().map(|program| vec![program]),
        labels: Some(labels(&run.labels, &run.label_files)?),
        stop_signal: run.stop_signal.clone().unwrap_or_default(),
        stop_timeout: run.stop_timeout,
        healthcheck: health::healthcheck(run)?,
        ..RunConfig::default()
    })
}

/// One path, or what docker takes for a path of Windows: a letter, a colon and a slash.
fn is_anonymous(volume: &str) -> bool {
    let is_drive = matches!(volume.as_bytes(), [letter, b':', b'/' | b'\\', rest @ ..] if letter.is_ascii_alphabetic() && !rest.contains(&b':'));
    !volume.contains(':') || is_drive
}

/// `80`, `80/udp`, `80-82/tcp`.
///
/// Source: docker CLI 28.2 `cli/command/container/opts.go` `parse`.
fn exposed_ports(typed: &[String]) -> anyhow::Result<BTreeMap<String, Empty>> {
    let mut ports = BTreeMap::new();
    for expose in typed {
        if expose.contains(':') {
            bail!("invalid port format for --expose: {expose}");
        }
        let (range, protocol) = expose.split_once('/').unwrap_or((expose, "tcp"));
        let invalid =
            |reason: String| anyhow!("invalid range format for --expose: {expose}, error: {reason}");
        let number = |text: &str| {
            text.parse::<u16>()
                .map_err(|_| invalid(format!("strconv.ParseUint: parsing {text:?}: invalid syntax")))
        };
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last) = (number(first)?, number(last)?);
        if last < first {
            return Err(invalid(format!("invalid range specified for port: {range}")));
        }
        ports.extend((first..=last).map(|port| (format!("{port}/{protocol}"), Empty {})));
    }
    Ok(ports)
}

/// `-e NAME=value`, `-e NAME` (this program's own), and files of such lines, which come first.
pub fn environment(typed: &[String], files: &[String]) -> anyhow::Result<Vec<String>> {
    let mut entries = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(file).with_context(|| format!("open {file}"))?;
        for line in text.lines() {
            let line = line.trim_start();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let name = line.split('=').next().unwrap_or_default();
            if name.contains(char::is_whitespace) {
                bail!("invalid env file ({file}): variable '{name}' contains whitespaces");
            }
            if name.is_empty() {
                bail!("invalid env file ({file}): no variable name on line '{line}'");
            }
            entries.extend(inherited(line));
        }
    }
    for entry in typed {
        if entry.is_empty() || entry.starts_with('=') {
            bail!("invalid argument {entry:?} for \"-e, --env\" flag: invalid environment variable: {entry}");
        }
        entries.extend(inherited(entry));
    }
    Ok(entries)
}

fn inherited(entry: &str) -> Option<String> {
    match entry.contains('=') {
        true => Some(entry.to_owned()),
        false => std::env::var(entry).ok().map(|value| format!("{entry}={value}")),
    }
}

fn labels(typed: &[String], files: &[String]) -> anyhow::Result<BTreeMap<String, String>> {
    let mut labels = BTreeMap::new();
    let mut add = |label: &str| {
        let (name, value) = label.split_once('=').unwrap_or((label, ""));
        labels.insert(name.to_owned(), value.to_owned());
    };
    for file in files {
        let text = std::fs::read_to_string(file).with_context(|| format!("open {file}"))?;
        text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).for_each(&mut add);
    }
    typed.iter().for_each(|label| add(label));
    Ok(labels)
}

/// `no`, `always`, `unless-stopped`, `on-failure`, `on-failure:3`.
///
/// Source: docker CLI 28.2 `opts.ParseRestartPolicy`, moby `container/container_unix.go` `validateRestartPolicy`.
pub fn restart_policy(typed: &str) -> anyhow::Result<Value> {
    let (name, count) = typed.split_once(':').unwrap_or((typed, ""));
    if name.is_empty() {
        bail!("invalid restart policy format: no policy provided before colon");
    }
    let is_counted = !count.is_empty();
    let count: i64 = match is_counted {
        true => count
            .parse()
            .map_err(|_| anyhow!("invalid restart policy format: maximum retry count must be an integer"))?,
        false => 0,
    };
    match name {
        "no" | "always" | "unless-stopped" if is_counted => {
            bail!("maximum retry count cannot be used with restart policy '{name}'")
        }
        "on-failure" if count < 0 => bail!("maximum retry count cannot be negative"),
        "no" | "always" | "unless-stopped" | "on-failure" => {}
        other => bail!("invalid restart policy '{other}'"),
    }
    Ok(json!({ "Name": name, "MaximumRetryCount": count }))
}

fn host_config(run: &Run) -> anyhow::Result<HostConfig> {
    unsupported::refuse(run)?;
    let mut host = HostConfig::default();
    if let Some(policy) = &run.restart {
        if run.remove && policy != "no" {
            bail!("conflicting options: cannot specify both --restart and --rm");
        }
        let policy = restart_policy(policy)?;
        host.set("RestartPolicy", policy);
    }
    if run.log_driver.is_some() || !run.log_options.is_empty() {
        let pairs = run.log_options.iter().map(|option| option.split_once('=').unwrap_or((option, "")));
        // In order of their names, as Go writes maps.
        let config: BTreeMap<&str, &str> = pairs.collect();
        let driver = run.log_driver.as_deref().unwrap_or("json-file");
        host.set("LogConfig", json!({ "Type": driver, "Config": config }));
    }
    if let Some(runtime) = &run.runtime {
        host.set("Runtime", runtime.clone());
    }
    if let Some(mode) = &run.userns {
        host.set("UsernsMode", mode.clone());
    }
    let list = |values: &[String]| if values.is_empty() { Value::Null } else { json!(values) };
    let binds: Vec<String> =
        run.volumes.iter().filter(|volume| !is_anonymous(volume)).map(|bind| absolute(bind)).collect();
    host.set("Binds", list(&binds));
    let mounts =
        run.mounts.iter().map(|mount| mount::request(mount)).collect::<anyhow::Result<Vec<Value>>>()?;
    if !mounts.is_empty() {
        host.set("Mounts", mounts);
    }
    if !run.tmpfs.is_empty() {
        let split = |tmpfs: &String| match tmpfs.split_once(':') {
            Some((target, options)) => (target.to_owned(), Value::from(options)),
            None => (tmpfs.clone(), Value::from("")),
        };
        host.set("Tmpfs", Value::Object(run.tmpfs.iter().map(split).collect()));
    }
    if let Some(path) = &run.cid_file {
        host.set("ContainerIDFile", path.to_string_lossy().into_owned());
    }
    host.set("NetworkMode", run.network.clone().unwrap_or_else(|| "none".to_owned()));
    host.set("AutoRemove", run.remove);
    host.set("CapAdd", list(&run.cap_add));
    host.set("CapDrop", list(&run.cap_drop));
    host.set("ExtraHosts", list(&throttle::extra_hosts(&run.add_hosts)?));
    host.set("GroupAdd", list(&run.group_add));
    host.set("Privileged", run.privileged);
    if run.privileged {
        host.set("MaskedPaths", Value::Null);
        host.set("ReadonlyPaths", Value::Null);
        host.set("SecurityOpt", json!(["label=disable"]));
    }
    host.set("ReadonlyRootfs", run.read_only);
    if !run.security_opt.is_empty() {
        host.set("SecurityOpt", json!(security_options(&run.security_opt)?));
    }
    if run.init {
        host.set("Init", true);
    }
    host.set("VolumesFrom", list(&run.volumes_from));
    if let Some(driver) = &run.volume_driver {
        host.set("VolumeDriver", driver.clone());
    }
    if let Some(parent) = &run.cgroup_parent {
        host.set("CgroupParent", parent.clone());
    }
    if !run.annotations.is_empty() {
        let split = |entry: &String| {
            let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
            (name.to_owned(), Value::from(value))
        };
        host.set("Annotations", Value::Object(run.annotations.iter().map(split).collect()));
    }
    for (key, flag, devices) in [
        ("BlkioDeviceReadBps", "device-read-bps", &run.device_read_bps),
        ("BlkioDeviceWriteBps", "device-write-bps", &run.device_write_bps),
        ("BlkioDeviceReadIOps", "device-read-iops", &run.device_read_iops),
        ("BlkioDeviceWriteIOps", "device-write-iops", &run.device_write_iops),
    ] {
        host.set(key, throttle::rates(flag, devices)?);
    }
    host.set("BlkioWeightDevice", throttle::weights(&run.blkio_weight_devices)?);
    host.set("Dns", throttle::dns_servers(&run.dns)?);
    host.set("DnsOptions", run.dns_options.clone());
    host.set("DnsSearch", throttle::dns_domains(&run.dns_search)?);
    let devices =
        run.devices.iter().map(|device| device_request(device)).collect::<anyhow::Result<Vec<Value>>>()?;
    host.set("Devices", devices);
    for rule in &run.device_cgroup_rules {
        if !throttle::is_device_rule(rule) {
            bail!(
                "invalid argument {rule:?} for \"--device-cgroup-rule\" flag: invalid device cgroup format '{rule}'"
            );
        }
    }
    host.set("DeviceCgroupRules", list(&run.device_cgroup_rules));
    if let Some(sysctl) = run.sysctls.iter().find(|sysctl| !is_of_namespaces(sysctl)) {
        bail!("invalid argument {sysctl:?} for \"--sysctl\" flag: sysctl '{sysctl}' is not allowed");
    }
    if !run.sysctls.is_empty() {
        let split = |entry: &String| {
            let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
            (name.to_owned(), Value::from(value))
        };
        host.set("Sysctls", Value::Object(run.sysctls.iter().map(split).collect()));
    }
    let ulimits = run.ulimits.iter().map(|limit| ulimit(limit)).collect::<anyhow::Result<Vec<Value>>>()?;
    host.set("Ulimits", ulimits);
    for (key, value) in
        [("IpcMode", &run.ipc), ("PidMode", &run.pid), ("UTSMode", &run.uts), ("CgroupnsMode", &run.cgroupns)]
    {
        if let Some(value) = value {
            host.set(key, value.clone());
        }
    }
    if let Some(size) = &run.shm_size {
        host.set("ShmSize", byte_count("shm-size", size)?);
    }
    if let Some(memory) = &run.memory {
        let memory = byte_count("memory", memory)?;
        host.set("Memory", memory);
        host.set("MemorySwap", if memory > 0 { memory * 2 } else { 0 });
    }
    match run.memory_swap.as_deref() {
        Some("-1") => host.set("MemorySwap", -1),
        Some(swap) => host.set("MemorySwap", byte_count("memory-swap", swap)?),
        None => {}
    }
    if let Some(reservation) = &run.memory_reservation {
        host.set("MemoryReservation", byte_count("memory-reservation", reservation)?);
    }
    if let Some(swappiness) = run.memory_swappiness.filter(|swappiness| *swappiness != -1) {
        if !(0..=100).contains(&swappiness) {
            bail!("invalid value: {swappiness}. Valid memory swappiness range is 0-100");
        }
        host.set("MemorySwappiness", swappiness);
    }
    host.set("OomKillDisable", run.oom_kill_disable);
    if let Some(cpus) = &run.cpus {
        host.set("NanoCpus", nano_cpus(cpus)?);
    }
    for (key, value) in [
        ("OomScoreAdj", run.oom_score_adj),
        ("CpuShares", run.cpu_shares),
        ("CpuPeriod", run.cpu_period),
        ("CpuQuota", run.cpu_quota),
        ("PidsLimit", run.pids_limit),
        ("BlkioWeight", run.blkio_weight),
        ("CpuRealtimePeriod", run.cpu_rt_period),
        ("CpuRealtimeRuntime", run.cpu_rt_runtime),
    ] {
        if let Some(value) = value {
            host.set(key, value);
        }
    }
    for (key, value) in [("CpusetCpus", &run.cpuset_cpus), ("CpusetMems", &run.cpuset_mems)] {
        if let Some(value) = value {
            host.set(key, value.clone());
        }
    }
    Ok(host)
}

/// Whether a kernel parameter is one that every container has of its own.
///
/// Source: docker CLI 28.2 `opts.ValidateSysctl`.
fn is_of_namespaces(sysctl: &str) -> bool {
    const ALLOWED: [&str; 8] =
        ["msgmax", "msgmnb", "msgmni", "sem", "shmall", "shmmax", "shmmni", "shm_rmid_forced"];
    let Some((name, _)) = sysctl.split_once('=') else { return false };
    name.starts_with("net.")
        || name.starts_with("fs.mqueue.")
        || name.strip_prefix("kernel.").is_some_and(|name| ALLOWED.contains(&name))
}

/// A bind whose source begins with `.` is relative to the current directory.
fn absolute(bind: &str) -> String {
    if !bind.starts_with('.') {
        return bind.to_owned();
    }
    let (source, rest) = bind.split_once(':').unwrap_or((bind, ""));
    let path = std::path::absolute(source).unwrap_or_else(|_| source.into());
    // `./x` and `..` are taken out as far as that can be done without looking.
    let mut clean = std::path::PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::ParentDir => drop(clean.pop()),
            std::path::Component::CurDir => {}
            part => clean.push(part),
        }
    }
    format!("{}:{rest}", clean.display())
}

fn device_request(typed: &str) -> anyhow::Result<Value> {
    let is_mode = |text: &str| !text.is_empty() && text.bytes().all(|byte| b"rwm".contains(&byte));
    let parts: Vec<&str> = typed.split(':').collect();
    let (host, inside, access) = match parts.as_slice() {
        [host] => (*host, *host, "rwm"),
        [host, second] if is_mode(second) => (*host, *host, *second),
        [host, inside] => (*host, *inside, "rwm"),
        [host, inside, access] if is_mode(access) => (*host, *inside, *access),
        [_, _, access] => bail!("bad mode specified: {access}"),
        _ => bail!("invalid device specification: {typed}"),
    };
    Ok(json!({ "PathOnHost": host, "PathInContainer": inside, "CgroupPermissions": access }))
}

/// `no-new-privileges`, `seccomp=FILE` …: the file's content goes into the option, as docker sends it.
fn security_options(typed: &[String]) -> anyhow::Result<Vec<String>> {
    let mut options = Vec::new();
    for option in typed {
        let (key, value) = option.split_once(['=', ':']).unwrap_or((option, ""));
        if value.is_empty() && key != "no-new-privileges" {
            bail!("invalid --security-opt: {option:?}");
        }
        if key == "seccomp" && value != "unconfined" && value != "builtin" {
            let profile = std::fs::read_to_string(value);
            let profile = profile
                .with_context(|| format!("open {value}"))
                .with_context(|| format!("opening seccomp profile ({value}) failed"))?;
            options.push(format!("seccomp={profile}"));
        } else {
            options.push(option.clone());
        }
    }
    Ok(options)
}

/// `nofile=64`, `nofile=64:128`.
///
/// Source: go-units `ParseUlimit`.
fn ulimit(typed: &str) -> anyhow::Result<Value> {
    let refuse = |reason: String| anyhow!("invalid argument {typed:?} for \"--ulimit\" flag: {reason}");
    let invalid = || refuse(format!("invalid ulimit argument: {typed}"));
    let (name, values) = typed.split_once('=').ok_or_else(invalid)?;
    if !RLIMITS.contains(&name) {
        return Err(refuse(format!("invalid ulimit type: {name}")));
    }
    let (soft, hard) = values.split_once(':').unwrap_or((values, values));
    let number = |text: &str| {
        let parsed = text.parse::<i64>();
        parsed.map_err(|_| refuse(format!("strconv.ParseInt: parsing {text:?}: invalid syntax")))
    };
    let (soft, hard) = (number(soft)?, number(hard)?);
    if hard != -1 && (soft == -1 || soft > hard) {
        return Err(refuse(format!(
            "ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}"
        )));
    }
    Ok(json!({ "Name": name, "Hard": hard, "Soft": soft }))
}

/// `64m`, `1.5g`, `100`: bytes, with units of 1024.
pub fn byte_count(flag: &str, typed: &str) -> anyhow::Result<i64> {
    let names = if flag == "memory" { "-m, --memory".to_owned() } else { format!("--{flag}") };
    let bytes = parse_memory_size(typed).and_then(|bytes| i64::try_from(bytes).ok());
    bytes.ok_or_else(|| anyhow!("invalid argument {typed:?} for {names:?} flag: invalid size: '{typed}'"))
}

/// `0.5` → 500000000; no more than nine decimals.
pub fn nano_cpus(typed: &str) -> anyhow::Result<i64> {
    let invalid = || {
        anyhow!(
            "invalid argument {typed:?} for \"--cpus\" flag: failed to parse {typed} as a rational number"
        )
    };
    let (whole, decimals) = typed.split_once('.').unwrap_or((typed, ""));
    if decimals.len() > 9 || !decimals.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(invalid());
    }
    let whole: i64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| invalid())? };
    let decimals: i64 = format!("{decimals:0<9}").parse().map_err(|_| invalid())?;
    Ok(whole * 1_000_000_000 + decimals)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_are_counted_in_billionths() {
        assert_eq!(nano_cpus("0.5").unwrap(), 500_000_000);
        assert_eq!(nano_cpus("2").unwrap(), 2_000_000_000);
        assert!(nano_cpus("half").is_err());
    }
}
