//! Codecs that are broken on purpose, each in one way.

use serde::Serialize;
use serde_json::Value;

use crate::codec::Codec;
use crate::codec::Json;
use crate::codec::MsgPack;
use crate::codec::Visit;
use crate::core::content_type::ContentType;
use crate::core::error::Error;
use crate::core::error::Result;

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub(super) enum Flaw {
    Nothing,
    ShoutsItsName,
    SendsFieldsByPosition,
    PassesOverTrailingBytes,
    FillsUpWhatIsCut,
    ClearsTheBuffer,
    PanicsOnNoise,
    TrustsLengths,
    BlamesItself,
    SwallowsRefusals,
    WritesTheFormless,
    ReadsForPeople,
    GivesUpAtSixteenLevels,
    RoundsIntegers,
    RoundsFloats,
    ReadsNullAsZero,
    DropsControlCharacters,
    LeavesOutNulls,
    WritesUnitsAsLists,
    CutsLongLists,
    TrimsKeys,
    CutsKeysAtZero,
    NamesVariantsInLowerCase,
}

/// MessagePack, or JSON where that is easier to break.
#[derive(Debug)]
pub(super) struct Broken(pub(super) Flaw);

impl Broken {
    fn in_json(&self) -> bool {
        self.0 >= Flaw::RoundsIntegers
    }
}

impl Codec for Broken {
    fn content_type(&self) -> ContentType {
        let shouts = self.0 == Flaw::ShoutsItsName;
        ContentType::Other(
            if shouts { "Application/X-Broken" } else { "application/x-broken" }.into(),
        )
    }

    fn encode(&self, value: &dyn erased_serde::Serialize, out: &mut Vec<u8>) -> Result<()> {
        if self.in_json() {
            return encode_bent(self.0, value, out);
        }
        match self.0 {
            Flaw::SendsFieldsByPosition => {
                let done = value.serialize(&mut rmp_serde::Serializer::new(out));
                return done.map_err(|e| Error::internal("broken", e));
            }
            Flaw::ClearsTheBuffer => out.clear(),
            _ => {}
        }
        let done = MsgPack.encode(value, out);
        if self.0 == Flaw::WritesTheFormless && done.is_err() {
            out.push(0xc0);
            return Ok(());
        }
        done
    }

    fn decode(&self, bytes: &[u8], visit: &mut Visit<'_>) -> Result<()> {
        let mut from = rmp_serde::Deserializer::from_read_ref(bytes);
        let mut padded = bytes.to_vec();
        padded.resize(bytes.len() + 64, 0xc0);
        match self.0 {
            flaw if self.in_json() => return decode_bent(flaw, bytes, visit),
            Flaw::PassesOverTrailingBytes => {}
            Flaw::FillsUpWhatIsCut => from = rmp_serde::Deserializer::from_read_ref(&padded),
            Flaw::GivesUpAtSixteenLevels => from.set_max_depth(16),
            Flaw::ReadsForPeople => {
                let from = &mut from.with_human_readable();
                let done = visit(&mut <dyn erased_serde::Deserializer<'_>>::erase(from));
                return done.map_err(|e| Error::bad_request("broken", e));
            }
            flaw => return decode_msgpack(flaw, bytes, visit),
        }
        let done = visit(&mut <dyn erased_serde::Deserializer<'_>>::erase(&mut from));
        done.map_err(|e| Error::bad_request("broken", e))
    }
}

fn decode_msgpack(flaw: Flaw, bytes: &[u8], visit: &mut Visit<'_>) -> Result<()> {
    if let (Flaw::TrustsLengths, [0xc6 | 0xdb | 0xdd | 0xdf, length @ ..]) = (flaw, bytes) {
        let length = length.first_chunk().map_or(0, |length| u32::from_be_bytes(*length));
        let mut buffer = Vec::<u8>::new();
        // As much as the claim needs to notice, and less than small machines refuse.
        let wanted = usize::try_from(length).unwrap().min(1536 * 1024 * 1024);
        buffer.try_reserve_exact(wanted).unwrap();
    }
    let done = MsgPack.decode(bytes, visit);
    match flaw {
        Flaw::PanicsOnNoise => {
            assert!(done.is_ok(), "noise");
            done
        }
        Flaw::BlamesItself => done.map_err(|e| Error::internal("broken", e)),
        Flaw::SwallowsRefusals => Ok(()),
        _ => done,
    }
}

/// Bends what is written, as JSON.
fn encode_bent(flaw: Flaw, value: &dyn erased_serde::Serialize, out: &mut Vec<u8>) -> Result<()> {
    let mut json = vec![];
    Json.encode(value, &mut json)?;
    if flaw == Flaw::NamesVariantsInLowerCase {
        json.make_ascii_lowercase();
        out.append(&mut json);
        return Ok(());
    }
    let tree = serde_json::from_slice(&json).map_err(|e| Error::internal("broken", e))?;
    Json.encode(&bent(flaw, tree), out)
}

fn bent(flaw: Flaw, tree: Value) -> Value {
    match (flaw, tree) {
        (Flaw::RoundsIntegers, Value::Number(number)) if !number.is_f64() => {
            let rounded = format!("{:.0}", number.as_f64().unwrap());
            let signed = rounded.parse::<i64>().map(Value::from);
            let any = signed.or_else(|_| rounded.parse::<u64>().map(Value::from));
            any.unwrap_or(Value::Number(number))
        }
        (Flaw::RoundsFloats, Value::Number(number)) if number.is_f64() => {
            Value::from(f64::from(number.to_string().parse::<f32>().unwrap()))
        }
        (Flaw::DropsControlCharacters, Value::String(text)) => {
            text.replace(|c: char| c.is_control(), "").into()
        }
        (Flaw::WritesUnitsAsLists, Value::Null) => Value::Array(vec![]),
        (_, Value::Array(list)) => {
            let most = if flaw == Flaw::CutsLongLists { 65_535 } else { usize::MAX };
            let kept = list
                .into_iter()
                .filter(|value| flaw != Flaw::LeavesOutNulls || !value.is_null())
                .take(most);
            kept.map(|value| bent(flaw, value)).collect()
        }
        (_, Value::Object(map)) => {
            let key = |key: String| match flaw {
                Flaw::TrimsKeys => key.trim().to_owned(),
                Flaw::CutsKeysAtZero => key.split('\0').next().unwrap_or_default().to_owned(),
                _ => key,
            };
            map.into_iter().map(|(name, value)| (key(name), bent(flaw, value))).collect()
        }
        (_, tree) => tree,
    }
}

/// Bends what is read, as JSON.
fn decode_bent(flaw: Flaw, bytes: &[u8], visit: &mut Visit<'_>) -> Result<()> {
    if flaw == Flaw::ReadsNullAsZero && bytes == b"null" {
        return Json.decode(b"0", visit);
    }
    Json.decode(bytes, visit)
}
