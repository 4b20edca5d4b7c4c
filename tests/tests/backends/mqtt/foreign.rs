//! Programs of others on the same server, and servers that are unlike Mosquitto.

use std::sync::Arc;

use bytes::Bytes;
use libtest_mimic::Trial;
use micro::broker::{Ack, Broker, Delivery, Handler, MqttOptions, SubscribeOptions};
use micro::core::content_type::ContentType;
use micro::core::limits::Limits;
use micro_tests::server::{MOSQUITTO, mosquitto, trial, trial_alone};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, Publish};
use rumqttc::v5::{AsyncClient, Event};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};

use super::{
    broker, broker_with, collect, is_quiet, message, next, number, publish, queue, subscribe,
    unique, within,
};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("mqtt::other_programs_speak_with_us", &MOSQUITTO, others),
        trial("mqtt::what_nobody_confirms_waits_for_room", &MOSQUITTO, unconfirmed),
        trial_alone("mqtt::a_server_without_shared_subscriptions_has_no_queues", no_queues),
        trial_alone("mqtt::a_server_that_insists_on_a_packet_too_long_is_left", insisting),
        trial_alone("mqtt::what_a_server_refuses_is_told_to_the_publisher", refusing),
    ]
}

/// A client of its own, and what comes to it.
async fn client(port: u16, filter: &str) -> (AsyncClient, mpsc::Receiver<Publish>) {
    let mut options = rumqttc::v5::MqttOptions::new(unique("device"), "127.0.0.1", port);
    options.set_max_packet_size(Some(1 << 20));
    let (client, mut events) = AsyncClient::new(options, 64);
    client.subscribe(filter, QoS::AtLeastOnce).await.unwrap();
    let (sender, came) = mpsc::channel(1000);
    let (ready, is_ready) = tokio::sync::oneshot::channel();
    let mut ready = Some(ready);
    tokio::spawn(async move {
        while let Ok(event) = events.poll().await {
            match event {
                Event::Incoming(Packet::Publish(publish)) => {
                    let _full = sender.try_send(publish).is_err();
                }
                Event::Incoming(Packet::SubAck(_)) => {
                    let _told = ready.take().map(|ready| ready.send(()));
                }
                _ => {}
            }
        }
    });
    within(is_ready).await.unwrap();
    (client, came)
}

async fn others() {
    let server = mosquitto();
    let broker = broker(server.port());
    let (device, mut to_device) = client(server.port(), "sensors/#").await;
    let (_all, mut came) = collect(&*broker, "sensors.>", &SubscribeOptions::default()).await;
    let (_group, mut shared) = collect(&*broker, "sensors.*.temp", &queue("q", 1)).await;
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        device.publish("sensors/kitchen/temp", qos, false, "21.5").await.unwrap();
        for came in [&mut came, &mut shared] {
            let delivery = next(came).await;
            assert_eq!(delivery.message.topic, "sensors.kitchen.temp");
            assert_eq!(delivery.message.content_type, ContentType::Json);
            assert_eq!(&delivery.message.body[..], b"21.5");
        }
        assert_eq!(&within(to_device.recv()).await.unwrap().payload[..], b"21.5");
    }
    // What are no topics of ours hold nothing up.
    for name in ["sensors", "sensors/a b/temp", "sensors/a.b/temp", "sensors//temp"] {
        device.publish(name, QoS::AtLeastOnce, true, "x").await.unwrap();
        within(to_device.recv()).await.unwrap();
    }
    is_quiet(&mut came).await;
    is_quiet(&mut shared).await;
    let mut sent = message("sensors.hall.temp", 7);
    sent.metadata.insert("unit", "celsius").unwrap();
    broker.publish(sent.clone()).await.unwrap();
    assert_eq!(*next(&mut came).await.message, sent);
    let got = within(to_device.recv()).await.unwrap();
    assert_eq!((&got.topic[..], &got.payload[..]), (&b"sensors/hall/temp"[..], &b"7"[..]));
    let properties = got.properties.unwrap();
    assert_eq!(properties.content_type.as_deref(), Some("application/json"));
    let pairs = [("Micro-Message-Id", sent.id.as_str()), ("unit", "celsius")];
    let pairs = pairs.map(|(key, value)| (key.to_owned(), value.to_owned()));
    assert_eq!(properties.user_properties, pairs);
}

