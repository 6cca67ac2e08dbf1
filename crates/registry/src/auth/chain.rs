//! Certificates that a token brings along (`x5c`), trusted only as far as they lead to one of the configured ones.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;

/// The most certificates of one token that are looked at.
const CHAIN_LENGTH_MAX: usize = 8;

/// The certificates that chains may lead to.
pub(super) struct Roots {
    verifier: Option<Arc<dyn ClientCertVerifier>>,
}

impl Roots {
    /// Takes the certificates of a PEM file; what else it holds is passed over.
    pub(super) fn read(pem: &[u8]) -> Roots {
        let mut store = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem).filter_map(Result::ok) {
            // One that cannot be a root may still hold the very key that signs.
            let _ = store.add(certificate);
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        Roots {
            verifier: WebPkiClientVerifier::builder_with_provider(Arc::new(store), provider).build().ok(),
        }
    }

    /// Returns the first certificate of `chain` as PEM when the others lead from it to a root, today.
    pub(super) fn trusted_leaf(&self, chain: Vec<Vec<u8>>) -> Option<String> {
        if chain.len() > CHAIN_LENGTH_MAX {
            return None;
        }
        let mut chain = chain.into_iter().map(CertificateDer::from);
        let (leaf, between) = (chain.next()?, chain.collect::<Vec<_>>());
        self.verifier.as_ref()?.verify_client_cert(&leaf, &between, UnixTime::now()).ok()?;
        Some(format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", STANDARD.encode(&leaf)))
    }
}
