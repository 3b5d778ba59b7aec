//! The table of codes: name, HTTP status, code, who acts, what happened, what to do next. A new one gets a
//! row in provisioning/RUNBOOKS.md; none is ever renamed or reused.

use super::{Actor, Origin};

macro_rules! codes {
    ($($origin:ident { $($name:ident $status:literal $slug:literal $actor:ident $title:literal $todo:literal;)+ })+) => {
        /// A stable code. Codes are never renamed and never reused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Code {
            $($(#[doc = $title] $name,)+)+
        }

        impl Code {
            /// All of them, in the order of this file.
            pub const ALL: &'static [Self] = &[$($(Self::$name,)+)+];

            /// The code as it stands in `code`: kebab-case, unique.
            #[must_use]
            pub const fn slug(self) -> &'static str {
                match self { $($(Self::$name => $slug,)+)+ }
            }

            /// The HTTP status it is answered with. (What only a tool says keeps the one that a
            /// server would use.)
            #[must_use]
            pub const fn status(self) -> u16 {
                match self { $($(Self::$name => $status,)+)+ }
            }

            /// What happened, for people; never made of input.
            #[must_use]
            pub const fn title(self) -> &'static str {
                match self { $($(Self::$name => $title,)+)+ }
            }

            /// Who has to act.
            #[must_use]
            pub const fn who_acts(self) -> Actor {
                match self { $($(Self::$name => Actor::$actor,)+)+ }
            }

            /// What to do next.
            #[must_use]
            pub const fn what_to_do(self) -> &'static str {
                match self { $($(Self::$name => $todo,)+)+ }
            }

            /// Where it is said.
            #[must_use]
            pub const fn origin(self) -> Origin {
                match self { $($(Self::$name => Origin::$origin,)+)+ }
            }
        }
    };
}

