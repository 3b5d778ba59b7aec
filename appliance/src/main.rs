//! The boot story of the appliance, a process under PID 1 (`power`). Each line is a room's work; what may
//! follow what is held by the types.

mod processor;

use std::{convert::Infallible, future, net::IpAddr, process::ExitCode, sync::Arc, time::Duration};

use casemate_appliance::{
    audit::Log,
    boot::{Left, Mounted, Refusal, Stop, since_start},
    platform::{
        clock::Clock,
        console::{Word, say},
        network, power, sandbox,
    },
    pulse,
    serve::{self, BootFacts, House},
};
use casemate_core::{phase::Phase, update::Boot};
use casemate_formats::audit::record::Stamp;

/// How long the port waits for an address. Without one it opens all the same: addresses may come.
const ADDRESS_PATIENCE: Duration = Duration::from_secs(5);

/// Public for tests that put a fault beside it.
pub fn main() -> ExitCode {
    // On anything but an appliance, mounting and rebooting would be harm.
    if std::process::id() != 1 {
        say(Word::Refused, "not-pid-1");
        return ExitCode::FAILURE;
    }
    // The clock of the boot starts here.
    let _ = since_start();
    power::keep(|| {
        let Err(stop) = boot();
        stop.stay()
    })
}

fn boot() -> Result<Infallible, Stop> {
    let left = Mounted::begin()?
        .find_tpm()?
        .enrol_in_set_up_mode()?
        .seed()?
        .check_posture()?
        .open_disk()?
        .enter()?
        .open_root()?;
    serve(left)
}

/// From here on nothing can unseal: there may be a network.
fn serve(left: Left) -> Result<Infallible, Stop> {
    let updates = left.updates();
    let Left { life, tpm, state, event_log, image, boot, .. } = left;
    if boot == Boot::Trial && updates.is_none() {
        power::reboot("an image on trial finds no ESP to stay on");
    }
    let bundle = life.bundle();
    let reach = serve::reach_at_boot(&life);
    let port = reach.port;
    let network = network::start(reach).map_err(Refusal::Network)?;

    let clock = Clock::machine();
    if let Some(bundle) = &bundle {
        clock.set_floor(bundle.bundle().site.issued);
    }
    if !clock.now().believable {
        say(Word::Clock, "stands before the bundle's issue time: it is not believed");
    }
    let stamps = clock.clone();
    let log = Log::before_root(move || stamp(&stamps));
    let addresses = {
        let network = network.clone();
        move || -> Vec<IpAddr> {
            network.addresses(ADDRESS_PATIENCE).iter().map(|prefix| prefix.address).collect()
        }
    };
    let facts = BootFacts {
        image,
        event_log,
        addresses: Box::new(addresses),
        network: Box::new(network.clone()),
        clock,
        announce: Box::new(|phase| say(Word::Phase, phase)),
        leave: Box::new(|| power::reboot("this host is retired")),
        updates,
    };
    let house = House::open(facts, tpm, life, log, state.ring())
        .map_err(|error| Refusal::Port(error.to_string()))?;

    let now = house.snapshot();
    say(Word::Phase, now.phase);
    if now.phase == Phase::Operational && !now.is_serving() {
        say(Word::Log, "cannot be opened: nothing is encrypted or decrypted");
    }

    let _ = network.addresses(ADDRESS_PATIENCE);
    let refused = |error: std::io::Error| Refusal::Port(error.to_string());
    sandbox::raise_file_limit().map_err(refused)?;
    sandbox::enter().map_err(refused)?;
    let (keeper, doors) = serve::doors();
    network.open_ports(keeper).map_err(refused)?;
    say(Word::Ready, format_args!("port {port}, {} ms", since_start().as_millis()));
    pulse::BOOT.rest();
    serve::run(doors, Arc::new(house), future::pending()).map_err(refused)?;
    power::reboot("the port has closed")
}

fn stamp(clock: &Clock) -> Stamp {
    let now = clock.now();
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    Stamp {
        unix_ms: if now.believable { now.unix.saturating_mul(1000) } else { 0 },
        monotonic_ms: millis(since_start()),
    }
}
