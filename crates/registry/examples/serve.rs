//! Serves a registry: `serve ROOT ADDRESS`.

use shale_registry::{ServeOptions, Server};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut options = ServeOptions::default();
    if let Some(root) = arguments.next() {
        options.root = root.into();
    }
    if let Some(address) = arguments.next() {
        options.address = address.parse()?;
    }
    let server = Server::bind(options).await?;
    println!("listening on {}", server.local_addr());
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    server
        .run(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
        })
        .await;
    Ok(())
}
