//! Route x phase x role, generated from the table: what every call must come to, as a file that
//! people read. (Over the socket, `tests` holds a running box to the same table.)

use casemate_formats::{bundle::body::Roles, code::Code};

use super::{AuditClass, Caller, Route, TABLE};
use crate::phase::{Phase, Reason};

/// Who calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// Without a client certificate.
    Stranger,
    /// With one whose key no bundle lists.
    Unlisted,
    /// A listed client with one role (on every keyring, where it is a keyring's).
    Listed(&'static str, Roles),
}

impl Who {
    /// Everyone there is.
    pub const ALL: [Self; 9] = [
        Self::Stranger,
        Self::Unlisted,
        Self::Listed("encrypt", Roles::ENCRYPT),
        Self::Listed("decrypt", Roles::DECRYPT),
        Self::Listed("rewrap", Roles::REWRAP),
        Self::Listed("index", Roles::INDEX),
        Self::Listed("monitor", Roles::MONITOR),
        Self::Listed("audit", Roles::AUDIT),
        Self::Listed("operate", Roles::OPERATE),
    ];

    /// A word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stranger => "stranger",
            Self::Unlisted => "unlisted",
            Self::Listed(role, _) => role,
        }
    }
}

/// One call and what it must come to.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// The line of the table.
    pub route: &'static Route,
    /// Where the box stands.
    pub phase: Phase,
    /// Who calls.
    pub who: Who,
    /// `None`: the call reaches its endpoint (which may still refuse the body). `Some`: it is
    /// refused with this code before a byte of the body is read.
    pub refused: Option<Code>,
}

/// Every case: routes in the table's order, phases as a box goes through them, everyone.
pub fn cases() -> impl Iterator<Item = Case> {
    const PHASES: [Phase; 3] =
        [Phase::Unprovisioned, Phase::Locked(Reason::NoRoot), Phase::Operational];
    TABLE.iter().flat_map(|route| {
        PHASES.into_iter().flat_map(move |phase| {
            Who::ALL.map(|who| Case { route, phase, who, refused: expected(route, phase, who) })
        })
    })
}

/// The rule in the plainest words, apart from the code that the server runs.
fn expected(route: &Route, phase: Phase, who: Who) -> Option<Code> {
    let open = match phase {
        Phase::Unprovisioned => route.phases.unprovisioned,
        Phase::Locked(_) => route.phases.locked,
        Phase::Operational => route.phases.operational,
    };
    if !open {
        let serving = route.audit == AuditClass::Item;
        return Some(if serving { Code::NotOperational } else { Code::WrongPhase });
    }
    match (route.caller, who) {
        (Caller::Anyone, _) | (Caller::Listed, Who::Listed(..)) => None,
        (_, Who::Stranger) => Some(Code::NoClientCertificate),
        (_, Who::Unlisted) => Some(Code::UntrustedClient),
        (Caller::Role(wanted), Who::Listed(_, role)) => {
            if wanted.contains(role) {
                None
            } else {
                Some(Code::NotPermitted)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use core::fmt::Write as _;

    use super::*;

    const GOLDEN: &str = include_str!("../../testdata/matrix.v1.txt");

    /// A line for each route and phase: who comes to what.
    fn written() -> String {
        let mut out = String::new();
        let cases: Vec<_> = cases().collect();
        for line in cases.chunks(Who::ALL.len()) {
            let Case { route, phase, refused, .. } = line[0];
            let _ = write!(out, "{} {} {}", route.method.as_str(), route.path, phase.word());
            let outcome = |code: Option<Code>| code.map_or("open", Code::slug);
            if line.iter().all(|case| case.refused == refused) {
                let _ = write!(out, " everyone={}", outcome(refused));
            } else {
                for case in line {
                    let _ = write!(out, " {}={}", case.who.name(), outcome(case.refused));
                }
            }
            out.push('\n');
        }
        out
    }

    #[test]
    fn the_matrix_of_route_phase_and_role_is_the_golden_file() {
        assert_eq!(written(), GOLDEN);
    }

    #[test]
    fn what_the_server_asks_of_the_table_agrees_with_the_matrix() {
        for case in cases() {
            let roles = match case.who {
                Who::Listed(_, roles) => Some(roles),
                _ => None,
            };
            let open = case.route.closed_in(case.phase).is_none() && case.route.open_to(roles);
            assert_eq!(open, case.refused.is_none(), "{case:?}");
            if let Some(code) = case.route.closed_in(case.phase) {
                assert_eq!(case.refused, Some(code), "{case:?}");
            }
        }
    }
}
