//! Numbers as people read them.

/// Three significant digits; powers of ten for what is tiny or huge.
pub fn significant(value: f64) -> String {
    let magnitude = value.abs();
    if value == 0.0 || !value.is_finite() {
        return value.to_string();
    }
    if !(1e-3..1e6).contains(&magnitude) {
        return format!("{value:.2e}");
    }
    let decimals = (2 - magnitude.log10().floor() as i32).max(0) as usize;
    format!("{value:.decimals$}")
}

/// As many digits as tell the number from every other.
pub fn exact(value: f64) -> String {
    let text = format!("{value:?}");
    text.strip_suffix(".0").map_or_else(|| text.clone(), str::to_owned)
}

/// A number of bytes in the largest unit that it has one of.
pub fn bytes(count: f64) -> String {
    let units = [(1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")];
    match units.into_iter().find(|(unit, _)| count >= *unit) {
        Some((unit, name)) => format!("{} {name}", significant(count / unit)),
        None if count.fract() == 0.0 => format!("{count} B"),
        None => format!("{} B", significant(count)),
    }
}

/// A time in seconds, milliseconds or microseconds.
pub fn seconds(time: f64) -> String {
    if time >= 1.0 {
        format!("{} s", significant(time))
    } else if time >= 1e-3 {
        format!("{} ms", significant(time * 1e3))
    } else {
        format!("{} us", significant(time * 1e6))
    }
}

/// A number of things.
pub fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits_that_mean_something() {
        for (value, shown) in [
            (0.0, "0"),
            (1.0, "1.00"),
            (-12.345, "-12.3"),
            (999.9, "1000"),
            (123_456.0, "123456"),
            (0.001_234, "0.00123"),
            (0.000_123_4, "1.23e-4"),
            (7.4395e31, "7.44e31"),
            (f64::INFINITY, "inf"),
        ] {
            assert_eq!(significant(value), shown);
        }
        assert_eq!(
            [exact(3.000_000_1), exact(-3.0), exact(1e300), exact(f64::NAN)],
            ["3.0000001", "-3", "1e300", "NaN"]
        );
        assert_eq!(
            [bytes(490.0), bytes(46.03), bytes(377_000.0), bytes(2.3e8)],
            ["490 B", "46.0 B", "377 kB", "230 MB"]
        );
        assert_eq!([seconds(0.000_42), seconds(0.004), seconds(74.0)], ["420 us", "4.00 ms", "74.0 s"]);
        assert_eq!([counted(1, "batch", "batches"), counted(0, "batch", "batches")], ["1 batch", "0 batches"]);
    }
}
