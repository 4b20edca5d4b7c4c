//! `curl`, as people use it: HTTP/1.1, HTTP/2, streams, compression, queries, a Unix socket, pages.

use libtest_mimic::{Failed, Trial};
use micro::Running;
use micro::prelude::*;
use micro::registry::Memory;

use crate::program::{Program, trial};

/// curl that speaks HTTP/2 and unpacks what is compressed.
pub(crate) const CURL: Program = Program {
    name: "curl",
    variable: "MICRO_TEST_CURL_BIN",
    probe: &["--silent", "--http2-prior-knowledge", "--compressed", "--version"],
    package: "curl (Debian)",
};

#[derive(Debug, Serialize, Deserialize)]
struct Hello {
    name: String,
    #[serde(default)]
    times: Option<u32>,
}

struct Greeter;

#[service(name = "greeter")]
impl Greeter {
    /// Says hello, as often as asked.
    #[handler(idempotent)]
    async fn hello(&self, hello: Hello) -> Result<String> {
        let times = usize::try_from(hello.times.unwrap_or(1)).unwrap_or_default();
        Ok(format!("Hello {}", hello.name).repeat(times))
    }

    #[handler]
    async fn fail(&self) -> Result<String> {
        Err(Error::conflict("", "on purpose"))
    }

    #[handler]
    async fn count(&self, below: u32) -> Result<Streaming<u32>> {
        Ok(Streaming::from_iter(0..below))
    }

    #[handler]
    async fn sum(&self, mut numbers: Streaming<u32>) -> Result<u32> {
        let mut sum = 0;
        while let Some(number) = numbers.next().await {
            sum += number?;
        }
        Ok(sum)
    }

    #[handler]
    async fn double(&self, numbers: Streaming<u32>) -> Result<Streaming<u32>> {
        Ok(numbers.map(|n| n * 2))
    }
}

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("curl_calls_over_http_1", CURL, async || over(&[]).await),
        trial("curl_calls_over_http_2", CURL, async || over(&["--http2-prior-knowledge"]).await),
        trial("curl_streams_both_ways_over_http_2", CURL, both_ways),
        trial("curl_unpacks_what_is_compressed", CURL, compressed),
        trial("curl_calls_through_a_unix_socket", CURL, unix),
        trial("curl_asks_as_a_browser_would", CURL, browser),
    ]
}

async fn start(change: impl FnOnce(Service) -> Service) -> Result<Running> {
    let service = Service::new("greeter").no_env().registry(Memory::new()).mount(Greeter);
    change(service).start().await
}

/// Runs curl and compares what it printed.
async fn said(arguments: &[&str], wanted: &str) -> Result<(), Failed> {
    let arguments = [&["--silent", "--show-error", "--max-time", "30"], arguments].concat();
    let said = CURL.run(&arguments).await?;
    let said = said.replace("\r\n", "\n");
    if said.trim_end() == wanted { Ok(()) } else { Err(format!("{arguments:?}: {said}").into()) }
}

async fn over(options: &[&str]) -> Result<(), Failed> {
    let running = start(|service| service).await?;
    let url = |path: &str| format!("http://{}/greeter/Greeter.{path}", running.address());
    let status = ["--write-out", " %{http_code} %{content_type}"];
    for (path, arguments, wanted) in [
        ("Hello", &["--data", r#"{"name":"Ada"}"#][..], "\"Hello Ada\" 200 application/json"),
        ("Hello?name=Ada%20L&times=2", &[], "\"Hello Ada LHello Ada L\" 200 application/json"),
        ("Hello?name=Ada", &["--head", "--output", "/dev/null"], " 200 application/json"),
        ("Count", &["--data", "3"], "0\n1\n2\n 200 application/x-ndjson"),
        (
            "Count",
            &["--data", "1", "--header", "accept: text/event-stream"],
            "data: 0\n\nevent: end\ndata: {}\n\n 200 text/event-stream",
        ),
        ("Sum", &["--data-binary", "1\n2\n3\n"], "6 200 application/json"),
        (
            "Fail",
            &["--data", ""],
            r#"{"id":"greeter.Greeter.Fail","code":409,"detail":"on purpose","status":"Conflict"} 409 application/json"#,
        ),
    ] {
        let url = url(path);
        said(&[options, &status, arguments, &[url.as_str()]].concat(), wanted).await?;
    }
    running.stop().await;
    Ok(())
}

async fn both_ways() -> Result<(), Failed> {
    let running = start(|service| service).await?;
    let url = format!("http://{}/greeter/Greeter.Double", running.address());
    let numbers = ["--http2-prior-knowledge", "--data-binary", "1\n2\n3\n", &url];
    said(&numbers, "2\n4\n6").await?;
    running.stop().await;
    Ok(())
}

async fn compressed() -> Result<(), Failed> {
    let running = start(|service| service).await?;
    let url = format!("http://{}/greeter/Greeter.Hello", running.address());
    let body = r#"{"name":"Ada","times":1000}"#;
    let wanted = format!("\"{}\"", "Hello Ada".repeat(1000));
    said(&["--compressed", "--data", body, &url], &wanted).await?;
    let size = ["--write-out", "%{size_download}", "--output", "/dev/null"];
    let plain = CURL.run(&[&["--silent"], &size[..], &["--data", body, &url]].concat()).await?;
    let gzip = ["--silent", "--header", "accept-encoding: gzip", "--data", body, &url];
    let packed = CURL.run(&[&gzip, &size[..]].concat()).await?;
    let (plain, packed): (f64, f64) = (plain.trim().parse()?, packed.trim().parse()?);
    running.stop().await;
    if packed * 10.0 < plain { Ok(()) } else { Err(format!("{packed} of {plain} bytes").into()) }
}

async fn unix() -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let socket = folder.path().join("greeter.sock").display().to_string();
    let running = start(|service| service.address(format!("unix:{socket}"))).await?;
    let url = "http://localhost/greeter/Greeter.Hello";
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        let call = ["--unix-socket", &socket, version, "--data", r#"{"name":"Ada"}"#, url];
        said(&call, "\"Hello Ada\"").await?;
    }
    running.stop().await;
    Ok(())
}

async fn browser() -> Result<(), Failed> {
    let cors = ["--cors-origins", "https://shop.example", "--cors-credentials", "true"];
    let running = start(|service| service.args(cors)).await?;
    let url = format!("http://{}/greeter/Greeter.Hello", running.address());
    let headers = "%header{access-control-allow-origin} %header{access-control-allow-methods} \
                   %header{access-control-allow-credentials} %{http_code}";
    for (origin, wanted) in [
        ("https://shop.example", "https://shop.example GET, HEAD, POST true 204"),
        ("https://evil.example", "   403"),
    ] {
        let origin = format!("origin: {origin}");
        let asked = [
            "--request",
            "OPTIONS",
            "--output",
            "/dev/null",
            "--write-out",
            headers,
            "--header",
            &origin,
            "--header",
            "access-control-request-method: POST",
            &url,
        ];
        said(&asked, wanted).await?;
    }
    running.stop().await;
    Ok(())
}
