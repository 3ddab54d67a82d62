//! How long to wait before the next try: what the server says, or twice as long as before.

use std::time::{Duration, SystemTime};

/// The wait before try `attempt` + 1 (from 1 on), doubled every time, a minute at most. Without jitter: a run does the same every time,
/// and one program's few connections are no herd.
pub(super) fn backoff(first: Duration, attempt: u32) -> Duration {
    first.saturating_mul(1u32.checked_shl(attempt.saturating_sub(1)).unwrap_or(u32::MAX)).min(Duration::from_secs(60))
}

/// What `retry-after-ms` or `retry-after` asks for: milliseconds, seconds, or a date.
pub(super) fn asked(millis: Option<&str>, after: Option<&str>, now: SystemTime) -> Option<Duration> {
    let number = |text: &str| text.trim().parse::<f64>().ok().filter(|n| n.is_finite() && *n >= 0.0);
    if let Some(n) = millis.and_then(number) {
        return Duration::try_from_secs_f64(n / 1000.0).ok();
    }
    let after = after?;
    if let Some(n) = number(after) {
        return Duration::try_from_secs_f64(n).ok();
    }
    let due = httpdate::parse_http_date(after.trim()).ok()?;
    Some(due.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::UNIX_EPOCH;

    #[test]
    fn waits_double_up_to_a_minute() {
        let waits: Vec<u64> = (1..=4).map(|n| backoff(Duration::from_millis(500), n).as_millis() as u64).collect();
        assert_eq!(waits, [500, 1000, 2000, 4000]);
        assert_eq!(backoff(Duration::from_millis(500), 400), Duration::from_secs(60));
        assert_eq!(backoff(Duration::ZERO, 9), Duration::ZERO);
    }

    #[test]
    fn servers_say_how_long_in_three_ways() {
        let now = UNIX_EPOCH + Duration::from_secs(784_111_770);
        assert_eq!(asked(None, Some("3"), now), Some(Duration::from_secs(3)));
        assert_eq!(asked(None, Some(" 0.5 "), now), Some(Duration::from_millis(500)));
        assert_eq!(asked(Some("250"), Some("3"), now), Some(Duration::from_millis(250)));
        // RFC 9110's own example is 784111777.
        assert_eq!(asked(None, Some("Sun, 06 Nov 1994 08:49:37 GMT"), now), Some(Duration::from_secs(7)));
        assert_eq!(asked(None, Some("Sun, 06 Nov 1994 08:49:20 GMT"), now), Some(Duration::ZERO));
        let leap = asked(None, Some("Thu, 29 Feb 2024 00:00:00 GMT"), UNIX_EPOCH);
        assert_eq!(leap, Some(Duration::from_secs(1_709_164_800)));
        for none in ["", "-1", "soon", "NaN", "inf", "Sun, 06 Nov 94 08:49:37 GMT", "Sun, 06 Foo 1994 08:49:37 GMT"] {
            assert_eq!(asked(None, Some(none), now), None, "{none}");
        }
        assert_eq!(asked(None, None, now), None);
    }
}
