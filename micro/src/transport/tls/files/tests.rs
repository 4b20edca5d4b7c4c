//! Certificates in files: which are taken, which are not, and who is dialed.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, SanType,
};

use super::*;
use crate::core::clock;
use crate::core::net::{Pipe, Stream};
use crate::core::proven::Proven;
use crate::transport::tls::{Agreed, Server, Taken};

/// An authority that keeps what it signs in a folder of its own.
pub(crate) struct Office {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) folder: tempfile::TempDir,
}

/// What a certificate is to say.
#[derive(Clone)]
pub(crate) struct Wanted {
    pub(crate) names: Vec<String>,
    pub(crate) common: &'static str,
    /// From when until when, in days from today.
    pub(crate) days: (i64, i64),
}

impl Wanted {
    pub(crate) fn of(name: &str) -> Self {
        Self { names: vec![name.to_owned()], common: "", days: (-1, 30) }
    }
}

impl Office {
    pub(crate) fn open() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name = named("test authority");
        let key = KeyPair::generate().unwrap();
        let der = params.self_signed(&key).unwrap().der().to_vec();
        let office =
            Self { issuer: Issuer::new(params, key), folder: tempfile::tempdir().unwrap() };
        office.write("ca.pem", &pem("CERTIFICATE", &der));
        office
    }

    pub(crate) fn write(&self, file: &str, text: &str) {
        std::fs::write(self.folder.path().join(file), text).unwrap();
    }

    /// Signs a certificate; returns it and its key in PEM.
    pub(crate) fn sign(&self, wanted: &Wanted) -> (String, String) {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.subject_alt_names = wanted
            .names
            .iter()
            .map(|name| match name.parse() {
                Ok(ip) => SanType::IpAddress(ip),
                Err(_) if name.contains("://") => SanType::URI(name.as_str().try_into().unwrap()),
                Err(_) => SanType::DnsName(name.as_str().try_into().unwrap()),
            })
            .collect();
        params.distinguished_name = named(wanted.common);
        let today = i64::try_from(clock::unix_now().as_secs()).unwrap();
        let day = |days: i64| {
            let base = rcgen::date_time_ymd(1970, 1, 1);
            base + Duration::from_secs(u64::try_from(today + days * 86_400).unwrap())
        };
        (params.not_before, params.not_after) = (day(wanted.days.0), day(wanted.days.1));
        let key = KeyPair::generate().unwrap();
        let der = params.signed_by(&key, &self.issuer).unwrap().der().to_vec();
        (pem("CERTIFICATE", &der), pem("PRIVATE KEY", &key.serialize_der()))
    }

    /// Signs a certificate into `name.pem` and `name.key`.
    pub(crate) fn keep(&self, name: &str, wanted: &Wanted) {
        let (certificate, key) = self.sign(wanted);
        self.write(&format!("{name}.pem"), &certificate);
        self.write(&format!("{name}.key"), &key);
    }

    pub(crate) fn server(&self) -> ServerPaths {
        let at = |file| self.folder.path().join(file);
        ServerPaths::new(at("server.pem"), at("server.key"))
    }

    pub(crate) fn client(&self) -> ClientPaths {
        ClientPaths::new(self.folder.path().join("ca.pem"))
    }

    pub(crate) fn files(&self) -> Arc<Files> {
        Arc::new(Files::open(self.server(), 8).unwrap())
    }
}

fn named(common: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common);
    name
}

/// Writes bytes as PEM does.
pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in der.chunks(3) {
        let bits = three.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte));
        let bits = bits << (8 * (3 - three.len()));
        for n in 0..4 {
            let digit = DIGITS[usize::try_from(bits >> (18 - 6 * n) & 63).unwrap()];
            text.push(if n > three.len() { '=' } else { char::from(digit) });
        }
    }
    let lines: Vec<_> = text.as_bytes().chunks(64).map(String::from_utf8_lossy).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

