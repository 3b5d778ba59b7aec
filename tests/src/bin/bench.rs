//! `tests/bench`: what is measured, as numbers in `target/bench.json`. Numbers never decide a test.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use casemate_formats::api::{ImageTaken, Status};
use casemate_qemu::{
    fault::{self, Campaign, Sums},
    machine::Hardware,
    rebuild,
};
use casemate_tests::{
    crates,
    machine::{BOOT, Box, Built},
    site::Site,
};
use clap::Parser;
use serde_json::{Value, json};

/// Boots whose median is taken.
const BOOTS: usize = 3;
/// Memory that is tried, in MiB, smallest first.
const MEMORY: [u32; 4] = [128, 136, 144, 160];

/// Power cuts, where no campaign was run before.
const POWER_CUTS: u32 = 20;

/// Measures Casemate and writes `target/bench.json`.
#[derive(Parser)]
#[command(
    name = "tests/bench",
    after_help = "Example:\n  ./tests/bench figures    image, boot, update, rebuild, in QEMU: 8 minutes"
)]
enum Arguments {
    /// Image, boot, update and rebuild: sizes, times, memory.
    Figures,
}

fn main() -> ExitCode {
    let Arguments::Figures = Arguments::parse();
    match figures() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn figures() -> Result<()> {
    let folder = Path::new("target/bench");
    let _ = fs::remove_dir_all(folder);
    let mut out = BTreeMap::new();
    let mut keep = |name: &str, value: Value| {
        println!("{name:24} {value}");
        out.insert(name.to_owned(), value);
    };
    keep("firmware_crates", crates::tree("casemate-appliance")?.len().into());

    let site = Arc::new(Site::new()?);
    let built = Built::image(&site, &folder.join("image"))?;
    let signed = built.manifest.signed.as_ref().context("a signed image")?;
    keep("uki_bytes", signed.uki.bytes.into());

    let mut machine = Box::operational(site, &built, &folder.join("machine"))?;
    let mut boots = Vec::new();
    for _ in 0..BOOTS {
        boots.push(boot(&mut machine)?);
    }
    let pid1 = median(boots.iter().map(|b| b.pid1_to_ready));
    keep("pid1_to_ready_ms", u64::try_from(pid1.as_millis())?.into());
    let power = median(boots.iter().map(|b| b.power_to_ready)).as_secs_f64();
    keep("power_to_ready_s", tenths(power));
    let status: Status = machine.remote.client("monitor")?.get("/v1/status")?.ok()?;
    ensure!(status.phase == "operational", "{}", status.phase);
    keep("idle_rss_kib", status.resident_kib.into());
    keep("update_s", tenths(update(&mut machine, folder)?.as_secs_f64()));
    machine.machine.cut();

    keep("min_memory_mib", min_memory(&machine, folder)?.into());

    let times = rebuild::play(Path::new("target/rebuild"))?;
    keep("rebuild_s", tenths(times.rebuild_s));
    keep("forward_s", tenths(times.forward_s));

    let cuts = powercuts()?;
    keep("powercuts", cuts.powercuts.into());
    keep("powercuts_records", cuts.records.into());
    keep("powercuts_lost", cuts.lost.into());
    keep("powercuts_failed_boots", cuts.failed_boots.into());
    let text = serde_json::to_string_pretty(&out)?;
    fs::write("target/bench.json", text + "\n")?;
    Ok(())
}

/// Sums of the campaign that was run last (`./qemu/fault powercut`); where there is none, of a short one.
fn powercuts() -> Result<Sums> {
    let folder = Path::new("target/fault");
    match fs::read_to_string(fault::sums(folder)) {
        Ok(text) => Ok(serde_json::from_str(&text)?),
        Err(_) => Campaign::new(folder, 1, false)?.run(POWER_CUTS),
    }
}

struct Boot {
    pid1_to_ready: Duration,
    power_to_ready: Duration,
}

/// Cuts the power and boots: PID 1's first line and the first 200 of `/readyz`, both seen from outside.
fn boot(machine: &mut Box) -> Result<Boot> {
    machine.machine.cut();
    let power = Instant::now();
    machine.machine.start()?;
    machine.machine.serial.wait("casemate: start", BOOT)?;
    let pid1 = Instant::now();
    let pid1_to_ready = machine.wait_ready(pid1)?;
    Ok(Boot { pid1_to_ready, power_to_ready: power.elapsed() })
}

/// From the first byte of a new image to its commit by the first answered request, on a running box.
fn update(machine: &mut Box, folder: &Path) -> Result<Duration> {
    let second = Built::second(&machine.remote.site, &folder.join("second-image"))?;
    machine.list_image(&second)?;
    let started = Instant::now();
    machine.put_image(&second)?.ok::<ImageTaken>()?;
    machine.machine.serial.wait("casemate: trial this image", BOOT)?;
    machine.machine.serial.wait("casemate: ready", BOOT)?;
    while started.elapsed() < BOOT {
        let asked = machine.remote.client("monitor")?.get("/v1/status");
        let status = asked.and_then(|answer| answer.ok::<Status>());
        if status.is_ok_and(|s| s.image == second.manifest.pcr11 && s.update.state == "none") {
            return Ok(started.elapsed());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    bail!("the image was not committed; console:\n{}", machine.machine.serial.text())
}

/// Seconds with one decimal.
fn tenths(seconds: f64) -> Value {
    json!((seconds * 10.0).round() / 10.0)
}

fn median(times: impl Iterator<Item = Duration>) -> Duration {
    let mut times: Vec<Duration> = times.collect();
    times.sort_unstable();
    times[times.len() / 2]
}

/// The least memory of those tried in which a copy of the machine becomes Operational.
fn min_memory(machine: &Box, folder: &Path) -> Result<u32> {
    for memory in MEMORY {
        let hardware = Hardware { memory, ..Hardware::default() };
        let mut copy = machine.copy(&folder.join(format!("memory-{memory}")), hardware)?;
        copy.machine.start()?;
        // Longer than any boot that succeeds, far shorter than the patience of a test.
        if copy.machine.serial.wait("casemate: phase operational", Duration::from_secs(60)).is_ok()
        {
            return Ok(memory);
        }
    }
    bail!("none of {MEMORY:?} MiB suffices")
}
