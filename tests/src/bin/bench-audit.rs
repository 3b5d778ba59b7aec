//! What a durable record before each answer costs: callers that work a little and record, against the
//! same callers without the record, on a real disk. `bench-audit [FOLDER] [SECONDS]`.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use casemate_appliance::{
    audit::{Log, Start},
    state::{Blocks, Disk, State, UNIT},
};
use casemate_tests::log::{Counter, Rig, chain, clock, item, label};

/// Time a bare echo of the same sizes takes on a core (facts: 6.6 us a request).
const WORK: Duration = Duration::from_micros(7);

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().unwrap_or_else(|| ".".to_owned());
    let seconds: u64 = arguments.next().map_or(Ok(3), |text| text.parse())?;
    let file = tempfile::NamedTempFile::new_in(folder)?;
    file.as_file().set_len(802 * UNIT as u64 + 256 * 1024 * 1024)?;
    let disk: Arc<dyn Blocks> = Arc::new(Disk::file(file.path(), 0)?);
    println!("one write of 4 KiB: p50 {} us", one_write(&disk)?);
    let ring = State::open(Arc::clone(&disk))?.ring();
    let log = Log::before_root(clock());
    let chain = chain(7);
    let mut terms = Rig::new().terms;
    terms.overwrite = true;
    let start = Start {
        ring,
        chain: &chain,
        namespace: label("test"),
        host: label("box-1"),
        from_blob: false,
        tick: Box::new(Counter::default()),
        terms,
    };
    log.start(start, &mut |_| {})?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    for callers in [1, 8, 64, 256] {
        let (bare, bare_p50, bare_cpu) = runtime.block_on(rate(None, callers, 1, seconds));
        let (durable, p50, cpu) = runtime.block_on(rate(Some(&log), callers, 1, seconds));
        println!(
            "{callers:4} callers: bare {bare:8.0}/s (p50 {bare_p50} us, cpu {bare_cpu:.1} us), \
             durable {durable:8.0}/s (p50 {p50} us, cpu {cpu:.1} us), {:.2}",
            durable / bare
        );
    }
    let (batches, p50, cpu) = runtime.block_on(rate(Some(&log), 4, 1000, seconds));
    println!(
        "batches of 1000 by 4 callers: {:.0} items/s (p50 {p50} us, cpu {:.2} us an item)",
        batches * 1000.0,
        cpu / 1000.0
    );
    Ok(())
}

fn one_write(disk: &Arc<dyn Blocks>) -> anyhow::Result<u128> {
    let mut times = Vec::new();
    for n in 0..2000 {
        let begin = Instant::now();
        disk.write(2000 + n, &[7; UNIT])?;
        times.push(begin.elapsed().as_micros());
    }
    times.sort_unstable();
    Ok(times[times.len() / 2])
}

/// Processor time of this process so far, in microseconds.
fn cpu_us() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // utime and stime, in ticks of 10 ms (proc(5)), counted from behind the name.
    let fields = stat.rsplit(") ").next().unwrap_or_default().split(' ').skip(11).take(2);
    fields.filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() * 10_000.0
}

/// Requests per second of so many callers, the median time of one, and its processor time.
async fn rate(log: Option<&Log>, callers: u32, items: u32, seconds: u64) -> (f64, u128, f64) {
    let cpu = cpu_us();
    let done = Arc::new(AtomicU64::new(0));
    let begin = Instant::now();
    let end = begin + Duration::from_secs(seconds);
    let tasks = (0..callers).map(|caller| {
        let (log, done) = (log.cloned(), Arc::clone(&done));
        tokio::spawn(async move {
            let mut times = Vec::new();
            while Instant::now() < end {
                let begin = Instant::now();
                while begin.elapsed() < WORK {
                    std::hint::spin_loop();
                }
                match &log {
                    Some(log) => {
                        let events = (0..items).map(|n| item("rails", caller * 1000 + n)).collect();
                        log.record_all(events).await.expect("recorded");
                    }
                    None => tokio::task::yield_now().await,
                }
                times.push(begin.elapsed().as_micros());
                done.fetch_add(1, Ordering::Relaxed);
            }
            times
        })
    });
    let mut times = Vec::new();
    for task in tasks.collect::<Vec<_>>() {
        times.extend(task.await.expect("no panic"));
    }
    times.sort_unstable();
    #[allow(clippy::cast_precision_loss)]
    let done = done.load(Ordering::Relaxed) as f64;
    let rate = done / begin.elapsed().as_secs_f64();
    (rate, times.get(times.len() / 2).copied().unwrap_or(0), (cpu_us() - cpu) / done.max(1.0))
}
