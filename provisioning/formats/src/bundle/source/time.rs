//! Unix seconds as people write them: RFC 3339 in UTC, whole seconds.

/// Seconds of `2026-11-24T11:00:00Z`; `None`: it is not of this form, or before 1970.
#[must_use]
pub fn parse_time(text: &str) -> Option<u64> {
    let bytes = text.as_bytes();
    let form = b"0000-00-00T00:00:00Z";
    let fits = bytes.len() == form.len()
        && bytes
            .iter()
            .zip(form)
            .all(|(b, f)| if *f == b'0' { b.is_ascii_digit() } else { b == f });
    if !fits {
        return None;
    }
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<u64>().ok();
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    if year < 1970 || !(1..=12).contains(&month) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let days = days_before(year, month).checked_add(day.checked_sub(1)?)?;
    let seconds = days * 86_400 + hour * 3_600 + minute * 60 + second;
    (format_time(seconds) == text).then_some(seconds)
}

/// The text form.
#[must_use]
pub fn format_time(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let mut year = 1970 + days / 366;
    while days_before(year + 1, 1) <= days {
        year += 1;
    }
    let mut month = 1;
    while month < 12 && days_before(year, month + 1) <= days {
        month += 1;
    }
    let day = days - days_before(year, month) + 1;
    let (hour, minute, second) = (rest / 3_600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Days from 1970 to the first of a month.
fn days_before(year: u64, month: u64) -> u64 {
    const BEFORE_MONTH: [u64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    let leaps = |year: u64| year / 4 - year / 100 + year / 400;
    let leap = year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400);
    let month = usize::try_from(month).unwrap_or(1).clamp(1, 12);
    (year - 1970) * 365 + leaps(year - 1) - leaps(1969)
        + BEFORE_MONTH[month - 1]
        + u64::from(leap && month > 2)
}
