//! `PUT /v1/image`: another image for this box, streamed to the ESP that does not run. It is taken only
//! when the bundle in force lists its hash, and tried once; the next requests decide whether it stays.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use casemate_formats::{
    api,
    audit::record::{Event, Outcome, Slug},
    bundle::body::Image,
    code::Code,
    digest::Digest,
    efi::boot_entry::Esp,
};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use tokio::sync::{mpsc, oneshot};

use crate::{
    reply::{Refusal, Reply},
    serve::{
        House,
        admission::{Connection, Doing},
        routes::Call,
    },
    update::{Claim, Transfer, Updates},
};

/// How long a whole image may take: 64 MiB at 110 KiB a second. Each part of it has the time of a body.
const SENDING: Duration = Duration::from_secs(600);
/// Bytes that are read of a body, whatever its length says: a little more than an image.
const LARGEST: usize = 65 * 1024 * 1024;
/// How long the answer has to get out before the machine starts the image.
const RESTART_DELAY: Duration = Duration::from_millis(500);

/// Takes the image whose ESP has the hash `announced`.
pub(in crate::serve) async fn put(
    call: &Call<'_>,
    announced: Digest,
    body: Incoming,
    connection: &Connection,
) -> Result<Reply, Refusal> {
    let (updates, image) = match wanted(call, &announced) {
        Ok(wanted) => wanted,
        Err(code) => return refuse(call, code.into(), body, connection).await,
    };
    let Transfer { parts, taken, claim } = match updates.take(&image) {
        Ok(transfer) => transfer,
        Err(code) => return refuse(call, code.into(), body, connection).await,
    };
    let client = call.client.ok_or(Code::NoClientCertificate)?.name.clone();
    let request = call.ids.request.clone();
    let event = move |outcome| Event::Call {
        client: Some(client.clone()),
        endpoint: Slug::fixed("image"),
        outcome,
        request: request.clone(),
    };
    // What was begun is recorded and ends as it should, even when its caller hangs up.
    let house = Arc::clone(call.house);
    let ending =
        tokio::spawn(async move { end(&house, &updates, image, (taken, claim), event).await });
    send(body, Some(parts), connection).await;
    ending.await.map_err(|_| Refusal::internal())?
}

/// Records a refusal, and takes what is still on its way: who sends 64 MiB and does not look up would
/// otherwise see a reset and not the reason.
pub(in crate::serve) async fn refuse(
    call: &Call<'_>,
    refusal: Refusal,
    body: Incoming,
    connection: &Connection,
) -> Result<Reply, Refusal> {
    let refused = call.refused(refusal).await;
    send(body, None, connection).await;
    refused
}

/// The image with this hash, if it may come, and who takes it.
fn wanted(call: &Call<'_>, announced: &Digest) -> Result<(Updates, Image), Code> {
    let bundle = call.now.bundle.as_ref().ok_or(Code::WrongPhase)?;
    let mut images = bundle.bundle().images.iter();
    let image = images.find(|image| image.esp == *announced).ok_or(Code::ImageUnlisted)?;
    if image.pcr11 == call.house.boot.image {
        return Err(Code::ImageRunning);
    }
    // A box without its log, or without its root, could not tell whether the image is any good.
    if !call.now.is_serving() {
        return Err(Code::AuditUnavailable);
    }
    let updates = call.house.boot.updates.clone().ok_or(Code::BootVariables)?;
    Ok((updates, image.clone()))
}

/// Gives a body on as it comes; without a taker, or when that has given up, it is thrown away. A whole
/// image's time, and for each part a body's.
async fn send(body: Incoming, mut parts: Option<mpsc::Sender<Bytes>>, connection: &Connection) {
    let sending = async move {
        let mut body = Limited::new(body, LARGEST);
        connection.set(Doing::Body);
        while let Some(Ok(frame)) = body.frame().await {
            let (Ok(part), Some(taker)) = (frame.into_data(), &parts) else { continue };
            if taker.send(part).await.is_err() {
                parts = None;
            }
            connection.set(Doing::Body);
        }
        // Dropping the way in tells the keeper that nothing more comes.
    };
    drop(tokio::time::timeout(SENDING, sending).await);
    connection.set(Doing::Served);
}

/// The other ESP holds it or does not; then, recorded, it is armed; then the machine starts it.
async fn end(
    house: &Arc<House>,
    updates: &Updates,
    image: Image,
    (taken, claim): (oneshot::Receiver<Result<Esp, Code>>, Claim),
    event: impl Fn(Outcome) -> Event,
) -> Result<Reply, Refusal> {
    let done = match taken.await.unwrap_or(Err(Code::Internal)) {
        Ok(esp) => {
            // No durable record, no effect.
            house.log.record(event(Outcome::Done)).await?;
            arm(house, updates, image, claim).await.map(|image| (esp, image))
        }
        Err(code) => {
            drop(claim);
            Err(code)
        }
    };
    match done {
        Ok((esp, image)) => {
            let updates = updates.clone();
            tokio::spawn(async move {
                tokio::time::sleep(RESTART_DELAY).await;
                updates.restart();
            });
            Reply::json(&api::ImageTaken { image, esp: esp.letter().to_owned() })
        }
        Err(code) => {
            house.log.record(event(Outcome::Refused(code.into()))).await?;
            Err(code.into())
        }
    }
}

/// Under the lock of the root's life, so that no bundle comes in between: what is armed is listed, and
/// stays so until the image has been tried.
async fn arm(
    house: &Arc<House>,
    updates: &Updates,
    image: Image,
    claim: Claim,
) -> Result<Digest, Code> {
    let (house, updates) = (Arc::clone(house), updates.clone());
    let armed = tokio::task::spawn_blocking(move || {
        let mut life = house.life();
        let bundle = life.bundle().ok_or(Code::WrongPhase)?;
        if !bundle.bundle().images.contains(&image) {
            return Err(Code::ImageUnlisted);
        }
        life.set_trial(true);
        let armed = updates.arm(&claim, image.pcr11);
        if armed.is_err() {
            life.set_trial(false);
        }
        armed.map(|()| image.pcr11)
    });
    armed.await.unwrap_or(Err(Code::Internal))
}
