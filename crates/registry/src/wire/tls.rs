//! TLS with a certificate that is read again when its files change.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use crate::config::Tls;

/// Why TLS could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or holds no certificate or key.
    #[error("could not use {path}: {reason}")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Certificate and key do not fit, or the library refuses them.
    #[error("the certificate cannot be used")]
    Certificate(#[from] rustls::Error),
}

/// The certificate in use.
#[derive(Debug)]
pub(crate) struct Certificate {
    files: Tls,
    current: RwLock<(Arc<CertifiedKey>, Seen)>,
}

type Seen = (Option<SystemTime>, Option<SystemTime>);

fn seen(files: &Tls) -> Seen {
    let changed = |path: &Path| fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
    (changed(&files.certificate), changed(&files.key))
}

fn load(files: &Tls) -> Result<CertifiedKey, TlsError> {
    let refused = |path: &Path, reason: String| TlsError::File { path: path.to_owned(), reason };
    let certificates: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(&files.certificate)
        .and_then(Iterator::collect)
        .map_err(|error| refused(&files.certificate, error.to_string()))?;
    if certificates.is_empty() {
        return Err(refused(&files.certificate, "no certificate".to_owned()));
    }
    let key =
        PrivateKeyDer::from_pem_file(&files.key).map_err(|error| refused(&files.key, error.to_string()))?;
    let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key)?;
    let certified = CertifiedKey::new(certificates, key);
    certified.keys_match()?;
    Ok(certified)
}

impl Certificate {
    /// Reads the files again when they changed; a pair that does not fit (one file is written before the other) waits.
    pub(crate) fn refresh(&self) {
        let now = seen(&self.files);
        if self.current.read().unwrap_or_else(PoisonError::into_inner).1 == now {
            return;
        }
        match load(&self.files) {
            Ok(certified) => {
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = (Arc::new(certified), now);
                tracing::info!("took the new certificate {}", self.files.certificate.display());
            }
            Err(error) => tracing::warn!("the new certificate is not used: {error}"),
        }
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner).0))
    }
}

/// Returns what accepts TLS connections with the certificate of `files`, and the certificate, to be refreshed.
pub(crate) fn acceptor(files: &Tls) -> Result<(TlsAcceptor, Arc<Certificate>), TlsError> {
    let current = (Arc::new(load(files)?), seen(files));
    let certificate = Arc::new(Certificate { files: files.clone(), current: RwLock::new(current) });
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(Arc::clone(&certificate) as Arc<dyn ResolvesServerCert>);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok((TlsAcceptor::from(Arc::new(config)), certificate))
}

/// Returns whether the peer begins as HTTP does, with a capital letter, and not with a handshake.
pub(crate) async fn is_plain_http(socket: &TcpStream) -> bool {
    let mut first = [0];
    matches!(socket.peek(&mut first).await, Ok(1)) && first[0].is_ascii_uppercase()
}

/// Says in plain HTTP that this port speaks TLS; a refused handshake would leave people guessing.
pub(crate) async fn refuse_plain_http(mut socket: TcpStream) {
    let text = "this registry speaks TLS: use https\n";
    let answer = format!(
        "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}",
        text.len()
    );
    // Read first: closing a socket with unread bytes resets it, and the client would never see the answer.
    let _ = socket.read(&mut [0; 4096]).await;
    let _ = socket.write_all(answer.as_bytes()).await;
    let _ = socket.shutdown().await;
}

/// Whether an error of a handshake is worth a line at a higher level than debug.
pub(crate) fn is_ours(error: &io::Error) -> bool {
    !matches!(
        error.kind(),
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::InvalidData
    )
}
