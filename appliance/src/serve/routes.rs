//! The way of a request through the one table: route, phase, caller, limits; then its endpoint.
//! What is refused on the way is recorded where a listed client named an operation, and counted
//! where a stranger did.

use std::sync::Arc;

use bytes::Bytes;
use casemate_core::{
    policy::ClientId,
    routes::{self, AuditClass, Caller, Endpoint, Method, NotFound, Route},
};
use casemate_formats::{
    audit::record::{Event, Outcome, Slug},
    bundle::body::Label,
    code::Code,
};
use http_body_util::Full;
use hyper::{Request, Response, body::Incoming};
use tokio::sync::OwnedSemaphorePermit;

use super::{
    House, Snapshot,
    admission::Connection,
    endpoint,
    head::{self, Ids},
    listener::Peer,
};
use crate::{
    audit::Log,
    reply::{Proven, Refusal, Reply},
};

/// A request whose caller may call its route.
pub(super) struct Call<'a> {
    /// Everything an endpoint may touch.
    pub house: &'a Arc<House>,
    /// What is in force, for the whole of this request.
    pub now: &'a Snapshot,
    /// Who calls.
    pub client: Option<&'a Client>,
    /// What the answer and its records carry.
    pub ids: &'a Ids,
    /// The line of the table.
    pub route: &'static Route,
    /// Its place among those who share a few. Work that goes on when its caller hangs up keeps it: who
    /// asks and hangs up, again and again, would otherwise fill the TPM's queue, and operators wait.
    pub place: Option<Arc<OwnedSemaphorePermit>>,
}

/// A listed client.
pub(super) struct Client {
    /// In the policy in force.
    pub id: ClientId,
    /// As records show it.
    pub name: Label,
}

/// Answers one request.
pub(super) async fn answer(
    house: &Arc<House>,
    peer: &Peer,
    request: Request<Incoming>,
) -> Response<Full<Bytes>> {
    let ids = Ids::of(request.headers());
    let answer = match find(&request) {
        Ok(route) => serve(house, peer, &ids, route, request).await,
        Err(refusal) => Err(refusal),
    };
    answer
        .unwrap_or_else(|refusal| refusal.into_reply_to(ids.request.as_str()))
        .into_response(&ids.request)
}

fn find(request: &Request<Incoming>) -> Result<&'static Route, Refusal> {
    head::check(request)?;
    routes::find(request.method().as_str(), request.uri().path()).map_err(|missing| match missing {
        NotFound::Path => Code::NoSuchRoute.into(),
        NotFound::Method(allow) => Refusal::method(allow),
    })
}

async fn serve(
    house: &Arc<House>,
    peer: &Peer,
    ids: &Ids,
    route: &'static Route,
    request: Request<Incoming>,
) -> Result<Reply, Refusal> {
    let now = house.snapshot();
    let client = now.client(peer);
    let listed = client.as_ref().ok();
    let mut call = Call { house, now: &now, client: listed, ids, route, place: None };
    let admitted = match (route.closed_in(now.phase), route.caller, &client) {
        (Some(code), ..) => Err(code),
        (None, Caller::Anyone, _) => Ok(()),
        (None, _, Err(code)) => Err(*code),
        (None, _, Ok(client)) => now.may_call(route, client),
    };
    if let Err(code) = admitted {
        return call.refused(code.into()).await;
    }
    if listed.is_some() && !peer.admitted() {
        return Err(Code::ReducedCapacity.into());
    }
    let query = request.uri().query().map(str::to_owned);
    let connection = &peer.pass.connection;
    if route.endpoint == Endpoint::ImagePut {
        return call.image(request, connection).await;
    }
    let body = match head::body(request, route, connection, house, listed.is_none()).await {
        Ok(body) => body,
        Err(refusal) => return call.refused(refusal).await,
    };
    // What anyone may ask takes one of a few places, and those who look after the box alone go past them:
    // a web server in wrong hands must not keep away the bundle that removes it. With the whole body
    // here, or four who trickle theirs could keep everybody from request and push.
    let anyone = route.caller == Caller::Anyone && route.method == Method::Post;
    if anyone && !listed.is_some_and(|client| now.tends(client)) {
        let place = house.gate.stranger(connection).await.ok_or(Code::ReducedCapacity)?;
        call.place = Some(Arc::new(place));
    }
    let _sender = body.place;
    if query.is_some() && route.endpoint != Endpoint::AuditBlocks {
        return call.refused(Code::MalformedRequest.into()).await;
    }
    let reply = call.endpoint(query.as_deref(), &body.bytes).await?;
    if let Some(client) = listed
        && route.caller != Caller::Anyone
        && (200..300).contains(&reply.status())
    {
        house.keep_image(&now, client, ids);
    }
    Ok(reply.holding(body.room))
}

