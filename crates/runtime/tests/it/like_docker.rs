//! `config.json` against those that dockerd 20.10.24 wrote for the same flags (`docker/*.json`).
//!
//! What is compared: every key, after what names this machine or one container (paths, IDs) is taken out. What may
//! differ is listed in [`comparable`], with the reason.

use std::collections::BTreeSet;
use std::fs;

use serde_json::{Value, json};
use shale_runtime::ContainerSpec;
use shale_runtime::spec::{
    BindMount, Capabilities, Device, Ipc, Mount, Network, PidNamespace, Propagation, Rlimit, Seccomp,
    TmpfsMount, User, Uts,
};

use crate::setup::Machine;

#[track_caller]
fn check(name: &str, change: impl FnOnce(&Machine, &mut ContainerSpec)) {
    let machine = Machine::new();
    let mut spec = machine.spec(&["sleep", "100"]);
    for (file, place) in [
        ("resolv.conf", &mut spec.etc_files.resolv_conf),
        ("hostname", &mut spec.etc_files.hostname),
        ("hosts", &mut spec.etc_files.hosts),
    ] {
        fs::write(machine.path(file), "").unwrap();
        *place = Some(machine.path(file));
    }
    spec.hostname = "name".into();
    change(&machine, &mut spec);
    let ours = machine.runtime.bundle_config(&spec).unwrap();
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/docker");
    let dockers = serde_json::from_slice(&fs::read(format!("{golden}/{name}.json")).unwrap()).unwrap();
    let (ours, dockers) = (comparable(ours), comparable(dockers));
    if ours != dockers {
        let text = |value: &Value| serde_json::to_string_pretty(value).unwrap();
        let (ours, dockers) = (text(&ours), text(&dockers));
        let lines = |text: &str| text.lines().map(str::to_owned).collect::<BTreeSet<_>>();
        let (a, b) = (lines(&ours), lines(&dockers));
        let only = |a: &BTreeSet<String>, b: &BTreeSet<String>| a.difference(b).cloned().collect::<Vec<_>>();
        panic!("{name}: only ours {:#?}, only docker's {:#?}", only(&a, &b), only(&b, &a));
    }
}

fn comparable(mut config: Value) -> Value {
    // The names of the container, and of files on the host.
    config["root"]["path"] = json!("");
    if config.get("hostname").is_some() {
        config["hostname"] = json!("");
    }
    for entry in config["process"]["env"].as_array_mut().unwrap() {
        if entry.as_str().unwrap().starts_with("HOSTNAME=") {
            *entry = json!("HOSTNAME=");
        }
    }
    let cgroup = config["linux"]["cgroupsPath"].take();
    let parent = cgroup.as_str().unwrap().rsplit_once('/').unwrap().0.to_owned();
    config["linux"]["cgroupsPath"] = json!(if parent == "/shale" { "/docker" } else { &parent });
    for mount in config["mounts"].as_array_mut().unwrap() {
        if mount["type"] == "bind" && mount["destination"] != "/dev/shm" {
            mount["source"] = json!("");
        }
        if mount["destination"] == "/sys" || mount["destination"] == "/sys/fs/cgroup" {
            sort(&mut mount["options"]);
        }
    }
    // Mounts at different places may come in any order.
    sort(&mut config["mounts"]);
    // Zero limits set nothing.
    let resources = &mut config["linux"]["resources"];
    for (group, key, zero) in [
        ("memory", "disableOOMKiller", json!(false)),
        ("cpu", "shares", json!(0)),
        ("blockIO", "weight", json!(0)),
    ] {
        if resources[group][key] == zero {
            resources[group].as_object_mut().unwrap().remove(key);
        }
        if resources[group].as_object().is_none_or(serde_json::Map::is_empty) {
            resources.as_object_mut().unwrap().remove(group);
        }
    }
    // dockerd asks for all that the kernel knows and fails where it may not give them; see Capabilities.
    for set in ["bounding", "effective", "permitted"] {
        let Some(names) = config["process"]["capabilities"].get_mut(set) else { continue };
        names.as_array_mut().unwrap().retain(|name| {
            !["CAP_SYS_RESOURCE", "CAP_PERFMON", "CAP_BPF", "CAP_CHECKPOINT_RESTORE"]
                .contains(&name.as_str().unwrap())
        });
    }
    // The order of the rules means nothing: each names other calls, or other arguments of the same call.
    if let Some(rules) = config["linux"].pointer_mut("/seccomp/syscalls") {
        let mut split = Vec::new();
        for rule in rules.as_array().unwrap() {
            for name in rule["names"].as_array().unwrap() {
                let mut one = rule.clone();
                one["names"] = name.clone();
                split.push(one);
            }
        }
        *rules = Value::Array(split);
        sort(rules);
    }
    if config["linux"]["devices"].as_array().is_some_and(|devices| devices.len() > 10) {
        let paths: Vec<Value> = config["linux"]["devices"]
            .as_array()
            .unwrap()
            .iter()
            .map(|device| device["path"].clone())
            .collect();
        // Device nodes of the machine come and go; those that every Linux machine has must be there.
        let kept = ["/dev/null", "/dev/kmsg", "/dev/loop0", "/dev/tty"]
            .map(|path| json!(paths.contains(&json!(path))));
        config["linux"]["devices"] = json!(kept);
    }
    if let Some(limits) = config["process"].get_mut("rlimits").filter(|limits| limits.is_array()) {
        sort(limits);
    } else {
        config["process"].as_object_mut().unwrap().remove("rlimits");
    }
    sort_keys(config)
}

