//! Linux capabilities: their names, Docker's default set, and `--cap-add` / `--cap-drop`.

/// Every capability in the kernel's order: the place in this list is the bit.
const NAMES: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// Docker's default set, in Docker's order.
const DEFAULT: [&str; 14] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

/// What `--cap-add`, `--cap-drop` and `--privileged` ask for; names as the user wrote them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// `--cap-add`: `NET_ADMIN`, `cap_net_admin`, `ALL`.
    pub add: Vec<String>,
    /// `--cap-drop`.
    pub drop: Vec<String>,
}

/// Why a capability was refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum CapabilityError {
    /// `--cap-add` names none of the kernel's; Docker's text.
    #[error("invalid CapAdd: unknown capability: \"{name}\"")]
    UnknownAdd {
        /// Normalised name.
        name: String,
    },
    /// `--cap-drop` names none of the kernel's; Docker's text.
    #[error("invalid CapDrop: unknown capability: \"{name}\"")]
    UnknownDrop {
        /// Normalised name.
        name: String,
    },
}

impl Capabilities {
    /// The names that a process gets, in Docker's order.
    ///
    /// Capabilities outside this process's own bounding set are left out: the kernel refuses to give them, and
    /// `--privileged` in a confined environment should give what there is.
    ///
    /// Source: moby oci/caps/utils.go, observed with dockerd 20.10.24.
    pub(crate) fn resolve(&self, privileged: bool) -> Result<Vec<&'static str>, CapabilityError> {
        let add = names(&self.add).map_err(|name| CapabilityError::UnknownAdd { name })?;
        let drop = names(&self.drop).map_err(|name| CapabilityError::UnknownDrop { name })?;
        let available = available();
        if privileged {
            return Ok(available);
        }
        let dropped = |name: &&'static str| !drop.contains(&Named::One(name));
        let mut granted: Vec<&'static str> = if add.contains(&Named::All) {
            available.iter().copied().filter(dropped).collect()
        } else if drop.contains(&Named::All) {
            Vec::new()
        } else {
            DEFAULT.iter().copied().filter(dropped).collect()
        };
        let mut extra: Vec<&'static str> = add
            .iter()
            .filter_map(|named| match named {
                Named::One(name) => Some(*name),
                Named::All => None,
            })
            .collect();
        extra.sort_unstable();
        for name in extra {
            if !granted.contains(&name) {
                granted.push(name);
            }
        }
        granted.retain(|name| available.contains(name));
        Ok(granted)
    }
}

#[derive(PartialEq, Eq)]
enum Named {
    All,
    One(&'static str),
}

fn names(written: &[String]) -> Result<Vec<Named>, String> {
    written
        .iter()
        .map(|text| {
            let upper = text.trim().to_ascii_uppercase();
            if upper == "ALL" {
                return Ok(Named::All);
            }
            let full = if upper.starts_with("CAP_") { upper } else { format!("CAP_{upper}") };
            match NAMES.iter().find(|name| **name == full) {
                Some(name) => Ok(Named::One(name)),
                None => Err(full),
            }
        })
        .collect()
}

/// Capabilities in this process's bounding set.
fn available() -> Vec<&'static str> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let bounding = status
        .lines()
        .find_map(|line| line.strip_prefix("CapBnd:"))
        .and_then(|text| u64::from_str_radix(text.trim(), 16).ok())
        .unwrap_or(u64::MAX);
    NAMES.iter().enumerate().filter(|(bit, _)| bounding >> bit & 1 == 1).map(|(_, name)| *name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(add: &[&str], drop: &[&str]) -> Result<Vec<&'static str>, CapabilityError> {
        let own = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        Capabilities { add: own(add), drop: own(drop) }.resolve(false)
    }

    #[test]
    fn additions_follow_the_defaults_in_alphabetical_order() {
        // dockerd 20.10.24: --cap-add SYS_ADMIN --cap-add SYS_PTRACE --cap-add NET_ADMIN --cap-drop CHOWN
        let granted = ask(&["SYS_ADMIN", "sys_ptrace", "CAP_NET_ADMIN"], &["CHOWN"]).unwrap();
        assert_eq!(granted[0], "CAP_DAC_OVERRIDE");
        assert_eq!(&granted[13..], ["CAP_NET_ADMIN", "CAP_SYS_ADMIN", "CAP_SYS_PTRACE"]);
    }

    #[test]
    fn drop_all_leaves_only_what_was_added() {
        assert_eq!(ask(&["NET_RAW"], &["ALL"]).unwrap(), ["CAP_NET_RAW"]);
    }

    #[test]
    fn add_all_still_honours_a_drop() {
        let granted = ask(&["ALL"], &["NET_RAW"]).unwrap();
        assert!(!granted.contains(&"CAP_NET_RAW"));
        assert!(granted.contains(&"CAP_SYS_ADMIN"));
    }

    #[test]
    fn an_unknown_name_is_refused_in_dockers_words() {
        let error = ask(&["NOSUCH"], &[]).unwrap_err();
        assert_eq!(error.to_string(), "invalid CapAdd: unknown capability: \"CAP_NOSUCH\"");
    }
}
