//! `shale daemon`.

use std::path::PathBuf;

use anyhow::{Context as _, anyhow};
use shale_daemon::{Config, Experiments, Host, Limits, Server, SocketAccess, TlsFiles};

use super::Failure;
use crate::cli::Daemon;
use crate::context::{Context, identity, stop_signal};
use crate::user_namespace::is_real_root;

/// Where root's daemon listens.
const ROOT_HOST: &str = "unix:///run/shale.sock";

/// Serves the Engine API until SIGTERM or Ctrl-C.
pub fn run(context: &Context, daemon: &Daemon) -> Result<(), Failure> {
    let hosts = match daemon.hosts.as_slice() {
        [] => vec![default_host(is_real_root(), std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from))?],
        named => named.to_vec(),
    };
    let config = config(context, daemon, &hosts)?;
    let engine = context.engine()?;
    context.block_on_server(async {
        let server = Server::bind(engine, config).await?;
        let stop = stop_signal()?;
        for host in &hosts {
            match (server.local_addr(), host.starts_with("tcp://")) {
                (Some(address), true) => println!("Serving the Engine API on tcp://{address}"),
                _ => println!("Serving the Engine API on {host}"),
            }
        }
        println!("Try it: docker -H {} images", hosts[0]);
        server.run(stop).await;
        Ok(())
    })
}

/// Returns where to listen when nobody says: an ordinary user's socket stands where rootless dockerd has its own.
fn default_host(is_root: bool, runtime_dir: Option<PathBuf>) -> anyhow::Result<String> {
    if is_root {
        return Ok(ROOT_HOST.to_owned());
    }
    let directory = runtime_dir
        .filter(|path| path.is_absolute())
        .context("XDG_RUNTIME_DIR is not set: name a socket with --host unix:///PATH")?;
    Ok(format!("unix://{}", directory.join("shale.sock").display()))
}

fn config(context: &Context, daemon: &Daemon, hosts: &[String]) -> Result<Config, Failure> {
    let hosts: Vec<Host> = hosts.iter().map(|host| host.parse()).collect::<Result<_, _>>()?;
    let mode = u32::from_str_radix(daemon.socket_mode.as_deref().unwrap_or("0660"), 8)
        .ok()
        .filter(|mode| *mode <= 0o777)
        .ok_or_else(|| anyhow!("--socket-mode takes octal permissions such as 0660"))?;
    let group = daemon.socket_group.as_deref().map(group_number).transpose()?;
    let tls = match (&daemon.tls_authority, &daemon.tls_certificate, &daemon.tls_key) {
        (None, None, None) => None,
        (Some(authority), Some(certificate), Some(key)) => Some(TlsFiles {
            authority: authority.clone(),
            certificate: certificate.clone(),
            key: key.clone(),
        }),
        _ => return Err(anyhow!("--tlscacert, --tlscert and --tlskey go together").into()),
    };
    if let Some(other) = daemon.log_format.as_deref().filter(|format| !matches!(*format, "text" | "json")) {
        return Err(anyhow!("--log-format is text or json, and not {other}").into());
    }
    let metrics = daemon.metrics_address.as_deref().map(|address| {
        let text = address.replace("localhost:", "127.0.0.1:");
        text.parse().with_context(|| format!("--metrics-addr takes ADDRESS:PORT, and {address:?} is none"))
    });
    Ok(Config {
        hosts,
        access: SocketAccess { mode, group },
        tls,
        plain_loopback: daemon.plain_loopback,
        metrics: metrics.transpose()?,
        registries: context.client_options()?,
        identity: identity(),
        experiments: match daemon.is_experimental {
            true => Experiments::Served,
            false => Experiments::Refused,
        },
        supervisor: Some(shale_build::Supervisor {
            program: "/proc/self/exe".into(),
            args: vec![super::SUPERVISE.into()],
        }),
        limits: Limits::default(),
    })
}

/// Returns the number of a group that is named or numbered.
fn group_number(group: &str) -> Result<u32, anyhow::Error> {
    if let Ok(number) = group.parse() {
        return Ok(number);
    }
    let path = PathBuf::from("/etc/group");
    let groups =
        std::fs::read_to_string(&path).with_context(|| format!("could not read {}", path.display()))?;
    let mut lines = groups.lines().map(|line| line.split(':'));
    lines
        .find_map(|mut fields| (fields.next()? == group).then(|| fields.nth(1)?.parse().ok()).flatten())
        .with_context(|| format!("there is no group {group}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ordinary_user_has_a_socket_of_their_own() {
        let host = |is_root, directory: Option<&str>| default_host(is_root, directory.map(PathBuf::from));
        assert_eq!(host(true, Some("/run/user/0")).unwrap(), "unix:///run/shale.sock");
        assert_eq!(host(false, Some("/run/user/1000")).unwrap(), "unix:///run/user/1000/shale.sock");
        for directory in [None, Some(""), Some("here")] {
            assert!(host(false, directory).is_err(), "{directory:?}");
        }
    }
}
