//! What `admission` promises, tested.

use super::*;

fn gate() -> Arc<Gate> {
    Arc::new(Gate::new())
}

fn key(number: u8) -> Digest {
    Digest([number; 32])
}

#[test]
fn strangers_push_out_the_longest_waiting_stranger_and_nobody_else() {
    let gate = gate();
    let listed = gate.enter().expect("room");
    listed.recognise(key(1)).expect("room");
    let passes: Vec<_> = (0..CONNECTIONS_STRANGE).map(|_| gate.enter().expect("room")).collect();
    passes[0].connection.set(Doing::Served);
    passes[1].connection.since.store(0, Ordering::Relaxed);
    for pass in &passes[2..] {
        pass.connection.since.store(5, Ordering::Relaxed);
    }
    let _next = gate.enter().expect("somebody waits");
    let inside = gate.lock();
    let still = |pass: &Pass| inside.strange.iter().any(|c| Arc::ptr_eq(c, &pass.connection));
    assert!(still(&passes[0]), "who is served stays");
    assert!(!still(&passes[1]), "who waited longest goes");
    assert!(passes[2..].iter().all(still));
    assert_eq!((inside.strange.len(), inside.listed_total), (CONNECTIONS_STRANGE, 1));
}

#[test]
fn nobody_is_pushed_out_while_being_served() {
    let gate = gate();
    let passes: Vec<_> = (0..CONNECTIONS_STRANGE).map(|_| gate.enter().expect("room")).collect();
    for pass in &passes {
        pass.connection.set(Doing::Served);
    }
    assert!(gate.enter().is_none());
}

#[test]
fn one_client_cannot_take_the_places_of_another() {
    let gate = gate();
    let enter = |number| {
        let pass = gate.enter().expect("strangers leave at once");
        pass.recognise(key(number)).expect("room");
        pass
    };
    let other = enter(2);
    let greedy: Vec<_> = (0..CONNECTIONS_PER_CLIENT + 50).map(|_| enter(1)).collect();
    let inside = gate.lock();
    assert_eq!(inside.listed[&key(1)].len(), CONNECTIONS_PER_CLIENT);
    assert!(Arc::ptr_eq(&inside.listed[&key(2)][0], &other.connection));
    assert_eq!(inside.listed_total, CONNECTIONS_PER_CLIENT + 1);
    drop(inside);
    drop(greedy);
    drop(other);
    assert_eq!(gate.count(), (0, 0));
}

#[test]
fn a_client_has_a_place_when_others_fill_all_listed_places() {
    let gate = gate();
    let enter = |number| {
        let pass = gate.enter().expect("strangers leave at once");
        pass.recognise(key(number)).expect("room");
        pass
    };
    let full: Vec<_> =
        (0..CONNECTIONS_LISTED).map(|n| enter(u8::try_from(n % 3).unwrap())).collect();
    let late = enter(9);
    assert!(gate.lock().listed[&key(9)].iter().any(|c| Arc::ptr_eq(c, &late.connection)));
    drop((full, late));
    assert_eq!(gate.count(), (0, 0));
}

#[test]
fn each_state_has_its_patience_and_being_served_has_none() {
    let gate = gate();
    let pass = gate.enter().expect("room");
    for (doing, patience) in [
        (Doing::Handshake, HANDSHAKE),
        (Doing::Idle, IDLE),
        (Doing::Header, HEADER),
        (Doing::Body, BODY),
    ] {
        pass.connection.set(doing);
        pass.connection.since.store(0, Ordering::Relaxed);
        let end = u64::try_from(patience.as_millis()).expect("seconds");
        assert!(!pass.connection.overdue(end - 1), "{doing:?}");
        assert!(pass.connection.overdue(end), "{doing:?}");
    }
    pass.connection.set(Doing::Served);
    assert!(!pass.connection.overdue(u64::MAX));
}

/// A byte now and then does not start a header's clock anew.
#[test]
fn a_header_has_one_clock_however_it_trickles() {
    let gate = gate();
    let pass = gate.enter().expect("room");
    pass.connection.set(Doing::Idle);
    pass.connection.heard();
    pass.connection.since.store(0, Ordering::Relaxed);
    pass.connection.heard();
    assert_eq!(pass.connection.since.load(Ordering::Relaxed), 0);
    assert_eq!(pass.connection.doing(), Doing::Header);
}

#[test]
fn the_slowest_stranger_who_sends_gives_way_and_nobody_before_a_second_is_over() {
    let gate = gate();
    let second = 1000;
    let passes: Vec<_> = (0..=STRANGERS_SENDING).map(|_| gate.enter().expect("room")).collect();
    let begin = |pass: &Pass, now: u64| {
        pass.connection.set(Doing::Body);
        gate.try_sender(&pass.connection, now)
    };
    let (next, first) = passes.split_last().expect("five of them");
    let held: Vec<_> = first.iter().map(|pass| begin(pass, 0).expect("a place")).collect();
    for (pass, bytes) in first.iter().zip([5000, 20, 0, 700]) {
        pass.connection.received(bytes);
    }
    assert!(begin(next, second - 1).is_none(), "all of them have just begun");
    // Whole, and being worked on: it is none of those who send.
    first[2].connection.set(Doing::Served);
    let place = begin(next, second).expect("the slowest gives way");
    assert_eq!(next.connection.waited(second), 0, "its own grace begins");
    let senders = |gate: &Gate| gate.senders.lock().expect("sound").clone();
    let still = |pass: &Pass| senders(&gate).iter().any(|c| Arc::ptr_eq(c, &pass.connection));
    let stay: Vec<_> = passes.iter().map(still).collect();
    assert_eq!(stay, [true, false, true, true, true]);
    drop((held, place));
    assert!(senders(&gate).is_empty());
}

#[tokio::test]
async fn the_tpm_has_one_job_and_a_queue_of_four() {
    let gate = gate();
    let (end, ended) = std::sync::mpsc::channel::<()>();
    let asking = Arc::clone(&gate);
    let running = tokio::spawn(async move { asking.tpm(move || ended.recv().is_err()).await });
    while gate.tpm.available_permits() > 0 {
        tokio::task::yield_now().await;
    }
    let waiting: Vec<_> = (0..TPM_QUEUE)
        .map(|_| {
            let gate = Arc::clone(&gate);
            tokio::spawn(async move { gate.tpm(|| true).await })
        })
        .collect();
    while gate.tpm_queue.available_permits() > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(gate.tpm(|| ()).await, Err(Code::ReducedCapacity), "the queue is full");
    drop(end);
    for job in waiting.into_iter().chain([running]) {
        assert_eq!(job.await.expect("no panic"), Ok(true));
    }
}

#[tokio::test]
async fn who_hangs_up_leaves_no_place_in_the_queue_of_the_tpm() {
    let gate = gate();
    let (end, ended) = std::sync::mpsc::channel::<()>();
    let (begin, mut begun) = tokio::sync::mpsc::unbounded_channel();
    let asking = Arc::clone(&gate);
    let caller = tokio::spawn(async move {
        asking
            .tpm(move || {
                let _ = begin.send(());
                let _ = ended.recv();
            })
            .await
    });
    begun.recv().await.expect("the job runs");
    caller.abort();
    assert!(caller.await.is_err(), "its caller is gone");
    assert_eq!(gate.tpm_queue.available_permits(), TPM_QUEUE, "the job holds its place");
    assert_eq!(gate.tpm.available_permits(), 0, "and the TPM");
    drop(end);
    assert_eq!(gate.tpm(|| 7).await, Ok(7));
}
