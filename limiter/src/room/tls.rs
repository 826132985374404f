//! HTTPS: the certificate of the service and its key, from PEM files.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::NoServerSessionStorage;

/// TLS 1.2 and 1.3 with the certificate chain in one file, the service's own first, and its key in
/// another, without a passphrase.
///
/// # Errors
/// When a file cannot be read or holds no such thing, and when the key is not the certificate's.
pub fn config(certificate: &Path, key: &Path) -> Result<Arc<ServerConfig>> {
    let read = |path: &Path, of: &str| {
        std::fs::read(path).with_context(|| format!("cannot read the {of} in {}", path.display()))
    };
    let chain = CertificateDer::pem_slice_iter(&read(certificate, "certificate")?)
        .collect::<Result<Vec<_>, _>>()
        .with_context(|| format!("{} is no PEM file", certificate.display()))?;
    ensure!(
        !chain.is_empty(),
        "{} holds no certificate: --cert wants a PEM file with the chain, the service's own first",
        certificate.display()
    );
    let private = PrivateKeyDer::from_pem_slice(&read(key, "key")?).with_context(|| {
        format!(
            "{} holds no key that can be read: --key wants a PEM file without a passphrase",
            key.display()
        )
    })?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .context("TLS has no version that it could speak")?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .with_context(|| {
            format!(
                "{} and {} do not serve together: is the key that of the first certificate?",
                certificate.display(),
                key.display()
            )
        })?;
    // Browsers that know HTTP/2 ask for it unless they are told otherwise.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // Clients come every ten seconds: a ticket spares the signature and costs no memory here.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.ticketer = ring::Ticketer::new().context("cannot make a key for TLS tickets")?;
    config.send_tls13_tickets = 1;
    Ok(Arc::new(config))
}
