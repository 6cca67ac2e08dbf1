//! Serves a registry: `serve ROOT ADDRESS [CONFIG]`.

use std::path::Path;

use shale_registry::{Config, Server};
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (root, address, file) = (arguments.next(), arguments.next(), arguments.next());
    let (mut config, mut ignored) = match file {
        Some(file) => Config::load(Path::new(&file))?,
        None => (Config::default(), Vec::new()),
    };
    ignored.extend(config.apply_environment(std::env::vars())?);
    if let Some(root) = root {
        config.root = root.into();
    }
    if let Some(address) = address {
        config.address = address.parse()?;
    }
    println!("ignored: {ignored:?}");
    let server = Server::bind(config).await?;
    println!("taken over: {:?}", server.takeover());
    println!("listening on {:?}, pages at {:?}", server.local_addr(), server.ui_url());
    let handle = server.handle();
    let mut hang_up = signal(SignalKind::hangup())?;
    tokio::spawn(async move {
        while hang_up.recv().await.is_some() {
            println!("reloaded: {:?}", handle.reload());
        }
    });
    let mut terminate = signal(SignalKind::terminate())?;
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
    };
    server.run(stop).await;
    Ok(())
}
