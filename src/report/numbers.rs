//! Numbers for people: as many digits as mean something.

/// Stands where there is no number.
pub const NONE: &str = "–";

/// A mean and its standard deviation: the deviation with two significant digits, the mean to the same
/// place.
pub fn spread(mean: f64, deviation: Option<f64>) -> String {
    match deviation {
        None => format!("{} ± {NONE}", plain(mean)),
        Some(0.0) => format!("{} ± 0", plain(mean)),
        Some(deviation) => {
            let places = places(deviation, 2);
            format!("{} ± {}", fixed(mean, places), fixed(deviation, places))
        }
    }
}

/// A difference, with its sign, and half the width of its confidence interval, as an interval.
pub fn interval(mean: f64, half_width: Option<f64>) -> (String, String) {
    match half_width {
        None => (signed(mean, places(mean, 4).max(0)), NONE.to_string()),
        Some(half) => {
            let places = if half > 0.0 { places(half, 2) } else { places(mean, 4).max(0) };
            let ends = [mean - half, mean + half].map(|end| fixed(end, places));
            (signed(mean, places), format!("[{}, {}]", ends[0], ends[1]))
        }
    }
}

/// A number by itself, with four significant digits.
fn plain(value: f64) -> String {
    fixed(value, places(value, 4).max(0))
}

/// The decimal places that a number of so many significant digits has.
fn places(value: f64, digits: i32) -> i32 {
    if value == 0.0 || !value.is_finite() {
        return 0;
    }
    // The exponent after rounding: 0.0996 has two significant digits as 0.10.
    let rounded = format!("{value:.0$e}", digits as usize - 1);
    let exponent = rounded.split_once('e').and_then(|(_, exponent)| exponent.parse::<i32>().ok());
    digits - 1 - exponent.unwrap_or(0)
}

/// A number with so many decimal places (below 0: rounded in front of the point), or with a power of ten where these are too many.
fn fixed(value: f64, places: i32) -> String {
    let text = match places {
        ..0 if value.abs() < 1e7 => {
            let step = 10f64.powi(-places);
            format!("{:.0}", (value / step).round() * step)
        }
        0..=7 if value.abs() < 1e7 => format!("{value:.0$}", places as usize),
        _ => format!("{value:.1e}"),
    };
    let zero = text.trim_start_matches('-').chars().all(|c| c == '0' || c == '.');
    match text.strip_prefix('-') {
        Some(rest) if zero => rest.to_string(),
        Some(rest) => format!("−{rest}"),
        None => text,
    }
}

fn signed(value: f64, places: i32) -> String {
    let text = fixed(value, places);
    if text.starts_with('−') || value <= 0.0 { text } else { format!("+{text}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mean_has_the_places_of_its_deviation() {
        assert_eq!(spread(97.12345, Some(0.3412)), "97.12 ± 0.34");
        assert_eq!(spread(97.12345, Some(0.0996)), "97.12 ± 0.10");
        assert_eq!(spread(1234.5, Some(123.4)), "1230 ± 120");
        assert_eq!(spread(-0.001, Some(2.0)), "0.0 ± 2.0");
        assert_eq!(spread(97.12345, Some(0.0)), "97.12 ± 0");
        assert_eq!(spread(97.12345, None), "97.12 ± –");
        assert_eq!(spread(0.0000123, Some(0.0000000456)), "1.2e-5 ± 4.6e-8");
    }

    #[test]
    fn a_difference_has_a_sign_and_an_interval() {
        assert_eq!(interval(0.314, Some(0.412)), ("+0.31".into(), "[−0.10, 0.73]".into()));
        assert_eq!(interval(-1.5, None), ("−1.500".into(), "–".into()));
        assert_eq!(interval(0.0, Some(0.0)), ("0".into(), "[0, 0]".into()));
    }
}
