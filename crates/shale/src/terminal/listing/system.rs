//! `shale version` and `shale info`: documents of the Engine API's form, as text or through a template.

use serde_json::Value;

use super::cell;
use crate::terminal::{
    json::{self, Escape},
    template::{Subject, Template, TemplateError},
    units::binary_size,
};

/// Renders what `docker version` shows: `document` has `Client`, `Server` or both, with the Engine API's fields.
///
/// # Errors
/// When the template does not fit.
///
/// Source: transcript version-01 of the docker CLI 28.2.
pub fn render_version(document: &Value, format: Option<&str>) -> Result<String, TemplateError> {
    if let Some(format) = format.filter(|format| !format.is_empty()) {
        return render_document(document, format, "system.versionInfo");
    }
    const FIELDS: [(&str, &str); 5] = [
        ("Version", "Version:"),
        ("ApiVersion", "API version:"),
        ("GoVersion", "Go version:"),
        ("GitCommit", "Git commit:"),
        ("BuildTime", "Built:"),
    ];
    let mut text = String::new();
    let client = ("Client", "Client:\n", " ");
    let server = ("Server", "Server:\n Engine:\n", "  ");
    for (part, title, indent) in [client, server] {
        let Some(part) = document.get(part).filter(|part| part.is_object()) else { continue };
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(title);
        let width = 20 - indent.len();
        for (field, label) in FIELDS {
            let Some(value) = part[field].as_str().filter(|value| !value.is_empty()) else { continue };
            let oldest = part["MinAPIVersion"].as_str().filter(|_| field == "ApiVersion");
            if let Some(oldest) = oldest {
                let value = format!("{value} (minimum version {oldest})");
                text.push_str(&format!("{indent}{label:<width$}{}\n", cell(&value)));
            } else {
                text.push_str(&format!("{indent}{label:<width$}{}\n", cell(value)));
            }
        }
        if let (Some(os), Some(architecture)) = (part["Os"].as_str(), part["Arch"].as_str()) {
            text.push_str(&format!("{indent}{:<width$}{}/{}\n", "OS/Arch:", cell(os), cell(architecture)));
        }
    }
    Ok(text)
}

/// Renders what `docker info` shows of the Engine API's `/info` document; fields that are not there are left out.
///
/// # Errors
/// When the template does not fit.
///
/// Source: transcript info-01 of the docker CLI 28.2.
pub fn render_info(document: &Value, format: Option<&str>) -> Result<String, TemplateError> {
    if let Some(format) = format.filter(|format| !format.is_empty()) {
        return render_document(document, format, "system.dockerInfo");
    }
    const CLIENT: [(&str, &str); 3] =
        [("Version", " Version:   "), ("Context", " Context:   "), ("Debug", " Debug Mode")];
    const BEFORE: [(&str, &str); 7] = [
        ("Containers", " Containers"),
        ("ContainersRunning", "  Running"),
        ("ContainersPaused", "  Paused"),
        ("ContainersStopped", "  Stopped"),
        ("Images", " Images"),
        ("ServerVersion", " Server Version"),
        ("Driver", " Storage Driver"),
    ];
    const DRIVERS: [(&str, &str); 3] = [
        ("LoggingDriver", " Logging Driver"),
        ("CgroupDriver", " Cgroup Driver"),
        ("CgroupVersion", " Cgroup Version"),
    ];
    const AFTER: [(&str, &str); 10] = [
        ("KernelVersion", " Kernel Version"),
        ("OperatingSystem", " Operating System"),
        ("OSType", " OSType"),
        ("Architecture", " Architecture"),
        ("NCPU", " CPUs"),
        ("MemTotal", " Total Memory"),
        ("Name", " Name"),
        ("ID", " ID"),
        ("DockerRootDir", " Docker Root Dir"),
        ("Debug", " Debug Mode"),
    ];
    let mut text = String::new();
    if document["ClientInfo"].is_object() {
        text.push_str("Client:\n");
        text.push_str(&fields(&document["ClientInfo"], &CLIENT).replace(":   : ", ":    "));
        text.push('\n');
    }
    text.push_str("Server:\n");
    text.push_str(&fields(document, &BEFORE));
    for pair in document["DriverStatus"].as_array().into_iter().flatten() {
        if let (Some(name), Some(value)) = (pair[0].as_str(), pair[1].as_str()) {
            text.push_str(&format!("  {}: {}\n", cell(name), cell(value)));
        }
    }
    text.push_str(&fields(document, &DRIVERS));
    text.push_str(&plugins(&document["Plugins"]));
    if let Some(state) = document["Swarm"]["LocalNodeState"].as_str() {
        text.push_str(&format!(" Swarm: {}\n", cell(state)));
    }
    if let Some(runtimes) = document["Runtimes"].as_object() {
        let names: Vec<&str> = runtimes.keys().map(String::as_str).collect();
        text.push_str(&format!(" Runtimes: {}\n", cell(&names.join(" "))));
    }
    text.push_str(&fields(document, &[("DefaultRuntime", " Default Runtime")]));
    text.push_str(&security(&document["SecurityOptions"]));
    text.push_str(&fields(document, &AFTER));
    text.push_str(&fields(document, &[("ExperimentalBuild", " Experimental")]));
    let registries = &document["RegistryConfig"];
    let insecure = registries["IndexConfigs"]
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(_, index)| index["Secure"] == Value::Bool(false))
        .map(|(name, _)| name.as_str());
    let networks =
        registries["InsecureRegistryCIDRs"].as_array().into_iter().flatten().filter_map(Value::as_str);
    text.push_str(&list(" Insecure Registries", insecure.chain(networks)));
    let mirrors = registries["Mirrors"].as_array().into_iter().flatten().filter_map(Value::as_str);
    text.push_str(&list(" Registry Mirrors", mirrors));
    text.push_str(&fields(document, &[("LiveRestoreEnabled", " Live Restore Enabled")]));
    Ok(text)
}

