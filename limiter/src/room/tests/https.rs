//! The room with TLS, and the files that it wants.

use std::path::{Path, PathBuf};

use rcgen::{CertifiedKey, KeyPair, generate_simple_self_signed};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{
    ClientConfig, ProtocolVersion, RootCertStore, SupportedProtocolVersion,
};

use super::*;

/// A certificate of `localhost` and its key, as files.
struct Files {
    _directory: tempfile::TempDir,
    cert: PathBuf,
    key: PathBuf,
    der: CertificateDer<'static>,
}

impl Files {
    fn new() -> Self {
        let made = generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let CertifiedKey { cert, signing_key } = made;
        let directory = tempfile::tempdir().expect("a directory");
        let file = |name: &str, text: String| {
            let path = directory.path().join(name);
            std::fs::write(&path, text).expect("written");
            path
        };
        Self {
            cert: file("cert.pem", cert.pem()),
            key: file("key.pem", signing_key.serialize_pem()),
            der: cert.der().clone(),
            _directory: directory,
        }
    }

    fn client(&self, versions: &[&'static SupportedProtocolVersion]) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone()).expect("a certificate");
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(versions)
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        TlsConnector::from(Arc::new(config))
    }
}

#[tokio::test]
async fn https() {
    let files = Files::new();
    let tls = tls_config(&files.cert, &files.key).expect("TLS");
    let open = open(LONG, None, Some(tls));
    for (version, expected) in
        [(&TLS12, ProtocolVersion::TLSv1_2), (&TLS13, ProtocolVersion::TLSv1_3)]
    {
        let name = ServerName::try_from("localhost").expect("a name");
        let client = files.client(&[version]);
        let stream = client.connect(name, connect(&open).await).await.expect("TLS");
        assert_eq!(stream.get_ref().1.protocol_version(), Some(expected));
        // It ends with close_notify, else reading to the end were an error.
        let answer = fetch(stream, GET).await;
        assert!(answer.starts_with("HTTP/1.1 503 ") && answer.ends_with("</html>\n"), "{answer}");
    }
    until("both are closed", || open.room.stats() == Stats { pages: 2, ..Stats::default() }).await;
}

#[tokio::test]
async fn http_where_https_is_spoken_fails() {
    let files = Files::new();
    let tls = tls_config(&files.cert, &files.key).expect("TLS");
    let open = open(LONG, None, Some(tls));
    let mut stream = connect(&open).await;
    stream.write_all(GET.as_bytes()).await.expect("sent");
    let mut answer = Vec::new();
    // An alert of TLS, or a reset.
    let _ = stream.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    until("it is counted", || {
        open.room.stats() == Stats { handshakes_failed: 1, ..Stats::default() }
    })
    .await;
}

#[tokio::test]
async fn a_client_that_is_slow_with_tls_is_closed() {
    let files = Files::new();
    let tls = tls_config(&files.cert, &files.key).expect("TLS");
    let open = open(Options { whole: Duration::from_millis(50), ..LONG }, None, Some(tls));
    assert_eq!(fetch(connect(&open).await, "\x16\x03\x01").await, "");
    until("it is counted", || open.room.stats() == Stats { slow: 1, ..Stats::default() }).await;
}

#[test]
fn files_that_do_not_serve_are_named() {
    let (files, other) = (Files::new(), Files::new());
    let missing = Path::new("/nowhere/some.pem");
    let empty = files._directory.path().join("empty.pem");
    std::fs::write(&empty, "nothing\n").expect("written");
    let other_key = KeyPair::generate().expect("a key").serialize_pem();
    std::fs::write(&other.key, other_key).expect("written");
    for (cert, key, words) in [
        (missing, files.key.as_path(), &["certificate", "/nowhere/some.pem"][..]),
        (&files.cert, missing, &["key", "/nowhere/some.pem"]),
        (&empty, &files.key, &["empty.pem holds no certificate", "--cert"]),
        (&files.key, &files.key, &["key.pem holds no certificate"]),
        (&files.cert, &empty, &["empty.pem holds no key", "--key"]),
        (&files.cert, &files.cert, &["cert.pem holds no key"]),
        (&files.cert, &other.key, &["do not serve together", "cert.pem"]),
    ] {
        let said = format!("{:#}", tls_config(cert, key).expect_err("no TLS"));
        assert!(words.iter().all(|word| said.contains(word)), "{said}");
    }
}
