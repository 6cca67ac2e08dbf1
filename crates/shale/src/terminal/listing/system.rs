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
            if let Some(value) = part[field].as_str() {
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
    const BEFORE: [(&str, &str); 7] = [
        ("Containers", " Containers"),
        ("ContainersRunning", "  Running"),
        ("ContainersPaused", "  Paused"),
        ("ContainersStopped", "  Stopped"),
        ("Images", " Images"),
        ("ServerVersion", " Server Version"),
        ("Driver", " Storage Driver"),
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
    let mut text = String::from("Server:\n");
    text.push_str(&fields(document, &BEFORE));
    for pair in document["DriverStatus"].as_array().into_iter().flatten() {
        if let (Some(name), Some(value)) = (pair[0].as_str(), pair[1].as_str()) {
            text.push_str(&format!("  {}: {}\n", cell(name), cell(value)));
        }
    }
    text.push_str(&fields(document, &AFTER));
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
    Ok(text)
}

fn render_document(document: &Value, format: &str, type_name: &'static str) -> Result<String, TemplateError> {
    if format == "json" {
        return Ok(json::compact(document, Escape::Nothing) + "\n");
    }
    Ok(Template::parse(format)?.render(document, Subject::Row(type_name))? + "\n")
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
            "DockerRootDir": "/w/dd/root", "Debug": false,
            "RegistryConfig": {"InsecureRegistryCIDRs": ["127.0.0.0/8"], "Mirrors": ["http://127.0.0.1:5044/"],
                "IndexConfigs": {"docker.io": {"Secure": true}}},
        });
        let expected = "\
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
 Insecure Registries:
  127.0.0.0/8
 Registry Mirrors:
  http://127.0.0.1:5044/
";
        assert_eq!(render_info(&document, None).unwrap(), expected);
        let shown = render_info(&document, Some("{{.Driver}} {{.NCPU}} {{.ServerVersion}}")).unwrap();
        assert_eq!(shown, "overlay2 2 20.10.24+dfsg1\n");
        let error = render_info(&document, Some("{{.Nope}}")).unwrap_err().to_string();
        assert!(error.ends_with("can't evaluate field Nope in type system.dockerInfo"), "{error}");
    }
}