fn plugins(plugins: &Value) -> String {
    let names = |kind: &str| -> Vec<&str> {
        plugins[kind].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
    };
    let line = |kind| match names(kind) {
        none if none.is_empty() => None,
        names => Some(format!("  {kind}: {}\n", cell(&names.join(" ")))),
    };
    let lines: String = ["Volume", "Network", "Authorization", "Log"].into_iter().filter_map(line).collect();
    if lines.is_empty() { lines } else { format!(" Plugins:\n{lines}") }
}

/// Options such as `name=seccomp,profile=default`.
fn security(options: &Value) -> String {
    let mut lines = String::new();
    for option in options.as_array().into_iter().flatten().filter_map(Value::as_str) {
        for (key, value) in option.split(',').filter_map(|pair| pair.split_once('=')) {
            lines.push_str(&match key {
                "name" => format!("  {}\n", cell(value)),
                "profile" => format!("   Profile: {}\n", cell(value)),
                key => format!("   {}: {}\n", cell(key), cell(value)),
            });
        }
    }
    if lines.is_empty() { lines } else { format!(" Security Options:\n{lines}") }
}

fn render_document(document: &Value, format: &str, type_name: &'static str) -> Result<String, TemplateError> {
    if format == "json" {
        return Ok(json::compact(document, Escape::Nothing) + "\n");
    }
    let document = with_go_names(document, format);
    Ok(Template::parse(format)?.render(&document, Subject::Row(type_name))? + "\n")
}

/// Adds the names that fields have in Docker's Go structs, and not in its JSON, where a template asks for them.
fn with_go_names(document: &Value, format: &str) -> Value {
    const NAMES: [(&str, &str); 5] = [
        ("APIVersion", "ApiVersion"),
        ("HTTPProxy", "HttpProxy"),
        ("HTTPSProxy", "HttpsProxy"),
        ("CPUCfsPeriod", "CpuCfsPeriod"),
        ("CPUCfsQuota", "CpuCfsQuota"),
    ];
    let mut document = document.clone();
    for (go, json) in NAMES.into_iter().filter(|(go, _)| format.contains(&format!(".{go}"))) {
        let parts: [&[&str]; 3] = [&[], &["Client"], &["Server"]];
        for part in parts {
            let found = part.iter().try_fold(&mut document, |value, key| value.get_mut(key));
            let Some(fields) = found.and_then(Value::as_object_mut) else { continue };
            if let Some(value) = fields.get(json).cloned() {
                fields.insert(go.to_owned(), value);
            }
        }
    }
    document
}

fn fields(document: &Value, fields: &[(&str, &str)]) -> String {
    let shown = |field: &str, value: &Value| match value {
        Value::Null => None,
        Value::Number(number) if field == "MemTotal" => number.as_u64().map(binary_size),
        Value::String(text) => Some(cell(text)),
        other => Some(other.to_string()),
    };
    let line =
        |&(field, label): &(&str, &str)| Some(format!("{label}: {}\n", shown(field, &document[field])?));
    fields.iter().filter_map(line).collect()
}