codes! {
    Service {
        MalformedRequest 400 "malformed-request" Developer
            "The request is not what this route takes"
            "Compare the body with the API description: JSON, known fields only, no duplicate key, canonical base64, UTF-8.";
        ContextNames 400 "context-names" Developer
            "The context does not have exactly the names that its keyring lists"
            "Send the names that detail gives; GET /v1/keyrings lists them for each keyring.";
        ContextTooLarge 400 "context-too-large" Developer
            "A context name or value is too long"
            "Bind a value to a short identifier, at most 256 bytes.";
        TooManyItems 400 "too-many-items" Developer
            "The batch has no items, or more than fit"
            "Send 1 to 1000 items in a batch.";
        ValueTooLarge 413 "value-too-large" Developer
            "The value is larger than one value may be"
            "Encrypt a data key of 32 random bytes and use that for large data.";
        NoClientCertificate 401 "no-client-certificate" Operations
            "This route needs a client certificate"
            "Give the client the key and certificate that the bundle lists.";
        UntrustedClient 401 "untrusted-client" Operations
            "The client's key is not listed here"
            "Add the SHA-256 of its public key to the bundle, or give the client the right key.";
        WrongSource 403 "wrong-source" Operations
            "This client may not call from this address"
            "Check the client's `from` prefixes in the bundle, or where the call comes from.";
        NotPermitted 403 "not-permitted" Operations
            "The client has no role that allows this"
            "If it should, grant the role on the keyring in the next bundle.";
        ClientLocked 403 "client-locked" Operations
            "This client's reads are locked"
            "Find out why; an on-call key unlocks it.";
        NoSuchRoute 404 "no-such-route" Developer
            "There is no such path"
            "Check the path: no trailing slash, `/v1` prefix.";
        MethodNotAllowed 405 "method-not-allowed" Developer
            "The path does not take this method"
            "Use a method that `Allow` names.";
        WrongPhase 409 "wrong-phase" Operations
            "The box is not in a phase in which this route is open"
            "`casemate status` shows phase and reason; the runbook says what opens the box.";
        LengthRequired 411 "length-required" Developer
            "The body has no length"
            "Send Content-Length.";
        BodyTooLarge 413 "body-too-large" Developer
            "The body is larger than this route takes"
            "Send fewer or smaller items.";
        UnsupportedMediaType 415 "unsupported-media-type" Developer
            "The body is not of the type that this route takes"
            "Send the Content-Type that the API description names, without Content-Encoding.";
        InvalidToken 422 "invalid-token" Developer
            "The token does not decrypt"
            "Do not retry. Token and context must be the pair that was encrypted; the audit log has the cause.";
        QuotaExceeded 429 "quota-exceeded" Caller
            "A budget is used up"
            "Wait for Retry-After, or look at the budget if the use is wanted.";
        HeadersTooLarge 431 "headers-too-large" Developer
            "The header is larger than this box takes"
            "Send fewer or shorter header fields.";
        BlockGone 410 "block-gone" Operations
            "This block was overwritten"
            "Start at the first block that is left; a collector was too slow, or `overwrite` is set.";
        BlockDamaged 500 "block-damaged" Operations
            "This block cannot be read from the disk"
            "Look at the disk; the checkpoint says what its leaf was.";
        BeyondHead 409 "beyond-head" Operations
            "The log ends before this block"
            "If the collector has seen it, this disk was rolled back: `casemate audit` says what to do.";
        Internal 500 "internal" Operations
            "The box failed"
            "Report it with the request id; look at the console.";
        AuditUnavailable 503 "audit-unavailable" Operations
            "No durable audit record could be written, so there is no answer"
            "Try another box. Check disk and collectors: unacknowledged space may be full.";
        NotOperational 503 "not-operational" Operations
            "The box is not open"
            "Try another box. `casemate status` shows phase and reason.";
        StateRolledBack 503 "state-rolled-back" Operations
            "The log on this disk is older than the TPM says, so nothing is decrypted"
            "Find out why. A bundle that acknowledges the log opens it again.";
        Draining 503 "draining" Caller
            "The box is about to stop"
            "Try another box.";
        ReducedCapacity 503 "temporary-reduced-capacity" Caller
            "The box has no room for this now"
            "Try again after Retry-After, or another box.";
        TpmUnavailable 503 "tpm-unavailable" Operations
            "The TPM does not answer, or is busy"
            "Try again; if it stays, reboot the box and read its console.";
    }
    Provisioning {
        MalformedBundle 400 "malformed-bundle" Operations
            "These bytes are not a bundle"
            "Push the file that `casemate bundle build` made, whole.";
        TooLarge 413 "too-large" Operations
            "The bundle is larger than a slot"
            "Remove what is no longer needed; `casemate bundle check` prints the sizes.";
        Truncated 400 "truncated" Operations
            "The bundle ends too early"
            "Push the whole file.";
        TrailingBytes 400 "trailing-bytes" Operations
            "Bytes follow where the bundle should end"
            "Push the file as it was built.";
        UnknownVersion 400 "unknown-version" Operations
            "The bundle, or a section of it, has a format version that this image does not know"
            "Update the image before the bundle, or build with the matching tool.";
        UnknownSection 400 "unknown-section" Operations
            "The bundle has a section that this image does not know"
            "Update the image before the bundle, or build with the matching tool.";
        MissingSection 400 "missing-section" Operations
            "The bundle lacks a section that every bundle has"
            "Build it with `casemate bundle build`.";
        SectionOrder 400 "section-order" Operations
            "The bundle's sections are not in ascending order"
            "Build it with `casemate bundle build`.";
        NotCanonical 400 "not-canonical" Operations
            "The bundle is not encoded in its one way"
            "Build it with `casemate bundle build`.";
        Duplicate 400 "duplicate" Signers
            "The bundle names something twice"
            "Name each host, client, key, keyring, custodian once.";
        Unsorted 400 "unsorted" Operations
            "A table of the bundle is not in ascending order"
            "Build it with `casemate bundle build`.";
        ReservedRole 400 "reserved-role" Signers
            "A client has a role that does not exist, or not at this place"
            "`casemate bundle check` lists the roles; encrypt, decrypt, rewrap, index stand on keyrings.";
        TooManyBranches 400 "too-many-branches" Signers
            "A host has more than 8 pairs of image and PCR 7 value"
            "Drop images or PCR 7 values that are no longer booted.";
        OutOfRange 400 "out-of-range" Signers
            "A number or address of the bundle is outside its range"
            "`casemate bundle check` names it.";
        TableTooLarge 400 "table-too-large" Signers
            "A table of the bundle is larger than the firmware holds"
            "`casemate bundle check` prints each table and its capacity.";
        Inconsistent 400 "inconsistent" Signers
            "The bundle contradicts itself"
            "`casemate bundle check` says what refers to something that is not there.";
        TooFewSignatures 403 "too-few-signatures" Signers
            "Fewer than the needed signers signed this"
            "Have more of the anchored signers sign it: `casemate bundle sign`.";
        ForeignNamespace 409 "foreign-namespace" Operations
            "The bundle is for another site"
            "Push it to a box of its site.";
        SeqLower 409 "seq-lower" Operations
            "A bundle with a higher number is in force"
            "Fetch it with GET /v1/bundle, build on it, sign a higher number.";
        SeqFork 409 "seq-fork" Signers
            "Another bundle with this number is in force"
            "Two were signed with one number: find out who signed which, then sign a higher one.";
        SeqStep 409 "seq-step" Signers
            "The number is more than 64 ahead of the one that is sealed"
            "Sign it with a number at most 64 higher, or push one in between.";
        NotListed 409 "not-listed" Signers
            "The bundle does not list this box as it runs"
            "Add its EK, AK, PCR 7 and image, as `casemate request` shows them, and sign again.";
        RootChain 409 "root-chain" Signers
            "The roots in the bundle do not open from the newest one"
            "Take `[root]` from the last bundle that was accepted, and sign again.";
        RootNotHeld 409 "root-not-held" Custodians
            "The box does not hold the root that the bundle names"
            "Bring it in first: forward from a live box, or k shares.";
        RootDropped 409 "root-dropped" Signers
            "The bundle leaves out the root that is in use"
            "Take `[root]` from the bundle in force, and sign again.";
        MissingAck 409 "missing-ack" Custodians
            "Not every custodian acknowledged a share"
            "Collect the missing acknowledgements with `casemate share ack`.";
        WrongAck 409 "wrong-ack" Custodians
            "An acknowledgement does not belong to its share"
            "Have that custodian acknowledge the share of the last genesis answer.";
        WrongCommitment 409 "wrong-commitment" Signers
            "The commitments are not those of this root and these custodians"
            "Take them from one genesis answer; two runs do not mix.";
        WrongAuthority 409 "wrong-authority" Signers
            "The CA certificate is not the one of this root"
            "Take it from the genesis answer.";
        GenesisNotAsked 409 "genesis-not-asked" Signers
            "The bundle in force asks for no genesis"
            "Put custodians and k, or `root.next`, into a bundle.";
        WrongCredential 409 "wrong-credential" Operations
            "The credential was not made for this box, or not for this boot"
            "Ask for a new request and answer its challenge.";
        WrongBoot 409 "wrong-boot" Custodians
            "This was sealed to another boot, or to another box"
            "Ask the box for a new request and have it sealed again: its key is made anew at each boot.";
        WrongRoot 409 "wrong-root" Custodians
            "This is of another root than the bundle names"
            "Use the shares of the root in force; those of an earlier root open nothing here.";
        WrongSplit 409 "wrong-split" Custodians
            "The share is of another split than the bundle names"
            "Use the shares of the split in force; a custodian who left has one of an earlier split.";
        WrongShare 409 "wrong-share" Custodians
            "The share is none of those that the bundle commits to"
            "Have that custodian check its share file; it is changed, or of another root.";
        DamagedShare 409 "damaged-share" Custodians
            "The share or envelope does not open"
            "Send it again as its sender made it; if it stays, have it sealed again.";
        RepeatedShare 409 "repeated-share" Custodians
            "This share is held already"
            "Bring another custodian's; each counts once.";
        TooManyShares 400 "too-many-shares" Operations
            "More shares than there are custodians"
            "Push each custodian's share once.";
        SameBox 409 "same-box" Operations
            "The request is this box's own"
            "Forward from a box that is open to one that is not.";
        Trial 409 "trial" Operations
            "The box is trying a new image"
            "Wait until it has committed it or gone back: `casemate status` says which.";
        UpdateInProgress 409 "update-in-progress" Operations
            "Another image is being sent, copied or tried"
            "Wait for it to end, then send this one.";
        ImageUnlisted 409 "image-unlisted" Signers
            "The bundle in force lists no image with this hash"
            "`casemate bundle add-image`, build, sign and push the bundle; then send the image.";
        ImageRunning 409 "image-running" Operations
            "This is the image that runs"
            "Nothing is to be done.";
        ImageLength 400 "image-length" Operations
            "An ESP image has exactly 64 MiB"
            "Send the `esp.img` that `cargo image sign` wrote.";
        ImageCut 400 "image-cut" Operations
            "The image ended early, or came too slowly"
            "Send it again.";
        ImageAltered 409 "image-altered" Operations
            "What arrived is not what was announced"
            "Send it again; if it stays, find out what changes it on its way.";
        EspUnwritable 503 "esp-unwritable" Operations
            "The disk does not hold what was written to the other ESP"
            "The running image is untouched. Look at the disk, then send the image again.";
        BootVariables 503 "boot-variables" Operations
            "The firmware does not say or does not keep what it boots"
            "Look at its settings for boot entries; without them this box is updated by flashing it.";
        BootOrder 409 "boot-order" Signers
            "The bundle does not list the image that the firmware starts first"
            "List it, or have the firmware start the running image first, and push again.";
        Retired 409 "retired" Signers
            "This box is retired"
            "List it again only after it was set up anew.";
    }
    Phase {
        NoRoot 503 "no-root" Custodians
            "There is no root here yet"
            "Run genesis, or bring the root in: forward, or k shares.";
        NoLiveSlot 503 "no-live-slot" Custodians
            "Nothing that is sealed on this disk can be opened by this TPM any more"
            "Forward from a live box, or k shares: another disk, TPM or a cleared TPM.";
        DoesNotOpen 503 "does-not-open" Custodians
            "What is sealed on this disk did not open"
            "Check firmware changes (PCR 7) first; then forward, or k shares.";
        ForeignBlob 503 "foreign-blob" Operations
            "What was sealed on this disk does not belong to its bundle"
            "Treat the disk as tampered with; then forward, or k shares.";
        CrashLoop 503 "crash-loop" Operations
            "Three panics within ten minutes of boot"
            "Read the console, then power the box off and on.";
        NotSealed 503 "not-sealed" Custodians
            "This box keeps nothing: each boot needs the root anew"
            "Forward from a live box, or k shares.";
    }
    Verification {
        WrongNonce 409 "wrong-nonce" Operations
            "The quote does not answer this question"
            "Ask again; a replayed answer is an attack or a proxy.";
        QuoteMalformed 409 "quote-malformed" Operations
            "The quote is not a well-formed one of a TPM"
            "Treat the box as false until this is explained.";
        QuoteSignature 409 "quote-signature" Operations
            "The quote is not signed by the box's attestation key"
            "Treat the box as false until this is explained.";
        QuoteContent 409 "quote-content" Operations
            "The quote does not cover what the box says"
            "Treat the box as false until this is explained.";
        PcrSelection 409 "pcr-selection" Operations
            "The quote covers other PCRs than 0 to 15"
            "Treat the box as false until this is explained.";
        PcrBank 409 "pcr-bank" Operations
            "The quote is not of the SHA-256 bank"
            "Enable the SHA-256 bank in the firmware.";
        AttestationKey 409 "attestation-key" Operations
            "The attestation key is not a restricted signing key of its TPM"
            "Treat the box as false until this is explained.";
        EndorsementKey 409 "endorsement-key" Operations
            "The endorsement key is not the expected one"
            "Compare the fingerprint on the console; do not add the host.";
        EkCertificate 409 "ek-certificate" Operations
            "The endorsement certificate is not one of the site's manufacturers'"
            "Check the certificate, or the list of roots.";
        ChallengeFailed 409 "challenge-failed" Operations
            "The box did not answer the challenge of its attestation key"
            "Ask again; if it stays, the two keys are not in one TPM.";
        HostMismatch 409 "host-mismatch" Operations
            "Keys or PCR 7 are not those of the host record"
            "Check that this is the box; after a firmware change add the new PCR 7.";
        EventLog 409 "event-log" Operations
            "The event log cannot be read to its end"
            "Ask again; if it stays, read the firmware notes of the server.";
        EventLogMismatch 409 "event-log-mismatch" Operations
            "The event log does not lead to the quoted PCRs"
            "Treat the box as false until this is explained.";
        SecureBootOff 409 "secure-boot-off" Operations
            "Secure Boot was off"
            "Turn it on with the site's keys.";
        SecureBootKeys 409 "secure-boot-keys" Operations
            "PK, KEK or db are not exactly the site's"
            "Put the machine into set-up mode and boot the image once.";
        BootAuthority 409 "boot-authority" Operations
            "Something was started under another key than the site's"
            "Remove it, or the key, from the machine.";
        BootApplication 409 "boot-application" Operations
            "The firmware measured an application that the host record does not list"
            "`casemate host add` shows its hash; list it if it is a known one.";
        ImageNotListed 409 "image-not-listed" Signers
            "The running image is not listed"
            "List it in a bundle, or boot a listed one.";
        PcrNotZero 409 "pcr-not-zero" Operations
            "PCR 12 or 13 is not zero: something was added to the image at boot"
            "Remove command lines, credentials and extensions beside the UKI.";
        GenesisAltered 409 "genesis-altered" Custodians
            "The genesis answer is not what the box quoted"
            "Do not acknowledge; fetch the answer again.";
        WrongBundle 409 "wrong-bundle" Operations
            "This was made under another bundle"
            "Push the newest bundle, then ask again.";
        WrongTlsKey 409 "wrong-tls-key" Operations
            "Another TLS key answers than the quoted one"
            "The box rebooted, or somebody stands between: ask again, then find out who answers.";
        AuditShrunk 409 "audit-shrunk" Operations
            "The box's log is shorter than what was collected from it"
            "Keep the collected files: the box's disk is older than its log. See state-rolled-back.";
        AuditMismatch 409 "audit-mismatch" Operations
            "Collected blocks do not lead to the signed checkpoint"
            "Keep the files and find out whether the box or the collector's disk changed them.";
        AuditKey 409 "audit-key" Operations
            "The log's checkpoint key is not the one learned from its first quote"
            "Treat the box as false until this is explained.";
    }
}