fn sort(list: &mut Value) {
    if let Some(list) = list.as_array_mut() {
        list.sort_by_key(Value::to_string);
    }
}

fn sort_keys(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.into_iter().map(|(key, value)| (key, sort_keys(value))).collect();
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(entries.into_iter().collect())
        }
        Value::Array(list) => Value::Array(list.into_iter().map(sort_keys).collect()),
        other => other,
    }
}

fn own(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

#[test]
fn plain_and_terminal() {
    check("plain", |_, _| {});
    check("tty", |_, spec| spec.terminal = true);
}

#[test]
fn capabilities_and_their_seccomp_rules() {
    let capabilities = |add: &[&str], drop: &[&str]| Capabilities { add: own(add), drop: own(drop) };
    check("capadd", |_, spec| {
        spec.capabilities = capabilities(&["SYS_ADMIN", "SYS_PTRACE", "NET_ADMIN"], &["CHOWN"])
    });
    check("capall", |_, spec| spec.capabilities = capabilities(&["ALL"], &["NET_RAW"]));
    check("capdropall", |_, spec| spec.capabilities = capabilities(&["NET_RAW"], &["ALL"]));
    check("unconf", |_, spec| spec.seccomp = Seccomp::Unconfined);
    check("nnp", |_, spec| spec.no_new_privileges = true);
    check("priv", |_, spec| spec.privileged = true);
    check("masks", |_, spec| spec.system_paths_unconfined = true);
}

#[test]
fn users_environment_and_working_directory() {
    check("user", |machine, spec| spec.user = User::resolve(&machine.root(), "app", &[]).unwrap());
    check("usern", |machine, spec| {
        spec.user = User::resolve(&machine.root(), "1000:1001", &own(&["audio", "77"])).unwrap();
    });
    check("wd", |machine, spec| {
        spec.user = User::resolve(&machine.root(), "app", &[]).unwrap();
        spec.cwd = "/new/dir".into();
        spec.env = own(&["A=b", "HOME=/x"]);
    });
}

#[test]
fn limits() {
    check("mem", |_, spec| {
        let resources = &mut spec.resources;
        resources.memory_bytes = Some(64 << 20);
        resources.memory_swap_bytes = Some(128 << 20);
        resources.memory_reservation_bytes = Some(32 << 20);
        resources.memory_swappiness = Some(10);
        resources.oom_kill_disable = true;
        resources.nano_cpus = Some(1_500_000_000);
        resources.cpu_shares = Some(512);
        resources.cpuset_cpus = "0".into();
        resources.pids_max = Some(100);
        spec.oom_score_adj = 200;
    });
    check("mem2", |_, spec| spec.resources.memory_bytes = Some(64 << 20));
    check("ulim", |_, spec| {
        spec.rlimits = vec![
            Rlimit { name: "nofile".into(), soft: 100, hard: 200 },
            Rlimit { name: "core".into(), soft: 0, hard: 0 },
        ];
    });
    check("cgparent", |_, spec| spec.cgroup_parent = "/foo".into());
}

#[test]
fn namespaces() {
    check("ns", |_, spec| {
        spec.ipc = Ipc::Host;
        spec.pid = PidNamespace::Host;
        spec.uts = Uts::Host;
    });
    check("ipcnone", |_, spec| spec.ipc = Ipc::None);
    check("cgpriv", |_, spec| spec.cgroup_namespace = true);
    check("shm", |_, spec| {
        spec.shm_size_bytes = 1 << 20;
        spec.sysctls.insert("net.core.somaxconn".into(), "123".into());
        spec.sysctls.insert("kernel.msgmax".into(), "100".into());
    });
}

/// The one difference in kind: dockerd joins a bound copy of its own network namespace, we do not leave ours.
#[test]
fn the_host_s_network_is_the_one_we_are_in() {
    let machine = Machine::new();
    let mut spec = machine.spec(&["sleep", "100"]);
    spec.network = Network::Host;
    let config = machine.runtime.bundle_config(&spec).unwrap();
    let namespaces = config["linux"]["namespaces"].to_string();
    assert_eq!(namespaces, r#"[{"type":"mount"},{"type":"uts"},{"type":"pid"},{"type":"ipc"}]"#);
    assert!(config["linux"].get("sysctl").is_none(), "the host's network is not ours to configure");
}

#[test]
fn mounts_and_devices() {
    check("ro", |_, spec| spec.read_only_root = true);
    check("init", |_, spec| spec.init = Some("/usr/bin/docker-init".into()));
    check("dev", |_, spec| {
        spec.devices = vec![Device::from_host("/dev/loop0".as_ref(), "/dev/xloop", "rw").unwrap()];
        spec.device_cgroup_rules = own(&["c 10:200 rwm"]);
    });
    check("vols", |machine, spec| {
        let bind = |target: &str, read_only, propagation| {
            let source = machine.path("src");
            Mount::Bind(BindMount { source, target: target.into(), read_only, recursive: true, propagation })
        };
        let tmpfs = |target: &str, options: &[&str]| {
            Mount::Tmpfs(TmpfsMount { target: target.into(), options: own(options) })
        };
        fs::create_dir(machine.path("src")).unwrap();
        let private = Some(Propagation::RecursivePrivate);
        spec.mounts = vec![
            bind("/mnt/a", false, private),
            bind("/mnt/b", true, private),
            tmpfs("/run", &[]),
            bind("/data", false, None),
            tmpfs("/tt", &["mode=700", "size=1000000"]),
            bind("/c", true, private),
            tmpfs("/x", &["size=10m", "exec"]),
        ];
    });
}