/// Shakes hands over a pipe; returns what each end says of it.
async fn shake(
    files: &Arc<Files>,
    roots: &Roots,
    host: &str,
    protocols: &[&[u8]],
) -> (io::Result<Stream>, io::Result<Taken>) {
    let (here, there) = Pipe::pair();
    let server = Server::Files(Arc::clone(files));
    tokio::join!(
        roots.secure(Stream::Pipe(here), host, protocols),
        server.accept(Stream::Pipe(there), BytesMut::new())
    )
}

#[test]
fn each_fault_names_its_file() {
    let office = Office::open();
    let good = Wanted::of("localhost");
    let (certificate, key) = office.sign(&good);
    let (_, other_key) = office.sign(&good);
    let (over, over_key) = office.sign(&Wanted { days: (-30, -1), ..good.clone() });
    let (early, early_key) = office.sign(&Wanted { days: (2, 30), ..good });
    let long = "x".repeat(FILE_BYTES_MAX + 1);
    for (certificate, key, file, part) in [
        (None, Some(key.as_str()), "server.pem", "cannot be read"),
        (Some(certificate.as_str()), None, "server.key", "cannot be read"),
        (Some(""), Some(&key), "server.pem", "no certificate"),
        (Some("-----BEGIN CERTIFICATE-----\nAA"), Some(&key), "server.pem", "no PEM"),
        (Some(&long), Some(&key), "server.pem", "longer than"),
        (Some(&key), Some(&key), "server.pem", "no certificate"),
        (Some(&certificate), Some(&certificate), "server.key", "no private key"),
        (Some(&certificate), Some(&other_key), "server.key", "no usable key"),
        (Some(&over), Some(&over_key), "server.pem", "is over"),
        (Some(&early), Some(&early_key), "server.pem", "not good yet"),
    ] {
        for (name, text) in [("server.pem", certificate), ("server.key", key)] {
            match text {
                Some(text) => office.write(name, text),
                None => std::fs::remove_file(office.folder.path().join(name)).unwrap_or_default(),
            }
        }
        let error = Files::open(office.server(), 8).unwrap_err();
        assert_eq!(error.code(), 412);
        assert!(error.detail().contains(file) && error.detail().contains(part), "{error}");
    }
    let paths = office.server().with_client_ca(Path::new("/nowhere/ca.pem"));
    office.keep("server", &Wanted::of("localhost"));
    assert!(Files::open(paths, 8).unwrap_err().detail().contains("/nowhere/ca.pem"));
    let error = Roots::open(ClientPaths::new("/nowhere/ca.pem")).unwrap_err();
    assert!(error.detail().contains("/nowhere/ca.pem"), "{error}");
}

/// A handshake that stalls holds its place; the caller of `accept` bounds the time.
#[tokio::test]
async fn handshakes_beyond_the_limit_wait_for_a_place() {
    const MAX: usize = 4;
    let office = Office::open();
    office.keep("server", &Wanted::of("localhost"));
    let files = Arc::new(Files::open(office.server(), MAX).unwrap());
    let roots = Roots::open(office.client()).unwrap();
    for (stalled, served) in [(MAX - 1, true), (MAX, false), (MAX * 10, false)] {
        let mut silent = Vec::new();
        let mut waiting: Vec<std::pin::Pin<Box<dyn Future<Output = _>>>> = Vec::new();
        for _ in 0..stalled {
            let (here, there) = Pipe::pair();
            silent.push(here);
            let server = Server::Files(Arc::clone(&files));
            waiting.push(Box::pin(async move {
                server.accept(Stream::Pipe(there), BytesMut::new()).await.map(drop)
            }));
            let mut task = std::task::Context::from_waker(std::task::Waker::noop());
            assert!(waiting.last_mut().unwrap().as_mut().poll(&mut task).is_pending());
        }
        let shaken = {
            let mut shaking = Box::pin(shake(&files, &roots, "localhost", &[]));
            // One who waits takes part in nothing: 100 looks are more than a handshake needs.
            let mut done = None;
            for _ in 0..100 {
                tokio::select! {
                    biased;
                    shaken = &mut shaking => { done = Some(shaken); break }
                    () = tokio::task::yield_now() => {}
                }
            }
            done
        };
        assert_eq!(shaken.is_some_and(|(dialed, _)| dialed.is_ok()), served, "{stalled}");
        drop(waiting);
        assert!(shake(&files, &roots, "localhost", &[]).await.0.is_ok(), "places come back");
    }
}

