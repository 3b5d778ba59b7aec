//! The fragment against Kconfig's silence, and against the KSPP's list.

use std::collections::BTreeMap;

use super::*;

const KSPP: &str = include_str!("../../kernel.kspp");
const DEVIATIONS: &str = include_str!("../../kernel.deviations");

#[test]
fn a_line_that_kconfig_dropped_is_found() {
    let config = "CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_CC=y\nCONFIG_D=100\n";
    let fragment = "# a comment\n\nCONFIG_A=y\n# CONFIG_B is not set\n# CONFIG_C is not set\n";
    assert!(unmet(fragment, config).is_empty());
    assert_eq!(unmet("CONFIG_B=y\n", config), ["CONFIG_B=y"]);
    assert_eq!(unmet("# CONFIG_CC is not set\n", config), ["# CONFIG_CC is not set"]);
    assert_eq!(unmet("CONFIG_D=10\n", config), ["CONFIG_D=10"]);
    assert_eq!(unmet("CONFIG_ABSENT=y\n", config), ["CONFIG_ABSENT=y"]);
}

#[test]
fn no_symbol_stands_twice_in_the_fragment() {
    let mut seen = std::collections::BTreeSet::new();
    for line in CONFIG.lines() {
        let symbol = unset_symbol(line)
            .or_else(|| line.split_once('=').map(|(s, _)| s).filter(|s| s.starts_with("CONFIG_")));
        if let Some(symbol) = symbol {
            assert!(seen.insert(symbol), "{symbol} stands twice");
        }
    }
    assert!(seen.len() > 200);
}

/// `SYMBOL value` or `SYMBOL is not set`, and `SYMBOL: reason` in the deviations.
#[test]
fn the_kernel_is_what_the_kspp_recommends_but_for_argued_deviations() {
    let lock = Lock::parse(include_str!("../../sources.lock")).unwrap();
    let fetched = source(&lock, &Archive::default(), true).unwrap();
    let config = fs::read_to_string(super::config(&fetched).unwrap()).unwrap();
    assert!(unmet(CONFIG, &config).is_empty(), "{:?}", unmet(CONFIG, &config));
    let set: BTreeMap<&str, &str> = config.lines().filter_map(|l| l.split_once('=')).collect();

    let mut deviations: BTreeMap<&str, &str> = entries(DEVIATIONS)
        .map(|line| line.split_once(": ").unwrap_or_else(|| panic!("no reason: {line}")))
        .collect();
    assert!(deviations.values().all(|reason| reason.len() > 20), "a reason is a sentence");

    let mut wrong = Vec::new();
    let mut checked = 0;
    for line in entries(KSPP) {
        let (symbol, expected) = line.split_once(' ').unwrap();
        let found = set.get(format!("CONFIG_{symbol}").as_str()).copied();
        let fits = match expected {
            "is not set" => found.is_none(),
            value => found == Some(value),
        };
        checked += 1;
        match (fits, deviations.remove(symbol)) {
            (false, None) => wrong.push(format!("{symbol}: expected {expected}, found {found:?}")),
            (true, Some(_)) => wrong.push(format!("{symbol}: fits, so it deviates no longer")),
            _ => {}
        }
    }
    assert!(checked > 150, "the list is cut short: {checked}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(deviations.is_empty(), "not on the list: {deviations:?}");
}

fn entries(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'))
}
