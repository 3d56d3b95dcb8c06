//! TLS on gRPC: files named in settings, and what tonic makes of them. Says which file is wrong.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity, ServerTlsConfig};

use super::{Problems, Validate};

/// `[tls]`: how gRPC is served. Files are PEM and read once, at the start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerTls {
    /// The server's certificate, its own first, then those that signed it.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// Whoever connects must have a certificate that this one signed; absent: nobody is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_ca: Option<PathBuf>,
}

/// How a server is connected to over TLS. Files are PEM and read once, at the start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientTls {
    /// Who must have signed the server's certificate.
    pub ca: PathBuf,
    /// The name that the certificate must have; absent: the host of the address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// Our own certificate, for servers that ask for one. With `key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<PathBuf>,
    /// Its private key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
}

impl ServerTls {
    /// Reads the files.
    ///
    /// # Errors
    /// One can't be read; the error names it.
    pub fn load(&self) -> Result<ServerTlsConfig> {
        let identity = Identity::from_pem(read(&self.certificate)?, read(&self.key)?);
        let mut tls = ServerTlsConfig::new().identity(identity);
        if let Some(ca) = &self.client_ca {
            tls = tls.client_ca_root(Certificate::from_pem(read(ca)?));
        }
        Ok(tls)
    }
}

impl ClientTls {
    /// Reads the files and makes an endpoint, whose scheme must be https, use them.
    ///
    /// # Errors
    /// One can't be read, or is no certificate; the error names it.
    pub fn apply(&self, endpoint: Endpoint) -> Result<Endpoint> {
        let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(&self.ca)?));
        if let Some(domain) = &self.domain {
            tls = tls.domain_name(domain);
        }
        if let (Some(certificate), Some(key)) = (&self.certificate, &self.key) {
            tls = tls.identity(Identity::from_pem(read(certificate)?, read(key)?));
        }
        endpoint.tls_config(tls).with_context(|| format!("TLS with {}", self.ca.display()))
    }
}

impl Validate for ServerTls {
    fn validate(&self, problems: &mut Problems) {
        let named = [("certificate", Some(&self.certificate)), ("key", Some(&self.key))];
        there(problems, named.into_iter().chain([("client_ca", self.client_ca.as_ref())]));
    }
}

impl Validate for ClientTls {
    fn validate(&self, problems: &mut Problems) {
        let own = [("certificate", self.certificate.as_ref()), ("key", self.key.as_ref())];
        there(problems, [("ca", Some(&self.ca))].into_iter().chain(own));
        let both = self.certificate.is_some() == self.key.is_some();
        problems.check(both, "certificate", "and key belong together");
    }
}

fn there<'a>(problems: &mut Problems, files: impl IntoIterator<Item = (&'static str, Option<&'a PathBuf>)>) {
    for (field, file) in files {
        let Some(file) = file else { continue };
        problems.check(file.is_file(), field, format!("{} is no file", file.display()));
    }
}

fn read(file: &Path) -> Result<Vec<u8>> {
    std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_are_not_there_are_named() {
        let tls = ClientTls {
            ca: "/nowhere/ca.pem".into(),
            domain: None,
            certificate: Some("/nowhere/own.pem".into()),
            key: None,
        };
        let mut problems = Problems::default();
        problems.part("tls", &tls);
        let told = problems.to_string();
        for words in ["tls.ca", "/nowhere/ca.pem is no file", "/nowhere/own.pem", "key belong together"] {
            assert!(told.contains(words), "{words} in {told}");
        }
        let error = tls.apply(Endpoint::from_static("https://host:1")).expect_err("no file");
        assert!(error.to_string().contains("/nowhere/ca.pem"), "{error}");
    }
}
