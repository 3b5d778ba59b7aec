//! The tick: a counter of the TPM that the log keeps step with, so that an older disk is known. First
//! a durable record with the value to come, then the increment; a boot that finds the record one ahead
//! does the increment.

use std::sync::{Arc, PoisonError, atomic::Ordering};

use casemate_formats::audit::record::{Event, Slug};

use super::{
    AuditUnavailable, TickCounter, TickError,
    intake::Encoded,
    shared::{Running, Shared},
};

/// Ticks, unless nothing was recorded since the last time.
pub(super) async fn tick(shared: &Arc<Shared>) -> Result<(), AuditUnavailable> {
    let Some(running) = shared.running.get() else { return Ok(()) };
    let _one = shared.ticking.lock().await;
    let counts = shared.intake.lock().take_counts();
    if counts.is_empty() && shared.since_tick.load(Ordering::Acquire) == 0 {
        return Ok(());
    }
    if !counts.is_empty() {
        shared.record(Encoded::new((shared.clock)(), counts)?).await?;
    }
    if let Err(TickError) = step(shared, running).await? {
        let name = Slug::fixed("tick-counter");
        let event = Event::Alarm { name, client: None, value: None };
        shared.record(Encoded::new((shared.clock)(), vec![event])?).await?;
    }
    shared.since_tick.store(0, Ordering::Release);
    Ok(())
}

async fn step(
    shared: &Shared,
    running: &Running,
) -> Result<Result<(), TickError>, AuditUnavailable> {
    let Ok(mut counter) = on_counter(running, |counter| counter.read()).await else {
        return Ok(Err(TickError));
    };
    let recorded = shared.standing.lock().tick;
    if recorded == counter.saturating_add(1) {
        // The last increment failed after its record was durable.
        match on_counter(running, |counter| counter.increment()).await {
            Ok(value) => counter = value,
            Err(error) => return Ok(Err(error)),
        }
    }
    let value = counter.saturating_add(1);
    // Before the record, so that no snapshot after it says less; a snapshot that says it is as good
    // as the record.
    let before = std::mem::replace(&mut shared.standing.lock().tick, value);
    let event = Event::Tick { value };
    if let Err(error) = shared.record(Encoded::new((shared.clock)(), vec![event])?).await {
        // Nothing durable says it: the next tick must not increment for it.
        shared.standing.lock().tick = before;
        return Err(error);
    }
    Ok(on_counter(running, |counter| counter.increment()).await.map(|_| ()))
}

/// An increment takes a TPM milliseconds to tens of them: not on a thread that serves.
async fn on_counter(
    running: &Running,
    work: impl FnOnce(&mut dyn TickCounter) -> Result<u64, TickError> + Send + 'static,
) -> Result<u64, TickError> {
    let counter = Arc::clone(&running.tick);
    tokio::task::spawn_blocking(move || {
        work(&mut **counter.lock().unwrap_or_else(PoisonError::into_inner))
    })
    .await
    .unwrap_or(Err(TickError))
}
