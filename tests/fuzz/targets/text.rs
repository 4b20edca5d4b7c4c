//! Everything that is read from headers, records, addresses and settings.
#![no_main]

use libfuzzer_sys::fuzz_target;
use micro::core::content_type::ContentType;
use micro::core::error::Error;
use micro::core::net::Address;
use micro::core::trace::Trace;
use micro::registry::Record;

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    if let Ok(address) = text.parse::<Address>() {
        let said = address.to_string();
        assert_eq!(said.parse::<Address>().expect("it was an address"), address, "{said}");
    }
    if let Some(trace) = Trace::parse(&text) {
        assert_eq!(Trace::parse(&trace.to_string()), Some(trace));
    }
    let error = Error::parse(&text);
    let again = Error::parse(&error.to_json());
    assert_eq!((error.code(), error.detail()), (again.code(), again.detail()));
    let kind = ContentType::parse(&text);
    assert_eq!(ContentType::parse(kind.as_str()), kind);
    if let Ok(record) = serde_json::from_slice::<Record>(data) {
        for instance in record.instances() {
            let _dialed = instance.dialed();
        }
    }
});
