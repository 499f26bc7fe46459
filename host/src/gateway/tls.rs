//! TLS of the gateway: one certificate, read again when its files change.

use std::{
    fs, io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use rustls::{
    ServerConfig,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject as _},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use tokio_rustls::TlsAcceptor;

use crate::config::ServeTls;

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read, or is no PEM.
    #[error("failed to read `{}`", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: pem::Error,
    },
    /// Certificate and key do not belong together, or are of a kind that is not known.
    #[error("`{}` and `{}` do not make a certificate", .cert.display(), .key.display())]
    Pair {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's.
        key: PathBuf,
        /// Why.
        source: rustls::Error,
    },
}

/// Makes what accepts TLS.
pub(super) fn acceptor(settings: ServeTls) -> Result<(TlsAcceptor, Arc<Certificate>), TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let certificate = Arc::new(Certificate::read(settings, Arc::clone(&provider))?);
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|source| certificate.files.mismatched(source))?
        .with_no_client_auth()
        .with_cert_resolver(Arc::clone(&certificate) as Arc<dyn ResolvesServerCert>);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok((TlsAcceptor::from(Arc::new(config)), certificate))
}

/// The certificate that serves now.
#[derive(Debug)]
pub(super) struct Certificate {
    files: ServeTls,
    provider: Arc<CryptoProvider>,
    now: Mutex<Now>,
}

#[derive(Debug)]
struct Now {
    pair: Arc<CertifiedKey>,
    stamp: Stamp,
    looked: Instant,
}

/// By what a change of either file is noticed.
type Stamp = [Option<(SystemTime, u64)>; 2];

impl Certificate {
    fn read(files: ServeTls, provider: Arc<CryptoProvider>) -> Result<Self, TlsError> {
        // Before the files: what changes in between is read again.
        let stamp = files.stamp();
        let pair = Arc::new(files.read(&provider)?);
        let now = Mutex::new(Now { pair, stamp, looked: Instant::now() });
        Ok(Self { files, provider, now })
    }

    /// Reads the files again if they have changed; what cannot be used leaves the former in force.
    pub(super) fn refresh(&self) {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        self.look(&mut now);
    }

    fn look(&self, now: &mut Now) {
        now.looked = Instant::now();
        let stamp = self.files.stamp();
        if stamp == now.stamp {
            return;
        }
        now.stamp = stamp;
        match self.files.read(&self.provider) {
            Ok(pair) => {
                now.pair = Arc::new(pair);
                tracing::info!("the certificate was read again");
            }
            Err(error) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                tracing::warn!(cause, "kept the former certificate: {error}");
            }
        }
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        if now.looked.elapsed() > LOOK_EVERY {
            self.look(&mut now);
        }
        Some(Arc::clone(&now.pair))
    }
}

impl ServeTls {
    fn stamp(&self) -> Stamp {
        let stamp = |path: &PathBuf| -> io::Result<_> {
            let found = fs::metadata(path)?;
            Ok((found.modified()?, found.len()))
        };
        [stamp(&self.cert).ok(), stamp(&self.key).ok()]
    }

    fn read(&self, provider: &CryptoProvider) -> Result<CertifiedKey, TlsError> {
        let file = |path: &PathBuf, source| TlsError::File { path: path.clone(), source };
        let chain = CertificateDer::pem_file_iter(&self.cert)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|source| file(&self.cert, source))?;
        if chain.is_empty() {
            return Err(file(&self.cert, pem::Error::NoItemsFound));
        }
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(|e| file(&self.key, e))?;
        CertifiedKey::from_der(chain, key, provider).map_err(|source| self.mismatched(source))
    }

    fn mismatched(&self, source: rustls::Error) -> TlsError {
        TlsError::Pair { cert: self.cert.clone(), key: self.key.clone(), source }
    }
}

/// How long the files are believed without a look.
const LOOK_EVERY: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn write(files: &ServeTls) -> CertificateDer<'static> {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        fs::write(&files.cert, made.cert.pem()).unwrap();
        fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
        made.cert.der().clone()
    }

    #[test]
    fn a_changed_certificate_serves_and_a_broken_one_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let files =
            ServeTls { cert: folder.path().join("cert.pem"), key: folder.path().join("key.pem") };
        let missing = acceptor(files.clone()).err().unwrap();
        assert!(missing.to_string().starts_with("failed to read `"), "{missing}");
        let first = write(&files);
        let (_, certificate) = acceptor(files.clone()).unwrap();
        let serving = || certificate.now.lock().unwrap().pair.cert[0].clone();
        assert_eq!(serving(), first);
        // Another length, so that a coarse clock hides nothing.
        fs::write(&files.cert, "nonsense").unwrap();
        certificate.refresh();
        assert_eq!(serving(), first);
        let second = write(&files);
        certificate.refresh();
        assert_eq!(serving(), second);
    }

    #[test]
    fn a_key_of_another_certificate_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let files = |name: &str| ServeTls {
            cert: folder.path().join(format!("{name}.pem")),
            key: folder.path().join(format!("{name}.key")),
        };
        let (one, two) = (files("one"), files("two"));
        write(&one);
        write(&two);
        let mixed = acceptor(ServeTls { cert: one.cert, key: two.key }).err().unwrap();
        assert!(mixed.to_string().ends_with("do not make a certificate"), "{mixed}");
    }
}
