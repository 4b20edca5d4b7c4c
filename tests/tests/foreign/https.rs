//! curl over TLS, with certificates that openssl has made.

use std::path::Path;

use libtest_mimic::{Failed, Trial};
use micro::core::error::Retry;
use micro::prelude::*;
use micro::registry::Memory;

use crate::curl::CURL;
use crate::program::{Program, trial};

const OPENSSL: Program = Program {
    name: "openssl",
    variable: "MICRO_TEST_OPENSSL_BIN",
    probe: &["version"],
    package: "openssl (Debian)",
};

struct Echo;

#[service(name = "echo")]
impl Echo {
    #[handler]
    async fn say(&self, text: String) -> Result<String> {
        Ok(text)
    }
}

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("curl_calls_by_https_over_both_versions", CURL, both_versions),
        trial("curl_without_tls_is_told_so", CURL, without_tls),
        trial("curl_trusts_nobody_it_does_not_know", CURL, untrusted),
        trial("curl_shows_a_certificate_where_it_is_asked", CURL, client_certificate),
        trial("services_call_each_other_by_settings_alone", OPENSSL, by_settings),
        trial("every_transport_over_http_calls_by_tls", OPENSSL, over_http),
        #[cfg(feature = "quic")]
        trial("services_call_each_other_over_quic_by_settings_alone", OPENSSL, over_quic),
    ]
}

/// A folder with an authority, a server and a client.
struct Certificates(tempfile::TempDir);

impl Certificates {
    async fn make() -> Result<Self, Failed> {
        let made = Self(tempfile::tempdir()?);
        let names = "subjectAltName=IP:127.0.0.1,DNS:localhost";
        made.write("server.ext", names)?;
        made.write("client.ext", "subjectAltName=DNS:orders.test")?;
        let (key, ca) = (made.at("ca.key"), made.at("ca.pem"));
        let own = ["req", "-x509", "-nodes", "-days", "2", "-subj", "/CN=test authority"];
        let curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"];
        let files = ["-keyout", &key, "-out", &ca];
        OPENSSL.run(&[&own[..], &curve, &files].concat()).await?;
        for name in ["server", "client"] {
            let [key_file, request, signed, names] =
                ["key", "csr", "pem", "ext"].map(|kind| made.at(&format!("{name}.{kind}")));
            let ask = ["req", "-nodes", "-subj", "/CN=test"];
            let files = ["-keyout", &key_file, "-out", &request];
            OPENSSL.run(&[&ask[..], &curve, &files].concat()).await?;
            let sign = ["x509", "-req", "-days", "2", "-CAcreateserial", "-in", &request];
            let by = ["-CA", &ca, "-CAkey", &key, "-extfile", &names, "-out", &signed];
            OPENSSL.run(&[&sign[..], &by].concat()).await?;
        }
        Ok(made)
    }

    fn at(&self, file: &str) -> String {
        Path::new(self.0.path()).join(file).display().to_string()
    }

    fn write(&self, file: &str, text: &str) -> Result<(), Failed> {
        Ok(std::fs::write(self.at(file), text)?)
    }

    /// Starts a service with settings that are files of this folder.
    async fn serve(&self, registry: &Memory, files: &[(&str, &str)]) -> Result<Running, Failed> {
        let settings = files.iter().map(|(name, file)| (format!("MICRO_{name}"), self.at(file)));
        let service = Service::new("echo").env(settings).registry(registry.clone());
        Ok(service.mount(Echo).start().await?)
    }
}

const SERVER: [(&str, &str); 2] =
    [("SERVER_TLS_CERT", "server.pem"), ("SERVER_TLS_KEY", "server.key")];

fn expect(said: &str, part: &str) -> Result<(), Failed> {
    if said.contains(part) { Ok(()) } else { Err(format!("`{part}` is not in {said}").into()) }
}

async fn both_versions() -> Result<(), Failed> {
    let made = Certificates::make().await?;
    let running = made.serve(&Memory::new(), &SERVER).await?;
    let url = format!("{}/echo/Echo.Say", running.url());
    expect(&url, "https://127.0.0.1:")?;
    let ca = made.at("ca.pem");
    for (version, spoken) in [("--http1.1", "1.1"), ("--http2", "2")] {
        let form = ["-w", " %{http_version} %{http_code}", "-d", "\"there\"", &url];
        let said = CURL.run(&[&["-s", version, "--cacert", &ca], &form[..]].concat()).await?;
        expect(&said, &format!("\"there\" {spoken} 200"))?;
    }
    let old = ["-s", "--cacert", &ca, "--tls-max", "1.2", &url];
    if CURL.run(&old).await.is_ok() {
        return Err("TLS 1.2 was spoken".into());
    }
    running.stop().await;
    Ok(())
}

async fn without_tls() -> Result<(), Failed> {
    let made = Certificates::make().await?;
    let running = made.serve(&Memory::new(), &SERVER).await?;
    let url = format!("http://{}/echo/Echo.Say", running.address());
    let said = CURL.run(&["-s", "-w", " %{http_code}", "-d", "\"there\"", &url]).await?;
    expect(&said, "https://")?;
    expect(&said, " 400")?;
    running.stop().await;
    // And the other way round: a port without TLS says so to curl, which fails at once.
    let plain = made.serve(&Memory::new(), &[]).await?;
    let url = format!("https://{}/echo/Echo.Say", plain.address());
    if CURL.run(&["-s", "--cacert", &made.at("ca.pem"), &url]).await.is_ok() {
        return Err("a port without TLS spoke it".into());
    }
    plain.stop().await;
    Ok(())
}

