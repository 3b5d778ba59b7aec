//! The audit log as it runs: group commit of records into blocks, the tick, alarms, collectors.
//! No durable record, no answer: [`Recorded`] is what an endpoint must hold to reply.
