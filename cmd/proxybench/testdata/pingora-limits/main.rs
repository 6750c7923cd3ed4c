//! Pingora's Rate on the workload of proxyd's limiter benchmarks (docs/limits.md):
//! how many innocent keys it refuses, and what an observe costs. `cargo run --release`.

use pingora_limits::rate::Rate;
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

fn keys(n: usize) -> Vec<String> {
    (0..n).map(|i| format!("client-{i}")).collect()
}

/// Limit 1 per window, each key once: every refusal is a false one.
fn refused(n: usize) -> usize {
    let rate = Rate::new(Duration::from_secs(3600));
    keys(n).iter().filter(|k| rate.observe(k, 1) > 1).count()
}

/// The least ns per observe of several rounds, on one thread, key after key.
fn one_thread(n: usize) -> f64 {
    let rate = Rate::new(Duration::from_secs(1));
    let keys = keys(n);
    let mut best = f64::INFINITY;
    for _ in 0..15 {
        let start = Instant::now();
        let mut count = 0;
        while count < 300_000.max(n) {
            for k in &keys {
                black_box(rate.observe(k, 1));
            }
            count += n;
        }
        best = best.min(start.elapsed().as_nanos() as f64 / count as f64);
    }
    best
}

/// The same while a second thread takes of the same keys.
fn two_threads(n: usize) -> f64 {
    let rate = Rate::new(Duration::from_secs(1));
    let keys = keys(n);
    let stop = AtomicBool::new(false);
    let other = AtomicU64::new(0);
    let mut best = f64::INFINITY;
    thread::scope(|s| {
        s.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                for k in &keys {
                    black_box(rate.observe(k, 1));
                }
                other.fetch_add(1, Ordering::Relaxed);
            }
        });
        while other.load(Ordering::Relaxed) == 0 {}
        for _ in 0..15 {
            let start = Instant::now();
            let rounds = 300_000 / n;
            for _ in 0..rounds {
                for k in &keys {
                    black_box(rate.observe(k, 1));
                }
            }
            best = best.min(start.elapsed().as_nanos() as f64 / (rounds * n) as f64);
        }
        stop.store(true, Ordering::Relaxed);
    });
    best
}

fn main() {
    println!("{:>9} {:>10} {:>9} {:>12}", "keys", "refused", "share", "ns/observe");
    for n in [1, 100, 1_000, 3_000, 10_000, 100_000, 1_000_000] {
        let r = refused(n);
        println!("{n:>9} {r:>10} {:>8.1}% {:>12.1}", 100.0 * r as f64 / n as f64, one_thread(n));
    }
    println!("two threads, 100 keys: {:.1} ns/observe", two_threads(100));
}
