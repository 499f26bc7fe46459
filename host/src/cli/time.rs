//! Times for people: Unix seconds as a date in UTC.

/// Shows Unix seconds as `2026-11-22 15:31Z`.
pub(super) fn date(unix_s: i64) -> String {
    let (days, second) = (unix_s.div_euclid(DAY_S), unix_s.rem_euclid(DAY_S));
    let (year, month, day) = civil(days);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}Z", second / 3600, second / 60 % 60)
}

/// Shows a time that may not be known.
pub(super) fn date_or(unix_s: Option<i64>, otherwise: &str) -> String {
    unix_s.map_or_else(|| otherwise.to_owned(), date)
}

/// Turns days since 1970-01-01 into a date; Howard Hinnant's `civil_from_days`.
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days.saturating_add(719_468);
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

const DAY_S: i64 = 86_400;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_right() {
        for (unix_s, shown) in [
            (0, "1970-01-01 00:00Z"),
            (951_826_500, "2000-02-29 12:15Z"),
            (1_700_000_000, "2023-11-14 22:13Z"),
            (-1, "1969-12-31 23:59Z"),
        ] {
            assert_eq!(date(unix_s), shown);
        }
        assert_eq!(date_or(None, "never"), "never");
        assert!(!date(i64::MAX).is_empty() && !date(i64::MIN).is_empty());
    }
}