#[test]
fn a_file_is_as_long_as_the_limit_and_no_longer() {
    let office = Office::open();
    let (certificate, key) = office.sign(&Wanted::of("localhost"));
    office.write("server.key", &key);
    for (length, good) in
        [(FILE_BYTES_MAX, true), (FILE_BYTES_MAX + 1, false), (FILE_BYTES_MAX * 10, false)]
    {
        office.write(
            "server.pem",
            &format!("{certificate}{}", "\n".repeat(length - certificate.len())),
        );
        assert_eq!(Files::open(office.server(), 8).is_ok(), good, "{length}");
    }
}

#[tokio::test]
async fn f33_changed_files_are_taken_up_and_bad_ones_change_nothing() {
    let office = Office::open();
    office.keep("server", &Wanted::of("first.test"));
    let (files, roots) = (office.files(), Roots::open(office.client()).unwrap());
    let reached = async |host: &str| shake(&files, &roots, host, &[]).await.0.is_ok();
    assert!(!files.reload().unwrap());
    assert!(reached("first.test").await);
    office.keep("server", &Wanted::of("second.test"));
    assert!(files.reload().unwrap() && !files.reload().unwrap());
    assert!(reached("second.test").await && !reached("first.test").await);
    let over = Wanted { days: (-30, -1), ..Wanted::of("third.test") };
    let (certificate, key) = office.sign(&over);
    for (n, text) in [&certificate, "nothing", ""].into_iter().enumerate() {
        office.write("server.key", &key);
        office.write("server.pem", text);
        assert!(files.reload().unwrap_err().detail().contains("server.pem"));
        assert!(!files.reload().unwrap(), "said once");
        assert_eq!((files.reloads(), files.failures()), (1, u64::try_from(n).unwrap() + 1));
        assert!(reached("second.test").await);
    }
    std::fs::remove_file(office.folder.path().join("server.pem")).unwrap();
    assert!(files.reload().is_err());
    assert!(reached("second.test").await);
    office.keep("server", &Wanted::of("fourth.test"));
    assert!(files.reload().unwrap());
    assert!(reached("fourth.test").await);
}

#[tokio::test(start_paused = true)]
async fn the_files_are_followed_until_the_lifecycle_closes() {
    use crate::core::shutdown::{Shutdown, TaskTracker};
    let office = Office::open();
    office.keep("server", &Wanted::of("first.test"));
    let (files, tasks, shutdown) = (office.files(), TaskTracker::new(), Shutdown::new());
    tasks.spawn("certificate", Arc::clone(&files).follow(shutdown.clone()));
    office.keep("server", &Wanted::of("second.test"));
    // Progress: the files are read after each interval.
    while files.reloads() == 0 {
        clock::sleep(INTERVAL).await;
    }
    shutdown.close();
    assert_eq!(tasks.wait(clock::after(clock::now(), INTERVAL)).await, 0);
}

#[tokio::test]
async fn a16_a_server_is_who_the_address_names_by_an_authority_that_is_trusted() {
    let (office, other) = (Office::open(), Office::open());
    let names = vec!["a.test".to_owned(), "127.0.0.1".to_owned(), "*.b.test".to_owned()];
    office.keep("server", &Wanted { names, ..Wanted::of("") });
    let files = office.files();
    let roots = Roots::open(office.client()).unwrap();
    for (host, good) in [
        ("a.test", true),
        ("A.TEST", true),
        ("127.0.0.1", true),
        ("x.b.test", true),
        ("b.test", false),
        ("x.y.b.test", false),
        ("a.test.evil", false),
        ("127.0.0.2", false),
        ("::1", false),
        ("", false),
        ("a test", false),
    ] {
        let (dialed, _) = shake(&files, &roots, host, &[]).await;
        assert_eq!(dialed.is_ok(), good, "{host}");
    }
    let stranger = Roots::open(other.client()).unwrap();
    assert!(shake(&files, &stranger, "a.test", &[]).await.0.is_err());
}