fn list<'v>(title: &str, values: impl Iterator<Item = &'v str>) -> String {
    let lines: String = values.map(|value| format!("  {}\n", cell(value))).collect();
    if lines.is_empty() { lines } else { format!("{title}:\n{lines}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version() -> Value {
        // The document and text of transcript version-02 and version-01, the parts that a program without a daemon has.
        serde_json::json!({"Client": {"Version": "28.2.2", "ApiVersion": "1.41", "GitCommit": "e6534b4", "GoVersion": "go1.24.3",
            "Os": "linux", "Arch": "amd64", "BuildTime": "Fri May 30 12:07:14 2025"},
            "Server": {"Version": "20.10.24+dfsg1", "GitCommit": "5d6db84", "Os": "linux", "Arch": "amd64"}})
    }

    #[test]
    fn the_recorded_version_comes_out() {
        let expected = "\
Client:
 Version:           28.2.2
 API version:       1.41
 Go version:        go1.24.3
 Git commit:        e6534b4
 Built:             Fri May 30 12:07:14 2025
 OS/Arch:           linux/amd64

Server:
 Engine:
  Version:          20.10.24+dfsg1
  Git commit:       5d6db84
  OS/Arch:          linux/amd64
";
        assert_eq!(render_version(&version(), None).unwrap(), expected);
        assert_eq!(render_version(&version(), Some("{{.Server.Version}}")).unwrap(), "20.10.24+dfsg1\n");
        let shown = render_version(&version(), Some("{{.Client.APIVersion}}")).unwrap();
        assert_eq!(shown, "1.41\n");
        assert!(
            render_version(&version(), Some("json"))
                .unwrap()
                .starts_with(r#"{"Client":{"Version":"28.2.2","#)
        );
    }

    #[test]
    fn the_recorded_info_comes_out() {
        // Transcript info-01 and info-02, for the fields that are there.
        let document = serde_json::json!({
            "ID": "EIVF:VIII", "Containers": 0, "ContainersRunning": 0, "ContainersPaused": 0, "ContainersStopped": 0,
            "Images": 0, "Driver": "overlay2", "DriverStatus": [["Backing Filesystem", "extfs"], ["Supports d_type", "true"]],
            "ServerVersion": "20.10.24+dfsg1", "KernelVersion": "6.18.44", "OperatingSystem": "Debian GNU/Linux 12 (bookworm)",
            "OSType": "linux", "Architecture": "x86_64", "NCPU": 2, "MemTotal": 25_275_801_600u64, "Name": "vm",
            "DockerRootDir": "/w/dd/root", "Debug": false, "LoggingDriver": "json-file", "CgroupDriver": "cgroupfs", "CgroupVersion": "1",
            "Plugins": {"Volume": ["local"], "Network": ["bridge", "host"], "Authorization": null, "Log": ["json-file", "local"]},
            "Swarm": {"LocalNodeState": "inactive"}, "Runtimes": {"runc": {"path": "runc"}}, "DefaultRuntime": "runc",
            "SecurityOptions": ["name=seccomp,profile=default"], "ExperimentalBuild": false, "LiveRestoreEnabled": false,
            "HttpProxy": "http://proxy:3128",
            "ClientInfo": {"Debug": false, "Version": "28.2.2", "Context": "default"},
            "RegistryConfig": {"InsecureRegistryCIDRs": ["127.0.0.0/8"], "Mirrors": ["http://127.0.0.1:5044/"],
                "IndexConfigs": {"docker.io": {"Secure": true}}},
        });
        let expected = "\
Client:
 Version:    28.2.2
 Context:    default
 Debug Mode: false

Server:
 Containers: 0
  Running: 0
  Paused: 0
  Stopped: 0
 Images: 0
 Server Version: 20.10.24+dfsg1
 Storage Driver: overlay2
  Backing Filesystem: extfs
  Supports d_type: true
 Logging Driver: json-file
 Cgroup Driver: cgroupfs
 Cgroup Version: 1
 Plugins:
  Volume: local
  Network: bridge host
  Log: json-file local
 Swarm: inactive
 Runtimes: runc
 Default Runtime: runc
 Security Options:
  seccomp
   Profile: default
 Kernel Version: 6.18.44
 Operating System: Debian GNU/Linux 12 (bookworm)
 OSType: linux
 Architecture: x86_64
 CPUs: 2
 Total Memory: 23.54GiB
 Name: vm
 ID: EIVF:VIII
 Docker Root Dir: /w/dd/root
 Debug Mode: false
 Experimental: false
 Insecure Registries:
  127.0.0.0/8
 Registry Mirrors:
  http://127.0.0.1:5044/
 Live Restore Enabled: false
";
        assert_eq!(render_info(&document, None).unwrap(), expected);
        let shown = render_info(&document, Some("{{.Driver}} {{.NCPU}} {{.ServerVersion}}")).unwrap();
        assert_eq!(shown, "overlay2 2 20.10.24+dfsg1\n");
        // Go's name and JSON's.
        let shown = render_info(&document, Some("{{.HTTPProxy}} {{.HttpProxy}}")).unwrap();
        assert_eq!(shown, "http://proxy:3128 http://proxy:3128\n");
        let error = render_info(&document, Some("{{.Nope}}")).unwrap_err().to_string();
        assert!(error.ends_with("can't evaluate field Nope in type system.dockerInfo"), "{error}");
    }
}
