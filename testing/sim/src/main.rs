//! `skald-sim`: runs seeds, says what broke and how to repeat it.
fn main() {
    let seed: u64 = std::env::args().nth(1).and_then(|s| s.parse().ok()).unwrap_or(1);
    let n: u64 = std::env::args().nth(2).and_then(|s| s.parse().ok()).unwrap_or(1);
    let mut tally = skald_sim::Tally::default();
    let started = std::time::Instant::now();
    let (mut events, mut bad) = (0, 0);
    for seed in seed..seed + n {
        let report =
            skald_sim::run(&skald_sim::Options { seed, sagas: 40, trace: n == 1, ..Default::default() });
        tally.merge(&report.tally);
        events += report.events;
        if n == 1 {
            for line in &report.trace {
                println!("{line}");
            }
        }
        if !report.violations.is_empty() {
            bad += 1;
            println!("seed {seed}: {:?}", report.violations.first());
        }
    }
    for (name, n) in tally.iter() {
        println!("{n:>10} {name}");
    }
    println!(
        "{n} seeds, {bad} bad, {events} events, {:?}, {:.0} sagas/s",
        started.elapsed(),
        (n * 40) as f64 / started.elapsed().as_secs_f64()
    );
}
