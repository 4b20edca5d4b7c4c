//! The content type `application/grpc+codec` and the codec that it names.

use http::header::HeaderValue;

use crate::core::content_type::ContentType;

const GRPC: &str = "application/grpc";

/// What the names of most media types begin with.
const APPLICATION: &str = "application/";

/// Tells whether a content type is gRPC's; that of gRPC-Web is another one.
pub(crate) fn is_grpc(value: &[u8]) -> bool {
    let rest = value
        .split_at_checked(GRPC.len())
        .filter(|(essence, _)| essence.eq_ignore_ascii_case(GRPC.as_bytes()));
    rest.is_some_and(|(_, rest)| matches!(rest.first(), None | Some(b'+' | b';' | b' ')))
}

/// Reads which codec a content type of gRPC names; without a name it is Protocol Buffers.
pub(crate) fn read(value: &str) -> ContentType {
    let essence = value.split(';').next().unwrap_or_default().trim();
    let name = essence.split_once('+').map_or("", |(_, name)| name).to_ascii_lowercase();
    match name.as_str() {
        "" | "proto" | "protobuf" => ContentType::Proto,
        "bytes" => ContentType::Bytes,
        "text" => ContentType::Text,
        name => ContentType::parse(&format!("{APPLICATION}{name}")),
    }
}

/// Writes the content type of gRPC with a codec.
pub(crate) fn written(content_type: &ContentType) -> HeaderValue {
    match content_type {
        ContentType::Proto => HeaderValue::from_static("application/grpc"),
        ContentType::Json => HeaderValue::from_static("application/grpc+json"),
        ContentType::MsgPack => HeaderValue::from_static("application/grpc+msgpack"),
        ContentType::Bytes => HeaderValue::from_static("application/grpc+bytes"),
        ContentType::Text => HeaderValue::from_static("application/grpc+text"),
        other => {
            let name = other.as_str();
            let name = name.strip_prefix(APPLICATION).unwrap_or(name);
            // A name that no header can carry is no codec's.
            HeaderValue::try_from(format!("{GRPC}+{name}"))
                .unwrap_or(HeaderValue::from_static(GRPC))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grpc_is_told_from_its_neighbours() {
        for (text, expected) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("Application/gRPC; charset=utf-8", true),
            ("application/grpc-web", false),
            ("application/grpc-web+proto", false),
            ("application/grpcx", false),
            ("application/json", false),
            ("application/grp", false),
            ("", false),
        ] {
            assert_eq!(is_grpc(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn the_suffix_names_the_codec() {
        for (text, expected) in [
            ("application/grpc", ContentType::Proto),
            ("application/grpc;x=y", ContentType::Proto),
            ("application/grpc+proto", ContentType::Proto),
            ("application/grpc+protobuf", ContentType::Proto),
            ("application/grpc+JSON; a=b", ContentType::Json),
            ("application/grpc+msgpack", ContentType::MsgPack),
            ("application/grpc+bytes", ContentType::Bytes),
            ("application/grpc+octet-stream", ContentType::Bytes),
            ("application/grpc+text", ContentType::Text),
            ("application/grpc+cbor", ContentType::parse("application/cbor")),
        ] {
            assert_eq!(read(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        for content_type in [
            ContentType::Proto,
            ContentType::Json,
            ContentType::MsgPack,
            ContentType::Bytes,
            ContentType::Text,
            ContentType::parse("application/cbor"),
        ] {
            let written = written(&content_type);
            assert!(is_grpc(written.as_bytes()));
            assert_eq!(read(written.to_str().unwrap()), content_type);
        }
    }
}
