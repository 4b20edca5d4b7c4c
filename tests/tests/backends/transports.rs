//! Transports over servers that carry messages: NATS and RabbitMQ.

mod node;
mod outage;

use std::sync::Arc;

use libtest_mimic::Trial;
use micro::core::shutdown::TaskTracker;
use micro::driver::{self, Server as Place};
use micro::prelude::*;
use micro::registry::Memory;
use micro::testkit::transport::{Subject, conformance};
use micro::transport::Transport;
use micro_tests::server::{Program, Server, trial};

/// A server that carries messages.
#[derive(Clone, Copy)]
pub(super) struct Vendor {
    /// The scheme of its addresses.
    pub(super) scheme: &'static str,
    pub(super) program: Program,
    pub(super) start: fn() -> Server,
    /// Makes the transport over a connection of its own, within a runtime.
    pub(super) open: fn(&Place, &TaskTracker) -> Arc<dyn Transport>,
}

#[cfg(feature = "nats")]
const NATS: Vendor = Vendor {
    scheme: "nats",
    program: micro_tests::server::NATS,
    start: micro_tests::server::nats,
    open: |place, tasks| {
        let nats = driver::Nats::open(place, tasks).unwrap();
        Arc::new(micro::transport::Nats::new(Arc::new(nats)))
    },
};

#[cfg(feature = "rabbitmq")]
const RABBITMQ: Vendor = Vendor {
    scheme: "rabbitmq",
    program: micro_tests::server::RABBITMQ,
    start: micro_tests::server::rabbitmq,
    open: |place, tasks| {
        let amqp = driver::Amqp::open(place, tasks).unwrap();
        Arc::new(micro::transport::RabbitMq::new(amqp.host("/").unwrap(), place))
    },
};

impl Vendor {
    /// Returns where a server is, for a connection to it.
    pub(super) fn place(server: &Server) -> Place {
        Place::new("127.0.0.1", server.port())
    }

    /// Returns what a process is told to use.
    pub(super) fn url(&self, server: &Server) -> String {
        format!("{}://{}?local=true", self.scheme, server.address())
    }
}

/// Lists the tests.
pub(super) fn trials() -> Vec<Trial> {
    let vendors = [
        #[cfg(feature = "nats")]
        NATS,
        #[cfg(feature = "rabbitmq")]
        RABBITMQ,
    ];
    vendors.into_iter().flat_map(of).collect()
}

fn of(vendor: Vendor) -> Vec<Trial> {
    let name = |claim: &str| format!("transport::{}::{claim}", vendor.scheme);
    let program = &vendor.program;
    vec![
        trial(&name("conforms"), program, move || conforms(vendor)),
        trial(&name("calls_of_every_kind_cross_processes"), program, move || {
            node::calls_of_every_kind_cross_processes(vendor)
        }),
        trial(&name("callers_are_those_of_other_hosts_unless_it_is_said"), program, move || {
            callers_are_those_of_other_hosts_unless_it_is_said(vendor)
        }),
        trial(&name("a_server_that_is_absent_is_waited_for"), program, move || {
            outage::a_server_that_is_absent_is_waited_for(vendor)
        }),
        trial(&name("a_killed_server_fails_calls_safely_or_says_so"), program, move || {
            outage::a_killed_server_fails_calls_safely_or_says_so(vendor)
        }),
        trial(
            &name("a_paused_server_holds_calls_no_longer_than_their_deadlines"),
            program,
            move || outage::a_paused_server_holds_calls_no_longer_than_their_deadlines(vendor),
        ),
        trial(&name("a_killed_node_is_noticed_by_its_callers"), program, move || {
            outage::a_killed_node_is_noticed_by_its_callers(vendor)
        }),
    ]
}

async fn conforms(vendor: Vendor) {
    let server = (vendor.start)();
    let made = async || {
        let tasks = TaskTracker::new();
        let place = Vendor::place(&server);
        // Two processes, as it were.
        let (serving, dialing) = ((vendor.open)(&place, &tasks), (vendor.open)(&place, &tasks));
        let here = serving.own_address().unwrap();
        let nowhere = format!("{}://micro.node.nobody", vendor.scheme).parse()?;
        Ok(Subject::new(dialing, here, nowhere).served_by(serving).with_guard(tasks))
    };
    conformance(made).await.unwrap_or_else(|failures| panic!("{failures}\n{}", server.said()));
}

/// What the server of a bus is reached from is not known, even where it is on loopback.
async fn callers_are_those_of_other_hosts_unless_it_is_said(vendor: Vendor) {
    let server = (vendor.start)();
    let local = vendor.url(&server);
    let plain = local.trim_end_matches("?local=true").to_owned();
    for (url, code) in [(local, None), (plain, Some(401))] {
        let service = Service::new("secluded").env([("MICRO_TRANSPORT", url)]);
        let running = service.registry(Memory::new()).mount(Secluded).start().await.unwrap();
        let client: SecludedClient = running.client();
        // Past the way within the process: to its own address, by the bus.
        let address = running.address().to_string();
        let answer = client.ask().to(&address).await;
        assert_eq!(answer.err().map(|error| error.code()), code);
        running.stop().await;
    }
}

struct Secluded;

#[service(name = "secluded")]
impl Secluded {
    #[handler]
    async fn ask(&self) -> Result<()> {
        Ok(())
    }
}
