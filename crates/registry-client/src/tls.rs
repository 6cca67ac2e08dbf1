//! Whom to trust: the certificates of the system, those of `certs.d`, and registries that need none.
//!
//! The roots are the system's (`/etc/ssl/certs` and the like), not a list compiled in: a company's own authority that
//! every other program on the machine trusts must count here too, as it does for Docker.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::error::CertificateError;
use crate::origin::Origin;

/// How far the certificate of a server is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Trust {
    /// Chain and name.
    Verify,
    /// Not at all: loopback, or listed as insecure.
    Anyone,
}

/// Returns how to speak TLS with `origin`, by the first folder of `certs_d` that has one for it.
///
/// `home` is the registry that sent us there; its authorities count for the places that it redirects to as well, its
/// client certificate does not.
///
/// Source: moby registry/registry.go, `ReadCertsDirectory`; docs.docker.com, "Verify repository client with certificates".
pub(crate) fn config(
    certs_d: &[PathBuf],
    home: &Origin,
    origin: &Origin,
    trust: Trust,
) -> Result<ClientConfig, CertificateError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| CertificateError::Tls { source: error.into() })?;
    let own =
        find_folder(certs_d, origin).map(|folder| read_folder(&folder)).transpose()?.unwrap_or_default();
    let verifier: Arc<dyn ServerCertVerifier> = match trust {
        Trust::Anyone => Arc::new(AnyCertificate(provider)),
        Trust::Verify => {
            let mut authorities = own.authorities;
            if home != origin
                && let Some(folder) = find_folder(certs_d, home)
            {
                authorities.extend(read_folder(&folder)?.authorities);
            }
            Arc::new(RootOrIssued::new(authorities, provider)?)
        }
    };
    let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
    match own.client {
        None => Ok(builder.with_no_client_auth()),
        Some((chain, key)) => builder
            .with_client_auth_cert(chain, key)
            .map_err(|error| CertificateError::Tls { source: error.into() }),
    }
}

/// Returns whether a folder of `certs_d` has an authority for this registry.
pub(crate) fn has_authority(certs_d: &[PathBuf], origin: &Origin) -> bool {
    let Some(folder) = find_folder(certs_d, origin) else { return false };
    let Ok(entries) = fs::read_dir(folder) else { return false };
    entries.flatten().any(|entry| entry.path().extension().is_some_and(|extension| extension == "crt"))
}

#[derive(Default)]
struct Folder {
    authorities: Vec<CertificateDer<'static>>,
    client: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
}

/// Finds `<certs_d>/<host:port>`, or `<certs_d>/<host>` where the port is the usual one.
fn find_folder(certs_d: &[PathBuf], origin: &Origin) -> Option<PathBuf> {
    let full = format!("{}:{}", origin.host(), origin.port());
    let names = [origin.authority(), full];
    certs_d
        .iter()
        .flat_map(|folder| names.iter().map(|name| folder.join(name)))
        .find(|folder| folder.is_dir())
}

fn read_folder(folder: &Path) -> Result<Folder, CertificateError> {
    let read = |source| CertificateError::Read { path: folder.to_owned(), source };
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(read)? {
        paths.push(entry.map_err(read)?.path());
    }
    paths.sort();
    let mut found = Folder::default();
    for path in paths {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("crt") => found.authorities.extend(certificates(&path)?),
            Some("cert") if found.client.is_none() => {
                let key = path.with_extension("key");
                if !key.exists() {
                    return Err(CertificateError::NoKey { certificate: path, key });
                }
                let pem =
                    fs::read(&key).map_err(|source| CertificateError::Read { path: key.clone(), source })?;
                let key = PrivateKeyDer::from_pem_slice(&pem)
                    .map_err(|_| CertificateError::Invalid { path: key.clone() })?;
                found.client = Some((certificates(&path)?, key));
            }
            _ => {}
        }
    }
    Ok(found)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let pem = fs::read(path).map_err(|source| CertificateError::Read { path: path.to_owned(), source })?;
    let invalid = || CertificateError::Invalid { path: path.to_owned() };
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    found.ok().filter(|found| !found.is_empty()).ok_or_else(invalid)
}

/// The roots of the system.
struct SystemRoots {
    store: RootCertStore,
    certificates: Vec<CertificateDer<'static>>,
}

/// Returns the roots of the system, read once: it takes several milliseconds.
fn system_roots() -> &'static SystemRoots {
    static ROOTS: OnceLock<SystemRoots> = OnceLock::new();
    ROOTS.get_or_init(|| {
        let certificates = rustls_native_certs::load_native_certs().certs;
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(certificates.iter().cloned());
        SystemRoots { store, certificates }
    })
}

/// Accepts what a root issued, and a root itself: a server may show the very certificate that was put into `certs.d`.
///
/// `openssl req -x509` makes such a certificate, an authority by its own word, which webpki takes for no server's.
///
/// Source: Go crypto/x509/verify.go, `Certificate.Verify` (a certificate of the pool is a chain by itself).
#[derive(Debug)]
struct RootOrIssued {
    issued: Arc<WebPkiServerVerifier>,
    /// The roots besides those of the system.
    own: Vec<CertificateDer<'static>>,
}

impl RootOrIssued {
    fn new(
        own: Vec<CertificateDer<'static>>,
        provider: Arc<CryptoProvider>,
    ) -> Result<RootOrIssued, CertificateError> {
        let mut roots = system_roots().store.clone();
        roots.add_parsable_certificates(own.iter().cloned());
        if roots.is_empty() {
            return Err(CertificateError::NoRoots);
        }
        let issued = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
        let issued = issued.map_err(|error| CertificateError::Tls { source: error.into() })?;
        Ok(RootOrIssued { issued, own })
    }

    fn is_root(&self, certificate: &CertificateDer<'_>) -> bool {
        self.own.contains(certificate) || system_roots().certificates.contains(certificate)
    }
}

/// Returns whether only the chain is wanting. The period of validity was looked at before it, the name was not.
fn is_about_the_chain(error: &rustls::Error) -> bool {
    match error {
        rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer) => true,
        rustls::Error::InvalidCertificate(rustls::CertificateError::Other(other)) => {
            matches!(other.0.downcast_ref(), Some(webpki::Error::CaUsedAsEndEntity))
        }
        _ => false,
    }
}

impl ServerCertVerifier for RootOrIssued {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match self.issued.verify_server_cert(certificate, between, name, ocsp_response, now) {
            Err(error) if is_about_the_chain(&error) && self.is_root(certificate) => {
                verify_server_name(&ParsedCertificate::try_from(certificate)?, name)?;
                Ok(ServerCertVerified::assertion())
            }
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.issued.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.issued.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.issued.supported_verify_schemes()
    }
}

/// Accepts any certificate; the handshake must still be signed by its key.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