async fn unconfirmed() {
    let server = mosquitto();
    let mut limits = Limits::DEFAULT;
    limits.broker.unacked_max = 4;
    let broker = broker_with(server.port(), MqttOptions::default(), limits);
    let (device, _to_device) = client(server.port(), "sensors/#").await;
    let (gate, (sender, mut came)) = (Arc::new(Semaphore::new(0)), mpsc::channel(1000));
    let held = Arc::clone(&gate);
    let handler: Handler = Arc::new(move |delivery: Delivery| {
        let (held, sender) = (Arc::clone(&held), sender.clone());
        Box::pin(async move {
            held.acquire().await.unwrap().forget();
            sender.try_send(delivery).unwrap();
            Ack::Ack
        })
    });
    let _group = subscribe(&*broker, "orders", &queue("q", 1), &handler).await;
    for number in 0..200 {
        device.publish("orders", QoS::AtMostOnce, false, number.to_string()).await.unwrap();
    }
    publish(&*broker, 200).await;
    gate.add_permits(1000);
    let mut numbers = Vec::new();
    for _ in 0..=200 {
        numbers.push(number(&next(&mut came).await));
    }
    numbers.sort_unstable();
    assert_eq!(numbers, (0..=200).collect::<Vec<_>>());
    assert_eq!(*broker.reconnects().borrow(), 0);
}

/// Answers with these bytes to each packet of a kind, on each connection, and tells of the packets.
async fn fake(
    answer: impl Fn(u8, &[u8]) -> Vec<u8> + Clone + Send + 'static,
) -> (u16, mpsc::Receiver<Vec<u8>>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, came) = mpsc::channel(1000);
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(serve(socket, answer.clone(), sender.clone()));
        }
    });
    (port, came)
}

async fn serve(
    mut socket: TcpStream,
    answer: impl Fn(u8, &[u8]) -> Vec<u8>,
    sender: mpsc::Sender<Vec<u8>>,
) -> std::io::Result<()> {
    loop {
        let kind = socket.read_u8().await?;
        let (mut length, mut shift) = (0, 0);
        loop {
            let byte = socket.read_u8().await?;
            length |= usize::from(byte & 127) << shift;
            shift += 7;
            if byte & 128 == 0 {
                break;
            }
        }
        let mut rest = vec![0; length];
        socket.read_exact(&mut rest).await?;
        socket.write_all(&answer(kind, &rest)).await?;
        rest.insert(0, kind);
        let _full = sender.try_send(rest).is_err();
    }
}

const CONNECT: u8 = 0x10;

/// Where the flags of the packet CONNECT are, its first byte included.
const CONNECT_FLAGS: usize = 8;

async fn no_queues() {
    let (port, _came) = fake(|kind, rest| match kind {
        // No shared subscriptions.
        CONNECT => vec![0x20, 5, 0, 0, 2, 0x2a, 0],
        // As many filters as are asked for, one by one.
        0x82 => vec![0x90, 4, rest[0], rest[1], 0, 1],
        0xa2 => vec![0xb0, 4, rest[0], rest[1], 0, 0],
        _ => Vec::new(),
    })
    .await;
    let broker = broker(port);
    let handler: Handler = Arc::new(|_| Box::pin(async { Ack::Ack }));
    let error = broker.subscribe("orders", queue("q", 1), handler.clone()).await.unwrap_err();
    assert_eq!(error.code(), 501, "{error}");
    let alone = broker.subscribe("orders", SubscribeOptions::default(), handler).await;
    assert!(alone.unwrap().is_active());
}

async fn insisting() {
    let (port, mut came) = fake(|kind, rest| match kind {
        // A session that holds a packet of 256 MB less a byte.
        CONNECT if rest[CONNECT_FLAGS - 1] & 2 == 0 => {
            vec![0x20, 3, 1, 0, 0, 0x32, 0xff, 0xff, 0xff, 0x7f]
        }
        CONNECT => vec![0x20, 3, 0, 0, 0],
        0x82 => vec![0x90, 4, rest[0], rest[1], 0, 1],
        _ => Vec::new(),
    })
    .await;
    let broker = broker_with(port, MqttOptions::default().with_client("a"), Limits::DEFAULT);
    let handler: Handler = Arc::new(|_| Box::pin(async { Ack::Ack }));
    let subscribing = broker.subscribe("orders", SubscribeOptions::default(), handler);
    let _subscription = within(subscribing).await.unwrap();
    let mut kept = 0;
    while let Ok(packet) = came.try_recv() {
        let is_subscriber = packet.windows(8).any(|part| part == b"a:0:orde");
        kept += usize::from(is_subscriber && packet[CONNECT_FLAGS] & 2 == 0);
    }
    assert_eq!(kept, 3, "connections before the session is given up");
}

async fn refusing() {
    let (port, _came) = fake(|kind, rest| match kind {
        CONNECT => vec![0x20, 3, 0, 0, 0],
        // The reason is the last byte of the body.
        0x32 => {
            let topic = usize::from(rest[1]) + 2;
            vec![0x40, 3, rest[topic], rest[topic + 1], *rest.last().unwrap()]
        }
        _ => Vec::new(),
    })
    .await;
    let broker = broker(port);
    for (reason, code) in
        [(0x00, None), (0x10, None), (0x80, Some(503)), (0x87, Some(403)), (0x97, Some(429))]
    {
        let mut message = message("orders", 1);
        message.body = Bytes::from(vec![reason]);
        let outcome = broker.publish(message).await;
        assert_eq!(outcome.as_ref().err().map(|error| error.code()), code, "{outcome:?}");
    }
}
