//! Words and numbers as HTML text. Everything here is safe inside an element and inside a quoted attribute.

use std::fmt::{self, Display, Formatter};

/// Foreign text, escaped.
pub(super) struct Text<'a>(pub &'a str);

impl Display for Text<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for letter in self.0.chars() {
            match letter {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                // HTML has no way to write these.
                letter if letter.is_control() && letter != '\n' && letter != '\t' => f.write_str("\u{fffd}")?,
                letter => write!(f, "{letter}")?,
            }
        }
        Ok(())
    }
}

/// A whole number in groups of three: 8,192.
pub(super) struct Count(pub u64);

impl Display for Count {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        for (place, digit) in digits.chars().enumerate() {
            if place > 0 && (digits.len() - place).is_multiple_of(3) {
                f.write_str(",")?;
            }
            write!(f, "{digit}")?;
        }
        Ok(())
    }
}

/// Two decimals, rounded down, so that only all of the whole is 100 %.
pub(super) struct Percent {
    pub part: u64,
    pub whole: u64,
}

impl Display for Percent {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.part == self.whole {
            return f.write_str("100&#8239;%");
        }
        let hundredths = u128::from(self.part) * 10_000 / u128::from(self.whole.max(1));
        write!(f, "{}.{:02}&#8239;%", hundredths / 100, hundredths % 100)
    }
}

/// A time to three digits in a unit that suits it.
pub(super) struct Duration(pub f64);

impl Display for Duration {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let seconds = self.0;
        if seconds >= 600.0 {
            let whole = seconds.round() as u64;
            return write!(f, "{}&nbsp;min {}&nbsp;s", whole / 60, whole % 60);
        }
        let (value, unit) = if seconds >= 0.9995 || seconds == 0.0 {
            (seconds, "s")
        } else if seconds >= 0.000_999_5 {
            (seconds * 1e3, "ms")
        } else {
            (seconds * 1e6, "\u{b5}s")
        };
        write!(f, "{}&nbsp;{unit}", Digits(value))
    }
}

/// A length in bytes to three digits, in decimal units: 1 kB is 1000 bytes.
pub(super) struct Bytes(pub f64);

impl Display for Bytes {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (value, unit) = match self.0 {
            bytes if bytes < 999.5 => (bytes, "B"),
            bytes if bytes < 999.5e3 => (bytes / 1e3, "kB"),
            bytes if bytes < 999.5e6 => (bytes / 1e6, "MB"),
            bytes => (bytes / 1e9, "GB"),
        };
        write!(f, "{}&nbsp;{unit}", Digits(value))
    }
}

/// A number from 0 up to three digits, with no decimals that the unit does not have.
struct Digits(f64);

impl Display for Digits {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let value = self.0;
        let decimals = match value {
            value if value.fract() == 0.0 || value >= 99.95 => 0,
            value if value >= 9.995 => 1,
            _ => 2,
        };
        write!(f, "{value:.decimals$}")
    }
}

/// A small number as a product with a power of ten, two digits.
pub(super) struct Scientific(pub f64);

impl Display for Scientific {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.0 == 0.0 {
            return f.write_str("0");
        }
        let text = format!("{:.1e}", self.0);
        let (digits, power) = text.split_once('e').unwrap_or((&text, "0"));
        match power.strip_prefix('-') {
            _ if power == "0" => f.write_str(digits),
            Some(power) => write!(f, "{digits}&#8239;&times;&#8239;10<sup>&minus;{power}</sup>"),
            None => write!(f, "{digits}&#8239;&times;&#8239;10<sup>{power}</sup>"),
        }
    }
}

/// A number of bits: whole if it is within a hundredth of it, else to one decimal.
pub(super) struct Bits(pub f64);

impl Display for Bits {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let decimals = usize::from((self.0 - self.0.round()).abs() >= 0.05);
        write!(f, "{:.decimals$}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_leave_its_place() {
        let text = Text("<b a=\"1\" c='2'>&amp;\u{0}\u{1b}\n\u{85}é").to_string();
        assert_eq!(text, "&lt;b a=&quot;1&quot; c=&#39;2&#39;&gt;&amp;amp;\u{fffd}\u{fffd}\n\u{fffd}é");
    }

    #[test]
    fn numbers_read_as_people_write_them() {
        let plain = |text: String| text.replace("&#8239;", " ").replace("&nbsp;", " ");
        for (count, wanted) in [(0, "0"), (999, "999"), (1000, "1,000"), (8192, "8,192"), (12_345_678, "12,345,678")] {
            assert_eq!(Count(count).to_string(), wanted);
        }
        for (part, whole, wanted) in [
            (0, 5, "0.00 %"),
            (9896, 10_000, "98.96 %"),
            (99_999, 100_000, "99.99 %"),
            (7, 7, "100 %"),
            (u64::MAX - 1, u64::MAX, "99.99 %"),
        ] {
            assert_eq!(plain(Percent { part, whole }.to_string()), wanted);
        }
        for (seconds, wanted) in [
            (0.0, "0 s"),
            (2.4e-7, "0.24 \u{b5}s"),
            (0.000_24, "240 \u{b5}s"),
            (0.000_999_9, "1.00 ms"),
            (0.012_34, "12.3 ms"),
            (0.9996, "1.00 s"),
            (9.996, "10.0 s"),
            (99.96, "100 s"),
            (125.4, "125 s"),
            (3599.6, "60 min 0 s"),
        ] {
            assert_eq!(plain(Duration(seconds).to_string()), wanted, "{seconds}");
        }
        for (bytes, wanted) in [
            (0.0, "0 B"),
            (12.0, "12 B"),
            (106.25, "106 B"),
            (11_264.0, "11.3 kB"),
            (999_600.0, "1.00 MB"),
            (2e10, "20 GB"),
        ] {
            assert_eq!(plain(Bytes(bytes).to_string()), wanted, "{bytes}");
        }
        for (value, wanted) in [
            (0.0, "0"),
            (3.14e-5, "3.1 &times; 10<sup>&minus;5</sup>"),
            (2.0, "2.0"),
            (1234.0, "1.2 &times; 10<sup>3</sup>"),
        ] {
            assert_eq!(plain(Scientific(value).to_string()), wanted);
        }
        assert_eq!((Bits(60.0).to_string(), Bits(49.999).to_string()), ("60".into(), "50".into()));
        assert_eq!((Bits(218.4).to_string(), Bits(0.05).to_string()), ("218.4".into(), "0.1".into()));
    }
}
