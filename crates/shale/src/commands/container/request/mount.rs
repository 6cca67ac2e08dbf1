//! `--mount type=bind,source=/a,target=/b,readonly`.

use anyhow::anyhow;
use serde_json::{Value, json};

use super::{absolute, byte_count};

/// Reads one `--mount` as the Engine API writes it. The complaints are docker's; keys that it has and that nothing here
/// can carry out are refused.
///
/// Source: docker CLI 28.2 `opts/mount.go`.
pub(super) fn request(typed: &str) -> anyhow::Result<Value> {
    read(typed).map_err(|reason| anyhow!("invalid argument {typed:?} for \"--mount\" flag: {reason}"))
}

fn read(typed: &str) -> Result<Value, String> {
    if typed.trim().is_empty() {
        return Err("EOF".to_owned());
    }
    let mut mount = json!({ "Type": "volume", "Target": "" });
    for field in fields(typed.trim())? {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key.to_ascii_lowercase(), Some(value)),
            None => (field.to_ascii_lowercase(), None),
        };
        let Some(value) = value else {
            match key.as_str() {
                "readonly" | "ro" => mount["ReadOnly"] = true.into(),
                "volume-nocopy" => mount["VolumeOptions"]["NoCopy"] = true.into(),
                "bind-nonrecursive" => mount["BindOptions"]["NonRecursive"] = true.into(),
                _ => return Err(format!("invalid field '{field}' must be a key=value pair")),
            }
            continue;
        };
        set(&mut mount, &key, value, &field)?;
    }
    check(&mount)?;
    Ok(mount)
}

fn set(mount: &mut Value, key: &str, value: &str, field: &str) -> Result<(), String> {
    let invalid = || format!("invalid value for {key}: {value}");
    match key {
        "type" => mount["Type"] = value.to_ascii_lowercase().into(),
        "source" | "src" => {
            let source =
                if value.starts_with('.') { absolute(&format!("{value}:")) } else { value.to_owned() };
            mount["Source"] = source.trim_end_matches(':').into();
        }
        "target" | "dst" | "destination" => mount["Target"] = value.into(),
        "readonly" | "ro" => mount["ReadOnly"] = truth(value).ok_or_else(invalid)?.into(),
        "consistency" => mount["Consistency"] = value.to_ascii_lowercase().into(),
        "bind-propagation" => mount["BindOptions"]["Propagation"] = value.to_ascii_lowercase().into(),
        "bind-nonrecursive" => {
            mount["BindOptions"]["NonRecursive"] = truth(value).ok_or_else(invalid)?.into()
        }
        "bind-recursive" => match value {
            "enabled" => {}
            "disabled" => mount["BindOptions"]["NonRecursive"] = true.into(),
            "writable" => mount["BindOptions"]["ReadOnlyNonRecursive"] = true.into(),
            "readonly" => mount["BindOptions"]["ReadOnlyForceRecursive"] = true.into(),
            _ => {
                return Err(format!(
                    "{} (must be \"enabled\", \"disabled\", \"writable\", or \"readonly\")",
                    invalid()
                ));
            }
        },
        "volume-nocopy" => mount["VolumeOptions"]["NoCopy"] = truth(value).ok_or_else(invalid)?.into(),
        "volume-driver" => mount["VolumeOptions"]["DriverConfig"]["Name"] = value.into(),
        "volume-subpath" => mount["VolumeOptions"]["Subpath"] = value.into(),
        "volume-label" | "volume-opt" => {
            let (name, value) = value.split_once('=').unwrap_or((value, ""));
            let options = &mut mount["VolumeOptions"];
            match key {
                "volume-label" => options["Labels"][name] = value.into(),
                _ => options["DriverConfig"]["Options"][name] = value.into(),
            }
        }
        "image-subpath" => mount["ImageOptions"]["Subpath"] = value.into(),
        "tmpfs-size" => {
            mount["TmpfsOptions"]["SizeBytes"] = byte_count("mount", value).map_err(|_| invalid())?.into();
        }
        "tmpfs-mode" => {
            mount["TmpfsOptions"]["Mode"] = u32::from_str_radix(value, 8).map_err(|_| invalid())?.into();
        }
        _ => return Err(format!("unexpected key '{key}' in '{field}'")),
    }
    Ok(())
}

fn check(mount: &Value) -> Result<(), String> {
    let kind = mount["Type"].as_str().unwrap_or_default();
    if kind.is_empty() {
        return Err("type is required".to_owned());
    }
    if mount["Target"] == "" {
        return Err("target is required".to_owned());
    }
    for (options, of) in [
        ("VolumeOptions", "volume"),
        ("BindOptions", "bind"),
        ("TmpfsOptions", "tmpfs"),
        ("ImageOptions", "image"),
    ] {
        if !mount[options].is_null() && kind != of {
            return Err(format!("cannot mix '{of}-*' options with mount type '{kind}'"));
        }
    }
    let (is_read_only, bind) = (mount["ReadOnly"] == true, &mount["BindOptions"]);
    for (key, word) in [("ReadOnlyNonRecursive", "writable"), ("ReadOnlyForceRecursive", "readonly")] {
        if bind[key] == true && !is_read_only {
            return Err(format!(
                "option 'bind-recursive={word}' requires 'readonly' to be specified in conjunction"
            ));
        }
    }
    if bind["ReadOnlyForceRecursive"] == true && bind["Propagation"] != "rprivate" {
        return Err(
            "option 'bind-recursive=readonly' requires 'bind-propagation=rprivate' to be specified in conjunction"
                .to_owned(),
        );
    }
    Ok(())
}

/// Takes a line of comma-separated values apart; a value in quotes may have commas, and a quote is written twice there.
fn fields(line: &str) -> Result<Vec<String>, String> {
    let mut fields = Vec::new();
    let mut rest = line;
    loop {
        if let Some(quoted) = rest.strip_prefix('"') {
            let mut field = String::new();
            let mut characters = quoted.char_indices().peekable();
            let end = loop {
                match characters.next() {
                    Some((_, '"')) if characters.peek().is_some_and(|(_, next)| *next == '"') => {
                        characters.next();
                        field.push('"');
                    }
                    Some((at, '"')) => break at + 1,
                    Some((_, character)) => field.push(character),
                    None => return Err("parse error: extraneous or missing \" in quoted-field".to_owned()),
                }
            };
            fields.push(field);
            rest = &quoted[end..];
            if !rest.is_empty() && !rest.starts_with(',') {
                return Err("parse error: extraneous or missing \" in quoted-field".to_owned());
            }
        } else {
            let end = rest.find(',').unwrap_or(rest.len());
            fields.push(rest[..end].to_owned());
            rest = &rest[end..];
        }
        match rest.strip_prefix(',') {
            Some(next) => rest = next,
            None => return Ok(fields),
        }
    }
}

fn truth(value: &str) -> Option<bool> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_without_a_target_is_refused_in_dockers_words() {
        let error = request("type=bind,source=/a").unwrap_err().to_string();
        assert_eq!(
            error,
            "invalid argument \"type=bind,source=/a\" for \"--mount\" flag: target is required"
        );
        let error = request("type=bind,colour=red,target=/b").unwrap_err().to_string();
        assert!(error.ends_with("unexpected key 'colour' in 'colour=red'"), "{error}");
    }

    #[test]
    fn a_value_in_quotes_keeps_its_commas() {
        // RFC 4180, as Go's encoding/csv reads it.
        assert_eq!(fields("a=1,\"b=2,\"\"3\"\"\",c").unwrap(), ["a=1", "b=2,\"3\"", "c"]);
        assert!(fields("\"a").is_err());
    }
}
