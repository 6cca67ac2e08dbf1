//! A proxy that resets every connection after a number of bytes, as a bad line does.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;

/// A running proxy; dropping it stops it.
#[derive(Debug)]
pub struct CuttingProxy {
    port: u16,
    cuts: Arc<AtomicUsize>,
    is_stopping: Arc<AtomicBool>,
    listener: Option<JoinHandle<()>>,
}

impl CuttingProxy {
    /// Forwards to `127.0.0.1:target` and cuts each connection after `limit_bytes` of answer.
    pub fn start(target: u16, limit_bytes: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let port = listener.local_addr().expect("a bound socket has an address").port();
        let cuts = Arc::new(AtomicUsize::new(0));
        let is_stopping = Arc::new(AtomicBool::new(false));
        let (counter, stopping) = (Arc::clone(&cuts), Arc::clone(&is_stopping));
        let listener = std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if stopping.load(Ordering::SeqCst) {
                    return;
                }
                let counter = Arc::clone(&counter);
                std::thread::spawn(move || {
                    if let Ok(server) = TcpStream::connect(("127.0.0.1", target)) {
                        forward(&client, &server, limit_bytes, &counter);
                    }
                });
            }
        });
        Self { port, cuts, is_stopping, listener: Some(listener) }
    }

    /// `127.0.0.1:PORT`.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// How many connections were cut so far.
    pub fn cuts(&self) -> usize {
        self.cuts.load(Ordering::SeqCst)
    }
}

impl Drop for CuttingProxy {
    fn drop(&mut self) {
        self.is_stopping.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        if let Some(listener) = self.listener.take() {
            let _ = listener.join();
        }
    }
}

fn forward(client: &TcpStream, server: &TcpStream, limit_bytes: usize, cuts: &AtomicUsize) {
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (mut from, mut to) = (client, server);
            let _ = std::io::copy(&mut from, &mut to);
            let _ = server.shutdown(Shutdown::Write);
        });
        let (mut from, mut to) = (server, client);
        let mut left = limit_bytes;
        let mut buffer = vec![0; 16 * 1024];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            let passed = count.min(left);
            if to.write_all(&buffer[..passed]).is_err() {
                break;
            }
            left -= passed;
            if left == 0 {
                cuts.fetch_add(1, Ordering::SeqCst);
                break;
            }
        }
        let _ = client.shutdown(Shutdown::Both);
        let _ = server.shutdown(Shutdown::Both);
    });
}
