//! Reads the vendors' timestamps.

/// Reads an RFC 3339 time, for example `2026-03-01T12:30:00.5+01:00`, in milliseconds since the Unix
/// epoch; `None` for anything else and for times before 1970.
#[must_use]
pub fn rfc3339_ms(text: &str) -> Option<u64> {
    let (date, rest) = text.trim().split_once(['T', 't', ' '])?;
    let mut date = date.splitn(3, '-').map(number);
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let zone_at = rest.find(['Z', 'z', '+', '-'])?;
    let (clock, zone) = rest.split_at(zone_at);
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    let mut clock = clock.splitn(3, ':').map(number);
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    if !(1..=12).contains(&month)
        || !(1..=31).contains(&day)
        || hour > 23
        || minute > 59
        || second > 60
    {
        return None;
    }
    if fraction.is_empty() || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let millis = number(&format!("{fraction:0<3}")[..3])?;
    let offset = match zone.split_at_checked(1)? {
        ("Z" | "z", "") => 0,
        (sign, zone) => {
            let (hours, minutes) = zone.split_once(':')?;
            let minutes = number(hours)? * 60 + number(minutes)?;
            if sign == "-" { -minutes } else { minutes }
        }
    };
    let minutes = (days(year, month, day) * 24 + hour) * 60 + minute - offset;
    u64::try_from((minutes * 60 + second) * 1000 + millis).ok()
}

/// Reads digits alone: at most four, as everything here has.
fn number(text: &str) -> Option<i64> {
    let digits = !text.is_empty() && text.len() <= 4 && text.bytes().all(|b| b.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

/// Counts the days since 1970-01-01 in the proleptic Gregorian calendar, counting years from March so
/// that the leap day is last.
pub(super) fn days(year: i64, month: i64, day: i64) -> i64 {
    let (y, m) = if month <= 2 { (year - 1, month + 9) } else { (year, month - 3) };
    365 * y + y.div_euclid(4) - y.div_euclid(100) + y.div_euclid(400) + (153 * m + 2) / 5 + day
        - 719_469
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_each_form() {
        for (text, expected) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("1994-11-06T08:49:37Z", Some(784_111_777_000)),
            ("1994-11-06T09:49:37.25+01:00", Some(784_111_777_250)),
            ("1994-11-06t03:19:37.123456789-05:30", Some(784_111_777_123)),
            ("2024-02-29 00:00:00z", Some(1_709_164_800_000)),
            ("1969-12-31T23:59:59Z", None),
            ("1994-13-06T08:49:37Z", None),
            ("1994-11-06T08:49:37", None),
            ("1994-11-06", None),
            ("1994-11-06T08:49:37.Z", None),
            ("1994-11-06T08:49:37+é1:00", None),
            ("soon", None),
        ] {
            assert_eq!(rfc3339_ms(text), expected, "{text}");
        }
    }
}