impl Call<'_> {
    async fn endpoint(&self, query: Option<&str>, body: &[u8]) -> Result<Reply, Refusal> {
        match self.route.endpoint {
            Endpoint::Encrypt => return Ok(endpoint::encrypt::one(self, body).await.into_reply()),
            Endpoint::EncryptBatch => {
                return Ok(endpoint::encrypt::batch(self, body).await.into_reply());
            }
            Endpoint::Decrypt => return Ok(endpoint::decrypt::one(self, body).await.into_reply()),
            Endpoint::DecryptBatch => {
                return Ok(endpoint::decrypt::batch(self, body).await.into_reply());
            }
            _ => {}
        }
        let answer = match self.route.endpoint {
            Endpoint::Keyrings => endpoint::keyrings::get(self),
            Endpoint::Status => endpoint::status::get(self),
            Endpoint::Livez => endpoint::health::live(self),
            Endpoint::Readyz => endpoint::health::ready(self),
            Endpoint::Request => endpoint::request::post(self, body).await,
            Endpoint::BundleGet => endpoint::bundle::get(self),
            Endpoint::BundlePost => endpoint::bundle::post(self, body).await,
            Endpoint::Genesis => endpoint::genesis::post(self, body).await,
            Endpoint::Shares => endpoint::shares::post(self, body).await,
            Endpoint::Forward => endpoint::forward::post(self, body).await,
            Endpoint::AuditBlocks => endpoint::audit::blocks(self, query).await,
            Endpoint::AuditCheckpoint => endpoint::audit::checkpoint(self),
            Endpoint::AuditCollected => endpoint::audit::collected(self, body).await,
            Endpoint::Encrypt
            | Endpoint::EncryptBatch
            | Endpoint::Decrypt
            | Endpoint::DecryptBatch
            | Endpoint::ImagePut => Err(Refusal::internal()),
        };
        self.noted(answer).await
    }

    /// The one body that is never held: it goes on to the disk as it comes. From where it is taken it
    /// is recorded by its endpoint, because it ends even when its caller has gone.
    async fn image(
        &self,
        request: Request<Incoming>,
        connection: &Connection,
    ) -> Result<Reply, Refusal> {
        let announced = match request.uri().query() {
            Some(_) => Err(Code::MalformedRequest.into()),
            None => head::announced(request.headers(), self.route),
        };
        let body = request.into_body();
        match announced {
            Ok(announced) => endpoint::image::put(self, announced, body, connection).await,
            Err(refusal) => endpoint::image::refuse(self, refusal, body, connection).await,
        }
    }

    /// The log.
    pub(super) fn log(&self) -> &Log {
        &self.house.log
    }

    /// Notes how a call that is no item ended, before it is answered.
    async fn noted(&self, answer: Result<Reply, Refusal>) -> Result<Reply, Refusal> {
        match (self.route.audit, self.client) {
            // The log has noted it as `Collected`, which wakes no collector; a call would, for ever.
            (AuditClass::Reserved, _)
                if answer.is_ok() && self.route.endpoint == Endpoint::AuditCollected => {}
            (AuditClass::Reserved, Some(client)) => {
                let outcome = match &answer {
                    Ok(_) => Outcome::Done,
                    Err(refusal) => Outcome::Refused(refusal.slug()),
                };
                self.log().record(self.event(client, outcome)).await?;
            }
            (AuditClass::None, _) => {}
            _ => self.log().count(endpoint::name(self.route.endpoint)),
        }
        answer
    }

    /// Notes a refusal that came before the endpoint, and gives it back.
    pub(super) async fn refused(&self, refusal: Refusal) -> Result<Reply, Refusal> {
        match (self.route.audit, self.client) {
            (AuditClass::Item, Some(client)) if self.now.is_serving() => {
                let record = endpoint::items::unnamed(self, client, &refusal);
                let proof = self.log().record(Event::Item(record)).await;
                let id = self.ids.request.as_str();
                Ok(Proven::new(proof, Err(refusal), id).into_reply())
            }
            (AuditClass::Reserved, Some(_)) => self.noted(Err(refusal)).await,
            _ => {
                self.log().count(refusal.code.slug());
                Err(refusal)
            }
        }
    }

    fn event(&self, client: &Client, outcome: Outcome) -> Event {
        Event::Call {
            client: Some(client.name.clone()),
            endpoint: Slug::fixed(endpoint::name(self.route.endpoint)),
            outcome,
            request: self.ids.request.clone(),
        }
    }
}
