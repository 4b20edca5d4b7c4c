//! Certificates and requests for them.

use std::net::IpAddr;
use std::time::Duration;

use aws_lc_rs::rand;
use rcgen::BasicConstraints;
use rcgen::CertificateParams;
use rcgen::CertificateSigningRequestParams;
use rcgen::CustomExtension;
use rcgen::DistinguishedName;
use rcgen::DnType;
use rcgen::ExtendedKeyUsagePurpose;
use rcgen::IsCa;
use rcgen::Issuer;
use rcgen::KeyPair;
use rcgen::KeyUsagePurpose;
use rcgen::PKCS_ECDSA_P256_SHA256;
use rcgen::PublicKey;
use rcgen::SanType;
use rcgen::SerialNumber;
use rcgen::date_time_ymd;

use crate::auth::ERROR_ID;
use crate::auth::authority::REQUEST_BYTES_MAX;
use crate::auth::authority::ROOT_LIFE;
use crate::auth::authority::members::Facts;
use crate::auth::authority::members::reject;
use crate::auth::authority::root::Root;
use crate::auth::jwt::base64url;
use crate::core::clock;
use crate::core::error::Error;
use crate::core::error::Result;
use crate::core::secret::Secret;
use crate::transport::tls::BACKDATED;
use crate::transport::tls::Name;
use crate::transport::tls::SCOPES_OID;
use crate::transport::tls::scopes_value;

/// Bytes of a serial number.
const SERIAL_BYTES: usize = 16;

/// A request for a certificate, with the key that never leaves the process.
#[derive(Debug)]
#[non_exhaustive]
pub struct Request {
    /// What is signed, in the form of PKCS #10.
    pub der: Vec<u8>,
    /// The key in PKCS #8.
    pub key: Secret<Vec<u8>>,
}

impl Request {
    /// Makes a key and asks for its certificate.
    ///
    /// # Errors
    /// 500 when the system gives no random numbers.
    pub fn new() -> Result<Self> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(broken)?;
        // The authority says what a certificate holds; a request has nothing to wish for.
        let request = CertificateParams::default().serialize_request(&key).map_err(broken)?;
        Ok(Self { der: request.der().to_vec(), key: Secret::new(key.serialize_der()) })
    }

    /// Writes the request as it travels, in base64 with the alphabet of URLs.
    pub fn text(&self) -> String {
        base64url::encode(&self.der)
    }
}

/// Makes the authority's own certificate and its key.
pub(super) fn root(domain: &str) -> Result<(Vec<u8>, Secret<Vec<u8>>)> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(broken)?;
    let mut params = dated(ROOT_LIFE)?;
    params.distinguished_name = called(&format!("micro authority of {domain}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let certificate = params.self_signed(&key).map_err(broken)?;
    Ok((certificate.der().to_vec(), Secret::new(key.serialize_der())))
}

/// Reads a request as it travels, and the key that its sender proves to hold.
///
/// # Errors
/// The one 401 for what is no request.
pub(super) fn requested(text: &str) -> Result<PublicKey> {
    if text.len() > REQUEST_BYTES_MAX {
        return Err(reject("the signing request is too long"));
    }
    let der = base64url::decode(text.as_bytes())
        .ok_or_else(|| reject("the signing request is not base64"))?;
    CertificateSigningRequestParams::from_der(&der.into())
        .map(|request| request.public_key)
        .map_err(|error| reject(&format!("the signing request: {error}")))
}

/// Makes the certificate of a member: all but the key is what the authority knows.
pub(super) fn certificate(
    root: &Root,
    key: &PublicKey,
    name: &Name,
    facts: &Facts,
) -> Result<Vec<u8>> {
    let params = member(name, facts, root.config.life)?;
    let certificate = params.signed_by(key, &issuer(root)?).map_err(broken)?;
    Ok(certificate.der().to_vec())
}

pub(super) fn issuer(root: &Root) -> Result<Issuer<'static, KeyPair>> {
    let key = KeyPair::try_from(root.key.expose().as_slice()).map_err(broken)?;
    let certificate = root.certificate.as_slice().into();
    Issuer::from_ca_cert_der(&certificate, key).map_err(broken)
}

pub(super) fn member(name: &Name, facts: &Facts, life: Duration) -> Result<CertificateParams> {
    let mut params = dated(life)?;
    params.distinguished_name = called(&name.service);
    let uri = name.to_string().try_into().map_err(broken)?;
    params.subject_alt_names = vec![SanType::URI(uri)];
    for host in &facts.hosts {
        params.subject_alt_names.push(match host.parse::<IpAddr>() {
            Ok(ip) => SanType::IpAddress(ip),
            Err(_) => SanType::DnsName(host.as_str().try_into().map_err(broken)?),
        });
    }
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    let scopes = scopes_value(&facts.scopes);
    params.custom_extensions = vec![CustomExtension::from_oid_content(SCOPES_OID, scopes)];
    Ok(params)
}

fn dated(life: Duration) -> Result<CertificateParams> {
    let mut serial = [0_u8; SERIAL_BYTES];
    rand::fill(&mut serial)
        .map_err(|_error| Error::internal(ERROR_ID, "the system gives no random numbers"))?;
    // A serial number is positive and has no leading zero byte.
    if let Some(first) = serial.first_mut() {
        *first = *first & 0x3f | 0x40;
    }
    let now = Duration::from_secs(clock::unix_now().as_secs());
    let epoch = date_time_ymd(1970, 1, 1);
    let mut params = CertificateParams::default();
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.not_before = epoch + now.saturating_sub(BACKDATED);
    params.not_after = epoch + now + life;
    Ok(params)
}

fn called(name: &str) -> DistinguishedName {
    let mut called = DistinguishedName::new();
    called.push(DnType::CommonName, name);
    called
}

fn broken(error: rcgen::Error) -> Error {
    Error::internal(ERROR_ID, "a certificate cannot be made").with_source(error)
}
