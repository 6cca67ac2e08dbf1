//! `shale registry serve`.

use anyhow::{Context as _, anyhow};
use shale_registry::config::Tls;
use shale_registry::{Config, Server};
use tokio::signal::unix::{SignalKind, signal};

use super::{root_or_default, users_file};
use crate::cli::Serve;
use crate::commands::Failure;
use crate::context::{Context, stop_signal};

/// Serves until SIGTERM or Ctrl-C; SIGHUP reads the rules again.
pub fn run(context: &Context, serve: Serve) -> Result<(), Failure> {
    let config = config(serve)?;
    context.block_on_server(async {
        let server = Server::bind(config).await?;
        let stop = stop_signal()?;
        if let Some(imported) = server.takeover() {
            println!(
                "Took over {} repositories and {} tags of a Docker registry; {} damaged links skipped",
                imported.repositories,
                imported.tags,
                imported.findings.len() as u64 + imported.findings_more
            );
        }
        if let Some(address) = server.local_addr() {
            println!("Serving a registry on {address}");
        }
        if let Some(url) = server.ui_url() {
            println!("Look at it: {url}");
        }
        let handle = server.handle();
        let mut hang_up = signal(SignalKind::hangup())?;
        tokio::spawn(async move {
            while hang_up.recv().await.is_some() {
                match handle.reload() {
                    Ok(()) => tracing::info!("the rules were read again"),
                    Err(error) => tracing::error!(%error, "the rules could not be read; the old ones stay"),
                }
            }
        });
        server.run(stop).await;
        Ok(())
    })
}

/// Takes the file, then the environment, then the flags.
fn config(serve: Serve) -> Result<Config, Failure> {
    let (mut config, mut ignored) = match &serve.config {
        Some(file) => Config::load(file).with_context(|| format!("could not use {}", file.display()))?,
        None => (Config { root: root_or_default(None), ..Config::default() }, Vec::new()),
    };
    ignored.extend(config.apply_environment(std::env::vars())?);
    if let Some(root) = serve.root {
        config.root = root;
    }
    if let Some(address) = serve.addr {
        // `:5000`, as the Docker registry writes it, means all addresses; here it must be said.
        config.address = address
            .parse()
            .with_context(|| format!("{address:?} is not an address such as 127.0.0.1:5000"))?;
    }
    config.read_only |= serve.read_only;
    match (serve.tls_certificate, serve.tls_key) {
        (Some(certificate), Some(key)) => config.tls = Some(Tls { certificate, key }),
        (None, None) => {}
        _ => return Err(anyhow!("--tls-certificate and --tls-key go together: TLS needs both").into()),
    }
    let users = users_file(&config.root);
    if config.auth.htpasswd.is_none() && users.exists() {
        config.auth.htpasswd = Some(users);
    }
    for key in ignored {
        eprintln!("ignored: {key} has no meaning here");
    }
    Ok(config)
}
