//! Whole sessions of valid frames, of which other tests make invalid ones.

use fastrand::Rng;

use crate::core::limits::Limits;
use crate::transport::native::frame::{HEADER_BYTES, Header, Kind, PREFACE};
use crate::transport::native::tests::lab::NAMES;
use crate::transport::native::tests::raw::{head, hello, open, open_with, whole};
use crate::transport::native::varint;

/// What a client sends that gives up none of its calls, which all have their answers.
pub(super) fn of_patient_client(rng: &mut Rng, frames: usize) -> Vec<Vec<u8>> {
    client_frames(rng, frames, 5)
}

/// What a client sends, beginning with the preface; at least `frames` frames.
pub(super) fn of_client(rng: &mut Rng, frames: usize) -> Vec<Vec<u8>> {
    client_frames(rng, frames, 9)
}

fn client_frames(rng: &mut Rng, frames: usize, kinds: u8) -> Vec<Vec<u8>> {
    let mut session = vec![PREFACE.to_vec(), hello(&Limits::default())];
    let mut generation = 0_u32;
    while session.len() < frames {
        generation += 1;
        let id = ((generation & 0x7fff) << 16) | rng.u32(0..4) | ((generation & 255) << 2);
        match rng.u8(0..kinds) {
            0 => session.push(open(id, "Echo", &body(rng))),
            1 => {
                session.push(open(id, rng.choice(["Later", "Missing", "Conflict"]).unwrap(), b"x"))
            }
            2 => {
                session.push(open_with(id, "Echo", 6, &body(rng)));
                session.push(whole(Kind::Data, 2, id, &body(rng)));
                session.push(whole(Kind::Data, 1, id, &body(rng)));
            }
            3 => {
                session.push(open_with(id, rng.choice(["Sum", "Mirror"]).unwrap(), 0, b""));
                for _ in 0..rng.usize(0..4) {
                    session.push(whole(Kind::Data, 0, id, &body(rng)));
                }
                session.push(whole(Kind::End, 0, id, b""));
            }
            4 => session.push(with_extra(id, rng)),
            5 => {
                session.push(open(id, "Flood", b""));
                session.push(whole(Kind::Credit, 0, id, &[0, 0, 4, 0]));
                session.push(whole(Kind::Reset, 0, id, &[1]));
            }
            6 => {
                session.push(open(id, "Never", b""));
                session.push(whole(Kind::Reset, 0, id, &[4]));
            }
            7 => {
                session.push(open_with(id, rng.choice(["Ignore", "Hold"]).unwrap(), 0, b""));
                session.push(whole(Kind::Data, 0, id, &body(rng)));
                session.push(whole(Kind::Reset, 0, id, &[1]));
            }
            _ => session.push(whole(Kind::Ping, 0, 0, &generation.to_be_bytes().repeat(2))),
        }
    }
    session
}

/// What a server sends for calls on the first slots of a connection.
pub(super) fn of_server(rng: &mut Rng, frames: usize) -> Vec<Vec<u8>> {
    let mut session = vec![hello(&Limits::default())];
    while session.len() < frames {
        let id = rng.u32(0..12);
        match rng.u8(0..10) {
            0 | 1 => session.push(whole(Kind::Data, 1, id, &body(rng))),
            2 => session.push(whole(Kind::Data, 2, id, &body(rng))),
            3 | 4 => session.push(whole(Kind::Accept, 0, id, b"")),
            5 => session.push(whole(Kind::Data, 0, id, &body(rng))),
            6 => session.push(whole(Kind::End, 0, id, b"")),
            7 => {
                let error =
                    b"\x00{\"id\":\"lab\",\"code\":409,\"detail\":\"d\",\"status\":\"Conflict\"}";
                session.push(whole(Kind::End, 0x30, id, error));
            }
            8 => session.push(whole(Kind::Credit, 0, id, &[0, 0, 4, 0])),
            _ => session.push(whole(Kind::Reset, rng.u8(0..2), id, &[rng.u8(..)])),
        }
    }
    session
}

fn body(rng: &mut Rng) -> Vec<u8> {
    let length = if rng.u8(0..20) == 0 { rng.usize(0..3000) } else { rng.usize(0..12) };
    vec![rng.u8(0..3); length]
}

fn with_extra(id: u32, rng: &mut Rng) -> Vec<u8> {
    let mut section = vec![1];
    section.extend([rng.u8(1..); 25]);
    for _ in 0..3 {
        section.push(1);
        section.push(0);
        varint::put_str(&mut section, "key");
        varint::put_str(&mut section, "value");
    }
    let mut payload = head(NAMES[rng.usize(0..2)].0);
    varint::put(&mut payload, u64::try_from(section.len()).unwrap());
    payload.extend(section);
    whole(Kind::Open, 0x0d, id, &payload)
}

/// Changes a session in a few places, so that some of it still makes sense.
pub(super) fn mutate(session: &mut Vec<Vec<u8>>, rng: &mut Rng) {
    for _ in 0..rng.usize(1..6) {
        let at = rng.usize(0..session.len());
        let other = session[rng.usize(0..session.len())].clone();
        let frame = &mut session[at];
        match rng.u8(0..9) {
            0 => flip(frame, rng),
            1 => {
                // A payload changed within a frame whose length is right.
                (0..rng.usize(1..4)).for_each(|_| flip_payload(frame, rng));
            }
            2 => {
                let cut = rng.usize(0..=frame.len());
                frame.truncate(cut);
                restate(frame);
            }
            3 => {
                let cut = rng.usize(0..=frame.len());
                frame.truncate(cut);
            }
            4 => session.swap_remove(at).clear(),
            5 => session.insert(at, other.clone()),
            6 => {
                let noise: Vec<u8> = (0..rng.usize(1..20)).map(|_| rng.u8(..)).collect();
                let place = rng.usize(0..=frame.len());
                frame.splice(place..place, noise);
                restate(frame);
            }
            7 => {
                let place = rng.usize(0..frame.len().max(1)).min(frame.len());
                frame.truncate(place);
                frame.extend_from_slice(&other[other.len().min(place)..]);
                restate(frame);
            }
            _ => {
                let extreme = [0, 1, 0x7f, 0x80, 0xff][rng.usize(0..5)];
                if let Some(byte) = pick(frame, 0, rng) {
                    *byte = extreme;
                }
            }
        }
        if session.is_empty() {
            session.push(other);
        }
    }
}

fn pick<'a>(frame: &'a mut [u8], from: usize, rng: &mut Rng) -> Option<&'a mut u8> {
    let length = frame.len();
    if length <= from { None } else { frame.get_mut(rng.usize(from..length)) }
}

fn flip(frame: &mut [u8], rng: &mut Rng) {
    let bit = 1 << rng.u8(0..8);
    if let Some(byte) = pick(frame, 0, rng) {
        *byte ^= bit;
    }
}

fn flip_payload(frame: &mut [u8], rng: &mut Rng) {
    let bit = 1 << rng.u8(0..8);
    if let Some(byte) = pick(frame, HEADER_BYTES - 6, rng) {
        *byte ^= bit;
    }
}

/// Makes the header state the length that the frame has.
fn restate(frame: &mut [u8]) {
    if Header::read(frame).is_some() {
        let length = u32::try_from(frame.len() - HEADER_BYTES).unwrap();
        frame[..4].copy_from_slice(&length.to_be_bytes());
    }
}
