//! Bytes that go-micro's own client and server wrote.

/// The recording.
const RECORDED: &str = include_str!("go-micro-2.9.1.txt");

/// One exchange of the recording.
#[derive(Clone, Debug, Default)]
pub(crate) struct Exchange {
    pub(crate) name: &'static str,
    /// What the client wrote.
    pub(crate) client: Vec<u8>,
    /// What the server wrote, as it wrote it.
    pub(crate) server: Vec<Vec<u8>>,
}

impl Exchange {
    pub(crate) fn answer(&self) -> Vec<u8> {
        self.server.concat()
    }

    /// What the client wrote, under another host.
    pub(crate) fn request_to(&self, host: &str) -> Vec<u8> {
        let text = String::from_utf8(self.client.clone()).unwrap();
        text.replace("Host: 127.0.0.1:38707", &format!("Host: {host}")).into_bytes()
    }
}

/// Returns an exchange by its name.
pub(crate) fn exchange(name: &str) -> Exchange {
    all().into_iter().find(|exchange| exchange.name == name).unwrap()
}

/// Returns every exchange.
pub(crate) fn all() -> Vec<Exchange> {
    let mut all: Vec<Exchange> = Vec::new();
    let mut from_client = false;
    for line in RECORDED.lines() {
        if let Some(name) = line.strip_prefix("##### ") {
            all.push(Exchange { name, ..Exchange::default() });
        } else if let Some(quoted) = line.strip_prefix("    ") {
            let exchange = all.last_mut().unwrap();
            let bytes = if from_client {
                &mut exchange.client
            } else {
                exchange.server.last_mut().unwrap()
            };
            bytes.extend(unquoted(quoted));
        } else if line == "client" || line == "server" {
            from_client = line == "client";
            if !from_client {
                all.last_mut().unwrap().server.push(Vec::new());
            }
        }
    }
    all
}

/// Undoes the quotes and escapes of Go.
fn unquoted(text: &str) -> Vec<u8> {
    let mut bytes = text.bytes();
    let mut out = Vec::new();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => {}
            b'\\' => match bytes.next().unwrap() {
                b'r' => out.push(b'\r'),
                b'n' => out.push(b'\n'),
                b't' => out.push(b'\t'),
                b'f' => out.push(0x0c),
                b'x' => {
                    let digits = [bytes.next().unwrap(), bytes.next().unwrap()];
                    let digits = std::str::from_utf8(&digits).unwrap();
                    out.push(u8::from_str_radix(digits, 16).unwrap());
                }
                other => out.push(other),
            },
            other => out.push(other),
        }
    }
    out
}

#[test]
fn the_recording_is_read_whole() {
    let all = all();
    assert_eq!(all.len(), 16);
    let lengths: Vec<_> = all.iter().map(|e| (e.client.len(), e.answer().len())).collect();
    assert_eq!(lengths[0], (315, 312));
    assert_eq!(lengths[11], (307, 307));
    assert_eq!(exchange("server stream json").client.len(), 297 + 12 + 310 + 328);
}