#[tokio::test]
async fn both_ends_agree_on_what_is_spoken_or_on_nothing() {
    let office = Office::open();
    office.keep("server", &Wanted::of("a.test"));
    let (files, roots) = (office.files(), Roots::open(office.client()).unwrap());
    for (offered, agreed) in [
        (&[][..], Some(Agreed::Nothing)),
        (&[&b"h2"[..]], Some(Agreed::Http2)),
        (&[b"http/1.1"], Some(Agreed::Http1)),
        (&[b"micro/1"], Some(Agreed::Native)),
        (&[b"http/1.1", b"h2"], Some(Agreed::Http2)),
        (&[b"spdy/3", b"http/1.1"], Some(Agreed::Http1)),
        (&[b"spdy/3"], None),
    ] {
        let (_, taken) = shake(&files, &roots, "a.test", offered).await;
        assert_eq!(taken.ok().map(|taken| taken.agreed), agreed, "{offered:?}");
    }
}

#[tokio::test]
async fn clients_show_a_certificate_where_they_are_asked_and_are_its_account() {
    let (office, other) = (Office::open(), Office::open());
    office.keep("server", &Wanted::of("a.test"));
    let at = |office: &Office, file: &str| office.folder.path().join(file);
    let paths = office.server().with_client_ca(at(&office, "ca.pem"));
    let files = Arc::new(Files::open(paths, 8).unwrap());
    let uri = vec!["orders.test".to_owned(), "spiffe://shop/default/orders".to_owned()];
    for (wanted, account) in [
        (Wanted { names: uri, ..Wanted::of("") }, Ok("spiffe://shop/default/orders")),
        (Wanted::of("orders.test"), Ok("orders.test")),
        (Wanted { names: vec![], common: "orders", days: (-1, 1) }, Ok("orders")),
        (Wanted { names: vec![], common: "", days: (-1, 1) }, Err(true)),
        (Wanted { names: vec![], common: "a\nb", days: (-1, 1) }, Err(true)),
    ] {
        office.keep("client", &wanted);
        let own = (at(&office, "client.pem"), at(&office, "client.key"));
        let roots = Roots::open(office.client().with_certificate(own.0, own.1)).unwrap();
        let (_, taken) = shake(&files, &roots, "a.test", &[]).await;
        let proven = taken.unwrap().proven;
        match account {
            Ok(id) => assert_eq!(proven.account().unwrap().unwrap().id(), id),
            Err(_) => assert!(matches!(proven, Proven::Refused)),
        }
    }
    let bare = Roots::open(office.client()).unwrap();
    assert!(shake(&files, &bare, "a.test", &[]).await.1.is_err(), "shows none");
    other.keep("client", &Wanted::of("orders.test"));
    let own = (at(&other, "client.pem"), at(&other, "client.key"));
    let foreign = Roots::open(office.client().with_certificate(own.0, own.1)).unwrap();
    assert!(shake(&files, &foreign, "a.test", &[]).await.1.is_err(), "of another authority");
    // Where nobody is asked, nobody shows anything.
    let (_, taken) = shake(&office.files(), &bare, "a.test", &[]).await;
    assert!(matches!(taken.unwrap().proven, Proven::Nobody));
}

#[tokio::test(start_paused = true)]
async fn a_client_takes_up_other_authorities_while_it_runs() {
    let (office, next) = (Office::open(), Office::open());
    next.keep("server", &Wanted::of("a.test"));
    let (files, roots) = (next.files(), Roots::open(office.client()).unwrap());
    assert!(shake(&files, &roots, "a.test", &[]).await.0.is_err());
    let both = ["ca.pem"; 2];
    let text = [&office, &next].map(|o| std::fs::read_to_string(o.folder.path().join(both[0])));
    office.write("ca.pem", &text.map(Result::unwrap).concat());
    clock::sleep(INTERVAL).await;
    assert!(shake(&files, &roots, "a.test", &[]).await.0.is_ok());
    office.write("ca.pem", "nothing");
    clock::sleep(INTERVAL).await;
    assert!(shake(&files, &roots, "a.test", &[]).await.0.is_ok());
}
