//! Where the processor's time goes, as a process tells it over the wire.

#![cfg(feature = "profile")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use micro::debug::{Profile, ProfileRequest};
use micro::prelude::*;
use micro::registry;

struct Idle;

#[service(name = "idle")]
impl Idle {
    #[handler]
    async fn nothing(&self) -> Result<()> {
        Ok(())
    }
}

#[inline(never)]
fn count_for_the_profile(over: &AtomicBool) -> u64 {
    let mut sum = 0_u64;
    while !over.load(Ordering::Relaxed) {
        sum = std::hint::black_box(sum.wrapping_add(1));
    }
    sum
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l29_one_profile_at_a_time_names_who_uses_the_processor() {
    let service = Service::new("idle").no_env().registry(registry::Memory::new());
    let running = service.mount(Idle).start().await.unwrap();
    let client: Client = running.client();
    let over = Arc::new(AtomicBool::new(false));
    let there = Arc::clone(&over);
    let busy = std::thread::spawn(move || count_for_the_profile(&there));
    let ask = |seconds| {
        client.call::<_, Profile>("idle", "Debug.Profile", &ProfileRequest::seconds(seconds))
    };
    let (one, other) = tokio::join!(ask(1), ask(1));
    let (profile, refused) = if one.is_ok() { (one, other) } else { (other, one) };
    over.store(true, Ordering::Relaxed);
    busy.join().unwrap();
    assert_eq!(refused.unwrap_err().code(), 429);
    let profile = profile.unwrap();
    assert!(profile.took_ms >= 1000 && profile.samples > 0, "{profile:?}");
    let line = profile.folded.lines().find(|line| line.contains("count_for_the_profile"));
    let (_, count) = line.unwrap_or_else(|| panic!("{}", profile.folded)).rsplit_once(' ').unwrap();
    assert!(count.parse::<u64>().unwrap() > 0);
    assert_eq!(ask(31).await.unwrap_err().code(), 400);
    running.stop().await;
}