async fn untrusted() -> Result<(), Failed> {
    let (made, other) = (Certificates::make().await?, Certificates::make().await?);
    let running = made.serve(&Memory::new(), &SERVER).await?;
    let url = format!("{}/healthz", running.url());
    CURL.run(&["-s", "--cacert", &made.at("ca.pem"), &url]).await?;
    if CURL.run(&["-s", "--cacert", &other.at("ca.pem"), &url]).await.is_ok() {
        return Err("curl took another authority".into());
    }
    running.stop().await;
    Ok(())
}

async fn client_certificate() -> Result<(), Failed> {
    let made = Certificates::make().await?;
    let files = [&SERVER[..], &[("SERVER_TLS_CLIENT_CA", "ca.pem")]].concat();
    let running = made.serve(&Memory::new(), &files).await?;
    let url = format!("{}/echo/Echo.Say", running.url());
    let (ca, certificate, key) = (made.at("ca.pem"), made.at("client.pem"), made.at("client.key"));
    let call = ["-s", "--cacert", &ca, "-d", "\"there\"", &url];
    let shown = [&call[..], &["--cert", &certificate, "--key", &key]].concat();
    expect(&CURL.run(&shown).await?, "\"there\"")?;
    if CURL.run(&call).await.is_ok() {
        return Err("who showed no certificate was served".into());
    }
    running.stop().await;
    Ok(())
}

#[cfg(feature = "quic")]
async fn over_quic() -> Result<(), Failed> {
    let made = Certificates::make().await?;
    let paths = [&SERVER[..], &[("CLIENT_TLS_CA", "ca.pem")]].concat();
    let paths = paths.iter().map(|(name, file)| (format!("MICRO_{name}"), made.at(file)));
    let settings = paths.chain([("MICRO_TRANSPORT".to_owned(), "quic".to_owned())]);
    let service = Service::new("echo").env(settings).registry(Memory::new());
    let running = service.mount(Echo).start().await?;
    let echo: EchoClient = running.client();
    assert_eq!(echo.say("there".to_owned()).await?, "there");
    running.stop().await;
    Ok(())
}

/// What calls the port by TLS, and the scheme that says so.
const OVER_HTTP: &[(&str, &str)] = &[
    ("http", "https"),
    ("h2c", "h2"),
    #[cfg(feature = "grpc")]
    ("grpc", "grpcs"),
    #[cfg(feature = "ws")]
    ("ws", "wss"),
    #[cfg(feature = "mucp")]
    ("mucp", "mucp"),
];

async fn over_http() -> Result<(), Failed> {
    let (made, other) = (Certificates::make().await?, Certificates::make().await?);
    let served = made.serve(&Memory::new(), &SERVER).await?;
    let address = served.address().to_string();
    for (transport, scheme) in OVER_HTTP {
        let caller = |made: &Certificates, transport: &str| {
            let settings = [
                ("MICRO_CLIENT_TLS_CA".to_owned(), made.at("ca.pem")),
                ("MICRO_TRANSPORT".to_owned(), transport.to_owned()),
            ];
            Service::new("caller").env(settings).registry(Memory::new()).start()
        };
        let trusting = caller(&made, transport).await?;
        let echo: EchoClient = trusting.client();
        assert_eq!(echo.say("there".to_owned()).to(&address).await?, "there", "{transport}");
        trusting.stop().await;
        // By the scheme, whatever the transport of the process is.
        let native = caller(&made, "native").await?;
        let echo: EchoClient = native.client();
        let named = format!("{scheme}://{address}");
        assert_eq!(echo.say("there".to_owned()).to(&named).await?, "there", "{named}");
        native.stop().await;
        let doubting = caller(&other, transport).await?;
        let echo: EchoClient = doubting.client();
        let failed = echo.say("there".to_owned()).to(&address).retries(0).await;
        let error = failed.err().ok_or("it took another authority")?;
        assert_eq!((error.code(), error.retry()), (503, Retry::Safe), "{transport}: {error}");
        doubting.stop().await;
    }
    served.stop().await;
    Ok(())
}

async fn by_settings() -> Result<(), Failed> {
    let (made, registry) = (Certificates::make().await?, Memory::new());
    let asked = [("SERVER_TLS_CLIENT_CA", "ca.pem"), ("CLIENT_TLS_CA", "ca.pem")];
    let shown = [("CLIENT_TLS_CERT", "client.pem"), ("CLIENT_TLS_KEY", "client.key")];
    let files = [&SERVER[..], &asked, &shown].concat();
    let running = made.serve(&registry, &files).await?;
    let echo: EchoClient = running.client();
    assert_eq!(echo.say("there".to_owned()).await?, "there");
    // A start whose files are no good names them.
    for (broken, file) in [("server.pem", "server.pem"), ("server.key", "server.key")] {
        let kept = std::fs::read_to_string(made.at(file))?;
        made.write(file, "nothing")?;
        let failed = made.serve(&registry, &files).await.err().ok_or("it started")?;
        expect(failed.message().unwrap_or_default(), broken)?;
        made.write(file, &kept)?;
    }
    running.stop().await;
    Ok(())
}
